"""Products over the rows of two matrices of bfloat16, D^T M: gradients of weights.

Sums run over pairs of rows. So some rows of both matrices at a time are first brought into an order
in which the pairs of adjacent columns are side by side: D in groups of a few columns, M in panels.
Tiles read D^T: in its groups, the pairs of one column are side by side. A thread computes the rows
of D^T M that belong to a part of D's columns, and brings into order what it needs for that itself.
While rows of D are in the cache, it also adds up those that have the same token.

The table that the functions read contains: parts taken so far, number of parts, R, the number of
rows at a time; the address of D, bytes per row, N; that of the sums of D's columns; the number of
matrices; the address of zeros, as many as a product has columns; that of space, its bytes per part;
bytes per group; where panels begin in a part's space, bytes per panel; where `SPARE` bytes begin;
the address of the configurations of tiles; that of the tokens (R,), or 0, and of the sums (V, N).
Then for each M: its address, bytes per row, K; the address of the product (N, K), bytes per row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray  # type: ignore[attr-defined]

from charrnn.compiler.cache import c_function
from charrnn.compiler.matmul import close_tiles, open_tiles
from charrnn.compiler.matmul_blocks import pairing_block, tile_block, vector_block
from charrnn.compiler.processor import COLUMN_GROUP, PAIRED, TILES_CONFIG, WIDTH
from charrnn.compiler.scalar_math import from_bf16, inside, pointer, take

NUMBERS, OF_MATRIX = 19, 5  # numbers of the table: at its beginning, and for each matrix M

_three: Any = vector_block(COLUMN_GROUP["dots"], 3, "dots", 4 * COLUMN_GROUP["dots"])
_two: Any = vector_block(COLUMN_GROUP["dots"], 2, "dots", 4 * COLUMN_GROUP["dots"])
_tiles: Any = tile_block(2, in_panels=True)


def _pack(group: int, *, turned: bool = False) -> Any:
    """Return what makes pairs of groups of D, of this many columns, or of panels; see `pack`."""
    of_group: Any = pairing_block(group, added=True, turned=turned)
    of_panel: Any = pairing_block(WIDTH, added=False)

    def pack(source, row, rows, columns, groups, out, pitch, sums, spare):  # type: ignore[no-untyped-def]
        """Make pairs of rows.

        Args:
            source: the address of the first row.
            row: bytes from row to row.
            rows: their number; behind the last one are zeros up to a multiple of `PAIRED`.
            columns: their number; behind the last one are zeros.
            groups: the number of groups or panels.
            out: their address.
            pitch: bytes from one to the next.
            sums: the address of the sums of D's columns, to which rows are added; 0 for panels.
            spare: the address of `SPARE` bytes.
        """
        width = group if sums else WIDTH
        values = carray(pointer(spare), (PAIRED * WIDTH,), np.uint16)
        for begin in range(0, rows, PAIRED):
            height = min(rows - begin, PAIRED)
            for n in range(groups):
                left = min(columns - n * width, width)
                at, step = source + begin * row + 2 * width * n, row
                if left < width or height < PAIRED:
                    for r in range(PAIRED):
                        given = carray(pointer(at + r * row), (WIDTH,), np.uint16)
                        for j in range(width):  # numba compiles this sooner than slices
                            values[r * width + j] = given[j] if j < left and r < height else 0
                    at, step = spare, 2 * width
                to = out + n * pitch + 2 * width * begin
                if sums:
                    of_group(at, step, to, sums + 4 * width * n)
                else:
                    of_panel(at, step, to, 0)

    return inside(pack)


@inside
def _multiply_dots(groups, a, pitch, panels, b, panel, init, init_row, out, out_row, rows):  # type: ignore[no-untyped-def]
    """Multiply groups of D by panels of M; a sum runs in the order of the rows.

    Args:
        groups: their number.
        a: their address.
        pitch: bytes from group to group.
        panels: their number, which is even.
        b: their address.
        panel: bytes from panel to panel.
        init: the address of what the sums start from.
        init_row: bytes from row to row there.
        out: the address of the sums.
        out_row: bytes from row to row there.
        rows: the number of rows of D and M.
    """
    done, pairs = 0, (rows + 1) // 2
    while done < panels:
        left = panels - done
        count = 2 if left == 2 or left == 4 else 3
        across, along = b + done * panel, 4 * WIDTH * done
        for group in range(groups):
            at, down = a + group * pitch, 8 * group
            start, to = init + down * init_row + along, out + down * out_row + along
            if count == 3:
                _three(at, 4, across, panel, start, init_row, to, out_row, pairs, 0)
            else:
                _two(at, 4, across, panel, start, init_row, to, out_row, pairs, 0)
        done += count


@inside
def _multiply_tiles(groups, a, pitch, panels, b, panel, init, init_row, out, out_row, rows):  # type: ignore[no-untyped-def]
    """Do the same by tiles; the number of groups is even, too."""
    steps = -(-rows // 32)
    for done in range(0, panels, 2):
        across, along = b + done * panel, 64 * done
        for group in range(0, groups, 2):
            at, down = a + group * pitch, 16 * group
            start, to = init + down * init_row + along, out + down * out_row + along
            _tiles(at, pitch, across, panel, start, init_row, to, out_row, steps)


@inside
def _add_by_token(source, row, rows, columns, ids, sums, sums_row):  # type: ignore[no-untyped-def]
    """Add rows of D to the sums of their tokens."""
    tokens = carray(pointer(ids), (rows,), np.int64)
    for r in range(rows):
        given = carray(pointer(source + r * row), (columns,), np.uint16)
        total = carray(pointer(sums + tokens[r] * sums_row), (columns,), np.float32)
        for j in range(columns):
            total[j] += from_bf16(given[j])


def _gradients(group: int, together: int, pack: Any, multiply: Any) -> Any:
    """Return what computes a part of all products, from the table.

    Args:
        group: the number of columns in a group.
        together: groups that belong to the same part.
        pack: makes groups and panels.
        multiply: multiplies them.
    """

    def compute(data, part):  # type: ignore[no-untyped-def]
        d = carray(data, (NUMBERS,), np.int64)
        parts, count, at_once, source, row, columns = d[1], d[2], d[3], d[4], d[5], d[6]
        sums, matrices, zeros, space, size = d[7], d[8], d[9], d[10], d[11]
        pitch, panels, panel, spare = d[12], d[13], d[14], d[15]
        given = carray(pointer(d.ctypes.data + 8 * NUMBERS), (matrices * OF_MATRIX,), np.int64)
        units = -(-columns // (group * together))
        first, end = part * units // parts * together, (part + 1) * units // parts * together
        space, own, left = space + part * size, end - first, columns - group * first
        source, sums = source + 2 * group * first, sums + 4 * group * first
        ids, by_token, of_tokens = d[17], d[18] + 4 * group * first, min(left, group * own)
        b, spare, none = space + panels, space + spare, np.intp(0)  # for a 0, numba compiles anew
        for begin in range(0, count if own else 0, at_once):
            rows, at = min(count - begin, at_once), source + begin * row
            pack(at, row, rows, left, own, space, pitch, sums, spare)
            if ids:
                _add_by_token(at, row, rows, of_tokens, ids + 8 * begin, by_token, 4 * columns)
            for n in range(0, matrices * OF_MATRIX, OF_MATRIX):
                at, at_row, width = given[n] + begin * given[n + 1], given[n + 1], given[n + 2]
                wide, to_row = -(-width // (2 * WIDTH)) * 2, given[n + 4]
                pack(at, at_row, rows, width, wide, b, panel, none, spare)
                to = given[n + 3] + group * first * to_row
                start, start_row = (to, to_row) if begin else (zeros, none)
                multiply(own, space, pitch, wide, b, panel, start, start_row, to, to_row, rows)

    return inside(compute)


_by_dots = _gradients(COLUMN_GROUP["dots"], 1, _pack(COLUMN_GROUP["dots"]), _multiply_dots)
_by_tiles = _gradients(
    COLUMN_GROUP["tiles"], 2, _pack(COLUMN_GROUP["tiles"], turned=True), _multiply_tiles
)


@c_function("void(voidptr)")
def by_dots(data):  # type: ignore[no-untyped-def]
    """Compute products by pairs of bfloat16."""
    d = carray(data, (NUMBERS,), np.int64)
    parts, part = d[1], take(d.ctypes.data)
    while part < parts:
        _by_dots(data, part)
        part = take(d.ctypes.data)


@c_function("void(voidptr)")
def by_tiles(data):  # type: ignore[no-untyped-def]
    """Compute products by tiles of bfloat16."""
    d = carray(data, (NUMBERS,), np.int64)
    parts, part = d[1], take(d.ctypes.data)
    tiles = carray(pointer(d[16]), (parts, 2, TILES_CONFIG), np.uint8)
    while part < parts:
        open_tiles(tiles, part)
        _by_tiles(data, part)
        close_tiles(tiles, part)
        part = take(d.ctypes.data)
