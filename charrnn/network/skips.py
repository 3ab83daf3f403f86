"""The outputs of all layers beside each other, as the output map reads them with skip connections.

Layers write into parts of one array, so nothing is joined. A layer also hands on its input, the
outputs of the layer below, to the output map: so both derivatives by them meet in that layer, which
adds them where it computes its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from charrnn.compiler import processor


@dataclass(frozen=True)
class Place:
    """Where a layer's outputs go, and what it hands on.

    Attributes:
        outputs: bfloat16 (T, B, H), whose rows are parts of wider ones.
        below: the layer's input is added to it, for the output map to read; None if it is not read.
    """

    outputs: Tensor
    below: list[Tensor] | None


class Skips:
    """One array for the outputs of all layers.

    Args:
        steps: T.
        batch: B.
        hidden: H, a multiple of what `fits` asks for.
        layers: L.
    """

    def __init__(self, steps: int, batch: int, hidden: int, layers: int) -> None:
        self._hidden, width, count = hidden, layers * hidden, steps * batch
        # Products read rows in groups: there is space for one more group after the last row.
        space = torch.empty(count + processor.ROW_GROUP, width, dtype=torch.bfloat16)
        self._whole = space[:count].view(steps, batch, width)
        self._below: list[Tensor] = []

    @staticmethod
    def fits(hidden: int) -> bool:
        """Return whether rows of H units need no padding, in any kind of products."""
        return hidden % max(processor.DEPTH.values()) == 0

    def place(self, index: int) -> Place:
        """Return the place of a layer."""
        first = index * self._hidden
        # Autograd would take what is written into one part for a change of the others.
        outputs = self._whole.data[:, :, first : first + self._hidden]
        return Place(outputs, self._below if index else None)

    def joined(self, top: Tensor) -> Tensor:
        """Return the outputs of all layers (T, B, L*H), given those of the last one."""
        return _Joined.apply(self._whole, *self._below, top)  # type: ignore[no-untyped-call, no-any-return]


class _Joined(torch.autograd.Function):
    """Outputs that are in one array already; the gradient's parts are theirs."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor, *outputs: Tensor) -> Tensor:
        ctx.count = len(outputs)
        return whole.data

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, *gradient.chunk(ctx.count, -1)
