"""A network run forward with numpy alone, step by step or over windows: no torch, no gradients.

Shapes: T steps, B rows, V symbols, H hidden units, G blocks of the cell. The state is a value: it
goes in and a new one comes out; a given state is never changed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import parameters
from charrnn.cells import CELLS
from charrnn.config import ModelConfig
from charrnn.parameters import Parameters

Floats = NDArray[np.floating[Any]]
State = tuple[tuple[Floats, ...], ...]  # per layer, per state of the cell: (B, H)


def sigmoid(x: Floats) -> Floats:
    """The logistic function; by tanh it neither overflows nor warns."""
    return np.asarray(0.5 * np.tanh(0.5 * x) + 0.5)


def relu(x: Floats) -> Floats:
    """The positive part; not-a-number stays so."""
    return np.maximum(x, 0)


# Some BLAS raise flags for numbers that they throw away; numpy would warn of them.
_quietly = np.errstate(all="ignore")


class NumpyEngine:
    """A network as arrays, with the embedding and the first layer's product made in advance."""

    @_quietly
    def __init__(self, config: ModelConfig, values: Parameters) -> None:
        self.config = config
        self._cell = CELLS[config.cell]
        self._unit = self._cell.equations(sigmoid, np.tanh, relu)
        self._layers = [parameters.layer(values, index) for index in range(config.num_layers)]
        self._output_weight, self._output_bias = values["output.weight"].T, values["output.bias"]
        # The first layer sees one of V + 1 symbols: its input part is a row of this table.
        first = self._layers[0]["weight_ih"].T
        table = values["embedding"] @ first if config.embedding_size else first
        self._table = np.ascontiguousarray(table + self._input_bias(0))
        self._dtype = self._table.dtype

    def _input_bias(self, layer: int) -> Floats:
        return self._layers[layer]["bias_ih" if self._cell.two_biases else "bias"]

    def zero_state(self, batch_size: int) -> State:
        """The state before a text: zeros, for `batch_size` rows."""
        shape = (batch_size, self.config.hidden_size)
        zeros = tuple(np.zeros(shape, self._dtype) for _ in self._cell.states)
        return (zeros,) * self.config.num_layers

    def select(self, state: State, rows: Any) -> State:
        """The rows of a state, by index or mask: repeats and reorders the texts being written."""
        return tuple(tuple(part[rows] for part in layer) for layer in state)

    @_quietly
    def step(self, ids: NDArray[np.integer[Any]], state: State) -> tuple[Floats, State]:
        """Read one symbol per row: ids (B,) -> logits (B, V) of the next one, and the state."""
        outputs, state = self._run(ids[None], state)
        return outputs[0] @ self._output_weight + self._output_bias, state

    @_quietly
    def read(self, ids: NDArray[np.integer[Any]], state: State) -> tuple[Floats, State]:
        """Read a window: ids (T, B) -> logits (T, B, V), and the state after it."""
        outputs, state = self._run(ids, state)
        return outputs @ self._output_weight + self._output_bias, state

    @_quietly
    def advance(self, ids: NDArray[np.integer[Any]], state: State) -> State:
        """Read a window (T, B) for the state after it alone."""
        return self._run(ids, state)[1]

    def _run(self, ids: NDArray[np.integer[Any]], state: State) -> tuple[Floats, State]:
        outputs, last = self._layer(self._table[ids], self._layers[0], state[0])
        after = [last]
        for index, weights in enumerate(self._layers[1:], start=1):
            parts = outputs @ weights["weight_ih"].T + self._input_bias(index)
            outputs, last = self._layer(parts, weights, state[index])
            after.append(last)
        return outputs, tuple(after)

    def _layer(
        self, parts: Floats, weights: Parameters, state: tuple[Floats, ...]
    ) -> tuple[Floats, tuple[Floats, ...]]:
        """One layer: input parts (T, B, G*H) -> outputs (T, B, H), and its state."""
        hidden_size = self.config.hidden_size
        blocks = [
            slice(g * hidden_size, (g + 1) * hidden_size) for g in range(len(self._cell.blocks))
        ]
        recurrent = weights["weight_hh"].T
        outputs = np.empty((*parts.shape[:2], hidden_size), parts.dtype)
        for t in range(len(parts)):
            r = state[0] @ recurrent
            if self._cell.two_biases:
                r += weights["bias_hh"]
            x = parts[t]
            state = self._unit(
                tuple(x[:, block] for block in blocks),
                tuple(r[:, block] for block in blocks),
                state,
            )
            outputs[t] = state[0]
        return outputs, state

    def nats(
        self, inputs: NDArray[np.int64], targets: NDArray[np.int64], state: State
    ) -> tuple[Floats, State]:
        """-ln p of every target (T, B) after its inputs, and the state after the window."""
        logits, state = self.read(inputs, state)
        peak = logits.max(-1, keepdims=True)
        chosen = np.take_along_axis(logits, targets[..., None], -1)
        log_sum = np.log(np.exp(logits - peak).sum(-1, dtype=np.float64))
        return log_sum - (chosen - peak)[..., 0], state
