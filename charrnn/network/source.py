"""What an encoder read of a batch of sources, and how the decoder sees it.

Shapes: S steps of the sources, T of the targets, B pairs, H hidden units, X the size of the first
layer's input. Sources are padded at their ends; a padded step changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from charrnn.network.layers import State


@dataclass(frozen=True)
class Source:
    """What the decoder sees of a batch of sources.

    Attributes:
        start: its state before the first step, each part (B, H).
        added: what is added to its input at every step (B, X).
        memory: the outputs of the encoder (B, S, H); None without attention.
        keys: k = W^T m for each output m of the encoder (B, S, H); None without attention.
        padded: which steps are padding (B, S).
    """

    start: State
    added: Tensor
    memory: Tensor | None
    keys: Tensor | None
    padded: Tensor

    def attend(self, outputs: Tensor) -> tuple[Tensor, ...]:
        """Return for outputs (T, B, H) the weighted mean of the memory; () without attention."""
        if self.memory is None:
            return ()
        return ((self.alignment(outputs) @ self.memory).transpose(0, 1),)

    def alignment(self, outputs: Tensor) -> Tensor:
        """Return the weights of attention (B, T, S): softmax over s of y_t . k_s / sqrt(H)."""
        assert self.keys is not None
        scores = outputs.transpose(0, 1) @ self.keys.transpose(1, 2) / math.sqrt(outputs.shape[-1])
        return torch.softmax(scores.masked_fill(self.padded[:, None], -math.inf), -1)


class Reversal:
    """Reverses every source of a batch within its own length; doing it twice changes nothing.

    Args:
        lengths: of the sources (B,).
        steps: S.
    """

    def __init__(self, lengths: Tensor, steps: int) -> None:
        step = torch.arange(steps, device=lengths.device)[:, None]
        wanted = torch.where(step < lengths, lengths - 1 - step, step)
        self._rows = (
            wanted * len(lengths) + torch.arange(len(lengths), device=lengths.device)
        ).view(-1)

    def __call__(self, values: Tensor) -> Tensor:
        """Return values (S, B, ...) in the other order."""
        return _Rearranged.apply(values, self._rows)  # type: ignore[no-untyped-call, no-any-return]


class _Rearranged(torch.autograd.Function):
    """Rows in another order, which is its own inverse: so the gradient is rearranged likewise.

    Torch would add up the gradients of rows one by one, since it does not know that each is read
    once.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return values.flatten(0, 1).index_select(0, rows).view(values.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        (rows,) = ctx.saved_tensors
        return _Rearranged.apply(gradient, rows), None  # type: ignore[no-untyped-call]


def beside(*parts: Tensor) -> Tensor:
    """Return tensors beside each other along the last axis; one alone is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)
