"""How the caller of a training controls it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from charrnn.compiler import cache
from charrnn.inference.select import COMPILING
from charrnn.training.distributed import ALONE, World
from charrnn.training.events import Stop, never


def _ignore(sentence: str) -> None:
    """Do nothing: the default of `Control.notify`."""


@dataclass(frozen=True)
class Control:
    """How the caller of a training controls it.

    Attributes:
        stop: asked before every step and during scoring: whether to end the training.
        checkpoint_every: steps between checkpoints; by default the clock decides, see
            `charrnn.training.checkpoint_schedule`.
        sample_every: steps between two samples for the run's folder; by default there are none.
        started: when the command began (`time.perf_counter`); minutes count from there.
        command: the words of the command line, for config.json; None from Python.
        init_from: the model that the training starts from, for config.json.
        notify: called with a sentence that cannot wait for the next event, from within a step.
        world: the processes that train together.
    """

    stop: Stop = never
    checkpoint_every: int | None = None
    started: float = field(default_factory=time.perf_counter)
    command: Sequence[str] | None = None
    init_from: Path | None = None
    sample_every: int | None = None
    notify: Callable[[str], object] = _ignore
    world: World = ALONE

    def asked_to_stop(self) -> bool:
        """Return whether to end the training: whether `stop` says so in any process."""
        return self.world.any(self.stop())

    def while_compiling(self) -> AbstractContextManager[None]:
        """Return a context in which the start of a compilation is notified, once."""
        return cache.notify_compiling(lambda: self.notify(COMPILING))
