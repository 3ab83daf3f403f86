"""Packs a network's matrices and tables for compiled products."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats, Floats32
from charrnn.inference.network_arrays import LayerArrays, NetworkArrays
from charrnn.inference.packing import PackedMatrix, padded, panel_count


@dataclass(frozen=True)
class InputMap:
    """One product on the way from a layer's input to its blocks.

    Attributes:
        matrix: multiplies the output of the layer below, or of the map before.
        bias: what the sums start from.
        table: rows, looked up by token, to start from instead; None without skip connections.
    """

    matrix: PackedMatrix
    bias: Floats32
    table: Floats32 | None


@dataclass(frozen=True)
class PackedLayer:
    """One layer, packed.

    Attributes:
        inputs: products of the input; empty for the first layer, which looks up its input parts.
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
    """A network as compiled steps read it.

    Attributes:
        weights: what matrices are stored as: float32, bfloat16 or int8.
        table: the first layer's input parts of each token.
        layers: from the input upwards.
        zoneout: for each part of the state, the share of the old value that stays, for every unit.
        outputs: from the layers' outputs to the logits.
        panels: of each block of a layer.
        logit_panels: of the logits.
    """

    weights: str
    table: Floats32
    layers: list[PackedLayer]
    zoneout: list[Floats32]
    outputs: list[OutputMap]
    panels: int
    logit_panels: int

    @classmethod
    def of(cls, arrays: NetworkArrays, weights: str) -> PackedNetwork:
        """Pack a network."""
        hidden_size, blocks = arrays.config.hidden_size, len(arrays.recurrence.cell.blocks)
        panels = panel_count(hidden_size)
        return cls(
            weights,
            padded(arrays.table, blocks, panels),
            [
                _layer(arrays, number, layer, weights, panels)
                for number, layer in enumerate(arrays.layers)
            ],
            [padded(np.full(hidden_size, rate), 1, panels) for rate in arrays.zoneout],
            _outputs(arrays, weights),
            panels,
            panel_count(arrays.config.vocab_size),
        )

    def load(self, other: PackedNetwork) -> None:
        """Copy the arrays of a network of the same architecture into these, which stay in place."""
        for mine, others in zip(self._arrays(), other._arrays(), strict=True):
            mine[...] = others

    def _arrays(self) -> Iterator[NDArray[Any]]:
        """Yield all arrays that hold parameters."""
        yield self.table
        for layer in self.layers:
            yield from (*layer.biases, *layer.vectors)
            for step in layer.inputs:
                yield from (step.bias, *([] if step.table is None else [step.table]))
        for matrix in self.matrices:
            yield from (matrix.values, matrix.scale)
        for output in self.outputs:
            yield output.bias

    @property
    def matrices(self) -> list[PackedMatrix]:
        """Return all matrices that a step reads."""
        layers = [
            matrix
            for layer in self.layers
            for matrix in (*layer.matrices, *(step.matrix for step in layer.inputs))
        ]
        return layers + [matrix for output in self.outputs for matrix in output.matrices]


def _layer(
    arrays: NetworkArrays, number: int, layer: LayerArrays, weights: str, panels: int
) -> PackedLayer:
    return PackedLayer(
        _inputs(arrays, layer, weights, panels) if number else [],
        [PackedMatrix.of(np.asarray(m.weight), m.blocks, weights) for m in layer.matrices],
        [padded(m.bias, m.blocks, panels) for m in layer.matrices],
        [m.normalized for m in layer.matrices],
        [padded(vector, 1, panels) for vector in layer.vectors],
    )


@np.errstate(over="ignore", invalid="ignore")  # weights of a training that diverged
def _inputs(arrays: NetworkArrays, layer: LayerArrays, weights: str, panels: int) -> list[InputMap]:
    hidden_size, blocks = arrays.config.hidden_size, len(layer.recurrence.cell.blocks)
    steps: list[tuple[Floats, Floats | None, int]] = [(*step, 1) for step in layer.maps]
    steps.append((layer.weight.T, layer.bias, blocks))
    packed = []
    for number, (weight, bias, count) in enumerate(steps):
        table = None
        if number == 0 and weight.shape[1] > hidden_size:  # a skip connection: from a table
            assert arrays.inputs is not None
            rows = arrays.inputs @ weight[:, hidden_size:].T + (0 if bias is None else bias)
            weight, bias, table = weight[:, :hidden_size], None, padded(rows, count, panels)
        matrix = PackedMatrix.of(np.asarray(weight), count, weights)
        packed.append(InputMap(matrix, padded(bias, count, panels), table))
    return packed


def _outputs(arrays: NetworkArrays, weights: str) -> list[OutputMap]:
    hidden_size = arrays.config.hidden_size
    steps = [*arrays.output_maps, (arrays.output_weight.T, arrays.output_bias)]
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
