"""The log-probabilities of logits, and whether a text ends with a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats


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
