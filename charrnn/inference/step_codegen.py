"""A cell's single step compiled, for writing: what is done to the rows before and after products.

From a traced step (`charrnn.compiler.autodiff`) this writes the functions that stand between the
products in a program (`charrnn.inference.instructions`). They work on these values of a row:

    x         input parts, where the step does not ask for the sum of both alone
    r0, ...   the products; the input part is in them where the sum is asked for
    state0, new0, ...   each part of the state before and after the step
    operand0  what meets the first product, where that is not the first part of the state
    operand1, ...       what meets the further ones
    later     what a later stage needs of an earlier one
    v, zone0, ...       vectors, and how much of each part of the old state stays: for all rows
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from charrnn.cells import Layer
from charrnn.compiler import codegen
from charrnn.compiler.autodiff import trace
from charrnn.compiler.codegen import Element, Writer


@dataclass(frozen=True)
class Stage:
    """A function of a program.

    Its arguments: panels per block; for each element its address, and its bytes per row.
    """

    address: int
    elements: tuple[Element, ...]


@dataclass(frozen=True)
class Step:
    """The functions of a cell's step.

    Attributes:
        operand: makes the first operand; None where it is the first part of the state.
        stages: what follows each product.
        blocks: for each product, the blocks of the input part that its stage reads.
        merged: for each product, whether its sums start from the input part.
        ahead: whether the first product can be made before the input part is known.
        later: how many values a unit keeps from stage to stage.
    """

    operand: Stage | None
    stages: tuple[Stage, ...]
    blocks: list[list[int]]
    merged: tuple[bool, ...]
    ahead: bool
    later: int


@functools.cache
def compiled(layer: Layer, zoneout: bool) -> Step:
    """The step of `layer`; arguments as of `charrnn.compiler.autodiff.trace`."""
    traced, products, cell = trace(layer, zoneout), layer.products, layer.cell
    blocks = codegen.input_blocks(layer)
    same = codegen.asks_for_sums(traced, blocks)
    merged = tuple(bool(group) and one for group, one in zip(blocks, same, strict=True))
    own_operand = traced.graph.nodes[traced.operand.index] != ("carry", 0)
    ahead = not own_operand and not cell.feeds_back
    if layer.layer_norm:
        merged = (False,) * len(merged)
    elif ahead:  # sums are the same, whether the product is made ahead or not
        merged = (False, *merged[1:])
    summed = {block for group, one in zip(blocks, merged, strict=True) if one for block in group}
    places = {index: f"later[{place}]" for place, index in enumerate(traced.later)}

    def lines(stores: list[tuple[str, int]], number: int) -> list[str]:
        writer = Writer(traced.graph.nodes)
        writer.given = {
            "x": lambda _, k: "c(0)" if k in summed else f"x[{k}]",
            "r": lambda n, k: f"r{n}[{k}]",
            "v": lambda _, k: f"v[{k}]",
            "carry": lambda _, k: f"state{k}[0]",
            "zone": lambda _, k: f"zone{k}[0]",
        }
        writer.offered = {i: place for i, place in places.items() if traced.stage[i] < number}
        return writer.store(stores)

    functions = []
    if own_operand and not cell.feeds_back:
        functions.append(lines([("operand0[0] = {}", traced.operand.index)], 0))
    last = len(products) - 1
    for number in range(len(products)):
        stores = [(f"{p} = {{}}", i) for i, p in places.items() if traced.stage[i] == number]
        if number < last:
            stores.append((f"operand{number + 1}[0] = {{}}", traced.operands[number + 1].index))
        else:
            stores += [(f"new{k}[0] = {{}}", new.index) for k, new in enumerate(traced.outputs)]
        functions.append(lines(stores, number))
    module = codegen.load("\n".join([*_HEAD, *_text(functions), ""]))
    stages = [
        Stage(getattr(module, f"function{k}").address, tuple(codegen.elements(body)))
        for k, body in enumerate(functions)
    ]
    first = stages.pop(0) if len(stages) > len(products) else None
    return Step(first, tuple(stages), blocks, merged, ahead, len(places))


_HEAD = (
    '"""Written by charrnn: one step of a cell."""',
    "import numpy as np",
    "from numba import carray, cfunc, njit",
    "from charrnn.inference.instructions import CONTEXT, floats, own",
    "from charrnn.compiler.scalar_math import *",
    "c = np.float32",
)


def _text(functions: list[list[str]]) -> list[str]:
    """Each function's loops, and the C function that runs them on a thread's own columns."""
    lines = []
    for k, body in enumerate(functions):
        used = codegen.elements(body)

        def place(*element: str, used: list[Element] = used) -> str:
            at = 1 + 2 * used.index(element)  # type: ignore[arg-type]
            return f"floats(d[{at}] + b * d[{at + 1}] + 4 * first, count)"

        rows = codegen.rows(body, "for b in range(batch):", "for j in range(count):", place)
        lines += [
            "@njit(**OPTIONS)",
            f"def rows{k}(batch, first, count, d):",
            *(f"    {line}" for line in rows),
            '@cfunc("void(voidptr, voidptr)", cache=True, error_model="numpy")',
            f"def function{k}(context, arguments):",
            "    table = carray(context, (CONTEXT,), np.int64)",
            f"    d = carray(arguments, ({1 + 2 * len(used)},), np.int64)",
            "    first, count = own(table, d[0])",
            f"    rows{k}(table[2], first, count, d)",
        ]
    return lines
