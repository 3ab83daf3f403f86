"""A network's parameters as arrays that engines are built from, with all tables made in advance.

Reading a token is a lookup: the embedding and the first layer's input product are one table with a
row for each token. One thread of numpy's BLAS makes such products, as their rounding depends on the
number of threads, and texts and archives must not. Shapes: V tokens, E embedding, H hidden units, G
blocks of the cell, X the size of a layer's input.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from threadpoolctl import ThreadpoolController

from charrnn.arrays import Floats, State
from charrnn.cells import Layer
from charrnn.cells.layer import EPSILON, Matrix
from charrnn.config import ModelConfig
from charrnn.model import parameters
from charrnn.model.parameters import Parameters

Product = Callable[[Floats, Floats], Floats]  # of two matrices
# Archives of before 30 November 2026 need what as many threads make as numpy uses.
OLDER_PRODUCT: Product = np.matmul
_limiting = threading.Lock()


def multiply(x: Floats, weight: Floats) -> Floats:
    """Return the product of two matrices, made by one thread."""
    with _limiting, _libraries().limit(limits=1, user_api="blas"):
        found: Floats = np.matmul(x, weight)
    return found


@functools.cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


@dataclass(frozen=True)
class LayerArrays:
    """One layer's parameters, as its steps need them.

    Attributes:
        recurrence: the cell and its form.
        maps: weight and bias of each deeper input map.
        weight: ``weight_ih`` transposed, (X, G*H).
        bias: added to the input parts; None where the cell's equation adds it.
        matrices: the recurrent products.
        vectors: blocks of the vectors, (H,) each.
        start: each part of the state before a text, (H,).
    """

    recurrence: Layer
    maps: list[tuple[Floats, Floats]]
    weight: Floats
    bias: Floats | None
    matrices: list[Matrix]
    vectors: tuple[Floats, ...]
    start: tuple[Floats, ...]

    @classmethod
    def of(cls, recurrence: Layer, hidden: int, values: Parameters) -> LayerArrays:
        """Return the layer of `hidden` units with these parameters, by their names within it."""
        zero = np.zeros(hidden, values["weight_ih"].dtype)
        return cls(
            recurrence,
            parameters.maps(values, "input."),
            values["weight_ih"].T,
            None if recurrence.layer_norm else values[recurrence.input_bias],
            recurrence.matrices(values),
            tuple(
                values[name][block]
                for name in recurrence.vectors
                for block in block_slices(len(values[name]) // hidden, hidden)
            ),
            tuple(values.get(f"start.{name}", zero) for name in recurrence.cell.states),
        )

    def input_parts(self, x: Floats, product: Product = multiply) -> Floats:
        """Return the input parts (..., G*H) of inputs (..., X)."""
        for weight, bias in self.maps:
            x = np.tanh(product(x, weight.T) + bias)
        return self.finish(product(x, self.weight))

    def finish(self, product: Floats) -> Floats:
        """Return the input parts, given the product of input and weight (..., G*H)."""
        if self.bias is None:
            return normalized(product, len(self.recurrence.cell.blocks))
        return product + self.bias


@dataclass(frozen=True)
class NetworkArrays:
    """A whole network's parameters.

    Attributes:
        config: the architecture.
        recurrence: the cell and its form.
        zoneout: for each part of the state, the share of the old value that stays; may be empty.
        layers: from the input upwards.
        table: the first layer's input parts of each token, (V + 1, G*H).
        inputs: each token's row of the embedding, (V + 1, E), or one-hot, (V + 1, V + 1); None
            where no table, no skip connection and no encoder needs them.
        output_maps: weight and bias of each deeper output map.
        output_weight: the matrix that makes the logits, transposed, (Y, V).
        output_bias: (V,).
        product: multiplies the tokens' rows by matrices.
    """

    config: ModelConfig
    recurrence: Layer
    zoneout: tuple[float, ...]
    layers: list[LayerArrays]
    table: Floats
    inputs: Floats | None
    output_maps: list[tuple[Floats, Floats]]
    output_weight: Floats
    output_bias: Floats
    product: Product

    @classmethod
    @np.errstate(all="ignore")
    def of(
        cls, config: ModelConfig, values: Parameters, product: Product = multiply
    ) -> NetworkArrays:
        """Return the arrays of a network with these parameters, which is no ensemble."""
        recurrence = parameters.layer_of(config)
        layers = [
            LayerArrays.of(recurrence, config.hidden_size, parameters.layer(values, index))
            for index in range(config.num_layers)
        ]
        inputs = values["embedding"] if config.embedding_size else None
        read = config.skip_connections or config.input_depth > 1 or config.encoder
        if inputs is None and read:
            inputs = np.eye(config.vocab_size + 1, dtype=values["output.bias"].dtype)
        first = layers[0]
        if inputs is None or (config.input_depth == 1 and not config.embedding_size):
            # The product of one-hot rows and a matrix is the matrix itself.
            table = first.finish(first.weight)
        else:
            table = first.input_parts(inputs, product)
        return cls(
            config,
            recurrence,
            config.zone_rates(len(recurrence.cell.states)),
            layers,
            table,
            inputs,
            parameters.maps(values, "output.hidden."),
            parameters.output_matrix(config, values, product).T,
            values["output.bias"],
            product,
        )

    def logits(self, outputs: Floats) -> Floats:
        """Return the logits (..., V) of outputs (..., Y)."""
        for weight, bias in self.output_maps:
            outputs = np.tanh(outputs @ weight.T + bias)
        return outputs @ self.output_weight + self.output_bias

    def start_state(self, batch_size: int) -> State:
        """Return the state before a text, for `batch_size` rows: zeros, or what was learned."""
        return tuple(
            tuple(np.repeat(part[None], batch_size, 0) for part in layer.start)
            for layer in self.layers
        )


def network_arrays(
    config: ModelConfig, values: Parameters, product: Product = multiply
) -> list[NetworkArrays]:
    """Return the arrays of each network of an ensemble; a list of one if it is none."""
    each = parameters.members(config, values)
    return [NetworkArrays.of(config.member, own, product) for own in each]


def encoder_layers(arrays: NetworkArrays, values: Parameters) -> list[list[LayerArrays]]:
    """Return the layers of a pair model's encoder from the input upwards, by directions."""
    config = arrays.config
    return [
        [
            LayerArrays.of(
                arrays.recurrence,
                config.encoder_size,
                parameters.within(values, f"encoder.layers.{index}.{direction}."),
            )
            for direction in config.directions
        ]
        for index in range(config.num_layers)
    ]


def block_slices(count: int, hidden_size: int) -> list[slice]:
    """Return where each of `count` blocks of H values lies in an array."""
    return [slice(k * hidden_size, (k + 1) * hidden_size) for k in range(count)]


def normalized(parts: Floats, blocks: int) -> Floats:
    """Return every block (..., H) of parts (..., blocks*H) with mean 0 and variance 1."""
    split = parts.reshape(*parts.shape[:-1], blocks, -1)
    centered = split - split.mean(-1, keepdims=True)
    scale = np.sqrt((centered**2).mean(-1, keepdims=True) + EPSILON)
    return np.asarray((centered / scale).reshape(parts.shape), parts.dtype)
