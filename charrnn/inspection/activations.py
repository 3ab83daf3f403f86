"""What every unit does while a network reads: states, gates and new contents, step by step.

Shapes: L layers, N symbols read, H hidden units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats32, Ids
from charrnn.cells.base import Cell, Function, Parts, Product
from charrnn.compiler.autodiff import ARITHMETIC, FUNCTIONS, Graph, Value, function
from charrnn.errors import CharRNNError
from charrnn.inference.numpy_engine import NumpyEngine, relu, sigmoid
from charrnn.model import parameters
from charrnn.model.model_file import Model

LEFT, RIGHT = 0.1, 0.9  # a gate below or above is saturated (Karpathy et al. 2015)
_READ = 256  # symbols read at a time

_NUMERIC: Mapping[str, Function] = {"sigmoid": sigmoid, "tanh": np.tanh, "relu": relu}


@dataclass(frozen=True)
class Activations:
    """What was seen while a text was read; at t, what followed from reading symbol t.

    Attributes:
        states: names of the parts of the state, the layer's output first.
        gates: names of the blocks that pass through a sigmoid, whose values lie in 0 .. 1.
        parts: (L, N, H) of every state, gate and new content, by name.
    """

    states: tuple[str, ...]
    gates: tuple[str, ...]
    parts: Mapping[str, Floats32]


@dataclass(frozen=True)
class Saturation:
    """How often the units of a gate are nearly shut or nearly open.

    Attributes:
        left: (L, H), the share of the text at which the gate is below 0.1.
        right: (L, H), the share at which it is above 0.9.
    """

    left: NDArray[np.float64]
    right: NDArray[np.float64]


def activations(model: Model, ids: Ids) -> Activations:
    """Read a text of ids (N,) from its beginning, and keep what every unit does.

    Raises:
        CharRNNError: the state overflows.
    """
    watcher = _Watcher(parameters.cell_of(model.config))
    engine = NumpyEngine(model.config, model.values, watcher.step)
    start = np.array([[model.config.start_symbol]], np.int64)
    state = engine.advance(start, engine.start_state(1))
    windows: list[dict[str, Floats32]] = []
    for first in range(0, len(ids), _READ):
        watcher.seen.clear()
        state = engine.advance(ids[first : first + _READ, None].astype(np.int64), state)
        windows.append(watcher.window(model.config.num_layers))
    parts = {name: np.concatenate([window[name] for window in windows], 1) for name in windows[0]}
    if not all(np.isfinite(values).all() for values in parts.values()):
        raise CharRNNError("the network's state overflows on this text: there is nothing to show")
    gates = tuple(name for name in parts if watcher.kinds.get(name) == "sigmoid")
    return Activations(watcher.cell.states, gates, parts)


def saturation(found: Activations) -> dict[str, Saturation]:
    """Of each gate."""
    return {
        name: Saturation((found.parts[name] < LEFT).mean(1), (found.parts[name] > RIGHT).mean(1))
        for name in found.gates
    }


class _Watcher:
    """A step of a cell that keeps the new state, and what its nonlinear functions give.

    Attributes:
        cell: whose step it is.
        kinds: the function that each kept block passes through, by the block's name.
        seen: for each step of each layer, what was kept, (1, H) by name.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.seen: list[dict[str, Floats32]] = []
        self._calls = calls(cell)
        self.kinds = {name: kind for kind, name in self._calls if name}
        self._given: list[Floats32] = []  # by the functions, in this step

        def kept(numeric: Function) -> Function:
            def call(x: Any) -> Any:
                self._given.append(numeric(x))
                return self._given[-1]

            return call

        self._step = cell.step(*(kept(_NUMERIC[name]) for name in FUNCTIONS))

    def step(self, x: Parts, W: Product, state: Parts, v: Parts = (), zone: Parts = ()) -> Parts:  # noqa: N803
        """As `charrnn.cells.base.Cell.step`."""
        self._given.clear()
        after = self._step(x, W, state, v, zone)
        seen = dict(zip(self.cell.states, after, strict=True))
        for (_, name), values in zip(self._calls, self._given, strict=True):
            if name:
                seen[name] = values
        self.seen.append(seen)
        return after

    def window(self, layers: int) -> dict[str, Floats32]:
        """What was seen since `seen` was emptied: (L, T, H) by name. Each layer's steps follow."""
        return {
            name: np.concatenate([seen[name] for seen in self.seen])
            .astype(np.float32)
            .reshape(layers, len(self.seen) // layers, -1)
            for name in self.seen[0]
        }


def calls(cell: Cell) -> list[tuple[str, str | None]]:
    """The nonlinear functions that a step of a cell calls, in order, and the block each squashes.

    It is found by running the equation on symbols: a function squashes a block if that block's
    input part meets nothing but sums and products on its way there. None: it squashes no block (as
    the cell state on its way out), or one whose value is a part of the state itself.
    """
    graph, arguments = Graph(), list[tuple[str, Value]]()
    inner = [1] * (cell.recurrent_depth - 1)
    counts = iter(list(chain.from_iterable((*inner, len(stage)) for stage in cell.stages)))

    def noting(name: str) -> Callable[[Value], Value]:
        def call(x: Value) -> Value:
            arguments.append((name, x))
            return function(name)(x)

        return call

    def product(operand: Any) -> Parts:
        return graph.inputs(f"r{len(graph.nodes)}", next(counts))

    most = len(cell.peepholes) + 4 * len(cell.blocks)  # vectors of any form of the cell
    given = (graph.inputs("x", len(cell.blocks)), product, graph.inputs("state", len(cell.states)))
    cell.step(*map(noting, FUNCTIONS))(*given, graph.inputs("v", most), ())
    return [(name, _block(cell, argument)) for name, argument in arguments]


def _block(cell: Cell, argument: Value) -> str | None:
    """The name of the block whose input part is in a sum of products."""
    nodes, left, blocks = argument.graph.nodes, [argument.index], set[int]()
    while left:
        operation, *arguments = nodes[left.pop()]
        if operation == "x":
            blocks.add(arguments[0])
        elif operation in ARITHMETIC:
            left += arguments
    names = {cell.blocks[block] for block in blocks} - {*cell.states}
    return names.pop() if len(names) == 1 else None
