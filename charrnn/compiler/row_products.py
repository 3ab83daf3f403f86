"""Products over the rows of two matrices of bfloat16, D^T M: gradients of weights.

Sums run over pairs of rows. So both matrices are first brought into an order in which one vector
holds the pairs of adjacent columns: D in groups of a few columns, M in panels.

The table that both functions read contains: parts taken so far, number of parts, R; the address of
D, bytes per row, N; that of its groups, bytes per group; that of the sums of D's columns; the
number of matrices; the address of `SPARE` bytes for each part; and that of zeros which sums start
from, or 0 where they go on. Then for each M: its address, bytes per row, K; the address of its
panels, bytes per panel; the address of the product (N, K), bytes per row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray  # type: ignore[attr-defined]

from charrnn.compiler.cache import c_function
from charrnn.compiler.matmul_blocks import pairing_block, vector_block
from charrnn.compiler.processor import WIDTH
from charrnn.compiler.scalar_math import from_bf16, inside, pointer, take

GROUP = 8  # columns of D in a group
NUMBERS, OF_MATRIX = 12, 7  # numbers of the table: at its beginning, and for each matrix M
SPARE = 16 * WIDTH  # bytes
_PAIRS_AT_ONCE = 16  # their rows stay in the cache while columns are gone through

_three: Any = vector_block(GROUP, 3, "dots", 4 * GROUP)
_two: Any = vector_block(GROUP, 2, "dots", 4 * GROUP)


def _pack(width: int) -> Any:
    """Return what makes pairs of some groups of `width` columns, see `pack`."""
    block: Any = pairing_block(width)

    def pack(source, row, count, columns, first, end, out, pitch, sums, spare):  # type: ignore[no-untyped-def]
        """Make pairs of `count` rows, and add up the columns.

        Args:
            source: the address of the first row.
            row: bytes from row to row.
            count: rows; one more of zeros is added to an odd number.
            columns: their number; behind the last one are zeros.
            first: the first group.
            end: the group after the last.
            out: the address of the groups.
            pitch: bytes from group to group.
            sums: the address of the sums of columns, or 0.
            spare: the address of two times `width` bfloat16 and as many float32.
        """
        values = carray(pointer(spare), (2 * width,), np.uint16)
        for begin in range(0, count, 2 * _PAIRS_AT_ONCE):
            stop = min(begin + 2 * _PAIRS_AT_ONCE, count)
            for group in range(first, end):
                left = min(columns - group * width, width)
                to = sums + 4 * width * group if sums else spare + 4 * width
                at, pairs = source + begin * row + 2 * width * group, (stop - begin) // 2
                place = out + group * pitch + begin // 2 * 4 * width
                if left == width:
                    block(at, row, place, to, pairs)
                    at, place, pairs = at + 2 * pairs * row, place + 4 * width * pairs, 0
                for r in range(stop - 2 * pairs - (stop - begin) % 2, stop, 2):
                    one = carray(pointer(at), (max(left, 0),), np.uint16)
                    next_one = carray(pointer(at + row), (max(left, 0),), np.uint16)
                    for j in range(width):  # numba compiles this sooner than slices
                        values[j] = one[j] if j < left else 0
                        values[width + j] = next_one[j] if j < left and r + 1 < count else 0
                    block(spare, 2 * width, place, to, 1)
                    at, place = at + 2 * row, place + 4 * width

    return inside(pack)


_pack_groups, _pack_panels = _pack(GROUP), _pack(WIDTH)


@inside
def _own(part, parts, count):  # type: ignore[no-untyped-def]
    """Return a thread's first one of `count` things, and the one after its last."""
    return part * count // parts, (part + 1) * count // parts


@c_function("void(voidptr)")
def pack(data):  # type: ignore[no-untyped-def]
    """Bring a thread's part of all columns into order."""
    d = carray(data, (NUMBERS,), np.int64)
    parts, rows, source, row, columns = d[1], d[2], d[3], d[4], d[5]
    groups, pitch, sums, matrices, spares = d[6], d[7], d[8], d[9], d[10]
    given = carray(pointer(d.ctypes.data + 8 * NUMBERS), (matrices, OF_MATRIX), np.int64)
    part = take(d.ctypes.data)
    while part < parts:
        spare = spares + part * SPARE
        first, end = _own(part, parts, -(-columns // GROUP))
        _pack_groups(source, row, rows, columns, first, end, groups, pitch, sums, spare)
        for m in range(matrices):
            a, a_row, width, panels, panel = given[m, :5]
            first, end = _own(part, parts, -(-width // (2 * WIDTH)) * 2)
            _pack_panels(a, a_row, rows, width, first, end, panels, panel, 0, spare)
        part = take(d.ctypes.data)


@c_function("void(voidptr)")
def add_by_token(data):  # type: ignore[no-untyped-def]
    """Add up the rows of D (R, N) that have the same token, in a thread's part of the columns.

    The table contains: parts taken so far, number of parts, R; the address of D, bytes per row, N;
    the address of the tokens (R,); that of the sums (V, N), which are zeros, and their V.
    """
    d = carray(data, (9,), np.int64)
    parts, rows, source, row, columns, count = d[1], d[2], d[3], d[4], d[5], d[8]
    tokens = carray(pointer(d[6]), (rows,), np.int64)
    sums = carray(pointer(d[7]), (count, columns), np.float32)
    part = take(d.ctypes.data)
    while part < parts:
        first, end = _own(part, parts, columns)
        for r in range(rows):
            given = carray(pointer(source + r * row), (columns,), np.uint16)[first:end]
            total = sums[tokens[r], first:end]
            for j in range(len(given)):
                total[j] += from_bf16(given[j])
        part = take(d.ctypes.data)


@c_function("void(voidptr)")
def multiply(data):  # type: ignore[no-untyped-def]
    """Multiply a thread's groups of D by all panels; a sum runs in the order of the rows."""
    d = carray(data, (NUMBERS,), np.int64)
    parts, rows, columns, groups, pitch = d[1], d[2], d[5], d[6], d[7]
    matrices, zeros = d[9], d[11]
    pairs = (rows + 1) // 2
    given = carray(pointer(d.ctypes.data + 8 * NUMBERS), (matrices, OF_MATRIX), np.int64)
    part = take(d.ctypes.data)
    while part < parts:
        first, end = _own(part, parts, -(-columns // GROUP))
        for m in range(matrices):
            _, _, width, panels, panel, out, out_row = given[m]
            done, count = 0, -(-width // (2 * WIDTH)) * 2
            while done < count:
                left = count - done
                wide = 2 if left == 2 or left == 4 else 3
                b = panels + done * panel
                for group in range(first, end):
                    a = groups + group * pitch
                    to = out + group * GROUP * out_row + done * 4 * WIDTH
                    start, start_row = (zeros, 0) if zeros else (to, out_row)
                    if wide == 3:
                        _three(a, 4, b, panel, start, start_row, to, out_row, pairs, 0)
                    else:
                        _two(a, 4, b, panel, start, start_row, to, out_row, pairs, 0)
                done += wide
        part = take(d.ctypes.data)
