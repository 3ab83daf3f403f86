"""The layout of a layer's window: which arrays the compiled functions get, filled or empty.

`charrnn.network.window_arrays` says what each kind of array is; a layout knows how many of each
kind a layer needs and how wide they are, and brings weights into the order that products read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from charrnn.compiler import processor
from charrnn.network.fused_codegen import CompiledLayer
from charrnn.network.panels import packed
from charrnn.network.window_arrays import Allocator, numbered, start_row

_CACHE = 2**21  # bytes that a core has close to it, which panels should fit into
_AT_ONCE = 4  # steps whose input parts are computed at once where they do not


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
        mask: that of dropout on the outputs (1, B, H); None where products are in float32.
        outputs: where the outputs go (T, B, H), if not into an array of their own: see
            `charrnn.network.skips.Place`.
        hands_on: whether the input is an output, too.
        backward: whether a backward pass may follow.
    """

    window: CompiledLayer
    states: int
    blocks: tuple[int, ...]
    normalized: tuple[bool, ...]
    layer_norm: bool
    zone: tuple[Tensor, ...]
    mask: Tensor | None
    outputs: Tensor | None
    hands_on: bool
    backward: bool

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

    def products(
        self, widths: Sequence[int], depth: int, allocator: Allocator
    ) -> dict[str, Tensor]:
        """Return the arrays of a step's products, or of some steps' with their input parts.

        With some steps at once, the input matrix's panels are fetched as many times less often. But
        the sums take room, too: so it is only done where all panels do not fit into the cache.

        Args:
            widths: for each product, the number of values per row.
            depth: the number of values per row of the input.
            allocator: makes the arrays.
        """
        hidden = widths[0] // self.blocks[0] if widths else 0
        fits = 2 * sum(widths) * (depth + hidden) <= _CACHE or not depth
        at_once = 1 if fits else _AT_ONCE
        return {
            name + str(n): allocator.make(name, width, at_once=at_once)
            for name in ("r", "ahead")
            for n, width in enumerate(widths)
            if name + str(n) in self.window.forward.arrays
        }

    def panels(
        self, weight: Tensor | None, matrices: Sequence[Tensor]
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return the packed matrices of products, and those of a step transposed, for backward.

        All are packed at once, while the weights are in the cache.

        Args:
            weight: the input matrix (G*H, X); None where no function makes its product.
            matrices: those of a step's products.
        """
        given = numbered("w", matrices)
        if weight is not None:
            rows = self._rows_of_inputs(len(weight))
            given |= {f"wx{n}": weight[part] for n, part in enumerate(rows) if part is not None}
        turned = [matrix.T for matrix in matrices] if self.backward else []
        found, count = packed(self.window.kind, *given.values(), *turned), len(given)
        return dict(zip(given, found[:count], strict=True)), found[count:]

    def inputs(
        self, table: Tensor, biases: Sequence[Tensor | None], allocator: Allocator
    ) -> dict[str, Tensor]:
        """Return arrays for the input's products, and what the sums of all products start from.

        Args:
            table: what each token adds to the input parts, with their bias (V, G*H).
            biases: the bias of each recurrent product.
            allocator: makes the arrays.
        """
        hidden = table.shape[1] // sum(self.window.inputs)
        arrays: dict[str, Tensor] = {}
        for n, rows in enumerate(self._rows_of_inputs(table.shape[1])):
            own = biases[n] if n < len(biases) else None
            if rows is not None:
                start, width = table[:, rows], rows.stop - rows.start
                if not self.window.merged[n]:
                    arrays[f"rx{n}"] = allocator.make("rx", width)
                elif own is not None:
                    start = start + own
                spare = processor.padded_columns(width) - width
                if spare:
                    start = F.pad(start, (0, spare))
                arrays[f"token{n}"] = start.contiguous()[:, None]
            if n < len(self.blocks) and not (rows is not None and self.window.merged[n]):
                arrays[f"bias{n}"] = start_row(self.blocks[n] * hidden, own)
        return arrays

    def _rows_of_inputs(self, height: int) -> list[slice | None]:
        """Return for each product which of the input parts (G*H) its stage reads, if any."""
        hidden, ends = height // sum(self.window.inputs), accumulate(self.window.inputs)
        return [
            slice((end - count) * hidden, end * hidden) if count else None
            for count, end in zip(self.window.inputs, ends, strict=True)
        ]
