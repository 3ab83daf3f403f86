"""Arrays as compiled products read them: aligned, padded to whole panels, and packed.

A panel is `WIDTH` columns of a matrix, side by side in memory for every row. Each of a matrix's
blocks begins with a panel of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats, Floats32
from charrnn.compiler.processor import WIDTH
from charrnn.inference import instructions

_LINE = 64  # bytes of a cache line


def aligned(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Return an array of zeros that begins at the start of a cache line."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + _LINE, np.uint8)
    first = -memory.ctypes.data % _LINE
    array: NDArray[Any] = memory[first : first + size].view(dtype).reshape(shape)
    return array


def panel_count(size: int) -> int:
    """Return how many panels hold this many columns."""
    return -(-size // WIDTH)


def padded(values: Floats | None, blocks: int, panels: int) -> Floats32:
    """Return rows (..., blocks*H) with every block padded to its panels; None: a row of zeros."""
    if values is None:
        values = np.zeros(blocks, np.float32)
    lead, size = np.shape(values)[:-1], np.shape(values)[-1] // blocks
    rows = aligned((*lead, blocks, panels * WIDTH), np.float32)
    rows[..., :size] = np.reshape(values, (*lead, blocks, size))
    return rows.reshape(*lead, -1)


def bf16_bits(values: Floats) -> NDArray[np.uint32]:
    """Return the 16 bits of the nearest bfloat16; of two equally near, the even one."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return (bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) >> np.uint32(16)


@dataclass(frozen=True)
class PackedMatrix:
    """A matrix (blocks*H, K) as products read it.

    Attributes:
        values: (blocks * panels, K, WIDTH), in the type that the weights are stored in.
        scale: the factor of each column, (blocks * panels * WIDTH,); other than 1 for int8 alone.
        panels: panels of each block.
        blocks: how many blocks.
    """

    values: NDArray[Any]
    scale: Floats32
    panels: int
    blocks: int

    @property
    def depth(self) -> int:
        """Return K, the number of terms of each sum."""
        return int(self.values.shape[1])

    @classmethod
    def of(cls, weight: Floats, blocks: int, weights: str) -> PackedMatrix:
        """Pack a matrix; columns are padded with zeros.

        Args:
            weight: (blocks*H, K).
            blocks: how many blocks its rows are.
            weights: how its values are stored: float32, bfloat16 or int8.
        """
        size = len(weight) // blocks
        panels = panel_count(size)
        rows = np.asarray(weight, np.float32).reshape(blocks, size, -1)
        if size != panels * WIDTH:
            rows = np.pad(rows, ((0, 0), (0, panels * WIDTH - size), (0, 0)))
        scale = aligned((blocks * panels * WIDTH,), np.float32)
        scale[:] = 1.0
        if weights == "int8":
            peak = np.abs(rows).max(-1, keepdims=True)
            steps = np.where(peak > 0, peak / np.float32(127), np.float32(1))
            rows, scale[:] = np.rint(rows / steps), steps.ravel()
        columns = rows.reshape(blocks * panels, WIDTH, -1).swapaxes(1, 2)
        values = aligned(columns.shape, instructions.STORED[weights])
        values[:] = bf16_bits(columns) if weights == "bfloat16" else columns
        return cls(values, scale, panels, blocks)
