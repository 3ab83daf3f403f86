"""Gradients of weights by pairs of rows, against the same products in float64."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from charrnn.compiler import cache, processor, row_products
from charrnn.network import weight_gradients

TILES = processor.product_kind(True) == "tiles"
KINDS = [
    pytest.param(
        "dots",
        marks=pytest.mark.skipif(
            not processor.FEATURES.get("avx512bf16"), reason="needs AVX512-BF16"
        ),
    ),
    pytest.param("tiles", marks=pytest.mark.skipif(not TILES, reason="needs AMX")),
]


@pytest.fixture
def two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def inside(rows: int, columns: int) -> torch.Tensor:
    """A matrix in the corner of a larger one, with what must not be read around it."""
    whole = torch.full((rows + 3, columns + 5), torch.nan).to(torch.bfloat16)
    whole[:rows, :columns] = torch.randn(rows, columns)
    return whole[:rows, :columns]


def case(
    rows: int, width: int, sizes: tuple[int, ...]
) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    """A derivative and operands, and what is wanted of them."""
    torch.manual_seed(rows + width)
    derivative, *operands = (inside(rows, columns) for columns in (width, *sizes))
    wanted = [derivative.double().T @ part.double() for part in operands]
    return derivative, operands, [*wanted, derivative.double().sum(0)]


@pytest.mark.parametrize("kind", [*KINDS, "float32"])
@pytest.mark.parametrize(
    ("rows", "width", "sizes"),
    [
        (1, 1, (1,)),
        (2, 8, (16,)),
        (31, 16, ()),
        (37, 13, (5, 7, 33)),
        (40, 300, (1000,)),  # more sums than a part goes through at once
        (64, 24, (96,)),
        (64, 64, (32,)),
        (1000, 30, (64, 48)),
        (weight_gradients.ROWS["tiles"], 33, (17,)),
        (weight_gradients.ROWS["dots"], 16, (32,)),
        (2 * weight_gradients.ROWS["tiles"] + 45, 35, (9,)),  # in three parts, the last one odd
        (2 * weight_gradients.ROWS["dots"] + 45, 9, (35,)),
    ],
)
def test_gradients_equal_products_in_float64(
    kind: str, rows: int, width: int, sizes: tuple[int, ...]
) -> None:
    derivative, operands, wanted = case(rows, width, sizes)
    if kind == "float32":
        derivative, *operands = (part.float() for part in (derivative, *operands))
    found, bias = weight_gradients.of(kind)(derivative, *operands)
    for a, b in zip([*found, bias], wanted, strict=True):
        # operands are the same on both sides: only float32 sums differ
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("width", "sizes"), [(50, (40, 20)), (20, (32,)), (300, (700, 1000))])
@pytest.mark.usefixtures("two_threads")
def test_the_number_of_threads_changes_no_bit(
    kind: str, width: int, sizes: tuple[int, ...]
) -> None:
    derivative, operands, _ = case(weight_gradients.ROWS[kind] + 301, width, sizes)
    found, bias = weight_gradients.of(kind)(derivative, *operands)
    torch.set_num_threads(1)
    again, same_bias = weight_gradients.of(kind)(derivative, *operands)
    assert all(map(torch.equal, [*found, bias], [*again, same_bias]))


@pytest.mark.parametrize("kind", KINDS)
def test_not_a_number_stays_in_its_row_and_column(kind: str) -> None:
    derivative, (operand,), _ = case(20, 12, (40,))
    derivative[3, 2] = operand[5, 7] = torch.nan
    (found,), bias = weight_gradients.of(kind)(derivative, operand)
    assert found.is_contiguous()
    wanted = torch.zeros(12, 40, dtype=torch.bool)
    wanted[2] = wanted[:, 7] = True
    assert torch.equal(found.isnan(), wanted)
    assert bias.isnan().nonzero().tolist() == [[2]]


def test_numbers_are_those_of_the_compiled_code() -> None:
    assert weight_gradients.GROUP == row_products.GROUP
    assert weight_gradients.PAIRED == row_products.PAIRED
    assert weight_gradients.SPARE == row_products.SPARE


def test_processors_without_pairs_do_not_compile_products_of_them() -> None:
    """What is declared is compiled wherever anything is."""
    assert not [each for each in cache._declared if each.module == row_products.__name__]
