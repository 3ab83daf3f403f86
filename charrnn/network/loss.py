"""The loss of the next tokens, some rows at a time.

With a large vocabulary, the logits of a window and their gradients take most of the memory of
training. So they are computed for some rows, turned into nats and gradients, and freed before the
next rows. Shapes: N rows, Y values that the output map reads, V tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from charrnn.compiler.processor import multiplies_bfloat16
from charrnn.network import fused_loss
from charrnn.text.streams import IGNORED

LOGITS = 2**22  # the approximate number computed at a time


def logits(read: Tensor, weight: Tensor, bias: Tensor, bf16: bool) -> Tensor:
    """Return `read` (..., Y) times `weight` (V, Y), perhaps in bfloat16, plus `bias` (V,)."""
    return product(read, weight, bf16).add_(bias) if bf16 else F.linear(read, weight, bias)


def product(x: Tensor, weight: Tensor, bf16: bool) -> Tensor:
    """Return `x` (..., K) times `weight` (N, K), perhaps in bfloat16."""
    if bf16:
        return F.linear(x.to(torch.bfloat16), weight.to(torch.bfloat16)).float()
    return F.linear(x, weight)


def nats(read: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, bf16: bool) -> Tensor:
    """Return -ln p (N,) of `targets` (N,), from what the output map reads (N, Y)."""
    return nats_by_factor(read, targets, weight, bias, bf16, (1.0,))[0]


@torch.no_grad()
def nats_by_factor(
    read: Tensor,
    targets: Tensor,
    weight: Tensor,
    bias: Tensor,
    bf16: bool,
    factors: tuple[float, ...],
) -> Tensor:
    """Return what `nats` does, (F, N), with the logits multiplied by each of F factors."""
    found = []
    for rows in _pieces(len(targets), len(bias)):
        values = logits(read[rows], weight, bias, bf16)
        scaled = (values if factor == 1 else values * factor for factor in factors)
        each = [F.cross_entropy(one, targets[rows], reduction="none") for one in scaled]
        found.append(torch.stack(each))
    return torch.cat(found, 1)


@torch.no_grad()
def nats_and_likeliest(
    read: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, bf16: bool
) -> tuple[Tensor, Tensor]:
    """Return what `nats` does, and the most likely token (N,) of each row."""
    found = []
    for rows in _pieces(len(targets), len(bias)):
        values = logits(read[rows], weight, bias, bf16)
        found.append((F.cross_entropy(values, targets[rows], reduction="none"), values.argmax(-1)))
    all_nats, best = zip(*found, strict=True)
    return torch.cat(all_nats), torch.cat(best)


def mean_nats(read: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, bf16: bool) -> Tensor:
    """Return the mean of `nats`; it has a gradient but no second derivative.

    Rows whose target is `charrnn.text.streams.IGNORED` do not count.
    """
    return _MeanNats.apply(read, targets, weight, bias, bf16)  # type: ignore[no-untyped-call, no-any-return]


def _pieces(rows: int, symbols: int) -> Iterator[slice]:
    """Yield slices of all rows, each with about `LOGITS` logits."""
    step = max(1, LOGITS // symbols)
    return (slice(first, first + step) for first in range(0, rows, step))


class _MeanNats(torch.autograd.Function):
    """The mean loss and its gradient: d nats / d logits = softmax(logits) - one-hot target.

    Compiled where the processor multiplies bfloat16 (`charrnn.network.fused_loss`). Otherwise it is
    written out, and in place: `torch.log_softmax` takes twice as long if V is thousands.
    """

    @staticmethod
    def forward(
        context: Any, read: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, bf16: bool
    ) -> Tensor:
        if bf16 and read.device.type == "cpu" and multiplies_bfloat16():
            mean, *derivatives = fused_loss.mean_nats(read, targets, weight, bias, LOGITS)
            context.save_for_backward(*derivatives)
            return mean
        low = torch.bfloat16 if bf16 else read.dtype
        matrix, total = weight.to(low), bias.new_zeros(())
        counted = (targets != IGNORED).to(bias.dtype)[:, None]
        shares, targets = counted / counted.sum(), targets.clamp(min=0)
        by_read = torch.empty_like(read)
        by_weight, by_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        for rows in _pieces(len(targets), len(bias)):
            x, wanted, share = read[rows].to(low), targets[rows, None], shares[rows]
            change = logits(x, matrix, bias, bf16)
            change -= change.amax(1, keepdim=True)
            found = change.gather(1, wanted)
            sums = change.exp_().sum(1, keepdim=True)
            total += ((sums.log() - found) * share).sum()
            change *= share / sums
            change.scatter_add_(1, wanted, -share)
            by_bias += change.sum(0)
            change = change.to(low)
            by_read[rows] = change @ matrix
            by_weight += change.t() @ x
        context.save_for_backward(by_read, by_weight, by_bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        found = context.saved_tensors
        if float(gradient) != 1:  # it is 1 unless the loss is scaled
            found = [gradient * part for part in found]
        by_read, *by_output = found
        return by_read, None, *by_output, None
