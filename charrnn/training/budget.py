"""The budget of a training, in steps or by the clock."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Protocol

from charrnn.config import TrainConfig
from charrnn.training.distributed import ALONE, World
from charrnn.training.timing import Samples

# A step is a pause if it took this many times as long as the one before it, and ...
_ODD = 20
_SHORTEST_PAUSE = 2.5  # ... this many seconds, longer than a step waits for a disk, and ...
_BUSY = 0.05  # ... less than this part of them on the processor.
RECENT = 3  # samples of the time that scoring takes, of which the least is reserved
MAX_EARLY = 0.03  # part of the time by which a training may end too early, at most


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


class Pauses:
    """Notices, looking on again and again, when the process was stopped in between.

    Attributes:
        seconds: for how long, all in all.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._looks: tuple[float, float, float] | None = None

    def look(self) -> float:
        """Return for how many seconds the process was stopped since the last look."""
        now, processor = time.perf_counter(), time.process_time()
        if self._looks is None:
            self._looks = now, processor, math.inf
            return 0.0
        last, busy, before = self._looks
        self._looks = now, processor, now - last
        seconds = pause(now - last, processor - busy, before)
        self.seconds += seconds
        return seconds


@dataclass
class Clock:
    """Until `deadline` (of `time.perf_counter`), minus the time for scoring and saving at the end.

    Attributes:
        deadline: when everything must be done.
        steps: the most steps to make, even if there is time for more.
        ending: seconds that scoring and saving at the end will take, as measured again and again.
        start: when the training began; later by each pause, as the deadline is.
        pauses: the time in which the process was stopped.
        unsaid: the part of it that nobody was told about.
        more: seconds for what comes after scoring.
        world: the processes of the training; the clock of the first one counts.
    """

    deadline: float
    steps: float = math.inf
    ending: Samples | None = None
    start: float = field(default_factory=time.perf_counter)
    pauses: Pauses = field(default_factory=Pauses)
    unsaid: float = 0.0
    more: float = 0.0
    world: World = ALONE

    @property
    def seconds(self) -> float:
        """The seconds from the start to the deadline."""
        return self.deadline - self.start

    @property
    def reserve(self) -> float:
        """The seconds reserved for the end.

        A slow moment makes a sample too long: the least of the newest ones counts, and of the least
        of all it is never more than a small part of the time away.
        """
        if self.ending is None:
            return self.more
        longest = self.ending.best + MAX_EARLY * self.seconds
        return self.more + min(self.ending.last(RECENT).best, longest)

    def expect(self, ending: float) -> None:
        """Take one more sample of the seconds that scoring and saving at the end will take."""
        before = self.ending.seconds if self.ending else ()
        self.ending = Samples((*before, ending))

    def fraction(self, step: int) -> float:
        """Return the part of the time or of the steps that is used up, whichever is larger.

        The time of a pause since the last call does not count.
        """
        paused = self.pauses.look()
        self.start += paused
        self.deadline += paused
        self.unsaid += paused
        return self.world.agreed(self.fraction_at(time.perf_counter(), step))

    def fraction_at(self, now: float, step: int) -> float:
        """Return the same for a given time."""
        end = self.deadline - self.reserve
        return max((now - self.start) / max(end - self.start, 1e-9), step / self.steps)


def stopped(seconds: float) -> str:
    """Say that the time of a pause does not count."""
    return (
        f"the process was stopped for {seconds:,.0f} seconds, which do not count as time of the "
        "training"
    )


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
    config: TrainConfig,
    *,
    per_epoch: int,
    started: float,
    begun: float,
    reserve: float = 0.0,
    world: World = ALONE,
) -> Budget:
    """Return the budget of a training.

    Args:
        config: its minutes, epochs or steps.
        per_epoch: updates per epoch.
        started: when the command began (of `time.perf_counter`); minutes count from there.
        begun: when the training itself began.
        reserve: seconds reserved for the end by the commands before; 0 if there were none.
        world: the processes of the training.
    """
    if config.steps is not None:
        return Steps(config.steps)
    steps = math.inf
    if config.epochs is not None:
        steps = max(1, round(config.epochs * per_epoch))
    if config.minutes is None:
        return Steps(steps)
    ending = Samples((reserve,)) if reserve else None
    return Clock(started + 60 * config.minutes, steps, ending, start=begun, world=world)
