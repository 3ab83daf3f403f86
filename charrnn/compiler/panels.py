"""Packing of float32 matrices for products of bfloat16 (`charrnn.compiler.processor`).

A vector of a panel holds pairs of 16 rows of a matrix (N, K), each of two adjacent columns. Where
rows are contiguous, a square of vectors is turned; of a transpose, whose columns are contiguous,
two are interleaved.

The table that the function reads contains: parts taken so far, number of parts, the number of
matrices, the address of `SPARE` bytes for each part. Then for each matrix: its address, the bytes
from row to row, or from column to column; whether columns are contiguous; N, K; the address of the
panels, their number, and the number of pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray  # type: ignore[attr-defined]

from charrnn.compiler.cache import c_function
from charrnn.compiler.matmul_blocks import rounding_block
from charrnn.compiler.processor import WIDTH
from charrnn.compiler.scalar_math import inside, pointer, take

NUMBERS, OF_MATRIX = 4, 8  # numbers of the table: at its beginning, and for each matrix
SPARE = 12 * WIDTH * WIDTH  # bytes: two squares of float32, and one of pairs


def _square(height: int, width: int, *, turned: bool) -> Any:
    """Return what packs a square of vectors from this many contiguous rows; see `pack`."""
    block: Any = rounding_block(turned=turned)

    def pack(source, row, rows, columns, out, pairs, spare):  # type: ignore[no-untyped-def]
        """Pack a square.

        Args:
            source: the address of the first number.
            row: bytes from row to row.
            rows: how many there are; behind the last one are zeros.
            columns: how many there are; behind the last one are zeros.
            out: the address of the vectors.
            pairs: how many of them there are, perhaps fewer than a square has.
            spare: the address of `SPARE` bytes.
        """
        if rows < height or columns < width:
            values = carray(pointer(spare), (height * width,), np.float32)
            for r in range(height):
                given = carray(pointer(source + r * row), (width,), np.float32)
                for j in range(width):
                    values[r * width + j] = given[j] if r < rows and j < columns else 0
            source, row = spare, 4 * width
        if pairs >= WIDTH:
            block(source, row, out)
        else:
            whole = spare + 8 * WIDTH * WIDTH
            block(source, row, whole)
            words = carray(pointer(whole), (WIDTH * WIDTH,), np.uint32)
            vectors = carray(pointer(out), (pairs * WIDTH,), np.uint32)
            for j in range(len(vectors)):
                vectors[j] = words[j]

    return inside(pack)


_of_rows = _square(WIDTH, 2 * WIDTH, turned=True)
_of_columns = _square(2 * WIDTH, WIDTH, turned=False)


@c_function("void(voidptr)")
def pack(data):  # type: ignore[no-untyped-def]
    """Pack a thread's part of the panels of each matrix."""
    d = carray(data, (NUMBERS,), np.int64)
    parts, count = d[1], d[2] * OF_MATRIX
    numbers = carray(pointer(d.ctypes.data + 8 * NUMBERS), (count,), np.int64)
    part = take(d.ctypes.data)
    while part < parts:
        spare = d[3] + part * SPARE
        for n in range(0, count, OF_MATRIX):
            source, row, of_columns = numbers[n], numbers[n + 1], numbers[n + 2]
            rows, columns, out = numbers[n + 3], numbers[n + 4], numbers[n + 5]
            panels, pairs = numbers[n + 6], numbers[n + 7]
            for panel in range(part * panels // parts, (part + 1) * panels // parts):
                high = rows - panel * WIDTH
                for done in range(0, pairs, WIDTH):
                    wide, left = columns - 2 * done, pairs - done
                    to = out + 4 * WIDTH * (panel * pairs + done)
                    if of_columns:
                        at = source + 4 * WIDTH * panel + 2 * done * row
                        _of_columns(at, row, wide, high, to, left, spare)
                    else:
                        at = source + WIDTH * panel * row + 8 * done
                        _of_rows(at, row, high, wide, to, left, spare)
        part = take(d.ctypes.data)
