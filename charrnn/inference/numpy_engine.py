"""A network run forward with numpy alone, step by step or over windows: no torch, no gradients.

Shapes: T steps, B rows, V symbols, H hidden units, G blocks of the cell. The state is a value: it
goes in and a new one comes out; a given state is never changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats, Ids
from charrnn.cells import Cell
from charrnn.cells.base import EPSILON, Matrix, Step
from charrnn.config import ModelConfig
from charrnn.model import parameters
from charrnn.model.parameters import Parameters

State = tuple[tuple[Floats, ...], ...]  # per layer, per state of the cell: (B, H)


def sigmoid(x: Floats) -> Floats:
    """The logistic function; by tanh it neither overflows nor warns."""
    return np.asarray(0.5 * np.tanh(0.5 * x) + 0.5)


def relu(x: Floats) -> Floats:
    """The positive part; not-a-number stays so."""
    return np.maximum(x, 0)


# Some BLAS raise flags for numbers that they throw away; numpy would warn of them.
_quietly = np.errstate(all="ignore")


class Chooser(Protocol):
    """What chooses the next symbol of each text, and keeps what it chose."""

    def choose(self, logits: Floats) -> Ids:
        """Logits (B, V) -> what to read next (B,)."""
        ...

    def compiled(
        self, logits: int, row: int, symbols: int, steps: int
    ) -> tuple[int, tuple[int, ...]]:
        """The same as compiled code.

        Args:
            logits: their address.
            row: bytes from one text's to the next one's.
            symbols: V.
            steps: how many symbols each text gets.

        Returns:
            address and arguments of a function of `charrnn.inference.instructions`, which writes
            the ids.
        """
        ...


@dataclass(frozen=True)
class Expected:
    """What a network expected at every place of a window.

    Attributes:
        nats: -ln p (T, B) of what came.
        likeliest: the ids (T, B, K) that it held most likely, the best first.
        likeliest_nats: -ln p (T, B, K) of those.
    """

    nats: Floats
    likeliest: NDArray[np.int32]
    likeliest_nats: Floats


@dataclass(frozen=True)
class _Layer:
    """One layer's parameters, as its steps need them.

    Attributes:
        cell: the recurrence, in its form.
        maps: weight and bias of each deeper input map.
        weight: ``weight_ih`` turned round, (X, G*H).
        bias: what is added to the input parts; None where the unit adds it.
        matrices: the recurrent products.
        vectors: blocks of the vectors.
        start: each part of the state before a text, (H,).
    """

    cell: Cell
    maps: list[tuple[Floats, Floats]]
    weight: Floats
    bias: Floats | None
    matrices: list[Matrix]
    vectors: tuple[Floats, ...]
    start: tuple[Floats, ...]

    @classmethod
    def of(cls, cell: Cell, config: ModelConfig, values: Parameters) -> _Layer:
        """The layer with these parameters, by their names within it."""
        hidden = config.hidden_size
        zero = np.zeros(hidden, values["weight_hh"].dtype)
        return cls(
            cell,
            parameters.maps(values, "input."),
            values["weight_ih"].T,
            None if cell.layer_norm else values[cell.input_bias],
            cell.matrices(values),
            tuple(
                values[name][block]
                for name in cell.vectors
                for block in _slices(len(values[name]) // hidden, hidden)
            ),
            tuple(values.get(f"start.{name}", zero) for name in cell.states),
        )

    def parts(self, x: Floats) -> Floats:
        """Input (..., X) -> input parts (..., G*H)."""
        for weight, bias in self.maps:
            x = np.tanh(x @ weight.T + bias)
        return self.finish(x @ self.weight)

    def finish(self, product: Floats) -> Floats:
        """The input's product -> input parts."""
        if self.bias is None:
            return normalised(product, len(self.cell.blocks))
        return product + self.bias


def _slices(count: int, hidden_size: int) -> list[slice]:
    return [slice(k * hidden_size, (k + 1) * hidden_size) for k in range(count)]


def softmax(logits: Floats) -> Floats:
    """Probabilities (..., V)."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def normalised(parts: Floats, blocks: int) -> Floats:
    """Every block (..., H) of parts (..., blocks*H) with mean 0 and variance 1."""
    split = parts.reshape(*parts.shape[:-1], blocks, -1)
    centred = split - split.mean(-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
    return np.asarray((centred / scale).reshape(parts.shape), parts.dtype)


class NumpyEngine:
    """A network as arrays, with the embedding and the first layer's product made in advance."""

    compiles = False

    @_quietly
    def __init__(self, config: ModelConfig, values: Parameters, step: Step | None = None) -> None:
        """A network of these parameters; `step` runs in place of the cell's own, to watch it."""
        self.config = config
        self._cell = parameters.cell_of(config)
        self._step = step or self._cell.step(sigmoid, np.tanh, relu)
        self._zone = config.zone_rates(len(self._cell.states))
        self._layers = [
            _Layer.of(self._cell, config, parameters.layer(values, index))
            for index in range(config.num_layers)
        ]
        self._output_maps = parameters.maps(values, "output.hidden.")
        self._output_weight, self._output_bias = values["output.weight"].T, values["output.bias"]
        # A symbol's input to the layers, and to the first one's recurrence: rows of these tables.
        symbols = config.vocab_size + 1
        self._inputs = values["embedding"] if config.embedding_size else None
        if config.skip_connections and self._inputs is None:
            self._inputs = np.eye(symbols, dtype=self._output_bias.dtype)
        first = self._layers[0]
        if config.embedding_size:
            self._table = first.parts(values["embedding"])
        elif config.input_depth > 1:
            self._table = first.parts(np.eye(symbols, dtype=self._output_bias.dtype))
        else:
            self._table = first.finish(first.weight)
        self._dtype = self._table.dtype

    def start_state(self, batch_size: int) -> State:
        """The state before a text, for `batch_size` rows: zeros, or what was learned."""
        return tuple(
            tuple(np.repeat(part[None], batch_size, 0) for part in layer.start)
            for layer in self._layers
        )

    def select(self, state: State, rows: Any) -> State:
        """The rows of a state, by index or mask: repeats and reorders the texts being written."""
        return tuple(tuple(part[rows] for part in layer) for layer in state)

    @_quietly
    def step(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read one symbol per row: ids (B,) -> logits (B, V) of the next one, and the state."""
        outputs, state = self._run(ids[None], state)
        return self._logits(outputs[0]), state

    @_quietly
    def read(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read a window: ids (T, B) -> logits (T, B, V), and the state after it."""
        outputs, state = self._run(ids, state)
        return self._logits(outputs), state

    @_quietly
    def advance(self, ids: Ids, state: State) -> State:
        """Read a window (T, B) for the state after it alone."""
        return self._run(ids, state)[1]

    def write(
        self, logits: Floats, state: State, chooser: Chooser, count: int
    ) -> tuple[Floats, State]:
        """Choose a symbol per row and read it, `count` times.

        Args:
            logits: (B, V) of the first symbols.
            state: which gave them.
            chooser: chooses, and keeps what it chose.
            count: how many symbols.

        Returns:
            logits and state after the last symbol.
        """
        for _ in range(count):
            logits, state = self.step(chooser.choose(logits), state)
        return logits, state

    def _logits(self, outputs: Floats) -> Floats:
        for weight, bias in self._output_maps:
            outputs = np.tanh(outputs @ weight.T + bias)
        return outputs @ self._output_weight + self._output_bias

    def _run(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """The outputs that are read by the output map, (T, B, Y), and the state."""
        skips = self.config.skip_connections
        x = self._inputs[ids] if skips and self._inputs is not None else None
        outputs, last = self._run_layer(self._layers[0], self._table[ids], state[0])
        every, after = [outputs], [last]
        for layer, before in zip(self._layers[1:], state[1:], strict=True):
            if x is not None:
                outputs = np.concatenate([outputs, x], -1)
            outputs, last = self._run_layer(layer, layer.parts(outputs), before)
            every.append(outputs)
            after.append(last)
        return np.concatenate(every, -1) if skips else outputs, tuple(after)

    def _run_layer(
        self, layer: _Layer, parts: Floats, state: tuple[Floats, ...]
    ) -> tuple[Floats, tuple[Floats, ...]]:
        """One layer: input parts (T, B, G*H) -> outputs (T, B, H), and its state."""
        hidden_size = self.config.hidden_size
        blocks = _slices(len(self._cell.blocks), hidden_size)
        outputs = np.empty((*parts.shape[:2], hidden_size), parts.dtype)
        for t in range(len(parts)):
            x = tuple(parts[t][:, block] for block in blocks)
            state = self._step(x, self._products(layer), state, layer.vectors, self._zone)
            outputs[t] = state[0]
        return outputs, state

    def _products(self, layer: _Layer) -> Callable[[Floats], tuple[Floats, ...]]:
        """The products of one step, one by one."""
        left = iter(layer.matrices)
        feeds_back = self._cell.feeds_back

        def product(operand: Floats) -> tuple[Floats, ...]:
            nonlocal feeds_back
            matrix = next(left)
            if feeds_back:
                operand, feeds_back = softmax(self._logits(operand)), False
            r = operand @ matrix.weight.T
            if matrix.normalised:
                r = normalised(r, matrix.blocks)
            if matrix.bias is not None:
                r += matrix.bias
            return tuple(r[:, block] for block in _slices(matrix.blocks, self.config.hidden_size))

        return product

    def nats(
        self, inputs: NDArray[np.int64], targets: NDArray[np.int64], state: State
    ) -> tuple[Floats, State]:
        """-ln p of every target (T, B) after its inputs, and the state after the window."""
        found, state = self.expected(inputs, targets, 0, state)
        return found.nats, state

    @_quietly
    def expected(
        self,
        inputs: NDArray[np.int64],
        targets: NDArray[np.int64],
        count: int,
        state: State,
    ) -> tuple[Expected, State]:
        """What was expected in place of targets (T, B): the `count` likeliest, at most V."""
        logits, state = self.read(inputs, state)
        peak = logits.max(-1, keepdims=True)
        log_sum = np.log(np.exp(logits - peak).sum(-1, dtype=np.float64, keepdims=True)) + peak
        likeliest = np.argsort(-logits, axis=-1, kind="stable")[..., :count]

        def nats(ids: NDArray[np.int64]) -> Floats:
            return np.asarray(log_sum - np.take_along_axis(logits, ids, -1))

        found = likeliest.astype(np.int32)
        return Expected(nats(targets[..., None])[..., 0], found, nats(likeliest)), state
