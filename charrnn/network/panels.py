"""Weights as compiled products read them: in panels, see `charrnn.compiler.processor`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from charrnn.compiler import processor
from charrnn.compiler.cache import CFunction
from charrnn.network import openmp

# Not declared: where products are in float32, it has no use.
PACK = CFunction("charrnn.compiler.panels", "pack")


def packed(kind: str, *matrices: Tensor) -> list[Tensor]:
    """Return the panels of float32 matrices (N, K), padded with zeros, in the products' type.

    A part of a weight, and its transpose, are read where they are.

    Args:
        kind: of the products.
        matrices: what rows (R, K) are multiplied by; products are (R, N).
    """
    if kind == "float32":
        return [_by_torch(matrix) for matrix in matrices]
    threads = torch.get_num_threads()
    given = [_readable(matrix) for matrix in matrices]
    found, table = [], []
    for matrix in given:
        count, size = matrix.shape
        panels = processor.padded_columns(count) // processor.WIDTH
        pairs = processor.padded_depth(size, kind) // 2
        out = torch.empty(panels, pairs, 2 * processor.WIDTH, dtype=torch.bfloat16)
        by_row, by_column = matrix.stride()
        apart, of_columns = (by_row, 0) if by_column == 1 else (by_column, 1)
        table += [matrix.data_ptr(), 4 * apart, of_columns, count, size]
        table += [out.data_ptr(), panels, pairs]
        found.append(out)
    spare = torch.empty(threads, 3 * processor.WIDTH**2)
    data = np.array([0, threads, len(found), spare.data_ptr(), *table], np.int64)
    openmp.run(PACK.address, data.ctypes.data, threads)
    return found


def _readable(matrix: Tensor) -> Tensor:
    """Return a matrix whose rows or columns are contiguous; a copy only if need be."""
    return matrix if 1 in matrix.stride() else matrix.contiguous()


def _by_torch(matrix: Tensor) -> Tensor:
    """Return the panels of one matrix in float32."""
    count, size = matrix.shape
    padded = processor.padded_columns(count)
    if padded != count:
        whole = matrix.new_zeros(padded, size)
        whole[:count] = matrix
        matrix = whole
    panels = matrix.view(padded // processor.WIDTH, processor.WIDTH, size)
    return panels.transpose(1, 2).contiguous()
