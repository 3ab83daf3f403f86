"""The gradients of a layer's weights: products over all rows of a window."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from charrnn.compiler import processor
from charrnn.compiler.cache import CFunction
from charrnn.network import openmp

# As in `charrnn.compiler.row_products`.
GROUP = {"dots": 8, "tiles": 16}
PAIRED, SPARE = 32, 64 * processor.WIDTH
# Rows at a time, and bytes of sums in a part, so that what is multiplied stays in the cache.
ROWS = {"dots": 1024, "tiles": 256}
_SUMS = 2**20
_PAD = 64  # bytes between groups, whose distance would otherwise be a power of two


def _function(name: str) -> CFunction:
    """Return a function that is not declared: where it cannot be compiled, it has no use."""
    return CFunction("charrnn.compiler.row_products", name)


_add_by_token = _function("add_by_token")
_FUNCTIONS = {kind: _function(f"by_{kind}") for kind in GROUP}


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
    """Return what computes gradients where products are of this kind; see `_by_rows`."""
    return functools.partial(_by_rows, kind) if kind in GROUP else _by_library


def _by_rows(kind: str, derivative: Tensor, *rows: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return the gradients of matrices (N, K) and of a bias (N,), from bfloat16.

    Args:
        kind: of the products.
        derivative: of the loss by the products (R, N); each row is contiguous.
        rows: the operand of each matrix (R, K); each row is contiguous.
    """
    count, columns = derivative.shape
    threads = torch.get_num_threads()
    height = processor.padded_columns(columns)
    found = [torch.empty(height, processor.padded_columns(part.shape[1])) for part in rows]
    widest = max((out.shape[1] for out in found), default=0)
    bias, zeros = torch.zeros(height), torch.zeros(widest)
    parts = -(-sum(out.nbytes for out in found) // (threads * _SUMS)) * threads or threads
    at_once = min(ROWS[kind], -(-count // PAIRED) * PAIRED)
    pitch, panel = (2 * at_once * width + _PAD for width in (GROUP[kind], processor.WIDTH))
    panels = processor.padded_columns(-(-height // parts)) // GROUP[kind] * pitch
    spare = panels + widest // processor.WIDTH * panel
    space = torch.empty(parts * (spare + SPARE), dtype=torch.uint8)
    tiles = processor.tiles_config(parts)
    table = [
        *(0, parts, count, at_once, derivative.data_ptr(), derivative.stride(0) * 2, columns),
        *(bias.data_ptr(), len(rows), zeros.data_ptr(), space.data_ptr(), spare + SPARE),
        *(pitch, panels, panel, spare, tiles.ctypes.data),
    ]
    for part, out in zip(rows, found, strict=True):
        table += [part.data_ptr(), part.stride(0) * 2, part.shape[1]]
        table += [out.data_ptr(), out.stride(0) * 4]
    data = np.array(table, np.int64)
    openmp.run(_FUNCTIONS[kind].address, data.ctypes.data, threads)
    gradients = [out[:columns, : part.shape[1]] for out, part in zip(found, rows, strict=True)]
    return [each.contiguous() for each in gradients], bias[:columns]


def _by_library(derivative: Tensor, *rows: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return what `_by_rows` does, from float32 and by torch's products."""
    return [derivative.T @ part for part in rows], derivative.sum(0)
