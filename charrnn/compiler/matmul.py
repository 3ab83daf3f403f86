"""Matrix products inside compiled code: rows (M, K) times a packed matrix (K, N) -> float32.

The product of one step is small, and its matrix is the same in all T steps of a window. So the
matrix is packed once, in the order in which it is read; the product is then one loop of fused
multiply-adds on registers, which compiled code calls on its own thread. A BLAS call would pack the
matrix each time, and wake and join its threads: that takes longer than the product.

`charrnn.compiler.processor` describes the three kinds of products and how matrices are packed.
"""

from __future__ import annotations

from typing import Any

from charrnn.compiler.matmul_blocks import on_tiles_config, tile_block, vector_block
from charrnn.compiler.processor import DEPTH, FEATURES, ROW_GROUP, TILES_CONFIG, WIDTH, is_x86
from charrnn.compiler.scalar_math import inside

__all__ = [  # generated code imports all of these
    "DEPTH",
    "ROW_GROUP",
    "TILES_CONFIG",
    "WIDTH",
    "close_tiles",
    "columns_bfloat16",
    "columns_float32",
    "columns_int8",
    "multiply_ahead",
    "multiply_dots",
    "multiply_float32",
    "multiply_tiles",
    "open_tiles",
    "spread",
]

# Rows per block of two panels: each needs two registers of sums, and all registers are used.
_MANY_REGISTERS = bool(FEATURES.get("avx512f")) or not is_x86()
_ROWS = (12, 4, 1) if _MANY_REGISTERS else (6, 2, 1)
# Windows have 8, 16 or 32 rows a thread: blocks of three panels and eight rows, or of four where
# there are fewer registers, leave none over. The last two panels have small ones in any case, as
# each block takes time to compile.
_WINDOW_PANELS = 3
_WINDOW_ROWS = {2: (4, 1), 3: (8, 4, 1) if _MANY_REGISTERS else (4, 1)}

_load_config: Any = on_tiles_config("llvm.x86.ldtilecfg")
_store_config: Any = on_tiles_config("llvm.x86.sttilecfg")


@inside
def open_tiles(tiles, part):  # type: ignore[no-untyped-def]
    """Configure this thread's tiles and save the old configuration in `tiles` (`tiles_config`)."""
    address = tiles.ctypes.data + part * 2 * TILES_CONFIG
    _store_config(address + TILES_CONFIG)
    _load_config(address)


@inside
def close_tiles(tiles, part):  # type: ignore[no-untyped-def]
    """Restore the configuration of tiles: a library may rely on its own."""
    _load_config(tiles.ctypes.data + (part * 2 + 1) * TILES_CONFIG)


@inside
def spread(table, ids, t, first, end, out, part):  # type: ignore[no-untyped-def]
    """Write rows of ``table`` (V, 1, N) into ``out[part]``, by the `ids` (T, B, 1) of step t."""
    for b in range(first, end):
        row, to = table[ids[t, b, 0], 0], out[part, b - first]
        for j in range(len(row)):  # numba compiles this sooner than an assignment of rows
            to[j] = row[j]


def _down(blocks: list[tuple[int, Any]]) -> Any:
    """Return a product of any number of rows and the same panels, by the largest blocks that fit.

    ``down(rows, m, a, a_row, b, b_panel, init, init_row, out, out_row, k, scale)`` works on rows
    `m` to `rows`; the other arguments are those of `vector_block`.
    """
    (count, block), *smaller = blocks
    rest = _down(smaller) if smaller else _nothing

    def down(rows, m, a, a_row, b, b_panel, init, init_row, out, out_row, k, scale):  # type: ignore[no-untyped-def]
        while rows - m >= count:
            x, y, z = a + m * a_row, init + m * init_row, out + m * out_row
            block(x, a_row, b, b_panel, y, init_row, z, out_row, k, scale)
            m += count
        rest(rows, m, a, a_row, b, b_panel, init, init_row, out, out_row, k, scale)

    return inside(down)


@inside
def _nothing(rows, m, a, a_row, b, b_panel, init, init_row, out, out_row, k, scale):  # type: ignore[no-untyped-def]
    """Do nothing: no rows are left."""


def _columns_product(kind: str) -> Any:
    """Return a product of a few rows, as generation has, and some panels of a packed matrix.

    ``multiply(backwards, rows, panels, a, b, b_panel, init, out, k, scale)`` takes the arguments of
    `vector_block`; `a`, `init` and `out` are pairs of an address and the bytes from row to row. It
    begins with the last panels if `backwards`. With fewer rows it takes more panels at once, so
    that the sums fill the registers.
    """
    many, some, one = _ROWS

    def down(panels: int, *counts: int) -> Any:
        return _down([(count, vector_block(count, panels, kind)) for count in counts])

    down_8, down_4 = down(8, one), down(4, some, one)
    down_2, down_1 = down(2, many, some, one), down(1, many, some, one)
    fives = down(4, 5) if _MANY_REGISTERS else down_4  # a beam of five is usual

    def multiply(  # type: ignore[no-untyped-def]
        backwards, rows, panels, a, b, b_panel, init, out, k, scale
    ):
        (a, a_row), (init, init_row), (out, out_row) = a, init, out
        done = 0
        while done < panels:
            left, count = panels - done, 1
            if rows < some and left >= 8:
                count = 8
            elif rows < many and left >= 4:
                count = 4
            elif left >= 2:
                count = 2
            n = left - count if backwards else done
            at = 4 * WIDTH * n
            w, i, o, s = b + n * b_panel, init + at, out + at, scale + at
            if count == 8:
                down_8(rows, 0, a, a_row, w, b_panel, i, init_row, o, out_row, k, s)
            elif count == 4 and rows % 5 == 0:
                fives(rows, 0, a, a_row, w, b_panel, i, init_row, o, out_row, k, s)
            elif count == 4:
                down_4(rows, 0, a, a_row, w, b_panel, i, init_row, o, out_row, k, s)
            elif count == 2:
                down_2(rows, 0, a, a_row, w, b_panel, i, init_row, o, out_row, k, s)
            else:
                down_1(rows, 0, a, a_row, w, b_panel, i, init_row, o, out_row, k, s)
            done += count

    return inside(multiply)


def _vector_product(dots: bool) -> Any:
    """Return a product of rows and a packed matrix by vectors; of bfloat16 if `dots`."""
    kind, size = ("dots", 2) if dots else ("float32", 4)
    widest, two = (
        _down([(count, vector_block(count, panels, kind)) for count in _WINDOW_ROWS[panels]])
        for panels in (_WINDOW_PANELS, 2)
    )

    def multiply(a, t, first, end, packed, init, out, part):  # type: ignore[no-untyped-def]
        """Multiply rows `first` to `end` of ``a[t]`` (T, B, K) by `packed`, into ``out[part]``.

        The sums start from `init`: one row (1, 1, N) for all rows, or `out` itself.
        """
        row, out_row = a.shape[2] * size, out.shape[2] * 4
        start = a.ctypes.data + (t * a.shape[1] + first) * row
        results = out.ctypes.data + part * out.shape[1] * out_row
        adding = init.shape[1] > 1
        starts = results if adding else init.ctypes.data
        init_row = out_row if adding else 0
        steps = packed.shape[1]
        panel = steps * packed.shape[2] * size
        done, panels = 0, packed.shape[0]
        while done < panels:
            left, at = panels - done, done * WIDTH * 4
            b, i, o = packed.ctypes.data + done * panel, starts + at, results + at
            # Never a single panel at the end, whose few sums would wait for each other.
            if left == 2 or left == _WINDOW_PANELS + 1:
                two(end - first, 0, start, row, b, panel, i, init_row, o, out_row, steps, 0)
                done += 2
            else:
                widest(end - first, 0, start, row, b, panel, i, init_row, o, out_row, steps, 0)
                done += _WINDOW_PANELS

    return inside(multiply)


columns_float32: Any = _columns_product("float32")
columns_bfloat16: Any = _columns_product("bfloat16")
columns_int8: Any = _columns_product("int8")
multiply_float32: Any = _vector_product(dots=False)
multiply_dots: Any = _vector_product(dots=True)
_two_tiles, _one_tile = tile_block(2), tile_block(1)


@inside
def multiply_tiles(a, t, first, end, packed, init, out, part):  # type: ignore[no-untyped-def]
    """Do what the function of `_vector_product` does, by tiles.

    Every other step begins with the last panels, which the step before has left in the cache.
    """
    row, out_row = a.shape[2] * 2, out.shape[2] * 4
    start = a.ctypes.data + (t * a.shape[1] + first) * row
    results = out.ctypes.data + part * out.shape[1] * out_row
    adding = init.shape[1] > 1
    starts = results if adding else init.ctypes.data
    init_row = out_row if adding else 0
    steps = packed.shape[1] // 16
    panel = packed.shape[1] * packed.shape[2] * 2
    count = end - first
    last = packed.shape[0] - 2
    for done in range(0, packed.shape[0], 2):
        n = last - done if t % 2 else done
        b = packed.ctypes.data + n * panel
        for m in range(0, count, 32):
            x = start + m * row
            begin = starts + n * WIDTH * 4 + m * init_row
            to = results + n * WIDTH * 4 + m * out_row
            if count - m > 16:
                _two_tiles(x, row, b, panel, begin, init_row, to, out_row, steps)
            else:
                _one_tile(x, row, b, panel, begin, init_row, to, out_row, steps)


@inside
def multiply_ahead(a, t, steps, first, end, packed, out, part, parts):  # type: ignore[no-untyped-def]
    """Add to `out` the products of rows `first` to `end` of step t and the ones after it.

    Those of step t + s are added to ``out[s * parts + part]``. All `steps` are multiplied by some
    panels before the next ones are read.
    """
    row, out_row = a.shape[2] * 2, out.shape[2] * 4
    own = out.shape[1] * out_row
    depth = packed.shape[1] // 16
    panel = packed.shape[1] * packed.shape[2] * 2
    count = end - first
    for n in range(0, packed.shape[0] if depth else 0, 2):
        b = packed.ctypes.data + n * panel
        for s in range(steps):
            start = a.ctypes.data + ((t + s) * a.shape[1] + first) * row
            results = out.ctypes.data + (s * parts + part) * own + n * WIDTH * 4
            for m in range(0, count, 32):
                x, to = start + m * row, results + m * out_row
                if count - m > 16:
                    _two_tiles(x, row, b, panel, to, out_row, to, out_row, depth)
                else:
                    _one_tile(x, row, b, panel, to, out_row, to, out_row, depth)
