"""The elementwise part of a cell's step, compiled: one pass over the rows, forward and backward.

From a traced unit (`charrnn.kernels.tracing`) this writes the text of two plain loops, and numba
compiles them: every value is read once, everything between stays in registers, and the loops
vectorise. Shapes: T steps, B rows, H units, G blocks of the cell, N saved values.

    forward(x, r, state..., operand, saved, t, H)
        x (T, B, G*H), r (B, G*H): input and recurrent parts, in the products' type;
        state (T + 1, B, H): each part of the state, read at t and written at t + 1;
        operand (T + 1, B, H): the part that meets the next product, in the products' type,
        written at t + 1; saved (T, B, N*H): what backward needs.
    backward(saved, dy, dm, state..., d..., dx, dr, t, H)
        dy (T, B, H): what the output's readers give; dm (B, H): what the product of step t + 1
        gives to the operand it met, in the products' type; d (B, H): derivatives by each part of
        the state after the step, replaced by those before it; dx, dr (T, B, G*H): derivatives by
        the input and recurrent parts, in the products' type.

Products may be made in bfloat16, which numba does not know: it is then read and written as the
upper half of a float32's bits. Compiled code is cached per user, where a folder can be written.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import importlib.util
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import platformdirs

from charrnn.cells import Cell
from charrnn.kernels.tracing import Trace, function, trace

_OPERATORS = {"add": "{} + {}", "subtract": "{} - {}", "multiply": "{} * {}", "negate": "-{}"}
_CALLS = {
    "sigmoid": "sigmoid({})",
    "tanh": "tanh({})",
    "relu": "relu({})",
    "positive": "positive({})",
}
_ELEMENT = re.compile(r"([a-z]+)(\d*)\[(\d+)\]")
# Which array an element is in, and at which step.
_PLACES = {
    "x": ("x", "t, "),
    "r": ("r", ""),
    "carry": ("state", "t, "),
    "new": ("state", "t + 1, "),
    "operand": ("operand", "t + 1, "),
    "saved": ("saved", "t, "),
    "dy": ("dy", "t, "),
    "dm": ("dm", ""),
    "d": ("d", ""),
    "dx": ("dx", "t, "),
    "dr": ("dr", "t, "),
}


@dataclass(frozen=True)
class Rows:
    """The compiled rows of one stage.

    Attributes:
        forward: see the module.
        backward: see the module.
        saved: N, how many values per unit are saved.
        one_derivative: dx and dr are the same; only dx is written.
    """

    forward: Callable[..., None]
    backward: Callable[..., None]
    saved: int
    one_derivative: bool


@functools.cache
def compiled(cell: Cell, half: bool) -> Rows:
    """The rows of `cell` for products in bfloat16 (`half`) or float32."""
    unit = cell.equations(function("sigmoid"), function("tanh"), function("relu"))
    traced = trace(unit, len(cell.blocks), len(cell.states))
    module = _load(_source(traced, half))
    one = _one_derivative(traced)
    return Rows(module.forward, module.backward, len(traced.saved), one)


def _one_derivative(traced: Trace) -> bool:
    return all(x.index == r.index for x, r in zip(traced.dx, traced.dr, strict=True))


def _source(traced: Trace, half: bool) -> str:
    """The text of a module with both loops."""
    return "\n".join(
        [
            '"""Written by charrnn: the elementwise part of one cell."""',
            "import numpy as np",
            "from numba import njit",
            "from charrnn.kernels.scalars import *",
            "c = np.float32",
            *_loop("forward", *_forward(traced, half)),
            *_loop("backward", *_backward(traced, half)),
            "",
        ]
    )


def _loop(name: str, arrays: Sequence[str], body: Sequence[str]) -> list[str]:
    """A function over all rows; ``a[k]`` in the body is unit j of block k of array a.

    Blocks become arrays of their own before the inner loop: only so does the compiler see that
    they do not overlap, and vectorises.
    """
    used = sorted({m.groups() for line in body for m in _ELEMENT.finditer(line)})
    inner = [_ELEMENT.sub(r"\1\2_\3[j]", line) for line in body]
    return [
        f"@njit(**OPTIONS)\ndef {name}({', '.join(arrays)}, t, H):",
        f"    for b in range({arrays[0]}.shape[1]):",
        *(f"        {_row(*element)}" for element in used),
        "        for j in range(H):",
        *(f"            {line}" for line in inner),
    ]


def _row(kind: str, number: str, block: str) -> str:
    """The statement that makes one block of a row of an array an array of its own."""
    array, step = _PLACES[kind]
    k = int(block)
    return f"{kind}{number}_{block} = {array}{number}[{step}b, {k} * H:{k + 1} * H]"


def _forward(traced: Trace, half: bool) -> tuple[list[str], list[str]]:
    """Arguments and body of the forward loop."""
    carried = len(traced.dcarry)
    writer = _Writer(traced.graph.nodes)
    writer.given = {
        "x": lambda k: _read(f"x[{k}]", half),
        "r": lambda k: _read(f"r[{k}]", half),
        "carry": lambda k: f"carry{k}[0]",
    }
    for index in range(traced.forward):
        writer.compute(index)
    for number, output in enumerate(traced.outputs):
        writer.lines.append(f"new{number}[0] = {writer.name(output.index)}")
    if half:
        writer.lines.append(f"operand[0] = to_half({writer.name(traced.outputs[0].index)})")
    for number, index in enumerate(traced.saved):
        writer.lines.append(f"saved[{number}] = {writer.name(index)}")
    return ["x", "r", *_numbered("state", carried), "operand", "saved"], writer.lines


def _backward(traced: Trace, half: bool) -> tuple[list[str], list[str]]:
    """Arguments and body of the backward loop."""
    carried = len(traced.dcarry)
    writer = _Writer(traced.graph.nodes)
    for number, index in enumerate(traced.saved):
        writer.assign(index, f"saved[{number}]")
    one = _one_derivative(traced)
    results = [("dx", traced.dx), *([] if one else [("dr", traced.dr)])]
    stores = [
        (f"{name}[{number}]", value.index, half)
        for name, values in results
        for number, value in enumerate(values)
    ]
    stores += [(f"d{k}[0]", value.index, False) for k, value in enumerate(traced.dcarry)]
    writer.given = {
        "carry": lambda k: f"carry{k}[0]",
        # Only the output is read by the layer above, and only the operand by the next product.
        "d": lambda k: f"d{k}[0]" + (f" + dy[0] + {_read('dm[0]', half)}" if k == 0 else ""),
    }
    for _, index, _ in stores:
        writer.compute(index)
    for place, index, as_half in stores:
        name = writer.name(index)
        writer.lines.append(f"{place} = to_half({name})" if as_half else f"{place} = {name}")
    arrays = ["saved", "dy", "dm", *_numbered("state", carried), *_numbered("d", carried)]
    return [*arrays, "dx", "dr"], writer.lines


def _numbered(name: str, count: int) -> list[str]:
    return [f"{name}{number}" for number in range(count)]


def _read(element: str, half: bool) -> str:
    return f"from_half({element})" if half else element


class _Writer:
    """Straight-line code that computes nodes of a graph, each once."""

    def __init__(self, nodes: Sequence[tuple[Any, ...]]) -> None:
        self.nodes = nodes
        self.lines: list[str] = []
        self.given: dict[str, Callable[[int], str]] = {}
        self._known: set[int] = set()

    def name(self, index: int) -> str:
        return f"v{index}"

    def assign(self, index: int, expression: str) -> None:
        self._known.add(index)
        self.lines.append(f"{self.name(index)} = {expression}")

    def compute(self, index: int) -> None:
        """Write what is needed for a node, and the node."""
        if index in self._known:
            return
        operation, *arguments = self.nodes[index]
        if operation in self.given:
            self.assign(index, self.given[operation](arguments[0]))
        elif operation == "constant":
            self.assign(index, f"c({arguments[0]!r})")
        else:
            for argument in arguments:
                self.compute(argument)
            template = {**_OPERATORS, **_CALLS}[operation]
            self.assign(index, template.format(*map(self.name, arguments)))


def cache_folder() -> Path:
    """Where compiled code is kept: per user, or for this process alone where that cannot be.

    Never in a folder that others could write to: what lies there is executed.
    """
    kept = platformdirs.user_cache_path("charrnn") / "charrnn-kernels"
    with contextlib.suppress(OSError):
        kept.mkdir(parents=True, exist_ok=True)
        if os.access(kept, os.W_OK):
            return kept
    private = tempfile.mkdtemp(prefix="charrnn-kernels-")
    atexit.register(shutil.rmtree, private, ignore_errors=True)
    return Path(private)


def _load(source: str) -> ModuleType:
    """The module of a text. Its file is what numba's cache of compiled code is bound to."""
    scalars = Path(__file__).with_name("scalars.py").read_bytes()
    digest = hashlib.sha256(scalars + source.encode()).hexdigest()[:16]
    name = f"charrnn_rows_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    path = cache_folder() / f"{name}.py"
    if not path.exists() or path.read_text("utf-8") != source:
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(source, "utf-8")
        temporary.replace(path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[name] = module
    return module
