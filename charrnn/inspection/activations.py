"""The activations of all units while a network reads: states, gates and candidate values.

Shapes: L layers, N tokens read, H hidden units. The layers of an ensemble are those of its first
network, then those of the second, and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats32, Ids
from charrnn.cells import Cell, Layer
from charrnn.cells.base import Function, Parts, Product
from charrnn.compiler.autodiff import ARITHMETIC, FUNCTIONS, Graph, Value, function
from charrnn.errors import OptionError
from charrnn.inference.engine import check_finite
from charrnn.inference.numpy_engine import FUNCTIONS as NUMERIC
from charrnn.inference.numpy_engine import NumpyEngine
from charrnn.model import parameters
from charrnn.model.model_file import Model

LEFT, RIGHT = 0.1, 0.9  # a gate is saturated below or above (Karpathy et al. 2015)
_WINDOW = 256  # tokens read at a time


@dataclass(frozen=True)
class Activations:
    """The activations on a text; those at index t follow from reading token t.

    Attributes:
        states: names of the parts of the state, the layer's output first.
        gates: names of the blocks that pass through a sigmoid, with values in 0 .. 1.
        parts: (L, N, H) of each state, gate and candidate, by name.
    """

    states: tuple[str, ...]
    gates: tuple[str, ...]
    parts: Mapping[str, Floats32]


@dataclass(frozen=True)
class Saturation:
    """How often the units of a gate are almost closed or almost open.

    Attributes:
        left: (L, H), the share of the text where the gate is below 0.1.
        right: (L, H), the share where it is above 0.9.
    """

    left: NDArray[np.float64]
    right: NDArray[np.float64]


def check_reads_text(model: Model) -> None:
    """Refuse a model of pairs, or of gaps: without a source it reads nothing.

    Raises:
        OptionError: says so.
    """
    if model.config.encoder:
        raise OptionError(
            "this is measured while a model goes on with a text, and this is a model of "
            f"{model.reading.kind}: use a model of texts, or 'charrnn inspect attention'"
        )


def activations(model: Model, ids: Ids, documents: Sequence[int] = ()) -> Activations:
    """Read a text of ids (N,) from its start and record the activations of all units.

    Args:
        model: reads the text.
        ids: the text.
        documents: where documents start, each of which is read from the start state.

    Raises:
        RunError: the state overflows.
    """
    each = [_of_network(network, ids, documents) for network in model.networks]
    parts = {name: np.concatenate([found.parts[name] for found in each]) for name in each[0].parts}
    return Activations(each[0].states, each[0].gates, parts)


def _of_network(model: Model, ids: Ids, documents: Sequence[int]) -> Activations:
    """Return the activations of a model of one network."""
    recorder = _Recorder(parameters.layer_of(model.config))
    engine = NumpyEngine(model.config, model.values, recorder.step)
    start = np.array([[model.config.start_token]], np.int64)
    windows: list[dict[str, Floats32]] = []
    begins = {0, *documents}
    bounds = sorted({*range(0, len(ids), _WINDOW), *begins, len(ids)})
    for first, end in pairwise(bound for bound in bounds if bound <= len(ids)):
        if first in begins:
            state = engine.advance(start, engine.start_state(1))
        recorder.seen.clear()
        state = engine.advance(ids[first:end, None].astype(np.int64), state)
        windows.append(recorder.window(model.config.num_layers))
    parts = {name: np.concatenate([window[name] for window in windows], 1) for name in windows[0]}
    check_finite(*parts.values())
    gates = tuple(name for name in parts if recorder.kinds.get(name) == "sigmoid")
    return Activations(recorder.cell.states, gates, parts)


def saturation(recorded: Activations) -> dict[str, Saturation]:
    """Return the saturation of each gate."""
    gates = {name: recorded.parts[name] for name in recorded.gates}
    return {
        name: Saturation((values < LEFT).mean(1), (values > RIGHT).mean(1))
        for name, values in gates.items()
    }


class _Recorder:
    """A step of a cell that records the new state and the outputs of its nonlinear functions.

    Attributes:
        cell: the step is this cell's.
        kinds: the function that each recorded block passes through, by the block's name.
        seen: for each step of each layer, the recorded values, (1, H) by name.
    """

    def __init__(self, layer: Layer) -> None:
        self.cell = layer.cell
        self.seen: list[dict[str, Floats32]] = []
        self._calls = calls(layer)
        self.kinds = {name: kind for kind, name in self._calls if name}
        self._outputs: list[Floats32] = []  # of the functions, in this step

        def recorded(numeric: Function) -> Function:
            def call(x: Any) -> Any:
                self._outputs.append(numeric(x))
                return self._outputs[-1]

            return call

        self._step = layer.step(NUMERIC | {name: recorded(NUMERIC[name]) for name in FUNCTIONS})

    def step(self, x: Parts, W: Product, state: Parts, v: Parts = (), zone: Parts = ()) -> Parts:  # noqa: N803
        """Do what `charrnn.cells.Layer.step` does."""
        self._outputs.clear()
        after = self._step(x, W, state, v, zone)
        seen = dict(zip(self.cell.states, after, strict=True))
        for (_, name), values in zip(self._calls, self._outputs, strict=True):
            if name:
                seen[name] = values
        self.seen.append(seen)
        return after

    def window(self, layers: int) -> dict[str, Floats32]:
        """Return what was recorded since `seen` was cleared, (L, T, H) by name.

        `seen` holds all steps of the first layer, then all of the next.
        """
        return {
            name: np.concatenate([seen[name] for seen in self.seen])
            .astype(np.float32)
            .reshape(layers, len(self.seen) // layers, -1)
            for name in self.seen[0]
        }


def calls(layer: Layer) -> list[tuple[str, str | None]]:
    """Return the nonlinear functions that a cell's step calls, in order, with the block of each.

    The equation is traced symbolically: a function belongs to a block if the block's input part
    reaches it through sums and products only. The block is None if there is no such block (for
    the cell state on its way out), or if the block's value is itself a part of the state.
    """
    graph, arguments = Graph(), list[tuple[str, Value]]()
    cell, counts = layer.cell, iter(layer.products)

    def traced(name: str) -> Callable[[Value], Value]:
        def call(x: Value) -> Value:
            arguments.append((name, x))
            result: Value = function(name)(x)
            return result

        return call

    def product(operand: Any) -> Parts:
        return graph.inputs(f"r{len(graph.nodes)}", next(counts))

    given = (graph.inputs("x", len(cell.blocks)), product, graph.inputs("state", len(cell.states)))
    functions = {name: function(name) for name in NUMERIC}
    functions |= {name: traced(name) for name in FUNCTIONS}
    layer.step(functions)(*given, graph.inputs("v", layer.vector_values), ())
    return [(name, _block(cell, argument)) for name, argument in arguments]


def _block(cell: Cell, argument: Value) -> str | None:
    """Return the name of the block whose input part occurs in a sum of products."""
    nodes, left, blocks = argument.graph.nodes, [argument.index], set[int]()
    while left:
        operation, *arguments = nodes[left.pop()]
        if operation == "x":
            blocks.add(arguments[0])
        elif operation in ARITHMETIC:
            left += arguments
    names = {cell.blocks[block] for block in blocks} - {*cell.states}
    return names.pop() if len(names) == 1 else None
