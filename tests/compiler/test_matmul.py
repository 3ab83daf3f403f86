"""Matrix products of compiled windows against numpy's."""

from __future__ import annotations

import math
import platform
from typing import Any

import numpy as np
import pytest
import torch
from llvmlite import ir
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from charrnn.compiler import matmul, matmul_blocks, processor

ABLE = {
    "float32": True,
    "dots": bool(processor.FEATURES.get("avx512bf16")),
    "tiles": processor._tiles_allowed(),
}
KINDS = [name for name, able in ABLE.items() if able]
UNTOUCHED = 777.0
X86 = platform.machine().lower() in ("x86_64", "amd64")


# Compiled anew, not read from what is kept: so its instructions are written here, too.
_multiply_tiles = njit(matmul.multiply_tiles.py_func)


@njit
def _with_tiles(
    tiles: Any, a: Any, t: Any, first: Any, end: Any, w: Any, init: Any, out: Any, part: Any
) -> None:
    matmul.open_tiles(tiles, part)
    _multiply_tiles(a, t, first, end, w, init, out, part)
    matmul.close_tiles(tiles, part)


def type_of(kind: str) -> torch.dtype:
    return torch.float32 if kind == "float32" else torch.bfloat16


def packed(kind: str, matrix: Tensor) -> NDArray[Any]:
    """Panels as `processor` describes them, with vectors of any width."""
    (count, size), pair = matrix.shape, 1 if kind == "float32" else 2
    columns, depth = processor.padded_columns(count), processor.padded_depth(size, kind)
    padded = torch.zeros(columns, depth, dtype=type_of(kind))
    padded[:count, :size] = matrix
    panels = padded.view(-1, processor.WIDTH, depth // pair, pair).transpose(1, 2)
    return bits(panels.flatten(2).contiguous())


def bits(tensor: Tensor) -> NDArray[Any]:
    """The same memory as compiled code sees it."""
    found: NDArray[Any] = (
        tensor.view(torch.uint16).numpy() if tensor.itemsize == 2 else tensor.numpy()
    )
    return found


def multiply(
    kind: str,
    count: int,
    width: int,
    size: int,
    *,
    before: int = 0,
    behind: int = 0,
    product: Any = None,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """`count` rows (M, K) in the middle of others times (K, N), of the second of two steps.

    Returns:
        All that was written for the second of two parts, what should be in it, and the first part.
    """
    dtype, generator = type_of(kind), torch.Generator().manual_seed(count + width + size)
    batch = before + count + behind
    a = torch.randn(2, batch, size, generator=generator).to(dtype)
    matrix = torch.randn(width, size, generator=generator).to(dtype)
    depth = processor.padded_depth(size, kind)
    # Behind the last row there is room for a group of rows; what is in it does not matter.
    room = torch.full((2 * batch * depth + processor.ROW_GROUP * depth,), math.nan, dtype=dtype)
    padded = room[: 2 * batch * depth].view(2, batch, depth)
    padded[:] = 0
    padded[:, :, :size] = a
    out = torch.full((2, processor.padded_rows(count), processor.padded_columns(width)), UNTOUCHED)
    init = np.zeros((1, 1, processor.padded_columns(width)), np.float32)
    init[0, 0, :width] = np.arange(width)  # what every row's sums start from
    rows = (1, before, before + count)
    panels = packed(kind, matrix)
    if kind == "tiles":
        _with_tiles(processor.tiles_config(2), bits(padded), *rows, panels, init, out.numpy(), 1)
    else:
        product = (
            product or {"float32": matmul.multiply_float32, "dots": matmul.multiply_dots}[kind]
        )
        product(bits(padded), *rows, panels, init, out.numpy(), 1)
    wanted = a[1, before : before + count].double().numpy() @ matrix.double().numpy().T
    wanted += np.arange(width)
    return out[1].numpy(), wanted, out[0].numpy()


def check(kind: str, count: int, width: int, size: int, **more: Any) -> None:
    found, wanted, other = multiply(kind, count, width, size, **more)
    # operands are the same on both sides: only float32 sums differ
    np.testing.assert_allclose(found[:count, :width], wanted, rtol=1e-6, atol=1e-5 * size**0.5)
    assert (found[:count, width:] == 0).all()  # columns of padding
    assert (other == UNTOUCHED).all()
    if kind != "tiles":  # which write rows in groups of 16
        assert (found[count:] == UNTOUCHED).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 5, 12, 16, 17, 32, 33, 49])
@pytest.mark.parametrize(("width", "size"), [(1, 1), (7, 3), (33, 31), (32, 64), (65, 97)])
def test_products_equal_numpy(kind: str, count: int, width: int, size: int) -> None:
    check(kind, count, width, size)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("before", "behind"), [(3, 0), (0, 2), (17, 40)])
@pytest.mark.parametrize("count", [1, 16, 17, 33])
def test_only_the_given_rows_are_computed(kind: str, count: int, before: int, behind: int) -> None:
    check(kind, count, 35, 19, before=before, behind=behind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 16, 33])
def test_a_product_can_be_added_to_the_output(kind: str, count: int) -> None:
    dtype = type_of(kind)
    a = torch.ones(1, count + processor.ROW_GROUP, processor.padded_depth(3, kind), dtype=dtype)
    panels = packed(kind, torch.full((5, 3), 2.0))
    out = torch.arange(1.0, processor.padded_rows(count) + 1)[None, :, None].repeat(
        1, 1, processor.padded_columns(5)
    )
    rows = (bits(a), 0, 0, count, panels, out.numpy(), out.numpy(), 0)
    if kind == "tiles":
        _with_tiles(processor.tiles_config(1), *rows)
    else:
        {"float32": matmul.multiply_float32, "dots": matmul.multiply_dots}[kind](*rows)
    # row m had m + 1, and three times 1 * 2 is added
    assert out[0, :count, :5].tolist() == [[m + 1 + 6.0] * 5 for m in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_write_nothing(kind: str) -> None:
    found, _, other = multiply(kind, 0, 5, 3, before=2)
    assert found.shape == (0, processor.padded_columns(5))
    assert (other == UNTOUCHED).all()


@pytest.mark.parametrize("kind", KINDS)
def test_not_a_number_stays_in_its_row_and_column(kind: str) -> None:
    dtype = type_of(kind)
    a = torch.zeros(1, 3 + processor.ROW_GROUP, processor.padded_depth(4, kind), dtype=dtype)
    matrix = torch.ones(5, 4, dtype=dtype)
    a[0, 1, 2] = math.nan
    matrix[3] = math.nan
    out = torch.zeros(1, processor.ROW_GROUP, processor.padded_columns(5))
    zero = np.zeros((1, 1, processor.padded_columns(5)), np.float32)
    rows = (bits(a), 0, 0, 3, packed(kind, matrix), zero, out.numpy(), 0)
    if kind == "tiles":
        _with_tiles(processor.tiles_config(1), *rows)
    else:
        {"float32": matmul.multiply_float32, "dots": matmul.multiply_dots}[kind](*rows)
    found = torch.isnan(out[0, :3, :5])
    wanted = torch.zeros(3, 5, dtype=torch.bool)
    wanted[1] = wanted[:, 3] = True
    assert torch.equal(found, wanted)


@pytest.mark.skipif(not X86, reason="other processors' vectors are four floats anyway")
@pytest.mark.parametrize(
    ("kind", "width"),
    [
        ("float32", 4),
        pytest.param("float32", 8, marks=pytest.mark.soak),  # see test_processor for AVX2 itself
        pytest.param(
            "dots", 8, marks=pytest.mark.skipif(not ABLE["dots"], reason="needs AVX512-BF16")
        ),
    ],
)
def test_processors_with_narrower_vectors_and_fewer_registers(
    kind: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if width > processor.WIDTH:
        pytest.skip("this processor's vectors are narrower still")
    for module in (processor, matmul, matmul_blocks):
        monkeypatch.setattr(module, "WIDTH", width)
    monkeypatch.setattr(matmul_blocks, "_FLOATS", ir.VectorType(ir.FloatType(), width))
    monkeypatch.setattr(matmul, "_WINDOW_ROWS", {2: (4, 1), 3: (4, 1)})
    product = matmul._vector_product(dots=kind == "dots")
    for count in (1, 2, 4, 5, 9, 33):
        check(kind, count, 2 * width + 1, 13, before=2, product=product)
    check(kind, 5, 5 * width + 1, 13, before=2, product=product)  # blocks of three panels


@njit
def _load(address: Any) -> None:
    matmul._load_config(address)


@njit
def _store(address: Any) -> None:
    matmul._store_config(address)


@njit
def _open(tiles: Any, part: Any) -> None:
    matmul.open_tiles(tiles, part)


@njit
def _close(tiles: Any, part: Any) -> None:
    matmul.close_tiles(tiles, part)


@pytest.mark.skipif(not ABLE["tiles"], reason="needs tiles")
def test_the_configuration_of_tiles_is_restored() -> None:
    def now() -> list[int]:
        found = np.zeros(processor.TILES_CONFIG, np.uint8)
        _store(found.ctypes.data)
        return found.tolist()

    # palette 1; tile 0 of 3 rows of 12 bytes, as another library might have set it
    theirs = np.zeros(processor.TILES_CONFIG, np.uint8)
    theirs[0], theirs[16], theirs[48] = 1, 12, 3
    tiles, empty = processor.tiles_config(2), np.zeros(processor.TILES_CONFIG, np.uint8)
    for before in (theirs, empty):
        _load(before.ctypes.data)
        try:
            _open(tiles, 1)
            assert now() == processor.tiles_config(1)[0, 0].tolist()
            _close(tiles, 1)
            assert now() == before.tolist()
        finally:
            _load(empty.ctypes.data)
    assert not tiles[0, 1].any()  # the other part's room


def test_tiles_are_sixteen_rows_of_sixty_four_bytes() -> None:
    for config in processor.tiles_config(3):
        assert config[0, 0] == 1
        assert config[0, 16:32].view(np.uint16).tolist() == [64] * 8
        assert config[0, 48:56].tolist() == [16] * 8
        assert config[0].sum() == 1 + 8 * 64 + 8 * 16
        assert not config[1].any()
