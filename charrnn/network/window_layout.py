"""The layout of a layer's window: which arrays the compiled functions get, filled or empty.

`charrnn.network.window_arrays` says what each kind of array is; a layout knows how many of each
kind a layer needs and how wide they are, and brings weights into the order that products read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from charrnn.compiler import processor
from charrnn.network.fused_codegen import CompiledLayer
from charrnn.network.window_arrays import Allocator, numbered, start_row


@dataclass(frozen=True)
class WindowLayout:
    """What the arrays of a layer's window follow from; none of it gets gradients.

    Attributes:
        window: the compiled functions.
        states: the number of parts of the state.
        blocks: for each product of a step, its number of blocks.
        normalized: for each product, whether its blocks are normalized.
        layer_norm: whether the input parts are normalized.
        zone: zoneout's masks, each (T, B, H).
        mask: that of dropout on the outputs (1, B, H), or None.
    """

    window: CompiledLayer
    states: int
    blocks: tuple[int, ...]
    normalized: tuple[bool, ...]
    layer_norm: bool
    zone: tuple[Tensor, ...]
    mask: Tensor | None

    @property
    def dtype(self) -> torch.dtype:
        """The type of the products."""
        return torch.float32 if self.window.kind == "float32" else torch.bfloat16

    def allocator(self, steps: int, batch: int) -> Allocator:
        """Return what makes the arrays of a window (T, B) for torch's number of threads."""
        threads = min(torch.get_num_threads(), batch)
        return Allocator(steps, batch, threads, self.window.kind, self.layer_norm)

    def common(self, threads: int) -> dict[str, Tensor]:
        """Return the arrays that forward and backward both need."""
        arrays = numbered("zone", self.zone)
        if self.mask is not None:
            arrays["mask"] = self.mask
        if self.window.kind == "tiles":
            arrays["tiles"] = torch.from_numpy(processor.tiles_config(threads))
        return arrays

    def states_from(self, state: Sequence[Tensor], allocator: Allocator) -> list[Tensor]:
        """Return the arrays of the parts of the state (B, H), which begin with these."""
        found = []
        for before in state:
            whole = allocator.make("state", before.shape[1])
            whole[0] = before
            found.append(whole)
        return found

    def operands(self, states: Tensor, first: Tensor | None, allocator: Allocator) -> list[Tensor]:
        """Return the arrays of the operands; the first step's first operand is known."""
        if first is None:
            return []
        hidden = states.shape[2]
        later = [allocator.make("operand", hidden) for _ in self.blocks[1:]]
        if not self.window.own_operand:
            return [states, *later]
        own = allocator.make("operand", hidden, more_steps=1)
        own[0, :, :hidden] = first
        return [own, *later]

    def normalizations(self, name: str, widths: Sequence[int], allocator: Allocator) -> list[Any]:
        """Return an array of a kind for each product that is normalized, and None for others.

        Args:
            name: the kind of array.
            widths: for each product, the number of values per row.
            allocator: makes the arrays.
        """
        return [
            allocator.make(name, width) if normalized else None
            for width, normalized in zip(widths, self.normalized, strict=True)
        ]

    def inputs(
        self, weight: Tensor, table: Tensor, biases: Sequence[Tensor | None], allocator: Allocator
    ) -> dict[str, Tensor]:
        """Return the arrays of the input's products, and what the sums of all products start from.

        Args:
            weight: the input matrix (G*H, X).
            table: what each token adds to the input parts, with their bias (V, G*H).
            biases: the bias of each recurrent product.
            allocator: makes the arrays.
        """
        hidden = len(weight) // sum(self.window.inputs)
        arrays: dict[str, Tensor] = {}
        first = 0
        for n, count in enumerate(self.window.inputs):
            own = biases[n] if n < len(biases) else None
            if count:
                rows = slice(first * hidden, (first + count) * hidden)
                arrays[f"wx{n}"] = self.pack(weight[rows])
                start = table[:, rows]
                if not self.window.merged[n]:
                    arrays[f"rx{n}"] = allocator.make("rx", count * hidden)
                elif own is not None:
                    start = start + own
                spare = processor.padded_columns(count * hidden) - count * hidden
                arrays[f"token{n}"] = F.pad(start, (0, spare)).contiguous()[:, None]
                first += count
            if n < len(self.blocks) and not (count and self.window.merged[n]):
                arrays[f"bias{n}"] = start_row(self.blocks[n] * hidden, own)
        return arrays

    def pack(self, matrix: Tensor) -> Tensor:
        """Return a matrix (N, K) as `charrnn.compiler.matmul` reads it, in the products' type."""
        count, size = matrix.shape
        padded = (processor.padded_columns(count), processor.padded_depth(size, self.window.kind))
        if not size:  # a layer that reads tokens alone
            together = 4 // matrix.itemsize
            return matrix.new_empty(padded[0] // processor.WIDTH, 0, together * processor.WIDTH)
        if padded != (count, size):
            whole = matrix.new_zeros(padded)
            whole[:count, :size] = matrix
            matrix = whole
        # A float, or a pair of bfloat16, which must lie side by side.
        words = matrix if matrix.itemsize == 4 else matrix.contiguous().view(torch.int32)
        panels = words.view(-1, processor.WIDTH, words.shape[1]).transpose(1, 2).contiguous()
        return panels.view(self.dtype)
