"""Python modules that charrnn writes: traced equations as straight-line code for numba."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Sequence
from itertools import zip_longest
from types import ModuleType
from typing import Any

from charrnn.cells import Layer
from charrnn.compiler import cache
from charrnn.compiler.autodiff import Trace
from charrnn.compiler.cache import CFunction

_OPERATORS = {"add": "{} + {}", "subtract": "{} - {}", "multiply": "{} * {}", "negate": "-{}"}
# The names of the other operations are those of functions in `charrnn.compiler.scalar_math`.
_OPERATORS |= {"divide": "{} / {}", "exp": "exponential({})", "max": "maximum({}, {})"}
_OPERATORS |= {"larger": "larger({}, {})"}
_ELEMENT = re.compile(r"([a-z]+)(\d*)\[(\d+)\]")

Element = tuple[str, str, str]  # kind, number (or nothing) and block of an array: r0[3]


class Writer:
    """Straight-line code that computes each node of a graph once."""

    def __init__(self, nodes: Sequence[tuple[Any, ...]]) -> None:
        self.nodes = nodes
        self.lines: list[str] = []
        self.given: dict[str, Callable[[int, int], str]] = {}
        self.offered: dict[int, str] = {}  # nodes that can be read instead of computed
        self._known: set[int] = set()

    def store(self, stores: Sequence[tuple[str, int]]) -> list[str]:
        """Return the lines that compute nodes and then store them.

        All nodes are computed before the first is stored: code may overwrite what it reads.

        Args:
            stores: templates of assignments (``a[0] = {}``), each with the index of its node.
        """
        for _, index in stores:
            self._compute(index)
        return [*self.lines, *(template.format(f"v{index}") for template, index in stores)]

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
    """Return the blocks of the input part that each product's stage reads.

    The inner products of a deep recurrent map have none. A last group has the blocks that the input
    alone has, if the cell has any.
    """
    numbers = iter(range(len(layer.cell.blocks)))
    blocks: list[list[int]] = []
    for stage in layer.cell.stages:
        blocks += [[] for _ in range(layer.recurrent_depth - 1)]
        blocks.append([next(numbers) for _ in stage])
    return blocks + ([[*numbers]] if layer.cell.input_blocks else [])


def asks_for_sums(traced: Trace, blocks: list[list[int]]) -> tuple[bool, ...]:
    """Return for each group of `input_blocks` whether its derivative equals that by its product.

    If so, a step needs only the sum of both, unless one of them is normalized.
    """
    return tuple(
        [traced.dx[g].index for g in group] == [value.index for value in dr]
        for group, dr in zip_longest(blocks, traced.dr, fillvalue=())
    )


def elements(body: Sequence[str]) -> list[Element]:
    """Return the blocks of arrays that lines of code use, each written as ``a[k]``."""
    return sorted({m.groups() for line in body for m in _ELEMENT.finditer(line)})  # type: ignore[misc]


def of_unit(line: str) -> str:
    """Return a line in which ``a[k]`` is unit j of array a_k, a block of an array."""
    return _ELEMENT.sub(r"\1\2_\3[j]", line)


def row_loops(body: Sequence[str], outer: str, inner: str, block: Callable[..., str]) -> list[str]:
    """Return a loop over rows and one over units around lines of code.

    ``a[k]`` in the body is unit j of block k of array a. Blocks become separate arrays before the
    inner loop: only then does the compiler know that they do not overlap, and vectorizes.

    Args:
        body: the code for one unit.
        outer: the head of the loop over rows.
        inner: the head of the loop over units.
        block: returns the expression of the array of an element (kind, number, block), one value
            per unit.
    """
    return [
        outer,
        *("    {}{}_{} = ".format(*used) + block(*used) for used in elements(body)),
        f"    {inner}",
        *("        " + of_unit(line) for line in body),
    ]


def c_functions(source: str, *names: str) -> tuple[CFunction, ...]:
    """Return C functions of the module with this source; it is made if they must be compiled."""
    module = _name(source)
    imported = functools.partial(load, source)
    return tuple(CFunction(module, name, imported, source) for name in names)


def _name(source: str) -> str:
    return f"charrnn_rows_{hashlib.sha256(source.encode()).hexdigest()[:16]}"


def load(source: str) -> ModuleType:
    """Return the module with this source; numba's cache of compiled code depends on its file."""
    name = _name(source)
    if name in sys.modules:
        return sys.modules[name]
    path = cache.folder() / f"{name}.py"
    if not path.exists() or path.read_text("utf-8") != source:
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            temporary.write_text(source, "utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)  # on a full disk
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    # Compiled code finds its module by name when it is loaded from the cache.
    sys.modules[name] = module
    with cache.in_folder():
        spec.loader.exec_module(module)
    return module
