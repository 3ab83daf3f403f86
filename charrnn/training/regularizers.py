"""Terms added to the loss: penalties on activations, and Pascanu's on vanishing gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from charrnn.cells import Layer
from charrnn.config import Regularizers
from charrnn.network.layers import LayerState, reference_states
from charrnn.network.module import Outputs


def activation(
    outputs: Outputs,
    config: Regularizers,
    counted: Tensor | None = None,
    among: Tensor | None = None,
) -> Tensor | float:
    """Return AR and TAR of Merity et al. (2018) for the last layer.

    ``alpha * mean(h^2)`` of the outputs after dropout, and ``beta * mean((h_{t+1} - h_t)^2)`` of
    those before it, over the steps that are `counted` (T, B); by default all are. If others
    read the rest of the batch, the means are over all steps that count in it, `among` (T, B), and
    what is returned is the part of these outputs.
    """
    penalty: Tensor | float = 0.0
    if config.activation_penalty:
        squares = _mean_square(_exact(outputs.dropped), counted, among)
        penalty = penalty + config.activation_penalty * squares
    if config.slowness_penalty and len(outputs.top) > 1:
        top = _exact(outputs.top)
        steps = _mean_square(top[1:] - top[:-1], counted, among)
        penalty = penalty + config.slowness_penalty * steps
    return penalty


def _exact(values: Tensor) -> Tensor:
    """Return values that are at least float32: sums of bfloat16 would be rounded."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _mean_square(values: Tensor, counted: Tensor | None, among: Tensor | None) -> Tensor:
    """Return the mean square of those last values (T, B, H) that count, by default all."""
    if counted is None:
        return values.square().mean()
    chosen = values[counted[-len(values) :]]
    if among is None:
        return chosen.square().mean()
    return chosen.square().sum() / (among[-len(values) :].sum() * values.shape[-1])


class Recorder:
    """A sequence function, the plain loop, that records all hidden states.

    Attributes:
        layers: for each layer run so far, its states h_0 ... h_T, each (B, H).
    """

    def __init__(self) -> None:
        self.layers: list[list[Tensor]] = []

    def __call__(
        self,
        layer: Layer,
        x: Tensor,
        state: LayerState,
        weights: Mapping[str, Tensor],
        **more: Any,
    ) -> tuple[Tensor, LayerState]:
        """Run a layer as `charrnn.network.layers.reference` does."""
        continues = bool(self.layers) and self.layers[-1][-1] is state[0]  # a window in two parts
        if not (continues or state[0].requires_grad):  # omega asks what passes back to h_0
            state = (state[0].detach().requires_grad_(), *state[1:])
        states = list(reference_states(layer, x, state, weights, **more))
        outputs = [after[0] for after in states]
        if continues:
            self.layers[-1] += outputs
        else:
            self.layers.append([state[0], *outputs])
        return torch.stack(outputs), states[-1]


def omega(
    loss: Tensor, layers: Sequence[Sequence[Tensor]], carried: Tensor | None = None
) -> Tensor:
    """Return the regularizer of Pascanu, Mikolov and Bengio (2013).

    ``sum over t of (|dL/dh_{t+1} dh_{t+1}/dh_t| / |dL/dh_{t+1}| - 1)^2``, averaged over the
    streams and summed over the layers: how much one step changes the norm of the gradient that
    passes through it. Steps that no gradient reaches do not count, nor does the first step of a
    stream that begins with the window: nothing comes before it. The result is differentiable.

    Args:
        loss: a scalar.
        layers: for each layer its states h_0 ... h_T (B, H), each computed from the one before.
        carried: (B,) whether h_0 of a stream is the state after earlier text; by default all are.
    """
    total = loss.new_zeros(())
    for states in layers:
        arriving = torch.autograd.grad(loss, states[1:], create_graph=True, materialize_grads=True)
        counted = carried
        for before, after, gradient in zip(states, states[1:], arriving, strict=False):
            (passed,) = torch.autograd.grad(after, before, gradient, create_graph=True)
            total = total + _deviation(gradient, passed, counted)
            counted = None
    return total


def _deviation(gradient: Tensor, passed: Tensor, counted: Tensor | None) -> Tensor:
    """Return the mean over the streams of ``(|passed| / |gradient| - 1)^2``, for (B, H).

    Streams that are not `counted` (B,) have 0.
    """
    squares = gradient.square().sum(-1)
    reached = squares > 0 if counted is None else (squares > 0) & counted
    # The root of zero has no finite derivative: streams without gradient get a harmless value.
    norm = torch.where(reached, squares, torch.ones_like(squares)).sqrt()
    squares = passed.square().sum(-1)
    nonzero = squares > 0
    passed_norm = torch.where(nonzero, squares, torch.ones_like(squares)).sqrt() * nonzero
    return (((passed_norm / norm - 1) ** 2) * reached).mean()
