"""Runs a pair model with numpy: reads sources, then writes their targets step by step.

Shapes: T steps, B rows, S symbols of the longest source, L layers, H hidden units, X the size of
the first layer's input. The state of a row has one more part than a text model's: the source that
it answers. `charrnn.network` has the same network for training.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from charrnn.arrays import Floats, Ids, Integers, State
from charrnn.config import ModelConfig
from charrnn.errors import PromptError
from charrnn.inference.network_arrays import LayerArrays
from charrnn.inference.numpy_engine import NumpyEngine, softmax
from charrnn.model import parameters
from charrnn.model.parameters import Parameters


@dataclass(frozen=True)
class Sources:
    """What an encoder read; each row of a state refers to one source.

    Attributes:
        rows: the source of each row (B,).
        outputs: the encoder's outputs (N, S, H) for the N sources, padded at their ends.
        keys: what attention compares with the decoder's first layer (N, S, H); empty without it.
        lengths: their symbols (N,).
        added: what is added to the first layer's input (N, X).
    """

    rows: Integers
    outputs: Floats
    keys: Floats
    lengths: Integers
    added: Floats

    def __getitem__(self, rows: Any) -> Sources:
        """Return the sources of some rows, by index or mask; see `Engine.select`."""
        return replace(self, rows=self.rows[rows])

    def attended(self, queries: Floats) -> tuple[Floats, Floats]:
        """Return the weights (T, B, S) of the symbols for queries (T, B, H), and their mean."""
        outputs, keys = self.outputs[self.rows], self.keys[self.rows]
        similar = keys @ queries.transpose(1, 2, 0) / np.sqrt(queries.shape[-1])  # (B, S, T)
        padding = np.arange(outputs.shape[1]) >= self.lengths[self.rows, None]
        similar[padding] = -np.inf
        weights = softmax(similar.transpose(0, 2, 1)).astype(outputs.dtype)  # (B, T, S)
        return weights.transpose(1, 0, 2), (weights @ outputs).transpose(1, 0, 2)


class PairEngine(NumpyEngine):
    """A `charrnn.inference.engine.Engine` of a pair model, whose states `encode` makes."""

    def __init__(self, config: ModelConfig, values: Parameters) -> None:
        super().__init__(config, values)
        self._values = values
        self._encoder = [
            [
                LayerArrays.of(
                    self._arrays.recurrence,
                    config.encoder_size,
                    parameters.within(values, f"encoder.layers.{index}.{direction}."),
                )
                for direction in config.directions
            ]
            for index in range(config.num_layers)
        ]

    def start_state(self, batch_size: int) -> State:
        """Refuse: a target begins with its source.

        Raises:
            PromptError: always.
        """
        raise PromptError(
            "this model answers sources: use 'charrnn beam --source TEXT' (or 'charrnn fill TEXT', "
            "if it was trained to fill gaps)"
        )

    @np.errstate(all="ignore")
    def encode(self, sources: Ids, lengths: Integers) -> State:
        """Return the state before the targets of sources.

        Args:
            sources: (S, B), padded at their ends.
            lengths: of the sources (B,), at least 1.
        """
        rows = np.arange(len(lengths))
        outputs = self._read_sources(sources, lengths)
        last = [outputs[lengths - 1, rows, : self.config.encoder_size]]
        if len(self.config.directions) == 2:
            last.append(outputs[0, :, self.config.encoder_size :])
        ends = np.concatenate(last, -1)
        added = ends @ self._values["context.input.weight"].T
        outputs = np.ascontiguousarray(outputs.transpose(1, 0, 2))
        keys = outputs[..., :0]
        if self.config.context == "attention":
            # (W y) . m = y . (W' m): keys, unlike queries, are the same at every step of a target.
            keys = outputs @ self._values["attention.query.weight"]
        read: Any = Sources(rows, outputs, keys, lengths, added)
        return (*self._start(ends), (read,))

    def _read_sources(self, ids: Ids, lengths: Integers) -> Floats:
        """Return the encoder's outputs (S, B, H) of padded sources (S, B)."""
        assert self._arrays.inputs is not None
        inputs = self._arrays.inputs[ids]
        steps = np.arange(len(ids))[:, None]
        reverse = np.where(steps < lengths, lengths - 1 - steps, steps)[..., None]
        below, skips = inputs, self.config.skip_connections
        for index, layers in enumerate(self._encoder):
            x = np.concatenate([below, inputs], -1) if skips and index else below
            read = []
            for direction, layer in zip(self.config.directions, layers, strict=True):
                backward = direction == "backward"
                given = np.take_along_axis(x, reverse, 0) if backward else x
                start = tuple(np.repeat(part[None], len(lengths), 0) for part in layer.start)
                outputs, _ = self._run_layer(layer, layer.input_parts(given), start)
                read.append(np.take_along_axis(outputs, reverse, 0) if backward else outputs)
            below = np.concatenate(read, -1)
        return below

    def _start(self, ends: Floats) -> State:
        """Return the decoder's first state from the encoder's last outputs (B, H)."""
        layers = (len(ends), self.config.num_layers, self.config.hidden_size)
        parts = []
        for name in self._arrays.recurrence.cell.states:
            weight = self._values[f"context.start.{name}.weight"]
            part = ends @ weight.T + self._values[f"context.start.{name}.bias"]
            parts.append(part.reshape(layers))
        return tuple(
            tuple(np.ascontiguousarray(part[:, index]) for part in parts)
            for index in range(self.config.num_layers)
        )

    def attention(self, ids: Ids, state: State) -> Floats:
        """Return the weights (T, B, S) of the sources' symbols while targets (T, B) are read."""
        return self._decode(ids, state)[2]

    def _run(self, ids: Ids, state: State) -> tuple[Floats, State]:
        outputs, state, _ = self._decode(ids, state)
        return outputs, state

    def _decode(self, ids: Ids, state: State) -> tuple[Floats, State, Floats]:
        """Return the outputs (T, B, Y) that the output map reads, the state, and the weights."""
        arrays, skips = self._arrays, self.config.skip_connections
        assert arrays.inputs is not None
        *layers, (sources,) = state
        assert isinstance(sources, Sources)
        x = arrays.inputs[ids] + sources.added[sources.rows]
        outputs, last = self._run_layer(
            arrays.layers[0], arrays.layers[0].input_parts(x), layers[0]
        )
        beside = [x] if skips else []
        weights, mean = np.zeros((*ids.shape, 0), x.dtype), outputs[..., :0]
        if self.config.context == "attention":
            weights, mean = sources.attended(outputs)
        all_outputs, after = [outputs], [last]
        for layer, before in zip(arrays.layers[1:], layers[1:], strict=True):
            read = np.concatenate([outputs, *beside, mean], -1)
            outputs, last = self._run_layer(layer, layer.input_parts(read), before)
            all_outputs.append(outputs)
            after.append(last)
        read = np.concatenate([*(all_outputs if skips else [outputs]), mean], -1)
        return read, (*after, (sources,)), weights
