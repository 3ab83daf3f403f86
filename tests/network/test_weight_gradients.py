"""Gradients of weights by pairs of rows, against the same products in float64."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from processors import needs_pairs, needs_tiles

from charrnn.compiler import cache, row_products
from charrnn.network import weight_gradients
from charrnn.network.tokens import Tokens

KINDS = [
    pytest.param("dots", marks=needs_pairs),
    pytest.param("tiles", marks=needs_tiles),
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


def tokens_of(rows: int, size: int = 8) -> Tokens:
    """A token for each row; some of nine have no rows, and the last one has at least one."""
    ids = torch.randint(0, 9, (rows,)) // 2 * 2
    ids[0] = 8
    return Tokens(ids, torch.randn(9, size))


def parts(found: weight_gradients.Gradients) -> list[torch.Tensor]:
    assert found.by_token is not None
    return [*found.weights, found.bias, found.by_token]


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
    found = weight_gradients.of(kind)(derivative, *operands)
    assert found.by_token is None
    for a, b in zip([*found.weights, found.bias], wanted, strict=True):
        # operands are the same on both sides: only float32 sums differ
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("width", "sizes"), [(50, (40, 20)), (20, (32,)), (300, (700, 1000))])
@pytest.mark.usefixtures("two_threads")
def test_the_number_of_threads_changes_no_bit(
    kind: str, width: int, sizes: tuple[int, ...]
) -> None:
    derivative, operands, _ = case(weight_gradients.ROWS[kind] + 301, width, sizes)
    tokens = tokens_of(len(derivative))
    found = weight_gradients.of(kind)(derivative, *operands, tokens=tokens)
    torch.set_num_threads(1)
    again = weight_gradients.of(kind)(derivative, *operands, tokens=tokens)
    assert all(map(torch.equal, parts(found), parts(again)))


@pytest.mark.parametrize("kind", [*KINDS, "float32"])
@pytest.mark.parametrize(
    ("rows", "width", "sizes"),
    [(1, 1, (0,)), (37, 13, (5, 7)), (64, 64, (0, 32)), (1100, 64, (32,)), (2100, 300, (20, 9))],
)
@pytest.mark.parametrize("size", [1, 20, 64])
def test_vectors_of_tokens_behind_the_first_operand(
    kind: str, rows: int, width: int, sizes: tuple[int, ...], size: int
) -> None:
    """They are as if those vectors were in the operand, but are not rounded."""
    derivative, operands, wanted = case(rows, width, sizes)
    tokens = tokens_of(rows, size)
    if kind == "float32":
        derivative, *operands = (part.float() for part in (derivative, *operands))
    found = weight_gradients.of(kind)(derivative, *operands, tokens=tokens)
    by_token = torch.zeros(len(tokens.vectors), width, dtype=torch.float64)
    by_token.index_add_(0, tokens.ids, derivative.double())
    wanted[0] = torch.cat([wanted[0], by_token.T @ tokens.vectors.double()], 1)
    for a, b in zip(parts(found), [*wanted, by_token], strict=True):
        assert a.is_contiguous()
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_not_a_number_stays_in_its_row_and_column(kind: str) -> None:
    derivative, (operand,), _ = case(20, 12, (40,))
    derivative[3, 2] = operand[5, 7] = torch.nan
    tokens = tokens_of(20)
    found = weight_gradients.of(kind)(derivative, operand, tokens=tokens)
    weight, bias, by_token = parts(found)
    wanted = torch.zeros(12, 48, dtype=torch.bool)
    wanted[2] = wanted[:, 7] = True
    assert torch.equal(weight.isnan(), wanted)
    assert bias.isnan().nonzero().tolist() == [[2]]
    assert by_token.isnan().nonzero().tolist() == [[int(tokens.ids[3]), 2]]


def test_processors_without_pairs_do_not_compile_products_of_them() -> None:
    """What is declared is compiled wherever anything is."""
    assert not [each for each in cache._declared if each.module == row_products.__name__]
