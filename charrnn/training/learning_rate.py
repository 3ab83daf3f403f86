"""The learning rate over the course of a training, relative to its peak."""

from __future__ import annotations

import math

WARM_UP = 0.05  # the fraction of the budget over which the rate rises


def schedule(fraction: float, last: float = 0.0) -> float:
    """Return the learning rate relative to its peak: linear warm-up, cosine decay to `last`."""
    if fraction >= 1:
        return last
    cosine = 0.5 * (1 + math.cos(math.pi * fraction))
    return min(1.0, (fraction + 1e-3) / WARM_UP) * (last + (1 - last) * cosine)
