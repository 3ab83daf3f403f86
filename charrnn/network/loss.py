"""The loss of the next symbols, some rows at a time.

The logits of a window, with all that is made of them on the way to a gradient, are most of a
training's memory where there are many symbols. So they are made for some rows, turned into nats
and gradients, and forgotten before the next rows. Shapes: N rows, Y values read, V symbols.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from charrnn.text.streams import IGNORED

LOGITS = 2**22  # made at a time, about


def logits(read: Tensor, weight: Tensor, bias: Tensor, bf16: bool) -> Tensor:
    """`read` (..., Y) times `weight` (V, Y) plus `bias` (V,); the product in bfloat16 if `bf16`."""
    if bf16:
        return F.linear(read.to(torch.bfloat16), weight.to(torch.bfloat16)).float().add_(bias)
    return F.linear(read, weight, bias)


@torch.no_grad()
def nats(read: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, bf16: bool) -> Tensor:
    """-ln p (N,) of `targets` (N,), where `read` (N, Y) was read."""
    found = [
        F.cross_entropy(logits(read[rows], weight, bias, bf16), targets[rows], reduction="none")
        for rows in _pieces(len(targets), len(bias))
    ]
    return torch.cat(found)


def mean_nats(read: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, bf16: bool) -> Tensor:
    """The mean of `nats`; its gradient is made with it, and has none of its own.

    Rows whose target is `charrnn.text.streams.IGNORED` do not count.
    """
    return _MeanNats.apply(read, targets, weight, bias, bf16)  # type: ignore[no-untyped-call, no-any-return]


def _pieces(rows: int, symbols: int) -> Iterator[slice]:
    """All rows, as many at a time as have `LOGITS`."""
    step = max(1, LOGITS // symbols)
    return (slice(first, first + step) for first in range(0, rows, step))


class _MeanNats(torch.autograd.Function):
    """Of each row: p = softmax(logits), d nats / d logits = p - one-hot target.

    Written out, and in place: `torch.log_softmax` takes twice as long where V is thousands.
    """

    @staticmethod
    def forward(
        context: Any, read: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, bf16: bool
    ) -> Tensor:
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
        if float(gradient) != 1:  # as it is where nothing but sums come after
            found = [gradient * part for part in found]
        by_read, *by_output = found
        return by_read, None, *by_output, None
