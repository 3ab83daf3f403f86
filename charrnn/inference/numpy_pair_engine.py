"""Runs a pair model with numpy: the readable reference of the compiled engine.

Shapes: T steps, B rows, S symbols of the longest source, L layers, H hidden units, X the size of
the first layer's input. The state of a row has one more part than a text model's: the source that
it answers. `charrnn.network` has the same network for training.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from charrnn.arrays import Floats, Ids, Integers, State
from charrnn.config import ModelConfig
from charrnn.inference.network_arrays import encoder_layers
from charrnn.inference.numpy_engine import NumpyEngine, softmax
from charrnn.inference.pair_engine import PairEngine, Sources
from charrnn.model import parameters
from charrnn.model.parameters import Parameters


class NumpyPairEngine(PairEngine, NumpyEngine):
    """An engine of a pair model that needs no compiler."""

    def __init__(self, config: ModelConfig, values: Parameters) -> None:
        config, values = parameters.joined(config, values)
        super().__init__(config, values)
        self._values, (self._arrays,) = values, self._networks
        self._encoder = encoder_layers(self._arrays, values)

    @np.errstate(all="ignore")
    def encode(self, sources: Ids, lengths: Integers) -> State:
        """Return the state before the targets of sources; see `PairEngine.encode`."""
        rows, steps = np.arange(len(lengths)), np.arange(len(sources))
        outputs = self._read_sources(sources, lengths)
        last = [outputs[lengths - 1, rows, : self.config.encoder_size]]
        if len(self.config.directions) == 2:
            last.append(outputs[0, :, self.config.encoder_size :])
        ends = np.concatenate(last, -1)
        added = ends @ self._values["context.input.weight"].T
        memory = outputs.transpose(1, 0, 2)[steps < lengths[:, None]]
        keys = memory[:, :0]
        if self.config.context == "attention":
            # (W y) . m = y . (W' m): keys, unlike queries, are the same at every step of a target.
            keys = memory @ self._values["attention.query.weight"]
        starts = np.cumsum(lengths) - lengths
        read: Any = Sources(rows, memory, keys, starts, lengths, added, added[:, :0])
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
                parts = layer.input_parts(given)
                outputs, _ = self._run_layer(self._arrays, layer, parts, start)
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
        x = arrays.inputs[ids] + sources.added[sources.rows, : arrays.inputs.shape[1]]
        first = arrays.layers[0]
        outputs, last = self._run_layer(arrays, first, first.input_parts(x), layers[0])
        beside = [x] if skips else []
        weights, mean = np.zeros((*ids.shape, 0), x.dtype), outputs[..., :0]
        if self.config.context == "attention":
            weights, mean = _attended(sources, outputs)
        all_outputs, after = [outputs], [last]
        for layer, before in zip(arrays.layers[1:], layers[1:], strict=True):
            read = np.concatenate([outputs, *beside, mean], -1)
            outputs, last = self._run_layer(arrays, layer, layer.input_parts(read), before)
            all_outputs.append(outputs)
            after.append(last)
        read = np.concatenate([*(all_outputs if skips else [outputs]), mean], -1)
        return read, (*after, (sources,)), weights


def _attended(sources: Sources, queries: Floats) -> tuple[Floats, Floats]:
    """Return the weights (T, B, S) of the symbols for queries (T, B, H), and their mean (T, B, H).

    S is the length of the longest source.
    """
    lengths, size = sources.lengths[sources.rows, None], queries.shape[-1]
    step = np.arange(lengths.max(initial=0))
    inside = step < lengths
    places = np.where(inside, sources.starts[sources.rows, None] + step, 0)  # (B, S)
    similar = sources.keys[places, :size] @ queries.transpose(1, 2, 0) / np.sqrt(size)  # (B, S, T)
    similar[~inside] = -np.inf
    weights = softmax(similar.transpose(0, 2, 1)).astype(queries.dtype)  # (B, T, S)
    mean = weights @ sources.memory[places, :size]
    return weights.transpose(1, 0, 2), mean.transpose(1, 0, 2)
