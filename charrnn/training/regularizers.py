"""What is added to the loss: penalties on the activations, and Pascanu's on vanishing gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from charrnn.cells import Cell
from charrnn.config import Regularizers
from charrnn.network.layers import LayerState, reference_states
from charrnn.network.module import Outputs


def activation(outputs: Outputs, config: Regularizers) -> Tensor | float:
    """AR and TAR of Merity et al. (2018), on the last layer.

    ``alpha * mean(h^2)`` of what the output map reads, ``beta * mean((h_{t+1} - h_t)^2)`` of what
    came from the recurrence.
    """
    penalty: Tensor | float = 0.0
    if config.activation_penalty:
        penalty = penalty + config.activation_penalty * outputs.dropped.square().mean()
    if config.slowness_penalty and len(outputs.top) > 1:
        steps = outputs.top[1:] - outputs.top[:-1]
        penalty = penalty + config.slowness_penalty * steps.square().mean()
    return penalty


class Recorder:
    """A sequence function that keeps every state: the plain loop, for what looks at all of them.

    Attributes:
        layers: for each layer run so far, its states h_0 ... h_T, each (B, H).
    """

    def __init__(self) -> None:
        self.layers: list[list[Tensor]] = []

    def __call__(
        self,
        cell: Cell,
        x: Tensor,
        state: LayerState,
        weights: Mapping[str, Tensor],
        **more: Any,
    ) -> tuple[Tensor, LayerState]:
        """As `charrnn.network.layers.reference`."""
        states = list(reference_states(cell, x, state, weights, **more))
        outputs = [after[0] for after in states]
        if self.layers and self.layers[-1][-1] is state[0]:  # a window goes on that was cut
            self.layers[-1] += outputs
        else:
            self.layers.append([state[0], *outputs])
        return torch.stack(outputs), states[-1]


def omega(loss: Tensor, layers: Sequence[Sequence[Tensor]]) -> Tensor:
    """Pascanu's regulariser (Pascanu, Mikolov and Bengio 2013).

    ``sum over t of (|dL/dh_{t+1} dh_{t+1}/dh_t| / |dL/dh_{t+1}| - 1)^2``, averaged over the
    streams and summed over the layers: how much one step changes the length of the gradient that
    passes it. Where no gradient arrives, nothing is asked. It is differentiable itself, so that
    updates can make it small.

    Args:
        loss: a scalar.
        layers: for each layer its states h_0 ... h_T (B, H), each made of the one before.
    """
    total = loss.new_zeros(())
    for states in layers:
        arriving = torch.autograd.grad(loss, states[1:], create_graph=True, materialize_grads=True)
        for before, after, gradient in zip(states[1:], states[2:], arriving[1:], strict=False):
            (passed,) = torch.autograd.grad(after, before, gradient, create_graph=True)
            total = total + _deviation(gradient, passed)
    return total


def _deviation(gradient: Tensor, passed: Tensor) -> Tensor:
    """Mean over the streams of ``(|passed| / |gradient| - 1)^2``, for gradients (B, H)."""
    squares = gradient.square().sum(-1)
    there = squares > 0
    # The root of zero has no finite derivative: streams without gradient get a harmless value.
    length = torch.where(there, squares, torch.ones_like(squares)).sqrt()
    squares = passed.square().sum(-1)
    some = squares > 0
    after = torch.where(some, squares, torch.ones_like(squares)).sqrt() * some
    return (((after / length - 1) ** 2) * there).mean()
