"""Packs a network's matrices and tables for compiled products.

Of an ensemble of K networks each is packed alone. What makes its logits is divided by K there, so
that the sum of all is their mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats, Floats32
from charrnn.inference.network_arrays import LayerArrays, NetworkArrays
from charrnn.inference.packing import PackedMatrix, padded, panel_count


@dataclass(frozen=True)
class InputMap:
    """One step on the way from a layer's input to its blocks.

    Attributes:
        matrices: one for each part of the input besides the token, or for the map before.
        bias: what the sums start from.
        table: rows, looked up by token, to start from instead; None if no token is read.
        source: multiplies what the source of a pair adds to the token's input; None in an encoder,
            in a text model, and where no token is read.
    """

    matrices: list[PackedMatrix]
    bias: Floats32
    table: Floats32 | None
    source: PackedMatrix | None


@dataclass(frozen=True)
class PackedLayer:
    """One layer, packed.

    Attributes:
        inputs: steps of the input; empty for the first layer of a text model or an encoder, which
            looks up its input parts.
        matrices: the matrices of the recurrent products.
        biases: their biases.
        normalized: for each recurrent product, whether its result is normalized.
        vectors: blocks of the vectors.
    """

    inputs: list[InputMap]
    matrices: list[PackedMatrix]
    biases: list[Floats32]
    normalized: list[bool]
    vectors: list[Floats32]


@dataclass(frozen=True)
class OutputMap:
    """One product on the way from the layers' outputs to the logits: a matrix for each source."""

    matrices: list[PackedMatrix]
    bias: Floats32


@dataclass(frozen=True)
class PackedNetwork:
    """A network as compiled steps read it: a text model, a decoder, or a layer of an encoder.

    Attributes:
        weights: what matrices are stored as: float32, bfloat16 or int8.
        units: of a layer.
        table: the first layer's input parts of each token; None if it has `PackedLayer.inputs`.
        layers: from the input upwards.
        zoneout: for each part of the state, the share of the old value that stays, for every unit.
        outputs: from the layers' outputs to the logits.
        start: what the sums of the logits start from; in an ensemble the mean of all biases.
        panels: of each block of a layer.
        logit_panels: of the logits.
    """

    weights: str
    units: int
    table: Floats32 | None
    layers: list[PackedLayer]
    zoneout: list[Floats32]
    outputs: list[OutputMap]
    start: Floats32
    panels: int
    logit_panels: int

    @classmethod
    def of(
        cls, arrays: NetworkArrays, weights: str, each: Sequence[NetworkArrays]
    ) -> PackedNetwork:
        """Pack a text model, or the decoder of a pair model.

        Args:
            arrays: of the network.
            weights: what matrices are stored as: float32, bfloat16 or int8.
            each: the arrays of all networks of its ensemble.
        """
        hidden_size = arrays.config.hidden_size
        blocks, panels = len(arrays.recurrence.cell.blocks), panel_count(hidden_size)
        attended = hidden_size if arrays.config.context == "attention" else 0
        layers = []
        for number, layer in enumerate(arrays.layers):
            below = (hidden_size, attended) if number else ()
            looked_up = number == 0 and not arrays.config.encoder
            inputs = [] if looked_up else _inputs(arrays, layer, weights, below)
            layers.append(_layer(layer, inputs, weights))
        return cls(
            weights,
            hidden_size,
            None if arrays.config.encoder else padded(arrays.table, blocks, panels),
            layers,
            _zoneout(arrays, hidden_size),
            _outputs(arrays, weights, len(each)),
            padded(_mean_bias(each), 1, panel_count(arrays.config.vocab_size)),
            panels,
            panel_count(arrays.config.vocab_size),
        )

    @classmethod
    def of_encoder_layer(
        cls, arrays: NetworkArrays, number: int, layer: LayerArrays, weights: str
    ) -> PackedNetwork:
        """Pack one direction of a layer of an encoder, as a network without an output."""
        size, blocks = len(layer.start[0]), len(layer.recurrence.cell.blocks)
        panels = panel_count(size)
        table, inputs = None, []
        if number:
            below = (arrays.config.hidden_size,)
            inputs = _inputs(arrays, layer, weights, below, encoder=True)
        else:
            assert arrays.inputs is not None
            table = padded(layer.input_parts(arrays.inputs), blocks, panels)
        packed = _layer(layer, inputs, weights)
        zoneout, nothing = _zoneout(arrays, size), padded(None, 1, 0)
        return cls(weights, size, table, [packed], zoneout, [], nothing, panels, 0)

    def load(self, other: PackedNetwork) -> None:
        """Copy the arrays of a network of the same architecture into these, which stay in place."""
        for mine, others in zip(self._arrays(), other._arrays(), strict=True):
            mine[...] = others

    def _arrays(self) -> Iterator[NDArray[Any]]:
        """Yield all arrays that hold parameters."""
        if self.table is not None:
            yield self.table
        for layer in self.layers:
            yield from (*layer.biases, *layer.vectors)
            for step in layer.inputs:
                yield from (step.bias, *([] if step.table is None else [step.table]))
        for matrix in self.matrices:
            yield from (matrix.values, matrix.scale)
        yield self.start
        for output in self.outputs:
            yield output.bias

    @property
    def matrices(self) -> list[PackedMatrix]:
        """Return all matrices that a step reads."""
        layers = [
            matrix
            for layer in self.layers
            for matrix in (*layer.matrices, *(m for step in layer.inputs for m in step.matrices))
        ]
        return layers + [matrix for output in self.outputs for matrix in output.matrices]


def _layer(layer: LayerArrays, inputs: list[InputMap], weights: str) -> PackedLayer:
    panels = panel_count(len(layer.start[0]))
    return PackedLayer(
        inputs,
        [PackedMatrix.of(np.asarray(m.weight), m.blocks, weights) for m in layer.matrices],
        [padded(m.bias, m.blocks, panels) for m in layer.matrices],
        [m.normalized for m in layer.matrices],
        [padded(vector, 1, panels) for vector in layer.vectors],
    )


def _zoneout(arrays: NetworkArrays, size: int) -> list[Floats32]:
    return [padded(np.full(size, rate), 1, panel_count(size)) for rate in arrays.zoneout]


@np.errstate(over="ignore", invalid="ignore")  # weights of a training that diverged
def _inputs(
    arrays: NetworkArrays,
    layer: LayerArrays,
    weights: str,
    below: tuple[int, ...],
    *,
    encoder: bool = False,
) -> list[InputMap]:
    """Pack the steps from a layer's input to its blocks.

    Args:
        arrays: of the network.
        layer: one of its layers, or of its encoder's.
        weights: see `PackedMatrix`.
        below: the sizes of the parts of the input besides the token; the token is the second part.
        encoder: whether the layer is an encoder's, to which no source adds anything.
    """
    panels, blocks = panel_count(len(layer.start[0])), len(layer.recurrence.cell.blocks)
    steps: list[tuple[Floats, Floats | None, int]] = [(*step, 1) for step in layer.maps]
    steps.append((layer.weight.T, layer.bias, blocks))
    packed = []
    for number, (weight, bias, count) in enumerate(steps):
        parts, tokens = [weight], weight[:, :0]
        if number == 0:
            first = sum(below[:1])
            parts = np.split(weight, [first, weight.shape[1] - sum(below[1:])], 1)
            tokens = parts.pop(1)
        table, source = None, None
        if tokens.shape[1]:  # the first layer of a decoder, or a skip connection
            assert arrays.inputs is not None
            rows = arrays.product(arrays.inputs, tokens.T) + (0 if bias is None else bias)
            bias, table = None, padded(rows, count, panels)
            if arrays.config.encoder and not encoder:
                source = PackedMatrix.of(tokens, count, weights)
        matrices = [PackedMatrix.of(part, count, weights) for part in parts if part.shape[1]]
        packed.append(InputMap(matrices, padded(bias, count, panels), table, source))
    return packed


@np.errstate(over="ignore", invalid="ignore")
def _mean_bias(each: Sequence[NetworkArrays]) -> Floats:
    return np.asarray(np.mean([arrays.output_bias for arrays in each], 0))


def _outputs(arrays: NetworkArrays, weights: str, count: int) -> list[OutputMap]:
    """Pack the way from the layers' outputs to the logits, which are divided by `count`."""
    hidden_size = arrays.config.hidden_size
    last = (arrays.output_weight.T / count, arrays.output_bias / count)
    steps = [*arrays.output_maps, last]
    return [
        OutputMap(
            [
                PackedMatrix.of(np.asarray(part), 1, weights)
                for part in np.split(weight, weight.shape[1] // hidden_size, 1)
            ],
            padded(bias, 1, panel_count(len(bias))),
        )
        for weight, bias in steps
    ]
