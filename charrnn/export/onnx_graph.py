"""One step of a network as an ONNX graph: a token and the state before -> logits and the new state.

The steps of the layers are those of `charrnn.cells.Layer`, run once on `Tensor`s, whose arithmetic
adds nodes to the graph. Shapes: B rows, V tokens, H hidden units.

The networks of an ensemble stand side by side in the graph: they read the same token, the layers of
the state are those of the first network, then those of the second, and so on, and the logits are
the mean of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from charrnn.arrays import Floats
from charrnn.cells.base import Function, Parts, Product
from charrnn.cells.layer import EPSILON
from charrnn.config import to_json
from charrnn.errors import OptionError
from charrnn.inference.network_arrays import LayerArrays, NetworkArrays, network_arrays
from charrnn.model import parameters
from charrnn.model.model_file import Model
from charrnn.storage.files import json_text

OPSET, IR_VERSION = 18, 10
_MAX_BYTES = 2**31 - 2**20  # of a file in this format, without the graph itself
_DESCRIPTION = """\
One step of a character-level recurrent network. Inputs: 'token' (B), int64, and the state before,
zeros at the start of a text, (B, H) each. Outputs: 'logits' (B, V) of the next token, and the state
to give to the next step. A text starts with the token that the metadata calls start_token, which is
never predicted; 'tokens' there is a JSON list with the text of each of the V tokens, where <0x41>
is a byte of UTF-8."""


@dataclass
class _Graph:
    """The nodes and weights of a graph that is being made."""

    nodes: list[Any] = field(default_factory=list)
    weights: dict[str, Any] = field(default_factory=dict)

    def add(self, operation: str, *inputs: Tensor | float, **attributes: Any) -> Tensor:
        """Return the result of an operation."""
        return self.add_many(operation, 1, *inputs, **attributes)[0]

    def add_many(
        self, operation: str, count: int, *inputs: Tensor | float, **attributes: Any
    ) -> tuple[Tensor, ...]:
        """Return the results of an operation that has several."""
        given = [each if isinstance(each, Tensor) else self.number(each) for each in inputs]
        names = [f"{operation}.{len(self.nodes)}.{number}" for number in range(count)]
        names = names if count > 1 else [f"{operation}.{len(self.nodes)}"]
        arguments = [tensor.name for tensor in given]
        self.nodes.append(helper.make_node(operation, arguments, names, names[0], **attributes))
        return tuple(Tensor(self, name) for name in names)

    def number(self, value: float) -> Tensor:
        """Return a number of an equation."""
        return self.weight(f"number.{value!r}", np.array(value, np.float32))

    def weight(self, name: str, values: Any) -> Tensor:
        """Return an array that the file holds; one that has this name already is the same."""
        if name not in self.weights:
            self.weights[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return Tensor(self, name)


@dataclass(frozen=True, eq=False)
class Tensor:
    """One result in a graph."""

    graph: _Graph
    name: str

    def __add__(self, other: Tensor | float) -> Tensor:
        return self.graph.add("Add", self, other)

    def __mul__(self, other: Tensor | float) -> Tensor:
        return self.graph.add("Mul", self, other)

    def __sub__(self, other: Tensor | float) -> Tensor:
        return self.graph.add("Sub", self, other)

    def __truediv__(self, other: Tensor | float) -> Tensor:
        return self.graph.add("Div", self, other)

    def __rsub__(self, other: float) -> Tensor:
        return self.graph.add("Sub", other, self)

    def __rtruediv__(self, other: float) -> Tensor:
        return self.graph.add("Div", other, self)

    def __neg__(self) -> Tensor:
        return self.graph.add("Neg", self)

    def __abs__(self) -> Tensor:
        return self.graph.add("Abs", self)

    __radd__ = __add__
    __rmul__ = __mul__


def _function(operation: str) -> Function:
    def apply(*arguments: Tensor | float) -> Tensor:
        graph = next(each.graph for each in arguments if isinstance(each, Tensor))
        return graph.add(operation, *arguments)

    return apply


FUNCTIONS: Mapping[str, Function] = {
    name: _function(name.capitalize())
    for name in ("sigmoid", "tanh", "relu", "exp", "abs", "max", "min")
}


def model_bytes(model: Model) -> bytes:
    """Return the ONNX file of a network of texts; equal models give equal bytes.

    Raises:
        OptionError: it would be larger than such a file can be.
    """
    each = network_arrays(model.config, model.values)
    _check_size(each, model)
    graph = _Graph()
    names = [
        [f"state.{index}.{name}" for name in layer.recurrence.cell.states]
        for index, layer in enumerate(layer for arrays in each for layer in arrays.layers)
    ]
    before = [tuple(Tensor(graph, name) for name in layer) for layer in names]
    logits, after = _steps(graph, each, before)
    hidden: list[int | str] = ["batch", model.config.member.hidden_size]
    inputs, outputs = [_info("token", ["batch"], TensorProto.INT64)], []
    graph.nodes.append(helper.make_node("Identity", [logits.name], ["logits"]))
    outputs.append(_info("logits", [hidden[0], model.config.vocab_size]))
    for layer, parts in zip(names, after, strict=True):
        for name, part in zip(layer, parts, strict=True):
            inputs.append(_info(name, hidden))
            outputs.append(_info(f"next.{name}", hidden))
            graph.nodes.append(helper.make_node("Identity", [part.name], [f"next.{name}"]))
    made = helper.make_model(
        helper.make_graph(graph.nodes, "step", inputs, outputs, [*graph.weights.values()]),
        producer_name="charrnn",
        doc_string=_DESCRIPTION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(made, _metadata(model))
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString(deterministic=True))


def _steps(
    graph: _Graph, each: Sequence[NetworkArrays], before: Sequence[Parts]
) -> tuple[Tensor, list[Parts]]:
    """Return the mean logits of all networks after a token, and the state of all their layers."""
    token, found, after = Tensor(graph, "token"), list[Tensor](), list[Parts]()
    parts = parameters.by_network(each[0].config, before)
    for k, (arrays, part) in enumerate(zip(each, parts, strict=True)):
        network = _Network(graph, arrays, f"networks.{k}." if len(each) > 1 else "")
        logits, own = network.step(token, part)
        found.append(logits)
        after += own
    return graph.add("Mean", *found) if len(found) > 1 else found[0], after


def _info(name: str, shape: Sequence[int | str], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def _metadata(model: Model) -> dict[str, str]:
    return {
        "config": json_text(to_json(model.config), sort_keys=True),
        "tokenizer": json_text(model.tokenizer.to_json(), sort_keys=True),
        "tokens": json_text(model.tokenizer.token_names),
        "start_token": str(model.config.start_token),
    }


def _check_size(each: Sequence[NetworkArrays], model: Model) -> None:
    size = sum(value.nbytes for value in model.values.values())
    size += sum(arrays.table.nbytes for arrays in each)
    if size > _MAX_BYTES:
        raise OptionError(
            f"a file of ONNX holds at most 2 GB, and this network has {size / 1e9:.1f} GB: use "
            "--to huggingface"
        )


class _Network:
    """Adds the operations of a network to a graph; the names of its weights begin with `prefix`."""

    def __init__(self, graph: _Graph, arrays: NetworkArrays, prefix: str) -> None:
        self._graph, self._arrays, self._prefix = graph, arrays, prefix

    def _weight(self, name: str, values: Any) -> Tensor:
        """Return a weight of this network."""
        return self._graph.weight(self._prefix + name, values)

    def step(self, token: Tensor, before: Sequence[Parts]) -> tuple[Tensor, list[Parts]]:
        """Return the logits after a token, and the state."""
        graph, arrays = self._graph, self._arrays
        skips = arrays.config.skip_connections
        looked_up = graph.add("Gather", self._weight("table", arrays.table), token)
        symbol = None
        if skips and arrays.inputs is not None and len(arrays.layers) > 1:
            symbol = graph.add("Gather", self._weight("inputs", arrays.inputs), token)
        outputs: list[Tensor] = []
        after: list[Parts] = []
        for index, (layer, state) in enumerate(zip(arrays.layers, before, strict=True)):
            parts = looked_up
            if index:
                below = outputs[-1] if symbol is None else self._beside([outputs[-1], symbol])
                parts = self._input_parts(layer, index, below)
            state = self._started(token, layer, index, state)
            after.append(self._layer(layer, index, parts, state))
            outputs.append(after[-1][0])
        return self._logits(self._beside(outputs if skips else outputs[-1:])), after

    def _started(self, token: Tensor, layer: LayerArrays, index: int, state: Parts) -> Parts:
        """Return the learned initial state in rows that read the start token, if there is one."""
        if not self._arrays.config.learned_start:
            return state
        graph = self._graph
        start = graph.weight("start_token", np.array(self._arrays.config.start_token, np.int64))
        axis = graph.weight("axis", np.array([1], np.int64))
        starts = graph.add("Unsqueeze", graph.add("Equal", token, start), axis)
        return tuple(
            graph.add("Where", starts, self._weight(f"layers.{index}.start.{name}", values), part)
            for name, values, part in zip(
                layer.recurrence.cell.states, layer.start, state, strict=True
            )
        )

    def _layer(self, layer: LayerArrays, index: int, parts: Tensor, state: Parts) -> Parts:
        """Return the new state of a layer."""
        recurrence, name = layer.recurrence, f"layers.{index}"
        vectors = tuple(
            self._weight(f"{name}.vector.{number}", values)
            for number, values in enumerate(layer.vectors)
        )
        x = self._split(parts, len(recurrence.cell.blocks))
        step = recurrence.step(FUNCTIONS)
        return step(x, self._products(layer, name), state, vectors, self._arrays.zoneout)

    def _products(self, layer: LayerArrays, name: str) -> Product:
        """Return a function that makes the recurrent products of one step, one per call."""
        remaining = iter(enumerate(layer.matrices))

        def product(operand: Tensor) -> Parts:
            number, matrix = next(remaining)
            if layer.recurrence.cell.feeds_back and not number:
                operand = self._graph.add("Softmax", self._logits(operand), axis=-1)
            made = self._times(operand, f"{name}.product.{number}", matrix.weight.T, matrix.bias)
            parts = self._split(made, matrix.blocks)
            return tuple(map(self._normalized, parts)) if matrix.normalized else parts

        return product

    def _input_parts(self, layer: LayerArrays, index: int, x: Tensor) -> Tensor:
        """Return the input parts of a layer."""
        name = f"layers.{index}.input"
        for number, (weight, bias) in enumerate(layer.maps):
            x = FUNCTIONS["tanh"](self._times(x, f"{name}.{number}", weight.T, bias))
        made = self._times(x, name, layer.weight, layer.bias)
        if layer.bias is not None:
            return made
        parts = self._split(made, len(layer.recurrence.cell.blocks))
        return self._beside([self._normalized(part) for part in parts])

    def _logits(self, x: Tensor) -> Tensor:
        """Return the logits of what the output map reads."""
        arrays = self._arrays
        for number, (weight, bias) in enumerate(arrays.output_maps):
            x = FUNCTIONS["tanh"](self._times(x, f"output.{number}", weight.T, bias))
        return self._times(x, "output", arrays.output_weight, arrays.output_bias)

    def _times(self, x: Tensor, name: str, weight: Floats, bias: Floats | None) -> Tensor:
        """Return the product with a matrix, and its bias if it has one."""
        made = self._graph.add("MatMul", x, self._weight(f"{name}.weight", weight))
        return made if bias is None else made + self._weight(f"{name}.bias", bias)

    def _split(self, parts: Tensor, count: int) -> tuple[Tensor, ...]:
        """Return the blocks of an array."""
        if count == 1:
            return (parts,)
        return self._graph.add_many("Split", count, parts, axis=1, num_outputs=count)

    def _beside(self, parts: Sequence[Tensor]) -> Tensor:
        return parts[0] if len(parts) == 1 else self._graph.add("Concat", *parts, axis=1)

    def _normalized(self, part: Tensor) -> Tensor:
        """Return a block with mean 0 and variance 1."""
        ones = self._graph.weight("ones", np.ones(self._arrays.config.hidden_size, np.float32))
        return self._graph.add("LayerNormalization", part, ones, axis=-1, epsilon=EPSILON)
