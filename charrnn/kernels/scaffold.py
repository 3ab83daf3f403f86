"""The shared scaffold: any cell's window near the speed of its matrix products, on the CPU.

    all input parts of the window in one product                     (T*B, X) x (X, G*H)
    for each step: the recurrent product, then one compiled row      (B, H) x (H, G*H)
    backward the same way round, the weights' gradients in one product at the end

Products are in float32, or in bfloat16 with float32 states, sums and master weights. The product
of a step is small and its matrix the same T times over: in bfloat16 the matrix is laid out for the
processor once per window, which else would take longer than the product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn.cells import Cell
from charrnn.kernels.rows import compiled

LayerState = tuple[Tensor, ...]


def sequence(
    cell: Cell,
    x: Tensor,
    state: LayerState,
    weights: Mapping[str, Tensor],
    *,
    half: bool,
) -> tuple[Tensor, LayerState]:
    """One layer over a window, as `charrnn.kernels.sequence.reference` computes it.

    Args:
        cell: the recurrence.
        x: input (T, B, X), float32.
        state: its parts (B, H), float32.
        weights: the layer's parameters by name, float32.
        half: make the products in bfloat16.
    """
    bias_ih = weights["bias_ih" if cell.two_biases else "bias"]
    bias_hh = weights["bias_hh"] if cell.two_biases else None
    y, *after = _Window.apply(  # type: ignore[no-untyped-call]
        cell, half, x, weights["weight_ih"], weights["weight_hh"], bias_ih, bias_hh, *state
    )
    return y, tuple(after)


class _Window(torch.autograd.Function):
    """A window forward, and backward as a whole."""

    @staticmethod
    def forward(
        ctx: Any,
        cell: Cell,
        half: bool,
        x: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor | None,
        *state: Tensor,
    ) -> tuple[Tensor, ...]:
        dtype = torch.bfloat16 if half else torch.float32
        steps, batch, _ = x.shape
        hidden = weight_hh.shape[1]
        rows = compiled(cell, half)
        x, weight_ih, weight_hh = x.to(dtype), weight_ih.to(dtype), weight_hh.to(dtype)
        parts = torch.addmm(bias_ih.to(dtype), x.flatten(0, 1), weight_ih.T)
        parts = parts.view(steps, batch, -1)
        states = [torch.empty(steps + 1, batch, hidden) for _ in state]
        for whole, before in zip(states, state, strict=True):
            whole[0] = before
        operands = states[0].to(dtype) if half else states[0]
        saved = torch.empty(steps, batch, rows.saved * hidden)
        recurrent = product(weight_hh, None if bias_hh is None else bias_hh.to(dtype), batch)
        x_array, *arrays = [_array(tensor) for tensor in (parts, *states, operands, saved)]
        for t in range(steps):
            rows.forward(x_array, _array(recurrent(operands[t])), *arrays, t, hidden)
        ctx.rows, ctx.two_biases = rows, bias_hh is not None
        ctx.save_for_backward(x, weight_ih, weight_hh, operands, saved, *states)
        return states[0][1:], *(whole[steps] for whole in states)

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *d_after: Tensor) -> tuple[Any, ...]:
        rows = ctx.rows
        x, weight_ih, weight_hh, operands, saved, *states = ctx.saved_tensors
        steps, batch, size = x.shape
        hidden, dtype = weight_hh.shape[1], x.dtype
        dx = torch.empty(steps, batch, len(weight_hh), dtype=dtype)
        dr = dx if rows.one_derivative else torch.empty_like(dx)
        d = [part.clone() for part in d_after]
        before = [_array(tensor) for tensor in (saved, dy.contiguous())]
        after = [_array(tensor) for tensor in (*states, *d, dx, dr)]
        recurrent = product(weight_hh.T, None, batch)
        dm = torch.zeros(batch, hidden, dtype=dtype)
        for t in reversed(range(steps)):
            rows.backward(*before, _array(dm), *after, t, hidden)
            dm = recurrent(dr[t])
        d[0] += dm
        flat_x, flat_r = dx.flatten(0, 1), dr.flatten(0, 1)
        d_input = None
        if ctx.needs_input_grad[2]:
            d_input = (flat_x @ weight_ih).float().view(steps, batch, size)
        d_weight_ih = (flat_x.T @ x.flatten(0, 1)).float()
        d_weight_hh = (flat_r.T @ operands[:steps].flatten(0, 1)).float()
        d_bias_ih = flat_x.sum(0, dtype=torch.float32)
        d_bias_hh = flat_r.sum(0, dtype=torch.float32) if ctx.two_biases else None
        return None, None, d_input, d_weight_ih, d_weight_hh, d_bias_ih, d_bias_hh, *d


def product(matrix: Tensor, bias: Tensor | None, rows: int) -> Callable[[Tensor], Tensor]:
    """``x -> x @ matrix.T + bias`` for x (rows, K), made for being called many times."""
    mkldnn = torch.ops.mkldnn
    # Not part of torch's promises: where a version lacks them, the plain product is slower.
    if matrix.dtype == torch.bfloat16 and hasattr(mkldnn, "_reorder_linear_weight"):
        laid_out = mkldnn._reorder_linear_weight(matrix.contiguous(), rows)
        return lambda x: mkldnn._linear_pointwise(x, laid_out, bias, "none", [], "")
    if bias is None:
        return lambda x: torch.mm(x, matrix.T)
    return lambda x: torch.addmm(bias, x, matrix.T)


def _array(tensor: Tensor) -> NDArray[Any]:
    """The same memory as an array; bfloat16 as its bits."""
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.uint16)
    array: NDArray[np.generic] = tensor.detach().numpy()
    return array
