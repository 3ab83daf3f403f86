"""Packed weights: the right number in each place, wherever it was before."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from charrnn.compiler import cache, panels, processor
from charrnn.network.panels import packed
from charrnn.network.window_layout import WindowLayout

SHAPES = [(1, 1), (7, 33), (16, 32), (31, 65), (32, 1), (1, 32), (33, 2), (70, 130), (192, 64)]
SHAPES += [(5, 0)]  # a layer that reads tokens alone


@pytest.fixture(params=[1, 3], ids=["one thread", "three threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(1)


def inside(rows: int, columns: int) -> Tensor:
    """A matrix in the middle of a larger one, with what must not be read around it."""
    whole = torch.full((rows + 3, columns + 5), torch.nan)
    whole[2 : 2 + rows, 1 : 1 + columns] = torch.randn(rows, columns)
    return whole[2 : 2 + rows, 1 : 1 + columns]


def unpacked(found: Tensor, rows: int, columns: int) -> Tensor:
    """The matrix of panels; what is around it is zero."""
    count, steps, width = found.shape
    pair = width // processor.WIDTH
    matrix = (
        found.view(count, steps, processor.WIDTH, pair).transpose(1, 2).flatten(2).flatten(0, 1)
    )
    assert matrix.count_nonzero() == matrix[:rows, :columns].count_nonzero()
    return matrix[:rows, :columns]


@pytest.mark.parametrize("kind", ["float32", "dots", "tiles"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("threads")
def test_panels_hold_the_nearest_numbers_of_a_matrix(kind: str, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = inside(*shape)
    apart = inside(2 * shape[0], 2 * shape[1])[::2, ::2]  # neither rows nor columns are contiguous
    given = [matrix, matrix.T, matrix.contiguous(), matrix.contiguous().T, apart]
    dtype = torch.float32 if kind == "float32" else torch.bfloat16
    for part, found in zip(given, packed(kind, *given), strict=True):
        depth = processor.padded_depth(part.shape[1], kind)
        columns = processor.padded_columns(part.shape[0])
        assert (found.dtype, found.is_contiguous()) == (dtype, True)
        assert (found.numel(), len(found)) == (depth * columns, columns // processor.WIDTH)
        assert torch.equal(unpacked(found, *part.shape), part.to(dtype))


def test_packed_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
    # pairs of columns stay together; K = 3 is padded to 4
    first, second = packed("dots", matrix)[0][0].tolist()
    assert (first[:6], second[:6]) == ([1, 2, 4, 5, 7, 8], [3, 0, 6, 0, 9, 0])
    # as of a matrix that lies turned in memory
    first, second = packed("dots", matrix.T)[0][0].tolist()
    assert (first[:6], second[:6]) == ([1, 4, 2, 5, 3, 6], [7, 0, 8, 0, 9, 0])
    # W = 2: panels of two rows of the matrix (N, K), column by column; N = 3 is padded to 4
    monkeypatch.setattr(processor, "WIDTH", 2)
    (found,) = packed("float32", matrix)
    assert found.tolist() == [[[1, 4], [2, 5], [3, 6]], [[7, 0], [8, 0], [9, 0]]]
    (turned,) = packed("float32", torch.arange(8.0).view(2, 4).T)
    assert turned.tolist() == [[[0, 1], [4, 5]], [[2, 3], [6, 7]]]


@pytest.mark.parametrize("kind", ["dots", "tiles"])
def test_numbers_are_rounded_as_torch_does(kind: str) -> None:
    edges = [0.0, -0.0, 1.00390625, 1.01171875, 3.3961e38, -3.4e38, 1.2e-38, torch.inf, -torch.inf]
    sizes = 10.0 ** torch.randint(-30, 30, (64, 32))
    numbers = torch.randn(64, 32) * sizes
    numbers[3, : len(edges)] = torch.tensor(edges)
    for part, found in zip((numbers, numbers.T), packed(kind, numbers, numbers.T), strict=True):
        wanted = part.to(torch.bfloat16).contiguous().view(torch.int16)
        assert torch.equal(unpacked(found, *part.shape).view(torch.int16), wanted)


@pytest.mark.parametrize("kind", ["dots", "tiles"])
def test_not_a_number_stays_in_its_place(kind: str) -> None:
    matrix = torch.randn(40, 50)
    matrix[3, 7] = torch.nan
    for part, found in zip((matrix, matrix.T), packed(kind, matrix, matrix.T), strict=True):
        assert torch.equal(unpacked(found, *part.shape).isnan(), part.isnan())


@pytest.mark.parametrize("backward", [False, True])
def test_transposes_are_packed_where_backward_needs_them(backward: bool) -> None:
    window: Any = SimpleNamespace(kind="float32", inputs=(1,))
    form: dict[str, Any] = {"blocks": (1,), "normalized": (False,), "layer_norm": False}
    form |= {"mask": None, "outputs": None, "hands_on": False}
    layout = WindowLayout(window, states=1, zone=(), backward=backward, **form)
    weight, matrix = torch.randn(5, 3), torch.randn(5, 4)
    found, transposed = layout.panels(weight, [matrix])
    wanted = packed("float32", weight, matrix, matrix.T)
    assert all(map(torch.equal, [found["wx0"], found["w0"], *transposed], wanted))
    assert len(transposed) == int(backward)


def test_where_products_are_in_float32_nothing_of_this_is_compiled() -> None:
    """What is declared is compiled wherever anything is."""
    assert not [each for each in cache.declared() if each.module == panels.__name__]
