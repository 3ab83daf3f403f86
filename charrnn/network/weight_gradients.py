"""The gradients of a layer's weights: products over all rows of a window."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from charrnn.compiler import processor
from charrnn.compiler.cache import CFunction
from charrnn.compiler.processor import COLUMN_GROUP, PAIRED, SPARE
from charrnn.network import openmp
from charrnn.network.tokens import Tokens

# Rows at a time, and bytes of sums in a part, so that what is multiplied stays in the cache.
ROWS = {"dots": 1024, "tiles": 256}
_SUMS = 3 * 2**19
_PAD = 64  # bytes between groups, whose distance would otherwise be a power of two

# Not declared: where they cannot be compiled, they have no use.
FUNCTIONS = {
    kind: CFunction("charrnn.compiler.row_products", name)
    for kind, name in (("dots", "by_dots"), ("tiles", "by_tiles"))
}


@dataclass(frozen=True)
class Gradients:
    """Gradients of matrices whose products have the same derivative D (R, N).

    Attributes:
        weights: of each matrix (N, K).
        bias: the sum of D's rows (N,).
        by_token: the sums (V, N) of those of D's rows that have the same token, if there are any.
    """

    weights: list[Tensor]
    bias: Tensor
    by_token: Tensor | None


def of(kind: str) -> Callable[..., Gradients]:
    """Return what computes gradients where products are of this kind; see `_by_rows`."""
    return functools.partial(_by_rows, kind) if kind in COLUMN_GROUP else _by_library


def _by_rows(
    kind: str, derivative: Tensor, *rows: Tensor, tokens: Tokens | None = None
) -> Gradients:
    """Compute gradients from bfloat16.

    Args:
        kind: of the products.
        derivative: of the loss by the products (R, N); each row is contiguous.
        rows: the operand of each matrix (R, K); each row is contiguous.
        tokens: those (R,) whose vectors are behind the rows of the first operand.
    """
    count, columns = derivative.shape
    threads = torch.get_num_threads()
    height = processor.padded_columns(columns)
    sizes = [part.shape[1] for part in rows]
    widths = [processor.padded_columns(size) for size in sizes]
    ids = by_token = None
    if tokens is not None:
        sizes[0] += tokens.vectors.shape[1]
        ids, by_token = tokens.ids.contiguous(), torch.zeros(len(tokens.vectors), columns)
    found = [torch.empty(height, max(pair)) for pair in zip(sizes, widths, strict=True)]
    widest = max(widths, default=0)
    bias, zeros = torch.zeros(height), torch.zeros(widest)
    parts = -(-4 * height * sum(widths) // (threads * _SUMS)) * threads or threads
    at_once = min(ROWS[kind], -(-count // PAIRED) * PAIRED)
    pitch, panel = (2 * at_once * width + _PAD for width in (COLUMN_GROUP[kind], processor.WIDTH))
    panels = processor.padded_columns(-(-height // parts)) // COLUMN_GROUP[kind] * pitch
    spare = panels + widest // processor.WIDTH * panel
    space = torch.empty(parts * (spare + SPARE), dtype=torch.uint8)
    tiles = processor.tiles_config(parts)
    table = [
        *(0, parts, count, at_once, derivative.data_ptr(), derivative.stride(0) * 2, columns),
        *(bias.data_ptr(), len(rows), zeros.data_ptr(), space.data_ptr(), spare + SPARE),
        *(pitch, panels, panel, spare, tiles.ctypes.data),
        *(0 if part is None else part.data_ptr() for part in (ids, by_token)),
    ]
    for part, out in zip(rows, found, strict=True):
        table += [part.data_ptr(), part.stride(0) * 2, part.shape[1]]
        table += [out.data_ptr(), out.stride(0) * 4]
    data = np.array(table, np.int64)
    openmp.run(FUNCTIONS[kind].address, data.ctypes.data, threads)
    weights = [out[:columns, :size] for out, size in zip(found, sizes, strict=True)]
    if tokens is not None and by_token is not None:
        torch.mm(by_token.T, tokens.vectors, out=weights[0][:, rows[0].shape[1] :])
    return Gradients([each.contiguous() for each in weights], bias[:columns], by_token)


def _by_library(derivative: Tensor, *rows: Tensor, tokens: Tokens | None = None) -> Gradients:
    """Compute what `_by_rows` does, from float32 and by torch's products."""
    weights, by_token = [derivative.T @ part for part in rows], None
    if tokens is not None:
        by_token = derivative.new_zeros(len(tokens.vectors), derivative.shape[1])
        by_token.index_add_(0, tokens.ids, derivative)
        weights[0] = torch.cat([weights[0], by_token.T @ tokens.vectors], 1)
    return Gradients(weights, derivative.sum(0), by_token)
