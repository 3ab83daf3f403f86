"""A training step: the loss of a batch, its gradient, clipped, and the optimizer's step."""

from __future__ import annotations

import math
import time

import torch

from charrnn.training import optimizer
from charrnn.training.batches import Batches
from charrnn.training.events import Values


class Updater:
    """Makes the updates of a network.

    Attributes:
        batches: what the network is trained on; the only part that knows how a text is read.
        network: the network in training.
        config: how it is trained.
        optimizer: changes the weights.
        step: updates made.
        losses: of each update since the last report, mean nats per token.
        norms: of the same updates, the gradient's norm before clipping.
        durations: of all updates, seconds.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches, self.network, self.config = batches, batches.network, batches.config
        self.optimizer = optimizer.make(self.network.weights(), self.config)
        self.step = 0
        self.losses: list[torch.Tensor] = []
        self.norms: list[float] = []
        self.durations: list[float] = []

    def restart(self, values: Values) -> None:
        """Continue from other weights, with a new optimizer; the position stays."""
        self.network.load(values)
        self.optimizer = optimizer.make(self.network.weights(), self.config)
        self.batches.reset()

    def update(self, learning_rate: float) -> bool:
        """Train on one batch: forward, backward, clip, step.

        Returns:
            False if the loss or the gradient is not finite. Weights and position are then as they
            were.
        """
        began = time.perf_counter()
        self.optimizer.rate = learning_rate
        self.optimizer.clear()
        loss = self.batches.loss()
        (loss.nats + loss.penalty).backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.losses.append(loss.nats.detach())
        self.norms.append(float(norm))
        if not (math.isfinite(float(norm)) and math.isfinite(float(loss.nats.detach()))):
            return False
        self.optimizer.step()
        self.batches.advance(loss)
        self.step += 1
        self.durations.append(time.perf_counter() - began)
        return True
