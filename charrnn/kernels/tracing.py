"""An equation run once on symbols instead of numbers: its graph, and its derivative.

The cells write their arithmetic as plain Python over whatever is handed in. Handed `Value`s, it
leaves a graph of additions, products and nonlinear functions behind. From the graph follow the
compiled rows of the training kernels (`charrnn.kernels.rows`): forward, and backward, which nobody
has to write. Nodes are shared: what occurs twice is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from charrnn.cells.base import Unit

Node = tuple[Any, ...]  # operation, then indices of its arguments (or a number, for what is given)
FUNCTIONS = ("sigmoid", "tanh", "relu")


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
    """One unit of a stage and its derivative.

    Attributes:
        graph: all nodes; the first `forward` of them are the unit itself.
        forward: how many.
        outputs: the new carry.
        dx: derivative of the loss by each input part, given those by the outputs (``d``).
        dr: by each recurrent part.
        dcarry: by each part of the old carry.
        saved: nodes of the unit that the derivative needs and that cannot be had cheaply again:
            results of nonlinear functions, and input or recurrent parts.
    """

    graph: Graph
    forward: int
    outputs: tuple[Value, ...]
    dx: tuple[Value, ...]
    dr: tuple[Value, ...]
    dcarry: tuple[Value, ...]
    saved: tuple[int, ...]


def trace(unit: Unit, blocks: int, carried: int) -> Trace:
    """Trace a unit with so many blocks and parts of the carry, and differentiate it."""
    graph = Graph()
    x, r = graph.inputs("x", blocks), graph.inputs("r", blocks)
    carry = graph.inputs("carry", carried)
    outputs = tuple(unit(x, r, carry))
    forward = len(graph.nodes)
    adjoints = _adjoints(graph, outputs)
    zero = graph.value("constant", 0.0)
    dx, dr, dcarry = (
        tuple(adjoints.get(given.index, zero) for given in group) for group in (x, r, carry)
    )
    saved = _needed(graph, forward, [*dx, *dr, *dcarry])
    return Trace(graph, forward, outputs, dx, dr, dcarry, saved)


def _adjoints(graph: Graph, outputs: Sequence[Value]) -> dict[int, Value]:
    """The loss's derivative by every node that the outputs depend on (reverse mode)."""
    adjoints: dict[int, Value] = {}

    def add(index: int, value: Value) -> None:
        adjoints[index] = adjoints[index] + value if index in adjoints else value

    for number, output in enumerate(outputs):
        add(output.index, graph.value("d", number))
    for index in range(max(output.index for output in outputs), -1, -1):
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


def _needed(graph: Graph, forward: int, wanted: Sequence[Value]) -> tuple[int, ...]:
    """The forward nodes that must be saved so that `wanted` can be computed."""
    saved: set[int] = set()
    seen: set[int] = set()
    left = [value.index for value in wanted]
    while left:
        index = left.pop()
        if index in seen:
            continue
        seen.add(index)
        operation, *arguments = graph.nodes[index]
        if index < forward and operation in (*FUNCTIONS, "x", "r"):
            saved.add(index)
        elif operation not in ("constant", "d", "carry"):
            left += arguments
    return tuple(sorted(saved))
