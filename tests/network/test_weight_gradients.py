"""Gradients of weights by pairs of rows, against the same products in float64."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from charrnn.compiler import cache, processor, row_products
from charrnn.network import weight_gradients

needs_pairs = pytest.mark.skipif(
    not processor.FEATURES.get("avx512bf16"), reason="needs AVX512-BF16"
)


@pytest.fixture
def two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def case(
    rows: int, width: int, sizes: tuple[int, ...]
) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    """A derivative and operands that are columns of wider matrices, and what is wanted of them."""
    torch.manual_seed(rows + width)
    derivative = torch.randn(rows, width + 3).to(torch.bfloat16)[:, :width]
    operands = [torch.randn(rows, size + 5).to(torch.bfloat16)[:, :size] for size in sizes]
    wanted = [derivative.double().T @ part.double() for part in operands]
    return derivative, operands, [*wanted, derivative.double().sum(0)]


@pytest.mark.parametrize("kind", [pytest.param("dots", marks=needs_pairs), "tiles"])
@pytest.mark.parametrize(
    ("rows", "width", "sizes"),
    [
        (1, 1, (1,)),
        (2, 8, (16,)),
        (37, 13, (5, 7, 33)),
        (64, 24, (96,)),
        (1000, 30, (64, 48)),
        (weight_gradients.ROWS, 16, (32,)),
        (2 * weight_gradients.ROWS + 45, 9, (35,)),  # in three parts, the last one odd
    ],
)
def test_gradients_equal_products_in_float64(
    kind: str, rows: int, width: int, sizes: tuple[int, ...]
) -> None:
    derivative, operands, wanted = case(rows, width, sizes)
    found, bias = weight_gradients.of(kind)(derivative, *operands)
    # torch rounds its products to bfloat16
    near = {"rtol": 1e-5, "atol": 1e-4} if kind == "dots" else {"rtol": 8e-3, "atol": 2.0}
    for a, b in zip([*found, bias], wanted, strict=True):
        assert a.is_contiguous()
        torch.testing.assert_close(a.double(), b, **near)


@needs_pairs
@pytest.mark.usefixtures("two_threads")
def test_the_number_of_threads_changes_no_bit() -> None:
    derivative, operands, _ = case(300, 50, (40, 20))
    found, bias = weight_gradients.of("dots")(derivative, *operands)
    torch.set_num_threads(1)
    again, same_bias = weight_gradients.of("dots")(derivative, *operands)
    assert all(map(torch.equal, [*found, bias], [*again, same_bias]))


@needs_pairs
def test_not_a_number_stays_in_its_row_and_column() -> None:
    derivative, (operand,), _ = case(20, 12, (40,))
    derivative[3, 2] = operand[5, 7] = torch.nan
    (found,), bias = weight_gradients.of("dots")(derivative, operand)
    wanted = torch.zeros(12, 40, dtype=torch.bool)
    wanted[2] = wanted[:, 7] = True
    assert torch.equal(found.isnan(), wanted)
    assert bias.isnan().nonzero().tolist() == [[2]]


def test_groups_are_those_of_the_compiled_code() -> None:
    assert weight_gradients.GROUP == row_products.GROUP
    assert row_products.SPARE == weight_gradients.SPARE


def test_processors_without_pairs_do_not_compile_products_of_them() -> None:
    """What is declared is compiled wherever anything is."""
    assert not [each for each in cache._declared if each.module == row_products.__name__]
