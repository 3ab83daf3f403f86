"""The optimizers of a training, and their state as arrays.

The updates are torch's own: its fused function, or the same operations. The classes of
``torch.optim`` compute the same, but import torch's compiler at their first step, for a second.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from charrnn.config import TrainConfig
from charrnn.errors import ModelError
from charrnn.storage.tensors import Arrays
from charrnn.training.plan import SGD_RATE

MOMENTUM = 0.9  # of SGD
BETAS, EPSILON = (0.9, 0.99), 1e-8  # of AdamW
Slots = dict[str, Tensor]


class Optimizer(ABC):
    """Changes weights by their gradients; weight decay is on matrices only.

    Attributes:
        rate: the learning rate of the next step.
    """

    def __init__(self, weights: Mapping[str, Tensor], decay: float, rate: float) -> None:
        self._weights, self._decay, self.rate = dict(weights), decay, rate
        self._slots: dict[str, Slots] = {}  # what is stored for each weight

    @abstractmethod
    def _first(self, weight: Tensor) -> Slots:
        """Return what is stored for a weight before its first step."""

    @abstractmethod
    def _change(self, weights: list[Tensor], slots: list[Slots], decay: float) -> None:
        """Change weights that have gradients, and what is stored for them."""

    def clear(self) -> None:
        """Forget the gradients."""
        for weight in self._weights.values():
            weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Change the weights that have gradients."""
        names = [name for name, weight in self._weights.items() if weight.grad is not None]
        for name in names:
            if name not in self._slots:
                self._slots[name] = self._first(self._weights[name])
        for decay, wanted in ((self._decay, True), (0.0, False)):
            group = [name for name in names if (self._weights[name].ndim > 1) == wanted]
            weights = [self._weights[name] for name in group]
            if weights:
                self._change(weights, [self._slots[name] for name in group], decay)

    def state(self) -> Arrays:
        """Return copies of what is stored for each weight, as NAME.SLOT."""
        return {
            f"{name}.{slot}": value.detach().cpu().numpy().copy()
            for name, slots in self._slots.items()
            for slot, value in slots.items()
        }

    def restore(self, arrays: Arrays) -> None:
        """Restore a state; `arrays` is empty if no step has been made.

        Raises:
            ModelError: this is not the state of such an optimizer.
        """
        slots = {name: self._first(weight) for name, weight in self._weights.items()}
        wanted = {f"{name}.{slot}": v for name, each in slots.items() for slot, v in each.items()}
        if not arrays:
            self._slots = {}
            return
        shapes = {name: tuple(value.shape) for name, value in wanted.items()}
        if {name: value.shape for name, value in arrays.items()} != shapes:
            raise ModelError("the state is damaged: it is not that of this optimizer")
        for name, value in wanted.items():
            value.copy_(torch.from_numpy(arrays[name]))
        self._slots = slots


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    def _first(self, weight: Tensor) -> Slots:
        return {
            "step": torch.zeros((), dtype=torch.float32, device=weight.device),
            "exp_avg": torch.zeros_like(weight, requires_grad=False),
            "exp_avg_sq": torch.zeros_like(weight, requires_grad=False),
        }

    def _change(self, weights: list[Tensor], slots: list[Slots], decay: float) -> None:
        steps = [each["step"] for each in slots]
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            weights,
            [weight.grad for weight in weights if weight.grad is not None],
            [each["exp_avg"] for each in slots],
            [each["exp_avg_sq"] for each in slots],
            [],
            steps,
            lr=self.rate,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=decay,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )


class SGD(Optimizer):
    """Stochastic gradient descent with Nesterov's momentum, as in ``torch.optim.SGD``."""

    def _first(self, weight: Tensor) -> Slots:
        return {"momentum_buffer": torch.zeros_like(weight, requires_grad=False)}

    def _change(self, weights: list[Tensor], slots: list[Slots], decay: float) -> None:
        for weight, stored in zip(weights, slots, strict=True):
            assert weight.grad is not None
            gradient = weight.grad.add(weight, alpha=decay) if decay else weight.grad
            momentum = stored["momentum_buffer"].mul_(MOMENTUM).add_(gradient)
            weight.add_(gradient.add(momentum, alpha=MOMENTUM), alpha=-self.rate)


def make(weights: Mapping[str, Tensor], config: TrainConfig) -> Optimizer:
    """Return the optimizer of weights by name."""
    if config.optimizer == "sgd":
        # SGD's rate is larger, and momentum adds up what decay adds to the gradient: without this
        # factor a weight decay would shrink weights much more per step than AdamW's does.
        decay = config.weight_decay * (1 - MOMENTUM) / SGD_RATE
        return SGD(weights, decay, config.learning_rate)
    return AdamW(weights, config.weight_decay, config.learning_rate)
