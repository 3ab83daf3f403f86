"""The compiled functions of `charrnn.inference.pair_instructions`, which describes the records."""

from __future__ import annotations

import numpy as np
from numba import carray  # type: ignore[attr-defined]

from charrnn.compiler.cache import c_function
from charrnn.compiler.processor import WIDTH
from charrnn.compiler.scalar_math import exp, inside, pointer
from charrnn.inference.instructions import CONTEXT
from charrnn.inference.pair_instructions import ADDED, SOURCE
from charrnn.inference.row_functions import floats, own_columns

_function = c_function("void(voidptr, voidptr)")


@_function
def add_source(context, arguments):  # type: ignore[no-untyped-def]
    """Add to each row what its source adds.

    Arguments: records; floats to skip of what is added; out, bytes per row; panels per block,
    blocks.
    """
    c, d = carray(context, (CONTEXT,), np.int64), carray(arguments, (6,), np.int64)
    records = carray(pointer(d[0]), (c[2], SOURCE), np.int64)
    first, count = own_columns(c, d[4])
    for b in range(c[2]):
        for k in range(d[5]):
            at = k * d[4] * WIDTH + first
            read = floats(records[b, ADDED] + 4 * (d[1] + at), count)
            write = floats(d[2] + b * d[3] + 4 * at, count)
            for j in range(count):
                write[j] += read[j]


@_function
def attend(context, arguments):  # type: ignore[no-untyped-def]
    """Compare each row's query with the keys of its source, and average the source's memory.

    Threads share the rows, not the columns. Arguments: records; query, bytes per row; mean, bytes
    per row; H; floats per symbol of keys and memory.
    """
    c, d = carray(context, (CONTEXT,), np.int64), carray(arguments, (7,), np.int64)
    records = carray(pointer(d[0]), (c[2], SOURCE), np.int64)
    size, row = d[5], 4 * d[6]
    scale = np.float32(1 / np.sqrt(size))
    for b in range(c[0], c[2], c[1]):
        keys, memory, symbols = records[b, 0], records[b, 1], records[b, 2]
        weights = floats(records[b, SOURCE - 1], symbols)
        query, mean = floats(d[1] + b * d[2], size), floats(d[3] + b * d[4], size)
        for s in range(symbols):
            weights[s] = _dot(query, floats(keys + s * row, size)) * scale
        peak, total = weights.max(), np.float32(0)
        for s in range(symbols):
            weights[s] = exp(weights[s] - peak)
            total += weights[s]
        mean[:] = np.float32(0)
        for s in range(symbols):
            weights[s] /= total
            _add(mean, weights[s], floats(memory + s * row, size))


@inside
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for j in range(len(a)):
        total += a[j] * b[j]
    return total


@inside
def _add(total, factor, values):  # type: ignore[no-untyped-def]
    for j in range(len(total)):
        total[j] += factor * values[j]


@_function
def copy_rows(context, arguments):  # type: ignore[no-untyped-def]
    """Copy rows that may lie elsewhere in each step.

    Arguments: in, bytes per row, bytes per step; out, bytes per row, bytes per step; panels per
    block, blocks.
    """
    c, d = carray(context, (CONTEXT,), np.int64), carray(arguments, (8,), np.int64)
    first, count = own_columns(c, d[6])
    for b in range(c[2]):
        for k in range(d[7]):
            at = 4 * (k * d[6] * WIDTH + first)
            read = floats(d[0] + b * d[1] + c[4] * d[2] + at, count)
            write = floats(d[3] + b * d[4] + c[4] * d[5] + at, count)
            for j in range(count):
                write[j] = read[j]
