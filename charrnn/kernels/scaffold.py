"""The shared scaffold: any cell's window at the speed of its matrix products, on the CPU.

    all input parts of the window in one product                     (T*B, X) x (X, G*H)
    for each step: the recurrent product, then one compiled row      (B, H) x (H, G*H)
    backward the same way round, the weights' gradients in one product at the end

Products are in float32, or in bfloat16 with float32 states, sums and master weights. The streams
are shared out among threads that never wait for one another: each runs all T steps of its own
rows with single-threaded products, so nothing is lost to starting and joining threads T times.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
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
    biases = [weights[name] for name in ("bias", "bias_ih", "bias_hh") if name in weights]
    bias_hh = biases[1] if cell.two_biases else None
    y, *after = _Window.apply(  # type: ignore[no-untyped-call]
        cell, half, x, weights["weight_ih"], weights["weight_hh"], biases[0], bias_hh, *state
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
        bias = None if bias_hh is None else bias_hh.to(dtype)
        arrays = [_array(whole) for whole in states]
        x_array, operand_array, saved_array = _array(parts), _array(operands), _array(saved)

        def run(lo: int, hi: int) -> None:
            r = torch.empty(hi - lo, parts.shape[2], dtype=dtype)
            r_array = _array(r)
            for t in range(steps):
                if bias is None:
                    torch.mm(operands[t, lo:hi], weight_hh.T, out=r)
                else:
                    torch.addmm(bias, operands[t, lo:hi], weight_hh.T, out=r)
                rows.forward(
                    x_array[t, lo:hi],
                    r_array,
                    *(array[t, lo:hi] for array in arrays),
                    *(array[t + 1, lo:hi] for array in arrays),
                    operand_array[t + 1, lo:hi],
                    saved_array[t, lo:hi],
                    hidden,
                )

        _share_out(run, batch)
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
        dy = dy.contiguous()
        states_arrays, d_arrays = [_array(whole) for whole in states], [_array(part) for part in d]
        dy_array, saved_array, dx_array, dr_array = map(_array, (dy, saved, dx, dr))

        def run(lo: int, hi: int) -> None:
            dm = torch.zeros(hi - lo, hidden, dtype=dtype)
            dm_array = _array(dm)
            for t in reversed(range(steps)):
                rows.backward(
                    saved_array[t, lo:hi],
                    dy_array[t, lo:hi],
                    dm_array,
                    *(array[t, lo:hi] for array in states_arrays),
                    *(array[lo:hi] for array in d_arrays),
                    dx_array[t, lo:hi],
                    dr_array[t, lo:hi],
                    hidden,
                )
                torch.mm(dr[t, lo:hi], weight_hh, out=dm)
            d[0][lo:hi] += dm

        _share_out(run, batch)
        flat_x, flat_r = dx.flatten(0, 1), dr.flatten(0, 1)
        d_input = None
        if ctx.needs_input_grad[2]:
            d_input = (flat_x @ weight_ih).float().view(steps, batch, size)
        d_weight_ih = (flat_x.T @ x.flatten(0, 1)).float()
        d_weight_hh = (flat_r.T @ operands[:steps].flatten(0, 1)).float()
        d_bias_ih = flat_x.sum(0, dtype=torch.float32)
        d_bias_hh = flat_r.sum(0, dtype=torch.float32) if ctx.two_biases else None
        return None, None, d_input, d_weight_ih, d_weight_hh, d_bias_ih, d_bias_hh, *d


def _array(tensor: Tensor) -> NDArray[Any]:
    """The same memory as an array; bfloat16 as its bits."""
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.uint16)
    array: NDArray[np.generic] = tensor.detach().numpy()
    return array


def _share_out(run: Callable[[int, int], None], batch: int) -> None:
    """Call `run(lo, hi)` for disjoint ranges of rows at the same time, one per thread."""
    threads = torch.get_num_threads()
    borders = [batch * number // threads for number in range(threads + 1)]
    ranges = [(lo, hi) for lo, hi in itertools.pairwise(borders) if lo < hi]

    def quietly(range_: tuple[int, int]) -> None:
        with torch.inference_mode():
            run(*range_)

    list(_pool(threads).map(quietly, ranges))


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads whose products are single-threaded."""
    pool = ThreadPoolExecutor(threads, "rows", initializer=torch.set_num_threads, initargs=(1,))
    all_here = threading.Barrier(threads)  # a task for each thread, so that all are started
    list(pool.map(lambda _: all_here.wait(), range(threads)))
    torch.set_num_threads(threads)  # the last thread's one was also the default for all
    return pool
