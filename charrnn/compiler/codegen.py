"""Modules that charrnn writes: straight-line code of traced equations, compiled and kept."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from charrnn.cells import Layer
from charrnn.compiler import cache
from charrnn.compiler.autodiff import Trace

_OPERATORS = {"add": "{} + {}", "subtract": "{} - {}", "multiply": "{} * {}", "negate": "-{}"}
_ELEMENT = re.compile(r"([a-z]+)(\d*)\[(\d+)\]")

Element = tuple[str, str, str]  # kind, number (or nothing) and block of an array: r0[3]


class Writer:
    """Straight-line code that computes nodes of a graph, each once."""

    def __init__(self, nodes: Sequence[tuple[Any, ...]]) -> None:
        self.nodes = nodes
        self.lines: list[str] = []
        self.given: dict[str, Callable[[int, int], str]] = {}
        self.offered: dict[int, str] = {}  # nodes that can be read instead of computed
        self._known: set[int] = set()

    def store(self, stores: Sequence[tuple[str, int]]) -> list[str]:
        """All lines: nodes are computed before the first is written, as places may be read, too."""
        for _, index in stores:
            self._compute(index)
        return [*self.lines, *(place.format(f"v{index}") for place, index in stores)]

    def _compute(self, index: int) -> None:
        if index in self._known:
            return
        self._known.add(index)
        operation, *arguments = self.nodes[index]
        kind = operation.rstrip("0123456789")
        if index in self.offered:
            expression = self.offered[index]
        elif kind in self.given:
            expression = self.given[kind](int(operation[len(kind) :] or 0), arguments[0])
        elif operation == "constant":
            expression = f"c({arguments[0]!r})"
        else:
            for argument in arguments:
                self._compute(argument)
            names = [f"v{argument}" for argument in arguments]
            template = _OPERATORS.get(operation, operation + "({})")
            expression = template.format(*names)
        self.lines.append(f"v{index} = {expression}")


def input_blocks(layer: Layer) -> list[list[int]]:
    """For each product of a step, the blocks of the input part that its stage reads.

    Inner products have no input parts of their own.
    """
    numbers = iter(range(len(layer.cell.blocks)))
    blocks: list[list[int]] = []
    for stage in layer.cell.stages:
        blocks += [[] for _ in range(layer.recurrent_depth - 1)]
        blocks.append([next(numbers) for _ in stage])
    return blocks


def asks_for_sums(traced: Trace, blocks: list[list[int]]) -> tuple[bool, ...]:
    """For each product, whether the derivatives by it and by its stage's input part are the same.

    Then a step asks for nothing but their sum, unless one of them is normalised.
    """
    return tuple(
        [traced.dx[g].index for g in group] == [value.index for value in dr]
        for group, dr in zip(blocks, traced.dr, strict=True)
    )


def elements(body: Sequence[str]) -> list[Element]:
    """The blocks of arrays that lines of code use, each written as ``a[k]``."""
    return sorted({m.groups() for line in body for m in _ELEMENT.finditer(line)})  # type: ignore[misc]


def rows(body: Sequence[str], outer: str, inner: str, place: Callable[..., str]) -> list[str]:
    """A loop over rows and one over units around lines of code.

    ``a[k]`` in the body is unit j of block k of array a. Blocks become arrays of their own before
    the inner loop: only so does the compiler see that they do not overlap, and vectorises.

    Args:
        body: what is done for one unit.
        outer: the head of the loop over rows.
        inner: the head of the loop over units.
        place: of an element (kind, number, block): the expression of its array, one value per unit.
    """
    return [
        outer,
        *("    {}{}_{} = ".format(*used) + place(*used) for used in elements(body)),
        f"    {inner}",
        *("        " + _ELEMENT.sub(r"\1\2_\3[j]", line) for line in body),
    ]


def load(source: str) -> ModuleType:
    """The module of a text. Its file is what numba's cache of compiled code is bound to."""
    name = f"charrnn_rows_{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    path = cache.folder() / f"{name}.py"
    if not path.exists() or path.read_text("utf-8") != source:
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(source, "utf-8")
        temporary.replace(path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    # Compiled code looks for its module by name when it is read again.
    sys.modules[name] = module
    with cache.in_folder():
        spec.loader.exec_module(module)
    return module
