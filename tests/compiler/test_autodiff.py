"""The derivative that follows from an equation, against torch's of the same arithmetic."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from own_cells import OWN
from torch import Tensor

from charrnn.cells import CELLS, Layer, find
from charrnn.compiler.autodiff import EquationError, Graph, Trace, Value, function, replay, trace
from charrnn.network.functions import FUNCTIONS

# recurrent depth, layer normalisation, zoneout
FORMS = {
    "plain": (1, False, False),
    "deep": (3, False, False),
    "normalised": (1, True, False),
    "zoned": (1, False, True),
    "all": (2, True, True),
}


def evaluate(traced: Trace, given: dict[str, list[Tensor]], wanted: tuple[Value, ...]) -> list[Any]:
    """The values of graph nodes, by walking through the graph with torch's own functions."""
    binary = {"add": torch.add, "subtract": torch.sub, "multiply": torch.mul}
    binary |= {"divide": torch.div, "max": torch.maximum, "larger": larger}
    unary = {
        "negate": torch.neg,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "exp": torch.exp,
        "abs": torch.abs,
        "sign": torch.sign,
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


def larger(a: Tensor, b: Tensor) -> Tensor:
    return (a > b).double() + (a == b) / 2


def operations(traced: Trace, indices: tuple[int, ...]) -> list[str]:
    return sorted(traced.graph.nodes[index][0] for index in indices)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [*CELLS, *OWN])
def test_derivative_equals_autograd(name: str, form: str) -> None:
    depth, layer_norm, zoneout = FORMS[form]
    layer = Layer(find(name), depth, layer_norm)
    blocks, states, counts = len(layer.cell.blocks), len(layer.cell.states), layer.products
    generator = torch.Generator().manual_seed(1)

    def random(count: int) -> list[Tensor]:
        shape = (7,)
        return [
            torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
            for _ in range(count)
        ]

    x, state, v = random(blocks), random(states), random(layer.vector_values)
    recurrent = [random(count) for count in counts]
    zone = [part.detach().sigmoid() for part in random(states if zoneout else 0)]
    d, dm = random(states), [random(1) for _ in counts]
    operands: list[Tensor] = []

    def product(operand: Tensor) -> tuple[Tensor, ...]:
        operands.append(operand)
        return tuple(recurrent[len(operands) - 1])

    after = layer.step(FUNCTIONS)(tuple(x), product, tuple(state), tuple(v), tuple(zone))
    # The first operand that counts is that of the next step.
    if operands:
        operands[0] = torch.tanh(after[0]) if name == "preactivation" else after[0]
    flat = [part for parts in recurrent for part in parts]
    seeds = [*d, *(part for parts in dm for part in parts)]
    wanted = torch.autograd.grad(
        [*after, *operands], [*x, *flat, *state, *v], seeds, allow_unused=True
    )

    traced = trace(layer, zoneout)
    given = {"x": x, "carry": state, "v": v, "zone": zone, "d": d}
    given |= {f"r{number}": parts for number, parts in enumerate(recurrent)}
    given |= {f"dm{number}": parts for number, parts in enumerate(dm)}
    dr = (value for values in traced.dr for value in values)
    derivatives = (*traced.dx, *dr, *traced.dcarry, *traced.dv)
    found = evaluate(traced, given, (*traced.outputs, *traced.operands, *derivatives))
    for value, expected in zip(found, [*after, *operands, *wanted], strict=True):
        expected = torch.zeros(7, dtype=torch.float64) if expected is None else expected
        torch.testing.assert_close(value.expand(7), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_the_first_operand_is_known_from_the_state_alone(name: str) -> None:
    traced = trace(Layer(CELLS[name]), zoneout=False)
    functions = {"sigmoid": sigmoid, "tanh": math.tanh, "relu": abs}
    assert traced.operand is not None
    operand = replay(traced.operand, (0.5, 7.0)[: len(CELLS[name].states)], functions)
    assert operand == (math.tanh(0.5) if name == "preactivation" else 0.5)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("made", [0, 2])
def test_an_equation_makes_as_many_products_as_its_cell_declares(made: int) -> None:
    def equations(sigmoid: Any, tanh: Any, relu: Any) -> Any:
        def unit(x: Any, product: Any, state: Any) -> Any:
            return (x[0] + sum(product(state[0])[0] for _ in range(made)),)

        return unit

    cell = dataclasses.replace(CELLS["elman"], name="mine", equations=equations)
    with pytest.raises(TypeError, match=f"mine makes {made} products, but its stages declare 1"):
        trace(Layer(cell), zoneout=False)


def test_lstm_saves_its_four_gates_and_the_squashed_state_and_nothing_else() -> None:
    traced = trace(Layer(CELLS["lstm"]), zoneout=False)
    assert operations(traced, traced.saved) == ["sigmoid"] * 3 + ["tanh"] * 2


def test_gru_saves_its_three_gates_and_nothing_else() -> None:
    traced = trace(Layer(CELLS["gru"]), zoneout=False)
    assert operations(traced, traced.saved) == ["sigmoid"] * 2 + ["tanh"]


def test_the_factor_of_a_reset_gate_is_saved() -> None:
    # n = tanh(x + r * h_n): the derivative by r is h_n, a part of the product
    traced = trace(Layer(CELLS["gru-reset-after"]), zoneout=False)
    assert operations(traced, traced.saved) == ["r0", "sigmoid", "sigmoid", "tanh"]


def test_preactivation_saves_its_operand() -> None:
    # backward from c: the old state's share passes through tanh(c), of which this is the result
    traced = trace(Layer(CELLS["preactivation"]), zoneout=False)
    assert operations(traced, traced.saved) == ["tanh"]
    assert traced.saved == (traced.operands[0].index,)


def test_values_for_a_later_product_are_saved_even_if_the_derivative_needs_none() -> None:
    # h = a + b + ...: b comes from the second product, and a must not be forgotten until then
    def equations(sigmoid: Any, tanh: Any, relu: Any) -> Any:
        def unit(x: Any, product: Any, state: Any) -> Any:
            (h,) = state
            (a,) = product(h)
            (b,) = product(h)
            return (a + b + x[0] + x[1],)

        return unit

    cell = dataclasses.replace(CELLS["elman"], stages=(("a",), ("b",)), equations=equations)
    traced = trace(Layer(cell), zoneout=False)
    assert operations(traced, traced.saved) == ["r0"]


def test_every_node_belongs_to_the_last_product_before_it() -> None:
    traced = trace(Layer(CELLS["gru"]), zoneout=False)
    nodes = traced.graph.nodes
    stages: dict[str, set[int]] = {}
    for (operation, *_), stage in zip(nodes, traced.stage, strict=True):
        stages.setdefault(operation, set()).add(stage)
    assert stages["r0"] == {0}
    assert stages["r1"] == {1}
    assert stages["sigmoid"] == {0}
    assert stages["tanh"] == {1}
    assert traced.stage[traced.operands[1].index] == 0  # r * h is there before the second product
    assert traced.stage[traced.outputs[0].index] == 1


def test_inputs_that_go_straight_into_the_derivative_are_saved() -> None:
    # h = x * r: the derivative by r is x
    def equations(sigmoid: Any, tanh: Any, relu: Any) -> Any:
        return lambda x, product, state: (x[0] * product(state[0])[0],)

    traced = trace(Layer(dataclasses.replace(CELLS["elman"], equations=equations)), zoneout=False)
    assert operations(traced, traced.saved) == ["r0", "x"]


def test_equal_operations_share_one_node() -> None:
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
    assert (a * 0 + a).index == a.index
    assert (a * 1).index == a.index
    assert (1 * a).index == a.index
    assert (a - 0).index == a.index
    assert (a * 0).node == ("constant", 0.0)
    assert (-(a * 0)).node == ("constant", 0.0)


def test_a_value_used_several_times_gets_all_its_derivatives() -> None:
    # y = x - -x (x + r)  ->  dy/dx = 2x + r + 1, dy/dr = x; at x = 3, r = 5: 12 and 3
    # the next step's operand is y: its derivative counts as well, 1 + 1 times
    def equations(sigmoid: Any, tanh: Any, relu: Any) -> Any:
        def unit(x: Any, product: Any, state: Any) -> Any:
            (r,) = product(state[0])
            return (x[0] - -x[0] * (x[0] + r),)

        return unit

    traced = trace(Layer(dataclasses.replace(CELLS["elman"], equations=equations)), zoneout=False)
    numbers = {"x": 3.0, "r0": 5.0, "carry": 0.0, "d": 1.0, "dm0": 1.0}
    given = {name: [torch.tensor(v, dtype=torch.float64)] for name, v in numbers.items()}
    dx, dr, dcarry = evaluate(traced, given, (*traced.dx, *traced.dr[0], *traced.dcarry))
    assert (float(dx), float(dr), float(dcarry)) == (2 * 12.0, 2 * 3.0, 0.0)


@pytest.mark.parametrize(
    ("name", "given", "wanted"),
    [
        ("max", (2.0, 1.0), (1.0, 0.0)),
        ("max", (1.0, 2.0), (0.0, 1.0)),
        ("max", (2.0, 2.0), (0.5, 0.5)),
        ("min", (2.0, 1.0), (0.0, 1.0)),
        ("min", (1.0, 1.0), (0.5, 0.5)),
        ("abs", (3.0,), (1.0,)),
        ("abs", (-3.0,), (-1.0,)),
        ("abs", (0.0,), (0.0,)),
        ("exp", (0.0,), (1.0,)),
        ("relu", (0.0,), (0.0,)),
        ("divide", (6.0, 2.0), (0.5, -1.5)),
    ],
)
def test_derivatives_where_they_are_a_choice_are_those_of_torch(
    name: str, given: tuple[float, ...], wanted: tuple[float, ...]
) -> None:
    def apply(a: Any, b: Any = None) -> Any:
        return a / b

    def equations(sigmoid: Any, tanh: Any, relu: Any) -> Any:
        def unit(x: Any, product: Any, state: Any) -> Any:
            made = apply if name == "divide" else function(name)
            return (made(*x[: len(given)]) + product(state[0])[0],)

        return unit

    cell = dataclasses.replace(CELLS["elman"], input_blocks=("a",), equations=equations)
    traced = trace(Layer(cell), zoneout=False)
    x = [torch.tensor(each, dtype=torch.float64, requires_grad=True) for each in given]
    x += [torch.zeros((), dtype=torch.float64)] * (2 - len(x))
    numbers = {"r0": 0.0, "carry": 0.0, "d": 1.0, "dm0": 0.0}
    known = {key: [torch.tensor(value, dtype=torch.float64)] for key, value in numbers.items()}
    found = evaluate(traced, {"x": x, **known}, traced.dx)
    assert tuple(float(each.detach()) for each in found)[: len(given)] == wanted
    theirs = (apply if name == "divide" else FUNCTIONS[name])(*x[: len(given)])
    assert tuple(map(float, torch.autograd.grad(theirs, x[: len(given)]))) == wanted


@pytest.mark.parametrize(
    ("use", "sentence"),
    [
        (lambda h: h if h > 0 else -h, "cannot compare"),
        (lambda h: h and h, "cannot compare"),
        (lambda h: h if h == 0 else -h, "cannot compare"),
        (lambda h: max(h, 0), "cannot compare"),
        (math.exp, "cannot call math"),
        (np.tanh, "cannot call math"),
        (torch.tanh, "cannot call math"),
        (lambda h: h**2, "use these alone"),
        (lambda h: h[0], "use these alone"),
        (lambda h: function("max")(h), r"max takes two values of the equation, not \(a value\)"),
        (lambda h: function("tanh")(0.5), r"tanh takes a value of the equation, not \(0.5\)"),
    ],
)
def test_what_cannot_be_traced_is_a_sentence(use: Any, sentence: str) -> None:
    (h,) = Graph().inputs("carry", 1)
    with pytest.raises(EquationError, match=sentence):
        use(h)


@pytest.mark.parametrize(
    ("unit", "sentence"),
    [
        (lambda x, w, state: (w(state[0])[0], state[0]), "returns 2 values"),
        (lambda x, w, state: w(state[0])[0], "returns no tuple"),
        (lambda x, w, state: (w(state[0])[0] and 1.0,), "cannot compare"),
        (lambda x, w, state: (w(state[0]) and 1.0,), r"state h is 1.0"),
        (lambda x, w, state: w(x[0]), "must be of the old state"),
        (lambda x, w, state: w(1.0), "multiplies a value of each unit"),
    ],
)
def test_an_equation_does_what_its_cell_declares(unit: Any, sentence: str) -> None:
    def equations() -> Any:
        return unit

    with pytest.raises(EquationError, match=sentence):
        trace(Layer(dataclasses.replace(CELLS["elman"], equations=equations)), zoneout=False)
