"""The gradients of a layer's weights: products over all rows of a window."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from charrnn.compiler import processor
from charrnn.compiler.cache import CFunction
from charrnn.network import openmp

ROWS = 1024  # at a time, so that what is multiplied stays in the cache
GROUP, SPARE = 8, 16 * processor.WIDTH  # as in `charrnn.compiler.row_products`
_PAD = 64  # bytes between groups, whose distance would otherwise be a power of two

# Not declared: a processor that does not multiply pairs cannot compile them, and has no use for it.
_pack, _multiply, _add_by_token = (
    CFunction("charrnn.compiler.row_products", name)
    for name in ("pack", "multiply", "add_by_token")
)


def by_token(derivative: Tensor, ids: Tensor, count: int) -> Tensor:
    """Return the sums (V, N) of the rows of a derivative (R, N) that have the same token.

    Args:
        derivative: in bfloat16; each row is contiguous.
        ids: the tokens (R,).
        count: V.
    """
    rows, columns = derivative.shape
    sums, threads = torch.zeros(count, columns), torch.get_num_threads()
    source = (derivative.data_ptr(), derivative.stride(0) * 2, columns)
    table = [0, threads, rows, *source, ids.data_ptr(), sums.data_ptr(), count]
    data = np.array(table, np.int64)
    openmp.run(_add_by_token.address, data.ctypes.data, threads)
    return sums


def of(kind: str) -> Callable[..., tuple[list[Tensor], Tensor]]:
    """Return what computes gradients where products are of this kind; see `_by_pairs`."""
    return _by_pairs if kind == "dots" else _by_library


def _by_pairs(derivative: Tensor, *rows: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return the gradients of matrices (N, K) and of a bias (N,), by pairs of bfloat16.

    Args:
        derivative: of the loss by the products (R, N); each row is contiguous.
        rows: the operand of each matrix (R, K); each row is contiguous.
    """
    count, columns = derivative.shape
    threads = torch.get_num_threads()
    width = processor.WIDTH
    found = [
        torch.empty(-(-columns // GROUP) * GROUP, processor.padded_columns(part.shape[1]))
        for part in rows
    ]
    bias = torch.zeros(len(found[0]) if found else -(-columns // GROUP) * GROUP)
    pairs = -(-min(ROWS, count) // 2)
    pitch, panel = pairs * 4 * GROUP + _PAD, pairs * 4 * width + _PAD
    groups = torch.empty(len(bias) // GROUP * pitch, dtype=torch.uint8)
    panels = [torch.empty(out.shape[1] // width * panel, dtype=torch.uint8) for out in found]
    spare, zeros = torch.zeros(threads * SPARE, dtype=torch.uint8), torch.zeros(3 * width)
    for first in range(0, count, ROWS):
        size = min(ROWS, count - first)
        table = [
            *(0, threads, size, derivative[first:].data_ptr(), derivative.stride(0) * 2, columns),
            *(groups.data_ptr(), pitch, bias.data_ptr(), len(rows), spare.data_ptr()),
            0 if first else zeros.data_ptr(),
        ]
        for part, to, out in zip(rows, panels, found, strict=True):
            table += [part[first:].data_ptr(), part.stride(0) * 2, part.shape[1]]
            table += [to.data_ptr(), panel, out.data_ptr(), out.stride(0) * 4]
        for function in (_pack, _multiply):
            data = np.array(table, np.int64)
            openmp.run(function.address, data.ctypes.data, threads)
    gradients = [out[:columns, : part.shape[1]] for out, part in zip(found, rows, strict=True)]
    return [each.contiguous() for each in gradients], bias[:columns]


def _by_library(derivative: Tensor, *rows: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return what `_by_pairs` does, by torch's products.

    A product with a transposed left side runs at half the speed. So where the operands are
    narrower than the derivative, they are transposed instead, all in one matrix for one product,
    with a row of ones for the bias.

    Args:
        derivative: of the loss by the products (R, N).
        rows: the operand of each matrix (R, K).
    """
    count, width = derivative.shape
    ends = [0, *itertools.accumulate(part.shape[1] for part in rows)]
    if derivative.dtype == torch.float32:
        return [derivative.T @ part for part in rows], derivative.sum(0)
    if width <= ends[-1]:
        bias = derivative.new_ones(1, count) @ derivative  # adds in float32
        return [(derivative.T @ part).float() for part in rows], bias[0].float()
    met = derivative.new_empty(ends[-1] + 1, count)
    met[-1] = 1
    for part, (begin, end) in zip(rows, itertools.pairwise(ends), strict=True):
        met[begin:end] = part.T
    found = met @ derivative
    parts = [found[begin:end] for begin, end in itertools.pairwise(ends)]
    return [part.T.float().contiguous() for part in parts], found[-1].float()
