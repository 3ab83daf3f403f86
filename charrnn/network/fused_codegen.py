"""A layer's whole window as compiled code: for each step its products, after each a pass over rows.

From a traced step (`charrnn.compiler.autodiff`) this writes two plain functions, forward and
backward, which numba compiles. Between two products every value is read once and all else stays in
registers, so the loops vectorize. Each thread takes some of the B rows through all T steps: no
thread waits for another, and they share nothing but the arrays (`charrnn.network.window_arrays`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from charrnn.cells import Layer
from charrnn.compiler import codegen
from charrnn.compiler.autodiff import Trace, Value, replay, trace
from charrnn.compiler.cache import CFunction
from charrnn.compiler.codegen import Writer
from charrnn.network import openmp, window_arrays

# The first numbers of the table that a compiled function reads: see `WindowFunction`.
_NUMBERS = ("taken", "parts", "steps", "batch", "hidden")


@dataclass(frozen=True)
class WindowFunction:
    """A compiled function over a window.

    It reads a table of integers: the number of parts (of the rows) that threads have taken so far,
    the number of all parts, T, B, H; then for each array its address and its three dimensions.

    Attributes:
        function: the C function, which is compiled when it is first called.
        arrays: the numpy types of the arrays by name, in the order of the table.
    """

    function: CFunction
    arrays: Mapping[str, str]

    def __call__(
        self, arrays: Mapping[str, Tensor], sizes: tuple[int, int, int], threads: int
    ) -> None:
        """Run it for T steps, B rows and H units; `threads` share the rows."""
        table = [0, threads, *sizes]
        for name, kind in self.arrays.items():
            table += window_arrays.place(name, arrays[name], kind)
        data = np.array(table, np.int64)
        openmp.run(self.function.address, data.ctypes.data, threads)


@dataclass(frozen=True)
class CompiledLayer:
    """The compiled functions of a layer.

    Attributes:
        forward: runs all steps.
        backward: runs all steps, from the last to the first.
        kind: the kind of products.
        operand: the first operand of a step, as it was traced; None without products.
        saved: S, the number of values per unit that are saved.
        inputs: for each product, the number of input parts that its stage reads; after those, of
            the ones that the input alone has, if there are any.
        own_input: whether the function makes the input's product, too.
        merged: for each of `inputs`, whether its product's sums include the input part.
        own_operand: whether the first operand has its own array; otherwise it is the first part of
            the state.
        one_derivative: for each of `inputs`, whether dx and dr are the same; then only dr is
            written.
    """

    forward: WindowFunction
    backward: WindowFunction
    kind: str
    operand: Value | None
    saved: int
    inputs: tuple[int, ...]
    own_input: bool
    merged: tuple[bool, ...]
    own_operand: bool
    one_derivative: tuple[bool, ...]

    def first_operand(
        self, state: Sequence[Any], functions: Mapping[str, Callable[..., Any]]
    ) -> Any:
        """Compute the first operand (B, H) from a state; `functions` as of `autodiff.replay`."""
        return None if self.operand is None else replay(self.operand, state, functions)


@functools.cache
def _written(layer: Layer, zoneout: bool, kind: str) -> tuple[_ModuleSource, tuple[CFunction, ...]]:
    """Return the source of the module with a layer's functions, and those."""
    source = _ModuleSource(trace(layer, zoneout), layer, kind)
    return source, codegen.c_functions(source.text(), "forward", "backward")


def window_functions(layer: Layer, zoneout: bool, kind: str) -> tuple[CFunction, ...]:
    """Return the functions of `compiled_layer` without compiling them."""
    return _written(layer, zoneout, kind)[1]


@functools.cache
def compiled_layer(layer: Layer, zoneout: bool, kind: str) -> CompiledLayer:
    """Return the functions of a layer, which are compiled or loaded when they are called.

    Args:
        layer: the recurrence and its form.
        zoneout: whether parts of the old state stay.
        kind: the kind of products, see `charrnn.compiler.matmul`. With those of bfloat16 outputs
            are multiplied by a mask.
    """
    source, (forward, backward) = _written(layer, zoneout, kind)
    return CompiledLayer(
        WindowFunction(forward, source.forward.types),
        WindowFunction(backward, source.backward.types),
        kind,
        source.traced.operand,
        len(source.traced.saved),
        tuple(map(len, source.blocks)),
        source.own_input,
        source.merged,
        source.own_operand,
        source.one_derivative,
    )


@dataclass(frozen=True)
class _WindowCode:
    """The code of a function over a window.

    Attributes:
        types: the numpy type of each array by the array's name, in the order of the table.
        lines: the code of a step.
    """

    types: dict[str, str]
    lines: list[str]

    def functions(self, name: str, steps: str) -> list[str]:
        """Return the C function that runs all steps for the rows that a thread takes."""
        tiles = "tiles" in self.types
        lines = [
            '@c_function("void(voidptr)", fastmath=OPTIONS["fastmath"])',
            f"def {name}(data):",
            "    use_wide_vectors()",
            f"    d = carray(data, ({len(_NUMBERS) + 4 * len(self.types)},), np.int64)",
            "    parts, T, B, H = d[1], d[2], d[3], d[4]",
        ]
        for number, (array, kind) in enumerate(self.types.items()):
            at = len(_NUMBERS) + 4 * number
            shape = ", ".join(f"d[{at + k}]" for k in (1, 2, 3))
            lines.append(f"    {array} = carray(pointer(d[{at}]), ({shape}), np.{kind})")
        return [
            *lines,
            "    part = take(d.ctypes.data)",
            "    while part < parts:",
            "        first, end = part * B // parts, (part + 1) * B // parts",
            *(["        open_tiles(tiles, part)"] if tiles else []),
            f"        for t in {steps}:",
            *(f"            {line}" for line in self.lines),
            *(["        close_tiles(tiles, part)"] if tiles else []),
            "        part = take(d.ctypes.data)",
        ]


class _ModuleSource:
    """The source of a module with the functions of one traced layer."""

    def __init__(self, traced: Trace, layer: Layer, kind: str) -> None:
        self.traced, self.kind = traced, kind
        self.bf16 = kind != "float32"
        self.normalized = layer.layer_norm
        self.products = len(traced.dr)
        known = [operand.index == traced.outputs[0].index for operand in traced.operands[:1]]
        self.own_operand = known == [False] or (self.bf16 and known == [True])
        self.own_input = self.bf16 and not self.normalized
        self.blocks = codegen.input_blocks(layer)
        self.one_derivative = codegen.asks_for_sums(traced, self.blocks)
        # Where both derivatives are the same, a step needs only the sum of both parts.
        self.merged = tuple(self.own_input and one for one in self.one_derivative)
        self.ahead = kind == "tiles"
        self.loops: list[str] = []
        passes = range(max(1, self.products))  # a cell without products has one pass over rows
        self.forward = self._function(passes, self._forward_product, self._forward)
        self.backward = self._function(reversed(passes), self._backward, self._backward_product)

    def text(self) -> str:
        """Return the module's source."""
        lines = [
            '"""Written by charrnn: all steps of one cell."""',
            "import numpy as np",
            "from numba import carray",
            "from charrnn.compiler.cache import c_function",
            "from charrnn.compiler.layer_norm import *",
            "from charrnn.compiler.matmul import *",
            "from charrnn.compiler.scalar_math import *",
            "from charrnn.compiler.window_math import *",
            "c = np.float32",
            *self.loops,
            *self.forward.functions("forward", "range(T)"),
            *self.backward.functions("backward", "range(T - 1, -1, -1)"),
        ]
        return "\n".join([*lines, ""])

    def _type(self, array: str) -> str:
        """Return the numpy type of an array's elements."""
        name = array.rstrip("0123456789")
        return window_arrays.numpy_type(name, self.bf16, self.normalized)

    def _function(
        self,
        order: Iterable[int],
        *parts: Callable[[int], tuple[list[str], set[str]]],
    ) -> _WindowCode:
        """Return the code of a step, product by product."""
        lines: list[str] = []
        arrays = {"tiles"} if self.kind == "tiles" else set()
        for number in order:
            for part in parts:
                more, used = part(number)
                lines += more
                arrays |= used
        return _WindowCode({name: self._type(name) for name in sorted(arrays)}, lines)

    def _normalizes(self, number: int) -> bool:
        """Return whether a product is normalized; inner products are not."""
        return self.normalized and number < self.products and bool(self.blocks[number])

    def _forward_product(self, number: int) -> tuple[list[str], set[str]]:
        """Return the code of a product and its normalization, and the arrays it uses."""
        n = number
        lines, arrays, start, to, at = list[str](), set[str](), f"bias{n}", f"r{n}", "part"
        if self.merged[n] and self.blocks[n]:
            if self.ahead:
                to, at = f"ahead{n}", "turn"
                lines += self._input_product_ahead(n)
            else:
                lines += self._input_product(n, to)
            arrays |= {"input", "ids", f"wx{n}", f"token{n}"}
            start = to
        if n == 0 and self.own_input:  # any stage may read any input part
            for m, blocks in enumerate(self.blocks):
                if blocks and not self.merged[m]:
                    lines += self._input_product(m, f"rx{m}")
                    arrays |= {"input", "ids", f"wx{m}", f"token{m}", f"rx{m}"}
        if n < self.products:
            lines.append(self._product(f"operand{n}", f"w{n}", start, to, at))
            arrays |= {f"operand{n}", f"w{n}", to, start}
        if self._normalizes(n):
            lines.append(f"normalize(r{n}, part, normal{n}, scale{n}, t, first, end, H)")
            arrays |= {f"normal{n}", f"scale{n}"}
        return lines, arrays

    def _backward_product(self, number: int) -> tuple[list[str], set[str]]:
        """Return the code of the derivative by an operand, from that by its product."""
        n = number
        if n >= self.products:
            return [], set()
        lines, arrays = [], {f"dr{n}", f"w{n}", f"dm{n}", "zero"}
        if self._normalizes(n):
            to = "_bf16" if self.bf16 else ""
            lines.append(
                f"unnormalize{to}(dn{n}, part, normal{n}, scale{n}, dr{n}, t, first, end, H)"
            )
            arrays |= {f"dn{n}", f"normal{n}", f"scale{n}"}
        return [*lines, self._product(f"dr{n}", f"w{n}", "zero", f"dm{n}")], arrays

    def _input_product(self, number: int, to: str) -> list[str]:
        """Return the calls of an input's product, which starts from what tokens add."""
        return [
            f"spread(token{number}, ids, t, first, end, {to}, part)",
            self._product("input", f"wx{number}", to, to),
        ]

    def _input_product_ahead(self, number: int) -> list[str]:
        """Return the calls of an input's product, for some steps at once."""
        to = f"ahead{number}"
        given = f"input, t, steps, first, end, wx{number}, {to}, part, parts"
        return [
            f"at_once = {to}.shape[0] // parts",
            "turn = t % at_once * parts + part",
            "if t % at_once == 0:",
            "    steps = min(at_once, T - t)",
            "    for s in range(steps):",
            f"        spread(token{number}, ids, t + s, first, end, {to}, s * parts + part)",
            f"    multiply_ahead({given})",
        ]

    def _product(self, operand: str, matrix: str, start: str, to: str, part: str = "part") -> str:
        """Return the call of a product."""
        return f"multiply_{self.kind}({operand}, t, first, end, {matrix}, {start}, {to}, {part})"

    def _recurrent(self, number: int, block: int) -> str:
        """Return the element that holds a block of a product."""
        if self._normalizes(number):
            return f"normal{number}[{block}]"
        ahead = self.ahead and number < len(self.blocks) and self.blocks[number]
        return f"{'ahead' if ahead and self.merged[number] else 'r'}{number}[{block}]"

    def _input(self, block: int) -> str:
        """Return the element that holds an input part."""
        if not self.own_input:
            return f"x[{block}]"
        number = next(n for n, group in enumerate(self.blocks) if block in group)
        return "c(0)" if self.merged[number] else f"rx{number}[{self.blocks[number].index(block)}]"

    def _saved(self) -> dict[int, str]:
        """Return the element that holds each saved node."""
        return {index: f"saved[{place}]" for place, index in enumerate(self.traced.saved)}

    def _writer(self) -> Writer:
        writer, dy = Writer(self.traced.graph.nodes), _load_expression("dy[0]", self.bf16)
        dy += " * mask[0]" if self.bf16 else ""
        writer.given = {
            "x": lambda _, k: self._input(k),
            "r": self._recurrent,
            "v": lambda _, k: f"v[{k}]",
            "carry": lambda _, k: f"state{k}[0]",
            "zone": lambda _, k: f"zone{k}[0]",
            # Only the output is read by the layer above.
            "d": lambda _, k: f"d{k}[0]" + (f" + {dy}" if k == 0 else ""),
            "dm": lambda n, k: f"dm{n}[{k}]",
        }
        return writer

    def _rows(self, name: str, body: Sequence[str]) -> tuple[list[str], set[str]]:
        """Return a loop over rows, and the arrays it uses; add its loop over units to the module.

        The loop over units is a function of its own: LLVM can only be told of a function's
        arguments that they do not overlap, and would otherwise compare them at each row.
        """
        used = codegen.elements(body)
        arguments = ["{}{}_{}".format(*element) for element in used]
        self.loops += [
            "@over_units",
            f"def {name}({', '.join(['H', *arguments])}):",
            "    use_wide_vectors()",
            "    own_memory()",
            "    for j in range(H):",
            *("        " + codegen.of_unit(line) for line in body),
        ]
        call = ", ".join(["H", *(_block_of_row(*element) for element in used)])
        loop = ["for b in range(first, end):", f"    {name}({call})"]
        return loop, {window_arrays.array_of(kind) + n for kind, n, _ in used}

    def _forward(self, number: int) -> tuple[list[str], set[str]]:
        """Return the code after a product in forward, and the arrays it uses."""
        traced, writer = self.traced, self._writer()
        saved = self._saved()
        writer.offered = {
            i: _load_expression(place, self.bf16)
            for i, place in saved.items()
            if traced.stage[i] < number
        }
        stores = [
            (f"{place} = {_store_template(self.bf16)}", i)
            for i, place in saved.items()
            if traced.stage[i] == number
        ]
        if number < self.products - 1:
            operand = traced.operands[number + 1].index
            stores.append((f"operand{number + 1}[0] = {_store_template(self.bf16)}", operand))
        else:
            stores += [(f"new{k}[0] = {{}}", new.index) for k, new in enumerate(traced.outputs)]
            if self.bf16:
                dropped = _store_template(self.bf16).format("{} * mask[0]")
                stores.append((f"y[0] = {dropped}", traced.outputs[0].index))
            if self.own_operand:
                stores.append(
                    (f"next0[0] = {_store_template(self.bf16)}", traced.operands[0].index)
                )
        return self._rows(f"forward_units{number}", writer.store(stores))

    def _backward(self, number: int) -> tuple[list[str], set[str]]:
        """Return the code before a product in backward, and the arrays it uses."""
        traced, writer = self.traced, self._writer()
        writer.offered = {
            i: _load_expression(place, self.bf16) for i, place in self._saved().items()
        }
        normalized = self._normalizes(number)
        dr = ("dn", False) if normalized else ("dr", self.bf16)
        stores = [
            (f"{dr[0]}{number}[{k}] = {_store_template(dr[1])}", value.index)
            for products in traced.dr[number : number + 1]
            for k, value in enumerate(products)
        ]
        # Those that the input alone has are complete when all is.
        groups = {number, *(range(self.products, len(self.blocks)) if number == 0 else ())}
        for group in groups:
            if not self.one_derivative[group]:
                stores += [
                    (
                        f"dx{group}[{k}] = {_store_template(self.bf16 and not self.normalized)}",
                        traced.dx[g].index,
                    )
                    for k, g in enumerate(self.blocks[group])
                ]
        if number == 0:  # the derivatives by the old state and the vectors are complete now
            stores += [(f"d{k}[0] = {{}}", value.index) for k, value in enumerate(traced.dcarry)]
            stores += [(f"dv[{k}] += {{}}", value.index) for k, value in enumerate(traced.dv)]
        return self._rows(f"backward_units{number}", writer.store(stores))


def _block_of_row(kind: str, number: str, block: str) -> str:
    """Return the expression of one block of a row."""
    array = window_arrays.array_of(kind) + number
    first, second = window_arrays.row_of(kind).split(", ")
    return f"block({array}, {first}, {second}, {block}, H)"


def _load_expression(element: str, bf16: bool) -> str:
    return f"from_bf16({element})" if bf16 else element


def _store_template(bf16: bool) -> str:
    return "to_bf16({})" if bf16 else "{}"
