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
        world: the processes that share the batches.
        optimizer: changes the weights.
        step: updates made.
        losses: of each update since the last report, mean nats per token.
        norms: of the same updates, the gradient's norm before clipping.
        durations: of all updates, seconds.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches, self.network, self.config = batches, batches.network, batches.config
        self.world = batches.world
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
        nats = self._summed(loss.nats.detach())
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.losses.append(nats)
        self.norms.append(float(norm))
        if not (math.isfinite(float(norm)) and math.isfinite(float(nats))):
            return False
        self.optimizer.step()
        self.batches.advance(loss)
        self.step += 1
        self.durations.append(time.perf_counter() - began)
        return True

    def _summed(self, nats: torch.Tensor) -> torch.Tensor:
        """Replace the gradients by the sums of those of all processes; return that of the loss."""
        if self.world.size == 1:
            return nats
        weights = list(self.network.parameters())
        # One that no stream of this process has used, such as the learned start, has no gradient.
        used = nats.new_tensor([each.grad is not None for each in weights])
        gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
        flat = torch.cat([*(each.flatten() for each in gradients), used, nats[None]])
        *parts, used, nats = torch.split(
            self.world.sum(flat), [*(each.numel() for each in weights), len(weights), 1]
        )
        for weight, part, is_used in zip(weights, parts, used.tolist(), strict=True):
            weight.grad = part.view_as(weight) if is_used else None
        return nats[0]
