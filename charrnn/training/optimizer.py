"""The optimizers of a training, and their state as arrays.

The updates are torch's own: its fused function, or the same operations. The classes of
``torch.optim`` compute the same, but import torch's compiler at their first step, for a second.
NAdamW, for which torch has no such function, is compiled for the CPU.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from charrnn.compiler.cache import CFunction
from charrnn.config import TrainConfig
from charrnn.errors import ModelError
from charrnn.network import openmp
from charrnn.storage.tensors import Arrays
from charrnn.training.plan import SGD_RATE

MOMENTUM = 0.9  # of SGD
BETAS, EPSILON = (0.9, 0.99), 1e-8  # of AdamW and NAdamW
_nadamw = CFunction("charrnn.compiler.nadamw", "nadamw")
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
    def _change(
        self, weights: list[Tensor], slots: list[Slots], decay: float, scale: float
    ) -> None:
        """Change weights by their gradients times `scale`, and what is stored for them."""

    def clear(self) -> None:
        """Forget the gradients."""
        for weight in self._weights.values():
            weight.grad = None

    @torch.no_grad()
    def step(self, scale: float = 1.0) -> None:
        """Change the weights that have gradients; those are multiplied by `scale` before."""
        names = [name for name, weight in self._weights.items() if weight.grad is not None]
        for name in names:
            if name not in self._slots:
                self._slots[name] = self._first(self._weights[name])
        for decay, wanted in ((self._decay, True), (0.0, False)):
            group = [name for name in names if (self._weights[name].ndim > 1) == wanted]
            weights = [self._weights[name] for name in group]
            if weights:
                self._change(weights, [self._slots[name] for name in group], decay, scale)

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

    def _change(
        self, weights: list[Tensor], slots: list[Slots], decay: float, scale: float
    ) -> None:
        _scale_gradients(weights, scale)
        torch._foreach_add_([each["step"] for each in slots], 1)
        self._fused(weights, slots, self.rate, BETAS[0], decay)

    def _fused(
        self, weights: list[Tensor], slots: list[Slots], rate: float, beta: float, decay: float
    ) -> None:
        """Average the gradients with `beta`, and change the weights by AdamW's rule."""
        torch._fused_adamw_(
            weights,
            _gradients(weights),
            [each["exp_avg"] for each in slots],
            [each["exp_avg_sq"] for each in slots],
            [],
            [each["step"] for each in slots],
            lr=rate,
            beta1=beta,
            beta2=BETAS[1],
            weight_decay=decay,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )


class NAdamW(AdamW):
    """AdamW with Nesterov's momentum (Dozat, 2016), whose momentum is the same in all steps.

    With the mean gradient m of beta, a step goes along beta m + (1 - beta) g, divided by what it
    would be if all gradients were 1: 1 - beta^(n + 1) after n steps. As m has just become
    beta m' + (1 - beta) g, that is the mean of the m' before and g with beta^2: what AdamW's
    function makes of m' with beta^2 in place of beta, but that it divides by 1 - beta^(2 n).
    """

    def _change(
        self, weights: list[Tensor], slots: list[Slots], decay: float, scale: float
    ) -> None:
        steps = [each["step"] for each in slots]
        torch._foreach_add_(steps, 1)
        # A weight that has had no gradient in some updates, as the learned start, has fewer steps.
        counts = torch.stack(steps).tolist()  # on a GPU one copy for all
        if all(weight.dtype == torch.float32 and weight.is_cpu for weight in weights):
            return self._in_one_pass(weights, slots, counts, decay, scale)
        beta = BETAS[0]
        _scale_gradients(weights, scale)
        for count in dict.fromkeys(counts):
            some = [number for number, each in enumerate(counts) if each == count]
            of_count, stored = [weights[n] for n in some], [slots[n] for n in some]
            factor = (1 - beta ** (2 * count)) / (1 - beta ** (count + 1))
            self._fused(of_count, stored, self.rate * factor, beta**2, decay / factor)
            # Back to the mean with beta: (mean - (1 - beta) g) / beta.
            means = [each["exp_avg"] for each in stored]
            torch._foreach_lerp_(means, _gradients(of_count), 1 - 1 / beta)
        return None

    def _in_one_pass(
        self,
        weights: list[Tensor],
        slots: list[Slots],
        counts: list[float],
        decay: float,
        scale: float,
    ) -> None:
        """Do the same for float32 on the CPU, by compiled code that reads everything once."""
        (beta, beta_square), rate = BETAS, self.rate
        gradients = [gradient.contiguous() for gradient in _gradients(weights)]
        given = zip(weights, gradients, slots, strict=True)
        places = [
            (*map(Tensor.data_ptr, (w, g, each["exp_avg"], each["exp_avg_sq"])), w.numel())
            for w, g, each in given
        ]
        numbers = [
            (
                *(scale, 1 - rate * decay, rate / (1 - beta ** (count + 1))),
                *(1 - beta, 1 - beta_square, 1 - beta),
                *((1 - beta_square**count) ** -0.5, EPSILON),
            )
            for count in counts
        ]
        rows, values = np.array(places, np.int64), np.array(numbers, np.float32)
        threads = torch.get_num_threads()
        table = [0, threads, len(weights), rows.ctypes.data, values.ctypes.data]
        data = np.array(table, np.int64)
        openmp.run(_nadamw.address, data.ctypes.data, threads)


def _scale_gradients(weights: list[Tensor], scale: float) -> None:
    if scale != 1:
        torch._foreach_mul_(_gradients(weights), scale)


def _gradients(weights: list[Tensor]) -> list[Tensor]:
    return [weight.grad for weight in weights if weight.grad is not None]


class SGD(Optimizer):
    """Stochastic gradient descent with Nesterov's momentum, as in ``torch.optim.SGD``."""

    def _first(self, weight: Tensor) -> Slots:
        return {"momentum_buffer": torch.zeros_like(weight, requires_grad=False)}

    def _change(
        self, weights: list[Tensor], slots: list[Slots], decay: float, scale: float
    ) -> None:
        _scale_gradients(weights, scale)
        for weight, stored in zip(weights, slots, strict=True):
            assert weight.grad is not None
            gradient = weight.grad.add(weight, alpha=decay) if decay else weight.grad
            momentum = stored["momentum_buffer"].mul_(MOMENTUM).add_(gradient)
            weight.add_(gradient.add(momentum, alpha=MOMENTUM), alpha=-self.rate)


def functions(name: str) -> list[CFunction]:
    """Return the compiled functions of the optimizer of this name."""
    return [_nadamw] if name == "nadamw" else []


def make(weights: Mapping[str, Tensor], config: TrainConfig) -> Optimizer:
    """Return the optimizer of weights by name."""
    if config.optimizer == "sgd":
        # SGD's rate is larger, and momentum adds up what decay adds to the gradient: without this
        # factor a weight decay would shrink weights much more per step than AdamW's does.
        decay = config.weight_decay * (1 - MOMENTUM) / SGD_RATE
        return SGD(weights, decay, config.learning_rate)
    kind = NAdamW if config.optimizer == "nadamw" else AdamW
    return kind(weights, config.weight_decay, config.learning_rate)
