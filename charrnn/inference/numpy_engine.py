"""Runs a network with numpy alone, step by step or over windows: the readable reference.

The networks of an ensemble run one after the other. Shapes: T steps, B rows, V tokens, H hidden
units of a network, G blocks of the cell, Y values that the output map of a network reads.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from charrnn.arrays import Floats, Ids, State
from charrnn.cells.base import Function
from charrnn.cells.layer import Step
from charrnn.config import ModelConfig
from charrnn.inference.engine import Chooser, Engine, Expected, predicted
from charrnn.inference.network_arrays import (
    LayerArrays,
    NetworkArrays,
    block_slices,
    network_arrays,
    normalized,
)
from charrnn.model import parameters
from charrnn.model.parameters import Parameters


def sigmoid(x: Floats) -> Floats:
    """Return the logistic function; computed by tanh it neither overflows nor warns."""
    return np.asarray(0.5 * np.tanh(0.5 * x) + 0.5)


def relu(x: Floats) -> Floats:
    """Return the positive part; NaN stays NaN."""
    return np.maximum(x, 0)


FUNCTIONS: dict[str, Function] = {
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "relu": relu,
    "exp": np.exp,
    "abs": np.abs,
    "max": np.maximum,
    "min": np.minimum,
}


def softmax(logits: Floats) -> Floats:
    """Return the probabilities (..., V) of logits (..., V)."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


# Some BLAS libraries raise floating-point flags for values that they discard; numpy would warn.
_quietly = np.errstate(all="ignore")


class NumpyEngine(Engine):
    """An engine that needs no compiler."""

    reproducible = False  # BLAS may sum a product in another order when it has other rows

    def __init__(self, config: ModelConfig, values: Parameters, step: Step | None = None) -> None:
        """Make an engine of these parameters.

        Args:
            config: the architecture.
            values: parameters by name.
            step: runs in place of the cell's own step, to observe it.
        """
        self.config = config
        self._networks = network_arrays(config, values)
        self._step = step or self._networks[0].recurrence.step(FUNCTIONS)

    def start_state(self, batch_size: int) -> State:
        """Return the state before a text, for `batch_size` rows: zeros, or what was learned."""
        return tuple(layer for each in self._networks for layer in each.start_state(batch_size))

    @_quietly
    def step(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read one token per row: ids (B,) -> logits (B, V) of the next one, and the state."""
        outputs, state = self._run(ids[None], state)
        return self._logits(outputs[0]), state

    @_quietly
    def read(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read a window: ids (T, B) -> logits (T, B, V), and the state after it."""
        outputs, state = self._run(ids, state)
        return self._logits(outputs), state

    @_quietly
    def advance(self, ids: Ids, state: State) -> State:
        """Read a window (T, B) and return only the state after it."""
        return self._run(ids, state)[1]

    def expected(
        self, inputs: Ids, targets: Ids, count: int, state: State
    ) -> tuple[Expected, State]:
        """Return what was predicted in place of each target (T, B), and the state after."""
        logits, state = self.read(inputs, state)
        return predicted(logits, targets, count), state

    def prepare(self, chooser: Chooser, batch_size: int) -> None:
        """Do nothing: there is nothing to compile."""

    def _logits(self, outputs: Floats) -> Floats:
        """Return the logits (..., V): the mean of those of outputs (..., K*Y) of all networks."""
        parts = np.split(outputs, len(self._networks), -1)
        found = [one.logits(part) for one, part in zip(self._networks, parts, strict=True)]
        return np.asarray(np.mean(found, 0))

    def _run(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Return the outputs (T, B, K*Y) that the output maps read, and the state."""
        parts = parameters.by_network(self.config, state)
        found = (
            self._run_network(arrays, ids, tuple(part))
            for arrays, part in zip(self._networks, parts, strict=True)
        )
        outputs, after = zip(*found, strict=True)
        return np.concatenate(outputs, -1), tuple(itertools.chain.from_iterable(after))

    def _run_network(self, arrays: NetworkArrays, ids: Ids, state: State) -> tuple[Floats, State]:
        """Return the outputs (T, B, Y) that a network's output map reads, and its state."""
        skips = self.config.skip_connections
        x = arrays.inputs[ids] if skips and arrays.inputs is not None else None
        outputs, last = self._run_layer(arrays, arrays.layers[0], arrays.table[ids], state[0])
        all_outputs, after = [outputs], [last]
        for layer, before in zip(arrays.layers[1:], state[1:], strict=True):
            if x is not None:
                outputs = np.concatenate([outputs, x], -1)
            outputs, last = self._run_layer(arrays, layer, layer.input_parts(outputs), before)
            all_outputs.append(outputs)
            after.append(last)
        return np.concatenate(all_outputs, -1) if skips else outputs, tuple(after)

    def _run_layer(
        self, arrays: NetworkArrays, layer: LayerArrays, parts: Floats, state: tuple[Floats, ...]
    ) -> tuple[Floats, tuple[Floats, ...]]:
        """Run a layer of a network: input parts (T, B, G*H) -> outputs (T, B, H), its state."""
        hidden_size = len(layer.start[0])
        blocks = block_slices(len(layer.recurrence.cell.blocks), hidden_size)
        outputs = np.empty((*parts.shape[:2], hidden_size), parts.dtype)
        for t in range(len(parts)):
            x = tuple(parts[t][:, block] for block in blocks)
            products = self._products(arrays, layer)
            state = self._step(x, products, state, layer.vectors, arrays.zoneout)
            outputs[t] = state[0]
        return outputs, state

    def _products(
        self, arrays: NetworkArrays, layer: LayerArrays
    ) -> Callable[[Floats], tuple[Floats, ...]]:
        """Return a function that makes the recurrent products of one step, one per call."""
        remaining = iter(layer.matrices)
        feeds_back = layer.recurrence.cell.feeds_back

        def product(operand: Floats) -> tuple[Floats, ...]:
            nonlocal feeds_back
            matrix = next(remaining)
            if feeds_back:
                operand, feeds_back = softmax(arrays.logits(operand)), False
            r = operand @ matrix.weight.T
            if matrix.normalized:
                r = normalized(r, matrix.blocks)
            if matrix.bias is not None:
                r += matrix.bias
            return tuple(r[:, block] for block in block_slices(matrix.blocks, len(layer.start[0])))

        return product
