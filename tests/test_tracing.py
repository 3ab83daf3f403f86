"""The derivative that follows from an equation, against torch's of the same arithmetic."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from charrnn.cells import CELLS
from charrnn.kernels.tracing import Graph, Trace, Value, function, trace


def evaluate(traced: Trace, given: dict[str, list[Tensor]], wanted: tuple[Value, ...]) -> list[Any]:
    """The values of graph nodes, by walking through the graph with torch's own functions."""
    binary = {"add": torch.add, "subtract": torch.sub, "multiply": torch.mul}
    unary = {
        "negate": torch.neg,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "positive": lambda y: (y > 0).to(y.dtype),
    }
    values: list[Any] = []
    for operation, *arguments in traced.graph.nodes:
        if operation in given:
            values.append(given[operation][arguments[0]])
        elif operation == "constant":
            values.append(torch.tensor(arguments[0], dtype=torch.float64))
        elif operation in binary:
            values.append(binary[operation](*(values[index] for index in arguments)))
        else:
            values.append(unary[operation](values[arguments[0]]))
    return [values[value.index] for value in wanted]


@pytest.mark.parametrize("name", CELLS)
def test_derivative_equals_autograd(name: str) -> None:
    cell = CELLS[name]
    blocks, states = len(cell.blocks), len(cell.states)
    generator = torch.Generator().manual_seed(1)

    def random(count: int) -> list[Tensor]:
        shape = (7,)
        return [
            torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
            for _ in range(count)
        ]

    x, r, state, d = random(blocks), random(blocks), random(states), random(states)
    after = cell.equations(torch.sigmoid, torch.tanh, torch.relu)(tuple(x), tuple(r), tuple(state))
    expected = torch.autograd.grad(after, [*x, *r, *state], d, allow_unused=True)

    unit = cell.equations(function("sigmoid"), function("tanh"), function("relu"))
    traced = trace(unit, blocks, states)
    given = {"x": x, "r": r, "carry": state, "d": d}
    found = evaluate(traced, given, (*traced.outputs, *traced.dx, *traced.dr, *traced.dcarry))
    for value, wanted in zip(found, [*after, *expected], strict=True):
        wanted = torch.zeros(7, dtype=torch.float64) if wanted is None else wanted
        torch.testing.assert_close(value.expand(7), wanted, rtol=1e-12, atol=1e-12)


def test_lstm_saves_its_four_gates_and_the_squashed_state_and_nothing_else() -> None:
    cell = CELLS["lstm"]
    traced = trace(cell.equations(function("sigmoid"), function("tanh"), function("relu")), 4, 2)
    saved = [traced.graph.nodes[index][0] for index in traced.saved]
    assert sorted(saved) == ["sigmoid"] * 3 + ["tanh"] * 2


def test_what_occurs_twice_is_one_node() -> None:
    graph = Graph()
    a, b = graph.inputs("x", 2)
    assert (a + b).index == (b + a).index
    assert (a * b).index == (b * a).index
    assert (a - b).index != (b - a).index


def test_zero_and_one_leave_no_nodes() -> None:
    graph = Graph()
    (a,) = graph.inputs("x", 1)
    assert (a + 0).index == a.index
    assert (0 + a).index == a.index
    assert (a * 1).index == a.index
    assert (a - 0).index == a.index
    assert (a * 0).node == ("constant", 0.0)
    assert (-(a * 0)).node == ("constant", 0.0)


def test_a_value_used_several_times_gets_all_its_derivatives() -> None:
    # y = x (x + r) + x  ->  dy/dx = 2x + r + 1, dy/dr = x; at x = 3, r = 5: 12 and 3
    def unit(x: Any, r: Any, state: Any) -> Any:
        return (x[0] * (x[0] + r[0]) + x[0],)

    traced = trace(unit, 1, 1)
    numbers = {"x": 3.0, "r": 5.0, "carry": 0.0, "d": 1.0}
    given = {name: [torch.tensor(v, dtype=torch.float64)] for name, v in numbers.items()}
    dx, dr, dcarry = evaluate(traced, given, (*traced.dx, *traced.dr, *traced.dcarry))
    assert (float(dx), float(dr), float(dcarry)) == (12.0, 3.0, 0.0)
