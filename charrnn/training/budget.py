"""The budget of a training, in steps or by the clock."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Protocol

from charrnn.config import TrainConfig

# A step is a pause if it took this many times as long as the one before it, and ...
_ODD = 20
_SHORTEST_PAUSE = 5.0  # ... this many seconds, and ...
_BUSY = 0.05  # ... less than this part of them on the processor.


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
        start: when the training began; later by each pause, as the deadline is.
        paused: seconds in which the process was stopped.
        unsaid: those of them that nobody was told about.
    """

    deadline: float
    steps: float = math.inf
    reserve: float = 0.0
    start: float = field(default_factory=time.perf_counter)
    paused: float = 0.0
    unsaid: float = 0.0
    _looks: tuple[float, float, float] | None = field(default=None, repr=False)

    def fraction(self, step: int) -> float:
        """Return the part of the time or of the steps that is used up, whichever is larger.

        The time of a pause since the last call does not count.
        """
        now = time.perf_counter()
        self._leave_out_pause(now, time.process_time())
        return self.fraction_at(now, step)

    def fraction_at(self, now: float, step: int) -> float:
        """Return the same for a given time."""
        end = self.deadline - self.reserve
        return max((now - self.start) / max(end - self.start, 1e-9), step / self.steps)

    def _leave_out_pause(self, now: float, processor: float) -> None:
        """Move the start and the deadline by the pause since the last call, if there was one."""
        if self._looks is None:
            self._looks = now, processor, math.inf
            return
        last, busy, before = self._looks
        self._looks = now, processor, now - last
        seconds = pause(now - last, processor - busy, before)
        self.start += seconds
        self.deadline += seconds
        self.paused += seconds
        self.unsaid += seconds


def pause(seconds: float, busy: float, before: float) -> float:
    """Return how many seconds of a step the process was stopped (as by Ctrl-Z), or the machine was.

    On a busy machine the steps before and after are slow as well; a validation and a compilation
    use the processor.

    Args:
        seconds: how long the step took.
        busy: seconds of that on the processor, by all threads.
        before: how long the step before it took.
    """
    is_odd = seconds > max(_SHORTEST_PAUSE, _ODD * before)
    return seconds - before if is_odd and busy < _BUSY * seconds else 0.0


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
