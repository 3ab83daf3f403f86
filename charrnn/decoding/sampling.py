"""Writing several texts side by side, some symbols at a time.

What is written at a time takes some hundredths of a second: so a text can be watched, stopped and
searched for its end, and what one symbol costs is little more than the network itself. Nothing
depends on where the cuts are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats, Floats64, Integers, State
from charrnn.decoding.sampler import Chooser
from charrnn.inference.engine import Engine

SECONDS = 0.03  # for the symbols written at a time
_FIRST, _MOST, _FASTER = 8, 4096, 4  # symbols at first and at most, and how fast they get more


class Text(Protocol):
    """One of the texts, as it grows."""

    def extend(self, ids: Integers, log_probs: Floats64) -> bool:
        """Add symbols, and say whether the text goes on."""
        ...


def write(
    network: Engine,
    logits: Floats,
    state: State,
    chooser: Chooser,
    texts: Sequence[Text],
    length: int,
) -> Iterator[None]:
    """Write up to `length` symbols of each text; rests now and then.

    Args:
        network: reads and selects rows.
        logits: (1, V) of the first symbol, after the prompt.
        state: the state that gave them, one row.
        chooser: of as many texts.
        texts: get their symbols; one that has ended leaves the batch.
        length: symbols of a text at most.
    """
    rows = np.arange(len(texts))
    logits, state = logits[rows * 0], network.select(state, rows * 0)
    count = _FIRST
    while length > 0 and len(rows):
        count = min(count, length)
        began = time.perf_counter()
        logits, state = network.write(logits, state, chooser, count)
        ids, log_probs = chooser.taken()
        length -= count
        count = _pace(count, time.perf_counter() - began)
        columns = zip(rows.tolist(), ids.T, log_probs.T, strict=True)
        going_on = np.array([texts[row].extend(*column) for row, *column in columns])
        yield
        if not going_on.all():
            stay: NDArray[np.intp] = np.flatnonzero(going_on)
            chooser.keep(stay)
            rows, logits, state = rows[stay], logits[stay], network.select(state, stay)


def _pace(count: int, seconds: float) -> int:
    """How many symbols to write next, if so many took so long."""
    wanted = int(count * SECONDS / max(seconds, 1e-6))
    return max(1, min(wanted, _FASTER * count, _MOST))
