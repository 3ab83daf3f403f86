"""An equation run once on symbols instead of numbers: its graph, and its derivative.

The cells write their arithmetic as plain Python over whatever is handed in. Handed `Value`s, it
leaves a graph of additions, products and nonlinear functions behind. A step with several recurrent
products falls into as many stages: what can be computed before the second product, and so on. From
the graph follow the compiled rows of training (`charrnn.network.fused_codegen`): forward, and
backward, which nobody has to write. Nodes are shared: what occurs twice is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from charrnn.cells import Cell

Node = tuple[Any, ...]  # operation, then indices of its arguments (or a number, for what is given)
FUNCTIONS = ("sigmoid", "tanh", "relu")
ARITHMETIC = ("add", "subtract", "multiply", "negate", "positive")


@dataclass
class Graph:
    """Operations in the order they were made, each on earlier ones."""

    nodes: list[Node] = field(default_factory=list)
    _index: dict[Node, int] = field(default_factory=dict)

    def value(self, operation: str, *arguments: Any) -> Value:
        """The result of an operation; the same one if it was asked for before."""
        node = (operation, *arguments)
        if node not in self._index:
            self._index[node] = len(self.nodes)
            self.nodes.append(node)
        return Value(self, self._index[node])

    def inputs(self, name: str, count: int) -> tuple[Value, ...]:
        """`count` values that are given from outside."""
        return tuple(self.value(name, number) for number in range(count))


@dataclass(frozen=True)
class Value:
    """One result in a graph; arithmetic on it makes further ones."""

    graph: Graph
    index: int

    @property
    def node(self) -> Node:
        """What it is the result of."""
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

    def __neg__(self) -> Value:
        return self if self._is(0.0) else self.graph.value("negate", self.index)

    def __rsub__(self, other: float) -> Value:
        return self._lift(other) - self

    __radd__ = __add__
    __rmul__ = __mul__


def function(name: str) -> Callable[[Value], Value]:
    """A nonlinear function on values."""
    return lambda x: x.graph.value(name, x.index)


@dataclass(frozen=True)
class Trace:
    """One step of a cell and its derivative.

    Attributes:
        graph: all nodes.
        outputs: the new state.
        operand: what meets the first product, from the old state.
        operands: what meets each product; the first one's is that of the NEXT step, which follows
            from the outputs.
        dx: derivative of the loss by each input part, given those by the outputs (``d``) and by
            the operands (``dm``).
        dr: by each recurrent part, product by product.
        dcarry: by each part of the old state.
        dv: by each vector's value.
        saved: nodes that the derivative or a later product's stage needs and that cannot be had
            cheaply again: results of nonlinear functions, and input or recurrent parts.
        later: those among them that later products' stages need.
        stage: for each node, the last product that it depends on (0 where on none).
    """

    graph: Graph
    outputs: tuple[Value, ...]
    operand: Value
    operands: tuple[Value, ...]
    dx: tuple[Value, ...]
    dr: tuple[tuple[Value, ...], ...]
    dcarry: tuple[Value, ...]
    dv: tuple[Value, ...]
    saved: tuple[int, ...]
    later: tuple[int, ...]
    stage: tuple[int, ...]


def trace(cell: Cell, products: Sequence[int], vectors: int, zoneout: bool) -> Trace:
    """Trace a step of a cell, and differentiate it.

    Args:
        cell: the recurrence.
        products: how many blocks each product gives, inner ones included.
        vectors: how many values of vectors the step gets.
        zoneout: whether parts of the old state stay.
    """
    graph = Graph()
    functions = [function(name) for name in FUNCTIONS]
    x, v = graph.inputs("x", len(cell.blocks)), graph.inputs("v", vectors)
    carry = graph.inputs("carry", len(cell.states))
    zone = graph.inputs("zone", len(cell.states) if zoneout else 0)
    recurrent = [graph.inputs(f"r{number}", blocks) for number, blocks in enumerate(products)]
    operands: list[Value] = []

    def product(operand: Value) -> tuple[Value, ...]:
        operands.append(operand)
        return recurrent[len(operands) - 1]

    outputs = tuple(cell.step(*functions)(x, product, carry, v, zone))
    operand, operands[0] = operands[0], cell.first_operand(*functions)(outputs)
    forward = len(graph.nodes)
    stage = _stages(graph)
    seeds = [(output, graph.value("d", number)) for number, output in enumerate(outputs)]
    seeds += [(value, graph.value(f"dm{number}", 0)) for number, value in enumerate(operands)]
    adjoints = _adjoints(graph, seeds)
    zero = graph.value("constant", 0.0)

    def by(group: Sequence[Value]) -> tuple[Value, ...]:
        return tuple(adjoints.get(given.index, zero) for given in group)

    dx, dr, dcarry, dv = by(x), tuple(map(by, recurrent)), by(carry), by(v)
    wanted = [*dx, *(value for group in dr for value in group), *dcarry, *dv]
    kept = {
        index
        for index, (operation, *_) in enumerate(graph.nodes[:forward])
        if operation in FUNCTIONS or _product(operation) is not None
    }
    saved = _needed(graph, wanted, kept | {given.index for given in x})
    later: set[int] = set()
    for number in range(1, len(products)):  # what a stage needs of those before it
        made = [*operands[number + 1 :], operands[0], *outputs]
        later |= _needed(graph, made, {index for index in kept if stage[index] < number})
    stage += [0] * (len(graph.nodes) - forward)
    return Trace(
        graph,
        outputs,
        operand,
        tuple(operands),
        dx,
        dr,
        dcarry,
        dv,
        tuple(sorted(saved | later)),
        tuple(sorted(later)),
        tuple(stage),
    )


def _stages(graph: Graph) -> list[int]:
    """For each node, the last product that it depends on."""
    stage: list[int] = []
    for operation, *arguments in graph.nodes:
        if operation in (*FUNCTIONS, *ARITHMETIC):
            stage.append(max(stage[index] for index in arguments))
        else:
            stage.append(_product(operation) or 0)
    return stage


def _product(operation: str) -> int | None:
    """The number of the product that a given node is a part of; None for other nodes."""
    return int(operation[1:]) if operation[0] == "r" and operation[1:].isdecimal() else None


def _adjoints(graph: Graph, seeds: Sequence[tuple[Value, Value]]) -> dict[int, Value]:
    """The loss's derivative by every node, given that by some of them (reverse mode)."""
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
    """The derivatives of a node by its arguments."""
    operation, *arguments = y.node
    a, b = (*arguments, None, None)[:2]
    match operation:
        case "add":
            return [(a, 1.0), (b, 1.0)]
        case "subtract":
            return [(a, 1.0), (b, -1.0)]
        case "multiply":
            return [(a, Value(y.graph, b)), (b, Value(y.graph, a))]
        case "negate":
            return [(a, -1.0)]
        case "sigmoid":
            return [(a, y * (1.0 - y))]
        case "tanh":
            return [(a, 1.0 - y * y)]
        case "relu":
            return [(a, y.graph.value("positive", y.index))]
    return []  # given from outside, or a constant


def _needed(graph: Graph, wanted: Sequence[Value], kept: Set[int]) -> set[int]:
    """The nodes among `kept` from which `wanted` can be computed."""
    needed: set[int] = set()
    seen: set[int] = set()
    left = [value.index for value in wanted]
    while left:
        index = left.pop()
        if index in seen:
            continue
        seen.add(index)
        operation, *arguments = graph.nodes[index]
        if index in kept:
            needed.add(index)
        elif operation in (*FUNCTIONS, *ARITHMETIC):
            left += arguments
    return needed
