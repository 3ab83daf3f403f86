"""An equation run once on symbols instead of numbers: its graph and its derivative.

A cell's arithmetic is plain Python over its arguments. Given `Value`s, it builds a graph of
additions, products and nonlinear functions. A step with several recurrent products has as many
stages: what can be computed before the second product, and so on. From the graph follow the
compiled windows of training (`charrnn.network.fused_codegen`), forward and backward, and the
compiled steps of generation. Equal nodes are shared, so what occurs twice is computed once.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NoReturn

from charrnn.cells import Layer
from charrnn.cells.base import FUNCTIONS as NAMES
from charrnn.cells.base import Cell, Function

Node = tuple[
    Any, ...
]  # operation, then the indices of its arguments (of an input or a constant: a number)
FUNCTIONS = ("sigmoid", "tanh", "relu", "exp")
ARITHMETIC = (
    *("add", "subtract", "multiply", "divide", "negate", "abs", "max"),
    *("positive", "sign", "larger"),  # in derivatives
)
_APPLY: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "negate": operator.neg,
}


class EquationError(TypeError):
    """An equation does what cannot be traced; the message is a sentence."""


@dataclass
class Graph:
    """Operations, each on the results of earlier ones."""

    nodes: list[Node] = field(default_factory=list)
    _index: dict[Node, int] = field(default_factory=dict)

    def value(self, operation: str, *arguments: Any) -> Value:
        """Return the result of an operation; equal operations share one result."""
        node = (operation, *arguments)
        if node not in self._index:
            self._index[node] = len(self.nodes)
            self.nodes.append(node)
        return Value(self, self._index[node])

    def inputs(self, name: str, count: int) -> tuple[Value, ...]:
        """Return `count` inputs of the graph."""
        return tuple(self.value(name, number) for number in range(count))


@dataclass(frozen=True, eq=False)
class Value:
    """One result in a graph; arithmetic on it adds nodes."""

    graph: Graph
    index: int

    @property
    def node(self) -> Node:
        """The operation and its arguments."""
        return self.graph.nodes[self.index]

    def _is(self, number: float) -> bool:
        return bool(self.node == ("constant", number))

    def _lift(self, other: Value | float) -> Value:
        return other if isinstance(other, Value) else self.graph.value("constant", float(other))

    def __add__(self, other: Value | float) -> Value:
        other = self._lift(other)
        if self._is(0.0):
            return other
        if other._is(0.0):
            return self
        return self.graph.value("add", *sorted((self.index, other.index)))

    def __mul__(self, other: Value | float) -> Value:
        other = self._lift(other)
        if self._is(1.0) or other._is(0.0):
            return other
        if other._is(1.0) or self._is(0.0):
            return self
        return self.graph.value("multiply", *sorted((self.index, other.index)))

    def __sub__(self, other: Value | float) -> Value:
        other = self._lift(other)
        return self if other._is(0.0) else self.graph.value("subtract", self.index, other.index)

    def __truediv__(self, other: Value | float) -> Value:
        other = self._lift(other)
        return self if other._is(1.0) else self.graph.value("divide", self.index, other.index)

    def __neg__(self) -> Value:
        return self if self._is(0.0) else self.graph.value("negate", self.index)

    def __abs__(self) -> Value:
        return self.graph.value("abs", self.index)

    def __rsub__(self, other: float) -> Value:
        return self._lift(other) - self

    def __rtruediv__(self, other: float) -> Value:
        return self._lift(other) / self

    __radd__ = __add__
    __rmul__ = __mul__

    def _no_comparison(self, *_: Any) -> NoReturn:
        raise EquationError(
            "an equation cannot compare values, as `if`, `and` and Python's own max do: "
            "name relu, abs, max or min as an argument of equations"
        )

    __bool__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _no_comparison
    __hash__ = object.__hash__

    def _no_number(self, *_: Any, **__: Any) -> NoReturn:
        raise EquationError(
            "an equation cannot call math, numpy or torch: name what it needs as an argument of "
            f"equations, one of {', '.join(NAMES)}"
        )

    __float__ = __int__ = __array__ = __array_ufunc__ = __torch_function__ = _no_number

    def _no_operator(self, *_: Any) -> NoReturn:
        raise EquationError(
            f"an equation has + - * / and the functions {', '.join(NAMES)}: use these alone"
        )

    __pow__ = __rpow__ = __mod__ = __rmod__ = __floordiv__ = __rfloordiv__ = _no_operator
    __matmul__ = __rmatmul__ = __and__ = __or__ = __xor__ = __invert__ = _no_operator
    __getitem__ = __len__ = __iter__ = __call__ = _no_operator


def function(name: str) -> Function:
    """Return one of the functions that equations may ask for, on values."""

    def apply(*arguments: Any) -> Value:
        count = 2 if name in ("max", "min") else 1
        graph = next((each.graph for each in arguments if isinstance(each, Value)), None)
        if len(arguments) != count or graph is None:
            what = "a value" if count == 1 else "two values"
            given = ", ".join("a value" if isinstance(x, Value) else repr(x) for x in arguments)
            raise EquationError(f"{name} takes {what} of the equation, not ({given})")
        if name == "min":
            a, b = arguments
            largest: Value = function("max")(-a, -b)
            return -largest
        lifted = (
            each if isinstance(each, Value) else graph.value("constant", float(each))
            for each in arguments
        )
        indices = [each.index for each in lifted]
        return graph.value(name, *(sorted(indices) if name == "max" else indices))

    return apply


@dataclass(frozen=True)
class Trace:
    """One step of a layer and its derivative.

    Attributes:
        graph: all nodes.
        outputs: the new state.
        operand: the operand of the first product, from the old state; None without products.
        operands: the operand of each product; the first one is that of the NEXT step, computed
            from the outputs.
        dx: derivatives of the loss with respect to the input parts, given those with respect to
            the outputs (``d``) and to the operands (``dm``).
        dr: the same for the recurrent parts, product by product.
        dcarry: the same for the parts of the old state.
        dv: the same for the values of the vectors.
        saved: nodes that the derivative or a later product's stage needs and that are expensive
            to compute again: results of nonlinear functions, and input or recurrent parts.
        later: those among them that later products' stages need.
        stage: for each node, the last product that it depends on (0 if it depends on none).
    """

    graph: Graph
    outputs: tuple[Value, ...]
    operand: Value | None
    operands: tuple[Value, ...]
    dx: tuple[Value, ...]
    dr: tuple[tuple[Value, ...], ...]
    dcarry: tuple[Value, ...]
    dv: tuple[Value, ...]
    saved: tuple[int, ...]
    later: tuple[int, ...]
    stage: tuple[int, ...]


def trace(layer: Layer, zoneout: bool) -> Trace:
    """Trace a step of a layer, with or without zoneout, and differentiate it.

    Raises:
        EquationError: the equation is not what the cell declares, or cannot be traced.
    """
    graph, cell = Graph(), layer.cell
    functions = {name: function(name) for name in NAMES}
    x, v = graph.inputs("x", len(cell.blocks)), graph.inputs("v", layer.vector_values)
    carry = graph.inputs("carry", len(cell.states))
    zone = graph.inputs("zone", len(cell.states) if zoneout else 0)
    recurrent = [graph.inputs(f"r{number}", blocks) for number, blocks in enumerate(layer.products)]
    operands: list[Value] = []

    def product(operand: Value) -> tuple[Value, ...]:
        operands.append(operand)
        return recurrent[(len(operands) - 1) % len(recurrent)] if recurrent else ()

    outputs = layer.step(functions)(x, product, carry, v, zone)
    _check(cell, outputs, operands, len(recurrent))
    operand = None
    if operands:
        operand, operands[0] = operands[0], replay(operands[0], outputs, functions)
    forward = len(graph.nodes)
    stage = _stages(graph)
    seeds = [(output, graph.value("d", number)) for number, output in enumerate(outputs)]
    seeds += [(value, graph.value(f"dm{number}", 0)) for number, value in enumerate(operands)]
    adjoints = _adjoints(graph, seeds)
    zero = graph.value("constant", 0.0)

    def derivatives(inputs: Sequence[Value]) -> tuple[Value, ...]:
        return tuple(adjoints.get(value.index, zero) for value in inputs)

    dx, dcarry, dv = derivatives(x), derivatives(carry), derivatives(v)
    dr = tuple(map(derivatives, recurrent))
    wanted = [*dx, *chain.from_iterable(dr), *dcarry, *dv]
    later = _needed_later(graph, outputs, operands, stage)
    saved = later | _needed(graph, wanted, _costly(graph, forward) | {part.index for part in x})
    return Trace(
        *(graph, tuple(outputs), operand, tuple(operands), dx, dr, dcarry, dv),
        saved=tuple(sorted(saved)),
        later=tuple(sorted(later)),
        stage=(*stage, *[0] * (len(graph.nodes) - forward)),
    )


def _check(cell: Cell, outputs: Any, operands: Sequence[Any], products: int) -> None:
    """Refuse an equation that is not what its cell declares."""
    states = ", ".join(cell.states)
    if not isinstance(outputs, tuple) or len(outputs) != len(cell.states):
        found = f"{len(outputs)} values" if isinstance(outputs, tuple) else "no tuple"
        raise EquationError(
            f"the unit returns {found}: it must return a tuple with the new value of each state "
            f"({states}{',' if len(cell.states) == 1 else ''})"
        )
    for name, output in zip(cell.states, outputs, strict=True):
        if not isinstance(output, Value):
            raise EquationError(
                f"the new value of state {name} is {output!r}: it must follow from x, W or a state"
            )
    if len(operands) != products:
        made = f"the equation of {cell.name} makes {len(operands)} products"
        raise EquationError(f"{made}, but its stages declare {products}")
    if not all(isinstance(operand, Value) for operand in operands):
        raise EquationError("W multiplies a value of each unit: give it one, such as h")
    if operands:
        first = operands[0]
        nodes, left = first.graph.nodes, [first.index]
        while left:
            operation, *arguments = nodes[left.pop()]
            if operation in (*FUNCTIONS, *ARITHMETIC):
                left += arguments
            elif operation not in ("carry", "constant"):
                raise EquationError(
                    f"the first product must be of the old state ({states}) alone, because it is "
                    "computed before the input is known: call W later for other operands"
                )


def replay(value: Value, state: Sequence[Any], functions: Mapping[str, Callable[..., Any]]) -> Any:
    """Compute a value that depends on the old state alone from another state.

    Args:
        value: a node of a traced step.
        state: the parts of the other state: values of a graph, arrays or tensors.
        functions: `charrnn.cells.base.FUNCTIONS` for such parts, by name.
    """
    operation, *arguments = value.node
    if operation == "carry":
        return state[arguments[0]]
    if operation == "constant":
        return arguments[0]
    parts = [replay(Value(value.graph, index), state, functions) for index in arguments]
    return (functions.get(operation) or _APPLY[operation])(*parts)


def _stages(graph: Graph) -> list[int]:
    """Return for each node the last product that it depends on, 0 if on none."""
    stage: list[int] = []
    for operation, *arguments in graph.nodes:
        if operation in (*FUNCTIONS, *ARITHMETIC):
            stage.append(max(stage[index] for index in arguments))
        else:
            stage.append(_product(operation) or 0)
    return stage


def _product(operation: str) -> int | None:
    """Return the number of the product that an input is a part of; None for other nodes."""
    return int(operation[1:]) if operation[0] == "r" and operation[1:].isdecimal() else None


def _adjoints(graph: Graph, seeds: Sequence[tuple[Value, Value]]) -> dict[int, Value]:
    """Return the derivative of the loss by every node, from those by some nodes (reverse mode)."""
    adjoints: dict[int, Value] = {}

    def add(index: int, value: Value) -> None:
        adjoints[index] = adjoints[index] + value if index in adjoints else value

    for value, derivative in seeds:
        add(value.index, derivative)
    for index in range(max(value.index for value, _ in seeds), -1, -1):
        if index in adjoints:
            for argument, factor in _partials(Value(graph, index)):
                add(argument, adjoints[index] * factor)
    return adjoints


def _partials(y: Value) -> list[tuple[int, Value | float]]:
    """Return the derivatives of a node by its arguments."""
    operation, *arguments = y.node
    a, b = (*arguments, None, None)[:2]
    match operation:
        case "add":
            return [(a, 1.0), (b, 1.0)]
        case "subtract":
            return [(a, 1.0), (b, -1.0)]
        case "multiply":
            return [(a, Value(y.graph, b)), (b, Value(y.graph, a))]
        case "divide":
            inverse = 1.0 / Value(y.graph, b)
            return [(a, inverse), (b, -(y * inverse))]
        case "negate":
            return [(a, -1.0)]
        case "exp":
            return [(a, y)]
        case "abs":
            return [(a, y.graph.value("sign", a))]
        case "max":
            return [(a, y.graph.value("larger", a, b)), (b, y.graph.value("larger", b, a))]
        case "sigmoid":
            return [(a, y * (1.0 - y))]
        case "tanh":
            return [(a, 1.0 - y * y)]
        case "relu":
            return [(a, y.graph.value("positive", y.index))]
    return []  # an input or a constant


def _costly(graph: Graph, count: int) -> set[int]:
    """Return those of the first `count` nodes that are expensive to compute again."""
    return {
        index
        for index, (operation, *_) in enumerate(graph.nodes[:count])
        if operation in FUNCTIONS or _product(operation) is not None
    }


def _needed_later(
    graph: Graph, outputs: Sequence[Value], operands: Sequence[Value], stage: Sequence[int]
) -> set[int]:
    """Return the expensive nodes that a stage reads although an earlier stage computes them."""
    costly, needed = _costly(graph, len(stage)), set[int]()
    for number in range(1, len(operands)):
        wanted = [*operands[number + 1 :], operands[0], *outputs]
        needed |= _needed(graph, wanted, {index for index in costly if stage[index] < number})
    return needed


def _needed(graph: Graph, wanted: Sequence[Value], available: Set[int]) -> set[int]:
    """Return the nodes among `available` from which `wanted` can be computed."""
    needed: set[int] = set()
    seen: set[int] = set()
    left = [value.index for value in wanted]
    while left:
        index = left.pop()
        if index in seen:
            continue
        seen.add(index)
        operation, *arguments = graph.nodes[index]
        if index in available:
            needed.add(index)
        elif operation in (*FUNCTIONS, *ARITHMETIC):
            left += arguments
    return needed
