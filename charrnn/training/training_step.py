"""A training step: the loss of a batch, its gradient, clipped, and the optimizer's step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from charrnn.model import parameters
from charrnn.network.ensemble import Ensemble
from charrnn.network.module import CharRNN
from charrnn.storage.tensors import Arrays
from charrnn.training import optimizer
from charrnn.training.batches import Batches, BatchLoss, Position
from charrnn.training.events import Values

T = TypeVar("T")


@dataclass(frozen=True)
class Gradient:
    """What a network has found on a batch; its weights have the gradient.

    Attributes:
        loss: of the batch.
        nats: the mean loss over all processes, a scalar.
        norm: the gradient's norm before clipping.
    """

    loss: BatchLoss
    nats: torch.Tensor
    norm: float


class Learner:
    """A network that is trained by itself: on its batches, by its optimizer.

    Attributes:
        batches: what the network is trained on; the only part that knows how a text is read.
        network: the network.
        optimizer: changes its weights.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches, self.network = batches, batches.network
        self.restart()

    def restart(self) -> None:
        """Begin with a new optimizer, without gradients."""
        self.network.zero_grad()
        self.optimizer = optimizer.make(self.network.weights(), self.batches.config)

    def differentiate(self) -> Gradient:
        """Read a batch forward and backward."""
        self.optimizer.clear()
        loss = self.batches.loss()
        (loss.nats + loss.penalty).backward()  # type: ignore[no-untyped-call]
        nats = self._summed(loss.nats.detach())
        gradients = [w.grad for w in self.network.parameters() if w.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        return Gradient(loss, nats, float(norm))

    def step(self, found: Gradient, learning_rate: float) -> None:
        """Change the weights by their gradients, clipped, and go on to the next batch."""
        self.optimizer.rate = learning_rate
        self.optimizer.step(min(1.0, self.batches.config.clip_norm / (found.norm + 1e-6)))
        self.batches.advance(found.loss)

    def _summed(self, nats: torch.Tensor) -> torch.Tensor:
        """Replace the gradients by the sums of those of all processes; return that of the loss."""
        world = self.batches.world
        if world.size == 1:
            return nats
        weights = list(self.network.parameters())
        # One that no stream of this process has used, such as the learned start, has no gradient.
        used = nats.new_tensor([each.grad is not None for each in weights])
        gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
        flat = torch.cat([*(each.flatten() for each in gradients), used, nats[None]])
        *parts, used, nats = torch.split(
            world.sum(flat), [*(each.numel() for each in weights), len(weights), 1]
        )
        for weight, part, is_used in zip(weights, parts, used.tolist(), strict=True):
            weight.grad = part.view_as(weight) if is_used else None
        return nats[0]


class Updater:
    """Makes the updates of a network, or of the networks of an ensemble side by side.

    Those of an ensemble read the same batches, but draw their own noise.

    Attributes:
        network: the network in training, or the ensemble.
        learners: trains it, or each of the ensemble's networks.
        batches: of the first of them; the others are at the same place.
        config: how it is trained.
        step: updates made.
        learning_rate: of the last update.
        losses: of each update since the last report, mean nats per token.
        norms: of the same updates, the largest norm of a network's gradient before clipping.
        durations: of all updates, seconds.
    """

    def __init__(self, *batches: Batches, ensemble: Ensemble | None = None) -> None:
        self.learners = [Learner(each) for each in batches]
        self.batches = batches[0]
        self.network: CharRNN = ensemble or self.batches.network
        self.config, self.world = self.batches.config, self.batches.world
        self._ensemble = ensemble
        if ensemble and ensemble.device.type == "cpu":
            for learner in self.learners:  # clones, as torch.Generator imports torch's compiler
                learner.network.generator = torch.default_generator.clone_state()
        self.step, self.learning_rate = 0, 0.0
        self.losses: list[torch.Tensor] = []
        self.norms: list[float] = []
        self.durations: list[float] = []

    def restart(self, values: Values) -> None:
        """Continue from other weights, without gradients and with a new optimizer.

        The position stays.
        """
        self.network.load(values)
        for learner in self.learners:
            learner.restart()
            learner.batches.reset()

    def update(self, learning_rate: float) -> bool:
        """Train on one batch: forward, backward, clip, step.

        Returns:
            False if the loss or the gradient is not finite. Weights and position are then as they
            were.
        """
        began = time.perf_counter()
        self.learning_rate = learning_rate
        self._seed()
        found = self._each([learner.differentiate for learner in self.learners])
        nats = torch.stack([each.nats for each in found]).mean() if found[1:] else found[0].nats
        norm = float(np.max([each.norm for each in found]))  # NaN if one is
        self.losses.append(nats)
        self.norms.append(norm)
        if not (math.isfinite(norm) and math.isfinite(float(nats))):
            return False
        self._each(
            [
                partial(learner.step, each, learning_rate)
                for learner, each in zip(self.learners, found, strict=True)
            ]
        )
        self.step += 1
        self.durations.append(time.perf_counter() - began)
        return True

    def _seed(self) -> None:
        """Let the networks of an ensemble draw noise that depends on their number and the step."""
        for number, learner in enumerate(self.learners):
            if learner.network.generator is not None:
                seed = noise_seed(self.config.seed, number, self.step)
                learner.network.generator.manual_seed(seed)

    def _each(self, functions: list[Callable[[], T]]) -> list[T]:
        """Call a function of every learner: at the same time, unless they share something.

        Processes must exchange their gradients in one order. The first step compiles, once.
        """
        if self._ensemble is None or self.world.size > 1 or not self.step:
            return [function() for function in functions]
        return self._ensemble.together(functions)

    def position(self) -> Position:
        """Return a copy of the position; the layers that are carried on are those of the state."""
        each = [learner.batches.position() for learner in self.learners]
        layers = self.network.config.num_layers
        carried: Arrays = {}
        for number, position in enumerate(each):
            for name, value in position.carried.items():
                layer, part = name.split(".")
                carried[f"{number * layers + int(layer)}.{part}"] = value
        return Position(each[0].epoch, each[0].batch, carried)

    def restore_position(self, position: Position) -> None:
        """Continue at a position.

        Raises:
            ModelError: the text ends before it.
        """
        layers = self.network.config.num_layers
        for number, learner in enumerate(self.learners):
            own: Arrays = {}
            for name, value in position.carried.items():
                layer, part = name.split(".")
                if int(layer) // layers == number:
                    own[f"{int(layer) % layers}.{part}"] = value
            learner.batches.restore(Position(position.epoch, position.batch, own))

    def optimizer_state(self) -> Arrays:
        """Return copies of what the optimizers store, as NAME.SLOT with names as in `values`."""
        return parameters.together([learner.optimizer.state() for learner in self.learners])

    def restore_optimizer(self, arrays: Arrays, learning_rate: float) -> None:
        """Restore what `optimizer_state` returned, and the rate of the last update.

        Raises:
            ModelError: this is not the state of such optimizers.
        """
        self.learning_rate = learning_rate
        each = parameters.members(self.network.config, arrays)
        for learner, own in zip(self.learners, each, strict=True):
            learner.optimizer.restore(own)


def noise_seed(seed: int, number: int, step: int) -> int:
    """Return the seed of the noise of a network of an ensemble at a step."""
    return int(np.random.SeedSequence([seed, number, step]).generate_state(1, np.uint64)[0])
