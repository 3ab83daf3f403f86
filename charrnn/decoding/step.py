"""The one thing a decoder needs of a network, and the probabilities of its logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats

State = Any


class Network(Protocol):
    """Reads one symbol per row, and reorders rows; state is a value."""

    def step(self, ids: NDArray[np.integer[Any]], state: State) -> tuple[Floats, State]:
        """Ids (B,) -> logits (B, V) of the next symbol, and the state after it."""
        ...

    def write(self, logits: Floats, state: State, chooser: Any, count: int) -> tuple[Floats, State]:
        """Let `chooser` choose a symbol per row and read it, `count` times."""
        ...

    def select(self, state: State, rows: Any) -> State:
        """The state's rows by index (repeats allowed) or mask."""
        ...


def log_softmax(logits: Floats) -> NDArray[np.float64]:
    """Log-probabilities (B, V) in float64."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result


def ends_with(
    ids: Sequence[int] | NDArray[np.integer[Any]], stops: Sequence[tuple[int, ...]]
) -> bool:
    """Whether a text (its ids) ends with one of the stop strings (theirs)."""
    return any(tuple(ids[-len(stop) :]) == stop for stop in stops)
