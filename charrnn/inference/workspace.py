"""The array that compiled steps work on: one row for each text, with named columns."""

from __future__ import annotations

import numpy as np

from charrnn.arrays import Floats32, State
from charrnn.compiler.processor import WIDTH
from charrnn.config import ModelConfig
from charrnn.inference.packing import aligned


def own(network: int, name: str) -> str:
    """Return the name of a value of a network of an ensemble; those of the first have no prefix."""
    return f"{network}/{name}" if network else name


class RowLayout:
    """Where each named value lies within a row, counted in floats.

    Attributes:
        size: floats of a row.
    """

    def __init__(self) -> None:
        self.size = 0
        self._offsets: dict[str, int] = {}

    def add(self, name: str, blocks: int, panels: int) -> None:
        """Reserve columns for blocks under a new name; they begin with a cache line."""
        if name not in self._offsets:
            self._offsets[name] = self.size
            self.size += -(-blocks * panels * WIDTH // 16) * 16

    def add_alias(self, name: str, other: str, rows: int) -> None:
        """Add a name for the columns of another one, this many rows further down."""
        self._offsets[name] = self._offsets[other] + rows * self.size

    def finish(self) -> None:
        """Make the row's number of cache lines odd: then rows do not compete for cache sets."""
        self.size += 16 * (self.size // 16 % 2 == 0)

    def __getitem__(self, name: str) -> int:
        return self._offsets[name]


class Workspace:
    """Rows of such a layout.

    Attributes:
        layout: the columns.
        rows: (B, size).
    """

    def __init__(self, layout: RowLayout, config: ModelConfig, units: int) -> None:
        """Make a workspace without rows.

        Args:
            layout: the columns.
            config: the architecture.
            units: H, of a layer.
        """
        self.layout = layout
        self._layers, self._units, self._vocab_size = config.num_layers, units, config.vocab_size
        self.rows: Floats32 = aligned((0, layout.size), np.float32)

    @property
    def stride(self) -> int:
        """Return the bytes from one row to the next."""
        return 4 * self.layout.size

    def reserve(self, batch: int) -> bool:
        """Make at least this many rows; return whether that has moved them in memory."""
        if batch <= len(self.rows):
            return False
        self.rows = aligned((max(batch, 2 * len(self.rows)), self.layout.size), np.float32)
        return True

    def address(self, name: str, row: int = 0) -> int:
        """Return the address of a named value in a row."""
        return self.rows.ctypes.data + row * self.stride + 4 * self.layout[name]

    def _part(self, layer: int, part: int, parity: str, first: int, batch: int) -> Floats32:
        """Return a part of a layer's state in the rows from `first` on: a view (B, H)."""
        network, number = divmod(layer, self._layers)
        column = self.layout[own(network, f"{number}.{part}.{parity}")]
        return self.rows[first : first + batch, column : column + self._units]

    def logits(self, batch: int) -> Floats32:
        """Return the logits of the first rows: a view (B, V)."""
        first = self.layout["logits"]
        return self.rows[:batch, first : first + self._vocab_size]

    def load(self, state: State, parity: str) -> None:
        """Copy a state into the first rows, as that of even ("0") or odd ("1") steps."""
        for number, layer in enumerate(state):
            for k, part in enumerate(layer):
                self._part(number, k, parity, 0, len(part))[:] = part

    def state(self, like: State, parity: str, first: int = 0) -> State:
        """Return a copy of the state in the rows from `first` on; `like` has as many rows."""
        return tuple(
            tuple(
                self._part(number, k, parity, first, len(part)).copy()
                for k, part in enumerate(layer)
            )
            for number, layer in enumerate(like)
        )
