"""Time the same work several times: the best time says what the machine can do."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

WINDOW = 0.1  # seconds, at least, over which steps are timed together
WINDOWS = 5  # into which the steps of a training are divided


@dataclass(frozen=True)
class Samples:
    """Seconds that the same work took, each time it was done; at least one time.

    What else the machine does makes some of them longer, and none shorter.
    """

    seconds: tuple[float, ...]

    @property
    def best(self) -> float:
        """The least of them."""
        return min(self.seconds)

    @property
    def spread(self) -> float:
        """The median relative to the best: 1 on a quiet machine."""
        return statistics.median(self.seconds) / self.best

    def last(self, count: int) -> Samples:
        """Return the newest of them."""
        return Samples(self.seconds[-count:])


def sample(step: Callable[[], object]) -> float:
    """Return the mean seconds of a step, over a window of at least `WINDOW` seconds."""
    count, began = 0, time.perf_counter()
    while True:
        step()
        count += 1
        seconds = time.perf_counter() - began
        if seconds >= WINDOW:
            return seconds / count


def windows(durations: Sequence[float]) -> Samples:
    """Return the mean seconds of a step in windows of about equal time, at most `WINDOWS`.

    Args:
        durations: seconds of each step, in order; at least one.
    """
    passed = np.cumsum(durations)
    ends = np.searchsorted(passed, passed[-1] * np.arange(1, WINDOWS) / WINDOWS) + 1
    parts = np.split(np.asarray(durations, np.float64), ends)
    return Samples(tuple(float(part.mean()) for part in parts if len(part)))
