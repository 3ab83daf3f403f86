"""The interface of the engines of pair models: read sources, then write their targets.

The state of a row has one more part than a text model's: the source that it answers. What was read
of N sources of M symbols in all lies flat, without padding: a row for each symbol. H: hidden units.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any

from charrnn.arrays import Floats, Ids, Integers, State
from charrnn.cells import find
from charrnn.config import ModelConfig
from charrnn.errors import PromptError
from charrnn.inference.engine import Engine
from charrnn.storage import machine


@dataclass(frozen=True)
class Sources:
    """What an encoder read; each row of a state refers to one source.

    Rows of H values and more are padded with zeros.

    Attributes:
        rows: the source of each row (B,).
        memory: the encoder's outputs (M, H), one source after the other.
        keys: what attention compares with the decoder's first layer (M, H); empty without it.
        starts: where each source begins (N,).
        lengths: their symbols (N,).
        added: what is added to the token's input (N, X).
        parts: what that adds to the input parts of all layers, one after the other (N, F); empty
            where an engine needs none.
    """

    rows: Integers
    memory: Floats
    keys: Floats
    starts: Integers
    lengths: Integers
    added: Floats
    parts: Floats

    def __getitem__(self, rows: Any) -> Sources:
        """Return the sources of some rows, by index or mask; see `Engine.select`."""
        return replace(self, rows=self.rows[rows])


def check_memory(config: ModelConfig, sources: Ids) -> None:
    """Refuse padded sources (S, B) that an encoder could not hold, before memory is allocated.

    Raises:
        PromptError: says how much memory they would take.
    """
    units = (len(find(config.cell).blocks) + 4) * config.hidden_size + 3 * config.embedding_size
    needed, installed = 4 * units * sources.size, machine.installed()
    if installed is not None and needed > installed:
        raise PromptError(
            f"reading a source of {len(sources):,} tokens would take about {needed / 1e9:,.0f} GB, "
            f"and the machine has {installed / 1e9:,.0f}: shorten it"
        )


class PairEngine(Engine):
    """A `charrnn.inference.engine.Engine` of a pair model, whose states `encode` makes.

    Attributes:
        config: the architecture.
    """

    config: ModelConfig

    def start_state(self, batch_size: int) -> State:
        """Refuse: a target begins with its source.

        Raises:
            PromptError: always.
        """
        raise PromptError("this model answers sources: give it one")

    @abstractmethod
    def encode(self, sources: Ids, lengths: Integers) -> State:
        """Return the state before the targets of sources.

        Args:
            sources: (S, B), padded at their ends.
            lengths: of the sources (B,), at least 1.
        """

    @abstractmethod
    def attention(self, ids: Ids, state: State) -> Floats:
        """Return the weights (T, B, S) of the sources' symbols while targets (T, B) are read."""
