"""How much training: so many steps, or until a moment of the clock; and the rate along the way."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Protocol

from charrnn.config import TrainConfig

WARM_UP = 0.05
LAST_RATE = 0.02


class Budget(Protocol):
    """Tells what part of the training is done."""

    def fraction(self, step: int) -> float:
        """From 0 at the start to 1 (or more) at the end, before `step` is taken."""
        ...


@dataclass(frozen=True)
class Steps:
    """A number of steps: a pure function of the step, so that runs repeat."""

    total: float

    def fraction(self, step: int) -> float:
        """The part of the steps that is done."""
        return step / self.total


@dataclass
class Clock:
    """Until `deadline` (of `time.perf_counter`), less what scoring and saving at the end will take.

    Attributes:
        deadline: when everything must be done.
        steps: how many are enough, also if there were time for more.
        reserve: seconds kept for the end; better known as the training goes on.
        start: when the training began.
    """

    deadline: float
    steps: float = math.inf
    reserve: float = 0.0
    start: float = field(default_factory=time.perf_counter)

    def fraction(self, step: int) -> float:
        """The part of the time that is gone, or of the steps that are enough."""
        return self.fraction_at(time.perf_counter(), step)

    def fraction_at(self, now: float, step: int) -> float:
        """The same at a moment of the clock."""
        end = self.deadline - self.reserve
        return max((now - self.start) / max(end - self.start, 1e-9), step / self.steps)


def make(
    config: TrainConfig, *, windows: int, started: float, begun: float, reserve: float
) -> Budget:
    """Return the budget of a training.

    Args:
        config: its minutes, epochs or steps.
        windows: updates per epoch.
        started: when the command began (of `time.perf_counter`); minutes count from there.
        begun: when the training itself began.
        reserve: seconds reserved for the end of a training by the clock.
    """
    if config.steps is not None:
        return Steps(config.steps)
    steps = math.inf
    if config.epochs is not None:
        steps = max(1, round(config.epochs * windows))
    if config.minutes is None:
        return Steps(steps)
    return Clock(started + 60 * config.minutes, steps, reserve, start=begun)


def rate(fraction: float) -> float:
    """The learning rate as a part of its peak: linear warm-up, then a cosine that ends with 1."""
    if fraction >= 1:
        return LAST_RATE
    cosine = 0.5 * (1 + math.cos(math.pi * fraction))
    return min(1.0, (fraction + 1e-3) / WARM_UP) * (LAST_RATE + (1 - LAST_RATE) * cosine)
