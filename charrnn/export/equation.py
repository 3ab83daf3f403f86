"""The step of a layer as source code for torch, from the traced equation of its cell.

What is used once stands where it is used; nonlinear functions, long expressions and what is used
twice get a name.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from itertools import chain

from charrnn.cells import Layer
from charrnn.compiler.autodiff import ARITHMETIC, FUNCTIONS, Node, Value, trace

_INFIX = {"add": ("+", 1), "subtract": ("-", 1), "multiply": ("*", 2), "divide": ("/", 2)}
_WIDTH, _INLINE = 92, 45  # characters of a line, and of a part of an expression without a name
_SIGN, _ATOM = 3, 4  # how tightly they bind; 1 and 2 above


def step_source(layer: Layer, zoneout: bool) -> str:
    """Return the body of ``step(x, W, state, v, zone)``, as `charrnn.cells.Layer.step` defines it.

    Each line is indented by four spaces; `zoneout` tells whether there are zoneout rates.
    """
    cell, traced, writer = layer.cell, trace(layer, zoneout), _Writer()
    writer.unpack("x", "x", "x_", cell.blocks)
    writer.unpack("state", "carry", "old_", cell.states)
    writer.unpack("v", "v", "", _vector_names(layer))
    writer.unpack("zone", "zone", "keep_", cell.states if zoneout else ())
    operands = [] if traced.operand is None else [traced.operand, *traced.operands[1:]]
    writer.count([*operands, *traced.outputs])
    for number, (operand, names) in enumerate(zip(operands, _product_names(layer), strict=True)):
        writer.unpack(f"W({writer.text(operand.index)})", f"r{number}", "r_", names)
    outputs = [writer.text(value.index) for value in traced.outputs]
    listed = f"({outputs[0]},)" if len(outputs) == 1 else ", ".join(outputs)
    if len(listed) > _WIDTH:
        listed = "".join(["(\n", *(f"        {output},\n" for output in outputs), "    )"])
    writer.line(f"return {listed}")
    return "\n".join(writer.lines)


def _vector_names(layer: Layer) -> list[str]:
    """Return a name for each block of the vectors: ``peephole_i``."""
    cell = layer.cell
    own = {"peephole": cell.peepholes} | dict.fromkeys(
        ("gain_hh", "bias_hh"), cell.recurrent_blocks
    )
    names = [[f"{name}_{block}" for block in own.get(name, cell.blocks)] for name in layer.vectors]
    return list(chain.from_iterable(names))


def _product_names(layer: Layer) -> list[Sequence[str]]:
    """Return a name for each block of each product: of the inner ones, and of a stage."""
    names: list[Sequence[str]] = []
    for stage, blocks in enumerate(layer.cell.stages):
        names += [[f"inner{stage}_{depth}"] for depth in range(layer.recurrent_depth - 1)]
        names.append(blocks)
    return names


def _wrapped(line: str) -> str:
    """Return an assignment to many names on several lines."""
    names, _, source = line.partition(" = ")
    if len(line) <= _WIDTH:
        return line
    indent = " " * 8
    listed = textwrap.fill(names + ",", _WIDTH, initial_indent=indent, subsequent_indent=indent)
    return f"(\n{listed}\n    ) = {source}"


class _Writer:
    """Writes a graph as lines of code, which `lines` holds."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._nodes: list[Node] = []
        self._inputs: dict[Node, str] = {}
        self._names: dict[int, str] = {}  # of results
        self._uses: Counter[int] = Counter()

    def line(self, text: str) -> None:
        """Add a line."""
        self.lines.append("    " + text)

    def unpack(self, source: str, kind: str, prefix: str, names: Sequence[str]) -> None:
        """Give names to the values of an input of the graph."""
        if names:
            full = [prefix + name for name in names]
            self._inputs |= {(kind, number): name for number, name in enumerate(full)}
            listed = ", ".join(full) if len(full) > 1 else f"({full[0]},)"
            self.line(_wrapped(f"{listed} = {source}"))

    def count(self, wanted: Sequence[Value]) -> None:
        """Count how often each result is used on the way to the wanted ones."""
        self._nodes = wanted[0].graph.nodes
        left, seen = [value.index for value in wanted], set[int]()
        while left:
            index = left.pop()
            self._uses[index] += 1
            operation, *arguments = self._nodes[index]
            if index not in seen and operation in (*FUNCTIONS, *ARITHMETIC):
                left += arguments
            seen.add(index)

    def text(self, index: int, above: int = 0) -> str:
        """Return a result as an expression, after the lines that it needs.

        It is in parentheses if it does not bind more tightly than `above`.
        """
        operation = self._nodes[index][0]
        if operation not in (*FUNCTIONS, *ARITHMETIC):
            return self._input(index)
        if index not in self._names:
            made, binding = self._operation(index)
            short = operation not in FUNCTIONS and len(made) <= _INLINE
            if short and self._uses[index] < 2:
                return made if binding > above else f"({made})"
            self._names[index] = f"t{len(self._names)}"
            self.line(f"{self._names[index]} = {made}")
        return self._names[index]

    def _input(self, index: int) -> str:
        node = self._nodes[index]
        if node[0] != "constant":
            return self._inputs[node]
        return repr(node[1]) if node[1] >= 0 else f"({node[1]!r})"

    def _operation(self, index: int) -> tuple[str, int]:
        """Return an operation as an expression, and how tightly it binds."""
        operation, *arguments = self._nodes[index]
        if operation in _INFIX:
            sign, binding = _INFIX[operation]
            if operation in ("add", "multiply"):  # the longer one first saves parentheses
                arguments.sort(key=lambda index: self._nodes[index][0] != operation)
            first, last = self.text(arguments[0], binding - 1), self.text(arguments[1], binding)
            return f"{first} {sign} {last}", binding
        if operation == "negate":
            return f"-{self.text(arguments[0], _SIGN)}", _SIGN
        if operation == "max":
            return self._largest(arguments), _ATOM
        return f"torch.{operation}({self.text(arguments[0])})", _ATOM

    def _largest(self, arguments: list[int]) -> str:
        """Return the larger of two results, of which one may be a number."""
        arguments = sorted(arguments, key=lambda index: self._nodes[index][0] == "constant")
        first, second = map(self.text, arguments)
        if self._nodes[arguments[1]][0] == "constant":
            return f"torch.clamp({first}, min={second})"
        return f"torch.maximum({first}, {second})"
