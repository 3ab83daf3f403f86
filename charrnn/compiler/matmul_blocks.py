"""Blocks of matrix products as LLVM instructions: their sums stay in registers or in tiles.

Numba cannot write these in Python: it has neither vectors of a fixed width nor the instructions for
pairs and tiles of bfloat16. `charrnn.compiler.matmul` makes products of any size of them.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm  # type: ignore[import-untyped]
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from charrnn.compiler.processor import FEATURES, PAIRED, WIDTH, is_x86

_BYTE, _HALF, _WORD, _LONG = (ir.IntType(bits) for bits in (8, 16, 32, 64))
# The type of the elements of a panel, and their bytes per column.
_STORED = {
    "float32": (ir.FloatType(), 4),
    "dots": (_WORD, 4),
    "bfloat16": (_HALF, 2),
    "int8": (_BYTE, 1),
}
_FLOATS = ir.VectorType(ir.FloatType(), WIDTH)
# Old x86 processors multiply and add in two steps: one would be a call for each number.
_FUSED = "fmuladd" if is_x86() and not FEATURES.get("fma") else "fma"
_INT = types.intp
_variable: Any = cgutils.alloca_once


def _address(builder: Any, number: Any, kind: Any) -> Any:
    return builder.inttoptr(number, kind.as_pointer())


def _function(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    known = builder.module.globals.get(name)
    return known or ir.Function(builder.module, ir.FunctionType(result, arguments), name)


class _Bfloat(ir.Type):  # type: ignore[misc]
    """LLVM's bfloat, which llvmlite does not name."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bfloat)

    def __hash__(self) -> int:
        return hash(_Bfloat)


BFLOAT = _Bfloat()


def vector_block(count: int, panels: int, kind: str, step: int = 4) -> Any:
    """Return a product of `count` rows and `panels` panels, for code that numba compiles.

    ``block(a, a_row, b, b_panel, init, init_row, out, out_row, k, scale)`` takes addresses, and the
    bytes from row to row or from panel to panel. It reads a row of `a` 4 bytes at a time (a float,
    or a pair of bfloat16), which are `step` bytes apart, and a panel a vector at a time; sums stay
    in registers and start from `init`. Panels of ``int8`` hold integers: their sums, times the
    `scale` of the columns, are added to `init`. Each sum runs in the order of k, so it is the same
    in a block of any size.
    """
    dots, scaled = kind == "dots", kind == "int8"
    stored, size = _STORED[kind]
    scalar = _WORD if dots else ir.FloatType()

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, a_row, b, b_panel, init, init_row, out, out_row, steps, scale = arguments
        sums = [[_variable(builder, _FLOATS) for _ in range(panels)] for _ in range(count)]

        def first(i: int, j: int) -> Any:
            return builder.load(_vector_at(builder, init, init_row, i, j), align=4)

        for i, row in enumerate(sums):
            for j, total in enumerate(row):
                builder.store(ir.Constant(_FLOATS, None) if scaled else first(i, j), total)
        starts = [builder.add(b, builder.mul(b_panel, _long(j))) for j in range(panels)]
        with cgutils.for_range(builder, steps) as loop:
            along = builder.mul(loop.index, _long(step))
            across = builder.mul(loop.index, _long(size * WIDTH))
            loaded = [_panel(builder, builder.add(start, across), stored) for start in starts]
            for i, row in enumerate(sums):
                place = builder.add(a, builder.add(builder.mul(a_row, _long(i)), along))
                spread = _spread(builder, place, scalar)
                for panel, total in zip(loaded, row, strict=True):
                    result = _fused(builder, spread, panel, builder.load(total), dots)
                    builder.store(result, total)
        for i, row in enumerate(sums):
            for j, total in enumerate(row):
                result = builder.load(total)
                if scaled:
                    by = builder.load(_vector_at(builder, scale, _long(0), 0, j), align=4)
                    result = _fused(builder, result, by, first(i, j), dots=False)
                builder.store(result, _vector_at(builder, out, out_row, i, j), align=4)
        return context.get_dummy_value()

    def block(  # type: ignore[no-untyped-def]
        typing_context, a, a_row, b, b_panel, init, init_row, out, out_row, steps, scale
    ):
        return types.void(*[_INT] * 10), generate

    return intrinsic(block)


def pairing_block(width: int, *, added: bool, turned: bool = False) -> Any:
    """Return what makes pairs of `width` bfloat16 of adjacent rows, and perhaps adds them up.

    ``block(rows, row, out, sums)`` takes addresses: of the first of `PAIRED` rows, with `row` bytes
    from row to row; of the pairs, each 4 bytes; and of sums in float32, to which all rows are
    `added`. If `turned`, the pairs of each of 16 columns are side by side, as a row of a tile.
    """
    halves, words, floats = (ir.VectorType(kind, width) for kind in (_HALF, _WORD, ir.FloatType()))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, row, out, sums = arguments
        upper = ir.Constant(words, [16] * width)
        place = _address(builder, sums, floats)
        total = builder.load(place, align=4) if added else None

        def load(start: Any) -> Any:
            return builder.zext(builder.load(_address(builder, start, halves), align=1), words)

        pairs = []
        for _ in range(PAIRED // 2):
            first, second = load(rows), builder.shl(load(builder.add(rows, row)), upper)
            rows = builder.add(rows, builder.mul(row, _long(2)))
            pairs.append(builder.or_(first, second))
            if added:
                both = (builder.shl(first, upper), second)
                of_pair = builder.fadd(*(builder.bitcast(part, floats) for part in both))
                total = builder.fadd(total, of_pair)
        for n, pair in enumerate(_turned(builder, pairs) if turned else pairs):
            to = builder.add(out, _long(4 * width * n))
            builder.store(pair, _address(builder, to, words), align=4)
        if added:
            builder.store(total, place, align=4)
        return context.get_dummy_value()

    def block(typing_context, rows, row, out, sums):  # type: ignore[no-untyped-def]
        return types.void(*[_INT] * 4), generate

    return intrinsic(block)


def rounding_block(*, turned: bool) -> Any:
    """Return what rounds float32 to pairs of bfloat16, in a square of vectors of a panel.

    ``block(rows, row, out)`` takes addresses: of the first row, with `row` bytes from row to row,
    and of W vectors of W pairs, each 4 bytes. Pairs are of adjacent rows, of which there are 2 W
    of W columns. If `turned`, they are of adjacent columns: there are W rows of 2 W columns, and
    the pairs of a row are in one place of all vectors.
    """
    words = ir.VectorType(_WORD, WIDTH)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, row, out = arguments

        def rounded(r: int, count: int) -> Any:
            return _rounded(builder, builder.add(rows, builder.mul(row, _long(r))), count)

        if turned:
            pairs = [builder.bitcast(rounded(r, 2 * WIDTH), words) for r in range(WIDTH)]
            pairs = _turned(builder, pairs)
        else:
            halves = [builder.zext(rounded(r, WIDTH), words) for r in range(2 * WIDTH)]
            upper = ir.Constant(words, [16] * WIDTH)
            both = zip(halves[::2], halves[1::2], strict=True)
            pairs = [builder.or_(low, builder.shl(high, upper)) for low, high in both]
        for n, pair in enumerate(pairs):
            to = builder.add(out, _long(4 * WIDTH * n))
            builder.store(pair, _address(builder, to, words), align=4)
        return context.get_dummy_value()

    def block(typing_context, rows, row, out):  # type: ignore[no-untyped-def]
        return types.void(*[_INT] * 3), generate

    return intrinsic(block)


def _rounded(builder: Any, place: Any, count: int) -> Any:
    """Load floats and return the nearest bfloat16; ties go to the even one."""
    floats = ir.VectorType(ir.FloatType(), count)
    halves, words = (ir.VectorType(kind, count) for kind in (_HALF, _WORD))
    given = builder.load(_address(builder, place, floats), align=4)
    if FEATURES.get("avx512bf16"):  # takes numbers below 1.2e-38 for zero
        return builder.bitcast(builder.fptrunc(given, ir.VectorType(BFLOAT, count)), halves)
    bits = builder.bitcast(given, words)
    most, upper, one = (ir.Constant(words, [number] * count) for number in (0x7FFF, 16, 1))
    odd = builder.and_(builder.lshr(bits, upper), one)
    near = builder.add(bits, builder.add(most, odd))
    # Rounding must not turn not-a-number into a number.
    found = builder.select(builder.fcmp_unordered("uno", given, given), bits, near)
    return builder.trunc(builder.lshr(found, upper), halves)


def _turned(builder: Any, rows: list[Any]) -> list[Any]:
    """Return the columns of a square of 2^n vectors, by interleaving its halves n times."""
    half = len(rows) // 2
    for _ in range(len(rows).bit_length() - 1):
        pairs = zip(rows[:half], rows[half:], strict=True)
        rows = [_interleaved(builder, a, b, end * half) for a, b in pairs for end in (0, 1)]
    return rows


def _interleaved(builder: Any, a: Any, b: Any, first: int) -> Any:
    """Return elements of two vectors by turns, from half of each that begins with `first`."""
    count = a.type.count
    order = [first + i // 2 + i % 2 * count for i in range(count)]
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_WORD, count), order))


def _vector_at(builder: Any, start: Any, row: Any, i: int, j: int) -> Any:
    """Return the address of vector j in row i, from the bytes from row to row."""
    offset = builder.add(builder.mul(row, _long(i)), _long(4 * WIDTH * j))
    return _address(builder, builder.add(start, offset), _FLOATS)


def _panel(builder: Any, place: Any, stored: Any) -> Any:
    """Load a vector of a panel as floats (pairs of bfloat16 stay as they are)."""
    vector = ir.VectorType(stored, WIDTH)
    loaded = builder.load(_address(builder, place, vector), align=1)
    words = ir.VectorType(_WORD, WIDTH)
    if stored == _BYTE:
        return builder.sitofp(builder.sext(loaded, words), _FLOATS)
    if stored == _HALF:
        upper = ir.Constant(words, [16] * WIDTH)
        return builder.bitcast(builder.shl(builder.zext(loaded, words), upper), _FLOATS)
    return loaded


def _long(number: int) -> Any:
    return ir.Constant(_LONG, number)


def _spread(builder: Any, place: Any, scalar: Any) -> Any:
    """Load one value and make a vector whose elements are all this value."""
    one = builder.load(_address(builder, place, scalar), align=4)
    vector = ir.VectorType(scalar, WIDTH)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, one, ir.Constant(_WORD, 0))
    zeros = ir.Constant(ir.VectorType(_WORD, WIDTH), None)
    return builder.shuffle_vector(first, undefined, zeros)


def _fused(builder: Any, a: Any, b: Any, total: Any, dots: bool) -> Any:
    """Compute ``total + a * b``; for pairs, add both products."""
    if not dots:
        function = _function(builder, f"llvm.{_FUSED}.v{WIDTH}f32", _FLOATS, [_FLOATS] * 3)
        return builder.call(function, [a, b, total])
    pairs = ir.VectorType(BFLOAT, 2 * WIDTH)
    if llvm.llvm_version_info[0] < 16:  # where the instruction's pairs were integers
        pairs = ir.VectorType(_WORD, WIDTH)
    name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * WIDTH}"
    function = _function(builder, name, _FLOATS, [_FLOATS, pairs, pairs])
    return builder.call(function, [total, builder.bitcast(a, pairs), builder.bitcast(b, pairs)])


def tile_block(count: int, *, in_panels: bool = False) -> Any:
    """Return a product as of `vector_block`, of 16 or 32 rows (`count` tiles) and two panels.

    If `a` is `in_panels`, too, `a_row` are the bytes from panel to panel; each has 16 rows, of
    which 64 bytes at a time are side by side.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, a_row, b, b_panel, init, init_row, out, out_row, steps = arguments
        void, pointer = ir.VoidType(), _BYTE.as_pointer()
        load = _function(builder, "llvm.x86.tileloadd64", void, [_BYTE, pointer, _LONG])
        store = _function(builder, "llvm.x86.tilestored64", void, [_BYTE, pointer, _LONG])
        fused = _function(builder, "llvm.x86.tdpbf16ps", void, [_BYTE] * 3)
        step, row, a_tile = _long(64), a_row, builder.mul(a_row, _long(16))
        if in_panels:
            step, row, a_tile = _long(1024), _long(64), a_row

        def tile(number: int) -> Any:
            return ir.Constant(_BYTE, number)

        def down(start: Any, row: Any, i: int) -> Any:
            return builder.add(start, builder.mul(row, _long(16 * i)))

        sums = [(i, j, tile(2 * i + j)) for i in range(count) for j in range(2)]
        for i, j, total in sums:
            place = builder.add(down(init, init_row, i), _long(64 * j))
            builder.call(load, [total, _address(builder, place, _BYTE), init_row])
        with cgutils.for_range(builder, steps) as loop:
            along = builder.add(a, builder.mul(loop.index, step))
            across = builder.add(b, builder.mul(loop.index, _long(1024)))
            for j, start in enumerate((across, builder.add(across, b_panel))):
                place = _address(builder, start, _BYTE)
                builder.call(load, [tile(6 + j), place, _long(64)])
            for i in range(count):
                place = builder.add(along, builder.mul(a_tile, _long(i)))
                builder.call(load, [tile(4 + i), _address(builder, place, _BYTE), row])
            for i, j, total in sums:
                builder.call(fused, [total, tile(4 + i), tile(6 + j)])
        for i, j, total in sums:
            place = builder.add(down(out, out_row, i), _long(64 * j))
            builder.call(store, [total, _address(builder, place, _BYTE), out_row])
        return context.get_dummy_value()

    def block(typing_context, a, a_row, b, b_panel, init, init_row, out, out_row, steps):  # type: ignore[no-untyped-def]
        return types.void(*[_INT] * 9), generate

    return intrinsic(block)


def on_tiles_config(name: str) -> Any:
    """Return an instruction that reads or writes a configuration of tiles in memory."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = _function(builder, name, ir.VoidType(), [_BYTE.as_pointer()])
        builder.call(function, [_address(builder, arguments[0], _BYTE)])
        return context.get_dummy_value()

    def configure(typing_context, address):  # type: ignore[no-untyped-def]
        return types.void(_INT), generate

    return intrinsic(configure)
