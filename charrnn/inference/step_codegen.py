"""Compiles the elementwise part of one step of a cell: all that happens between its products.

From a traced step (`charrnn.compiler.autodiff`) this generates the functions that stand between the
products in a program (`charrnn.inference.instructions`). They work on these values of a row:

    x         input parts, unless the step uses only the sum of input part and product
    r0, ...   the products; if the step uses only the sum, they include the input part
    state0, new0, ...   each part of the state before and after the step
    operand0  the operand of the first product, if it is not the first part of the state
    operand1, ...       the operands of the other products
    later     values of a stage that a later stage uses
    v, zone0, ...       vectors, and the share of the old state that stays: the same for all rows
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from charrnn.cells import Layer
from charrnn.compiler import codegen
from charrnn.compiler.autodiff import trace
from charrnn.compiler.cache import CFunction
from charrnn.compiler.codegen import Element, Writer


@dataclass(frozen=True)
class Stage:
    """A compiled function between two products.

    Its arguments are the panels per block, and for each element its address and bytes per row.

    Attributes:
        function: the function, which may have to be compiled.
        elements: the blocks of arrays that it reads and writes.
    """

    function: CFunction
    elements: tuple[Element, ...]


@dataclass(frozen=True)
class StepFunctions:
    """The compiled functions of a cell's step.

    Attributes:
        operand: computes the first operand; None if that is the first part of the state.
        stages: the function after each product; one for a cell without products.
        blocks: see `charrnn.compiler.codegen.input_blocks`.
        merged: for each product, whether its sums start from the input part.
        ahead: whether the first product can be computed before the input part is known.
        later: how many values of a unit are passed from stage to stage.
    """

    operand: Stage | None
    stages: tuple[Stage, ...]
    blocks: list[list[int]]
    merged: tuple[bool, ...]
    ahead: bool
    later: int

    @property
    def functions(self) -> list[CFunction]:
        """All functions."""
        first = [self.operand] if self.operand else []
        return [stage.function for stage in (*first, *self.stages)]


@functools.cache
def compiled_step(layer: Layer, zoneout: bool) -> StepFunctions:
    """Return the functions of a layer's step; see `charrnn.compiler.autodiff.trace`."""
    traced, products, cell = trace(layer, zoneout), layer.products, layer.cell
    blocks = codegen.input_blocks(layer)
    same = codegen.asks_for_sums(traced, blocks)
    merged = tuple(bool(group) and one for group, one in zip(blocks, same, strict=True))
    own_operand = traced.operand is not None and traced.operand.node != ("carry", 0)
    ahead = bool(products) and not own_operand and not cell.feeds_back
    if layer.layer_norm:
        merged = (False,) * len(merged)
    elif ahead:  # the order of the sums is the same, whether the product is made ahead or not
        merged = (False, *merged[1:])
    summed = {block for group, one in zip(blocks, merged, strict=True) if one for block in group}
    later = {node: f"later[{index}]" for index, node in enumerate(traced.later)}

    def lines(stores: list[tuple[str, int]], number: int) -> list[str]:
        writer = Writer(traced.graph.nodes)
        writer.given = {
            "x": lambda _, k: "c(0)" if k in summed else f"x[{k}]",
            "r": lambda n, k: f"r{n}[{k}]",
            "v": lambda _, k: f"v[{k}]",
            "carry": lambda _, k: f"state{k}[0]",
            "zone": lambda _, k: f"zone{k}[0]",
        }
        writer.offered = {node: name for node, name in later.items() if traced.stage[node] < number}
        return writer.store(stores)

    functions = []
    if traced.operand is not None and own_operand and not cell.feeds_back:
        functions.append(lines([("operand0[0] = {}", traced.operand.index)], 0))
    last = max(1, len(products)) - 1
    for number in range(last + 1):
        stores = [
            (f"{name} = {{}}", node) for node, name in later.items() if traced.stage[node] == number
        ]
        if number < last:
            stores.append((f"operand{number + 1}[0] = {{}}", traced.operands[number + 1].index))
        else:
            stores += [(f"new{k}[0] = {{}}", new.index) for k, new in enumerate(traced.outputs)]
        functions.append(lines(stores, number))
    source = "\n".join([*_HEAD, *_source(functions), ""])
    made = codegen.c_functions(source, *(f"function{k}" for k in range(len(functions))))
    stages = [
        Stage(function, tuple(codegen.elements(body)))
        for function, body in zip(made, functions, strict=True)
    ]
    first = stages.pop(0) if len(stages) > last + 1 else None
    return StepFunctions(first, tuple(stages), blocks, merged, ahead, len(later))


_HEAD = (
    '"""Generated by charrnn: one step of a cell."""',
    "import numpy as np",
    "from numba import carray",
    "from charrnn.compiler.cache import c_function",
    "from charrnn.compiler.scalar_math import *",
    "from charrnn.inference.instructions import CONTEXT",
    "from charrnn.inference.row_functions import floats, own_columns",
    "c = np.float32",
)


def _source(functions: list[list[str]]) -> list[str]:
    """Return the source of each function: its loops, and the C function that a thread calls."""
    lines = []
    for k, body in enumerate(functions):
        used = codegen.elements(body)

        def array(*element: str, used: list[Element] = used) -> str:
            index = 1 + 2 * used.index(element)  # type: ignore[arg-type]
            return f"floats(d[{index}] + b * d[{index + 1}] + 4 * first, count)"

        rows = codegen.row_loops(body, "for b in range(batch):", "for j in range(count):", array)
        lines += [
            "@inside",
            f"def rows{k}(batch, first, count, d):",
            *(f"    {line}" for line in rows),
            '@c_function("void(voidptr, voidptr)")',
            f"def function{k}(context, arguments):",
            "    table = carray(context, (CONTEXT,), np.int64)",
            f"    d = carray(arguments, ({1 + 2 * len(used)},), np.int64)",
            "    first, count = own_columns(table, d[0])",
            f"    rows{k}(table[2], first, count, d)",
        ]
    return lines
