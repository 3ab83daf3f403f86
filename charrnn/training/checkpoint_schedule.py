"""Decide when a training saves a checkpoint."""

from __future__ import annotations

import time

from charrnn.training.distributed import ALONE, World

SAVE_MINUTES = 1.0  # between two checkpoints
SAVE_SHARE = 0.01  # of the time at most goes into saving: if it is slow, it is done less often


class CheckpointSchedule:
    """Decides when a checkpoint is due: after some steps, or after some time.

    Attributes:
        saved_step: the step of the newest checkpoint; -1 without one.
    """

    def __init__(self, every: int | None, saved_step: int, world: World = ALONE) -> None:
        """Begin to wait; `every`: steps between checkpoints, by default `SAVE_MINUTES` apart."""
        self._every, self.saved_step, self._world = every, saved_step, world
        self._waits_since = time.perf_counter()
        self._seconds = 0.0  # what the last checkpoint took

    def is_due(self, step: int) -> bool:
        """Return whether it is time for a checkpoint, after this many steps."""
        if self._every is not None:
            return step % self._every == 0
        seconds = max(60 * SAVE_MINUTES, self._seconds / SAVE_SHARE)
        return bool(self._world.agreed(time.perf_counter() - self._waits_since >= seconds))

    def wait_again(self, began: float) -> None:
        """Wait for the next checkpoint; the last one was begun then (`time.perf_counter`)."""
        self._waits_since = time.perf_counter()
        self._seconds = self._waits_since - began
