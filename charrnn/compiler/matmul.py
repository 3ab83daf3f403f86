"""Matrix products inside compiled code: rows (M, K) times a packed matrix (K, N) -> float32.

The product of one step is small, and its matrix is the same in all T steps of a window. So the
matrix is packed once, in the order in which it is read; the product is then one loop of fused
multiply-adds on registers, which compiled code calls on its own thread. A BLAS call would pack the
matrix each time, and wake and join its threads: that takes longer than the product.

There are three kinds of products; the processor decides (`product_kind`):

    float32  vectors of W floats; packed (N/W, K, W)
    dots     pairs of bfloat16, multiplied and added at once (AVX512-BF16); packed (N/W, K/2, W, 2)
    tiles    bfloat16 tiles of 16 x 32 times 32 x 16 (AMX); packed as for dots

N is padded with zeros to a multiple of 2 W and K to a multiple of `DEPTH`. Tiles read and write
rows in groups of `ROW_GROUP`: buffers have space for the last group.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any

import numpy as np

from charrnn.compiler.matmul_blocks import (
    FEATURES,
    WIDTH,
    on_tiles_config,
    tile_block,
    vector_block,
)
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
    "multiplies_bfloat16",
    "multiply_dots",
    "multiply_float32",
    "multiply_tiles",
    "open_tiles",
    "padded_columns",
    "padded_depth",
    "padded_rows",
    "product_kind",
    "tiles_config",
]

# Rows per block: each needs two registers of sums, and all registers are used.
_MANY_REGISTERS = bool(FEATURES.get("avx512f")) or not FEATURES.get("sse2")
_ROWS = (12, 4, 1) if _MANY_REGISTERS else (6, 2, 1)
ROW_GROUP = 32
DEPTH = {"float32": 1, "dots": 2, "tiles": 32}
TILES_CONFIG = 64  # bytes


def product_kind(bf16: bool) -> str:
    """Return the kind of product that this processor makes, in bfloat16 (`bf16`) or float32."""
    if not bf16:
        return "float32"
    return "tiles" if _tiles_allowed() else "dots"


def multiplies_bfloat16() -> bool:
    """Return whether this processor multiplies bfloat16 itself; emulating it is slow."""
    return _tiles_allowed() or bool(FEATURES.get("avx512bf16"))


@functools.cache
def _tiles_allowed() -> bool:
    """Ask the system for tiles; return whether the processor has them and they are allowed."""
    if not (FEATURES.get("amx-bf16") and sys.platform == "linux"):
        return False
    ask, permission, tile_data = 158, 0x1023, 18  # arch_prctl(ARCH_REQ_XCOMP_PERM, ...)
    return bool(ctypes.CDLL(None).syscall(ask, permission, tile_data) == 0)


def padded_columns(width: int) -> int:
    """Return N with its padding."""
    return -(-width // (2 * WIDTH)) * 2 * WIDTH


def padded_depth(size: int, kind: str) -> int:
    """Return K with its padding."""
    return -(-size // DEPTH[kind]) * DEPTH[kind]


def padded_rows(count: int) -> int:
    """Return M with its padding."""
    return -(-count // ROW_GROUP) * ROW_GROUP


_load_config: Any = on_tiles_config("llvm.x86.ldtilecfg")
_store_config: Any = on_tiles_config("llvm.x86.sttilecfg")


def tiles_config(parts: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return configurations (parts, 2, 64): one to load, and space for the one before.

    Each has eight tiles of 16 rows of 64 bytes.
    """
    config = np.zeros((parts, 2, TILES_CONFIG), np.uint8)
    config[:, 0, 0] = 1
    config[:, 0, 16:32:2] = 64
    config[:, 0, 48:56] = 16
    return config


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
    down = _down([(count, vector_block(count, 2, kind)) for count in _ROWS])

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
        for n in range(0, packed.shape[0], 2):
            at = n * WIDTH * 4
            b, i, o = packed.ctypes.data + n * panel, starts + at, results + at
            down(end - first, 0, start, row, b, panel, i, init_row, o, out_row, steps, 0)

    return inside(multiply)


columns_float32: Any = _columns_product("float32")
columns_bfloat16: Any = _columns_product("bfloat16")
columns_int8: Any = _columns_product("int8")
multiply_float32: Any = _vector_product(dots=False)
multiply_dots: Any = _vector_product(dots=True)
_two_tiles, _one_tile = tile_block(2), tile_block(1)


@inside
def multiply_tiles(a, t, first, end, packed, init, out, part):  # type: ignore[no-untyped-def]
    """Do what the function of `_vector_product` does, by tiles."""
    row, out_row = a.shape[2] * 2, out.shape[2] * 4
    start = a.ctypes.data + (t * a.shape[1] + first) * row
    results = out.ctypes.data + part * out.shape[1] * out_row
    adding = init.shape[1] > 1
    starts = results if adding else init.ctypes.data
    init_row = out_row if adding else 0
    steps = packed.shape[1] // 16
    panel = packed.shape[1] * packed.shape[2] * 2
    count = end - first
    for n in range(0, packed.shape[0], 2):
        b = packed.ctypes.data + n * panel
        for m in range(0, count, 32):
            x = start + m * row
            begin = starts + n * WIDTH * 4 + m * init_row
            to = results + n * WIDTH * 4 + m * out_row
            if count - m > 16:
                _two_tiles(x, row, b, panel, begin, init_row, to, out_row, steps)
            else:
                _one_tile(x, row, b, panel, begin, init_row, to, out_row, steps)
