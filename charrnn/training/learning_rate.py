"""The learning rate over the course of a training, relative to its peak."""

from __future__ import annotations

import math

WARM_UP = 0.05  # the fraction of the budget over which the rate rises
LAST_RATE = 0.0  # of the peak, at the end


def schedule(fraction: float) -> float:
    """Return the learning rate relative to its peak: linear warm-up, then cosine decay."""
    if fraction >= 1:
        return LAST_RATE
    cosine = 0.5 * (1 + math.cos(math.pi * fraction))
    return min(1.0, (fraction + 1e-3) / WARM_UP) * (LAST_RATE + (1 - LAST_RATE) * cosine)
