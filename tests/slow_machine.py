"""A machine with a clock of its own, on which training and scoring take the time that a test says.

Nothing is computed in its training steps, and no test waits for a clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from charrnn.network.module import CharRNN
from charrnn.training import measured_plan, plan
from charrnn.training.training_step import Updater

SIZES = (4, 6, 8, 12, 16, 24, 32, 48, 64)
EACH = 2.5e-8  # seconds per parameter and character of a training step


class SlowMachine:
    """Takes over time and training.

    Attributes:
        now: seconds since the command began.
        busy: how many times as long everything takes.
        scoring: seconds per character of scoring.
        delay: called with the time when something is scored; returns more seconds that this takes.
        worked: seconds on the processor.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = self.worked = 0.0
        self.busy, self.scoring = 1.0, 2e-6
        self.delay: Callable[[float], float] = lambda now: 0.0
        patch.setattr(time, "perf_counter", lambda: self.now)
        patch.setattr(time, "process_time", lambda: self.worked)
        patch.setattr(plan, "HIDDEN_SIZES", SIZES)
        patch.setattr(measured_plan, "MEASURED_SIZES", (4, 8, 16, 32, 64))
        patch.setattr(measured_plan, "FIRST_SIZE", 16)
        nats = CharRNN.nats_by_factor

        def update(updater: Updater, rate: float) -> bool:
            return self._update(updater)

        def score(network: CharRNN, factors: Any, inputs: Any, *more: Any, **named: Any) -> Any:
            self.work(self.delay(self.now))
            self.work(self.scoring * inputs.size)
            return nats(network, factors, inputs, *more, **named)

        patch.setattr(Updater, "update", update)
        patch.setattr(CharRNN, "nats_by_factor", score)

    def work(self, seconds: float) -> None:
        """Let time pass on the processor."""
        taken = seconds * self.busy
        self.now += taken
        self.worked += taken

    def stop(self, seconds: float) -> None:
        """Let time pass in which the process is stopped."""
        self.now += seconds

    def _update(self, updater: Updater) -> bool:
        """Make no update, but as much time pass as one takes."""
        began = self.now
        tokens = updater.config.batch_size * updater.config.update_every
        self.work(EACH * plan.layers(updater.network.config) * tokens)
        updater.losses.append(torch.tensor(1.0))
        updater.norms.append(1.0)
        updater.step += 1
        updater.durations.append(self.now - began)
        return True
