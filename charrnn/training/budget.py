"""The budget of a training, in steps or by the clock."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Protocol

from charrnn.config import TrainConfig


class Budget(Protocol):
    """Tells what part of a training is done."""

    def fraction(self, step: int) -> float:
        """Return a number from 0 at the start to 1 (or more) at the end, after this many steps."""
        ...


@dataclass(frozen=True)
class Steps:
    """A number of steps: the fraction depends on the step alone, so runs are reproducible."""

    total: float

    def fraction(self, step: int) -> float:
        """Return the part of the steps that is done."""
        return step / self.total


@dataclass
class Clock:
    """Until `deadline` (of `time.perf_counter`), minus the time for scoring and saving at the end.

    Attributes:
        deadline: when everything must be done.
        steps: the most steps to make, even if there is time for more.
        reserve: seconds reserved for the end; measured again at each validation.
        start: when the training began.
    """

    deadline: float
    steps: float = math.inf
    reserve: float = 0.0
    start: float = field(default_factory=time.perf_counter)

    def fraction(self, step: int) -> float:
        """Return the part of the time or of the steps that is used up, whichever is larger."""
        return self.fraction_at(time.perf_counter(), step)

    def fraction_at(self, now: float, step: int) -> float:
        """Return the same for a given time."""
        end = self.deadline - self.reserve
        return max((now - self.start) / max(end - self.start, 1e-9), step / self.steps)


def make(
    config: TrainConfig, *, per_epoch: int, started: float, begun: float, reserve: float
) -> Budget:
    """Return the budget of a training.

    Args:
        config: its minutes, epochs or steps.
        per_epoch: updates per epoch.
        started: when the command began (of `time.perf_counter`); minutes count from there.
        begun: when the training itself began.
        reserve: seconds reserved for the end of a training by the clock.
    """
    if config.steps is not None:
        return Steps(config.steps)
    steps = math.inf
    if config.epochs is not None:
        steps = max(1, round(config.epochs * per_epoch))
    if config.minutes is None:
        return Steps(steps)
    return Clock(started + 60 * config.minutes, steps, reserve, start=begun)
