"""Reads the sources of pairs by compiled steps, a direction of a layer at a time.

The input parts of many steps are made by one product; only the recurrence goes step by step, on
one row for each source. Shapes: S steps, B rows, H outputs of a layer, D of one direction.
"""

from __future__ import annotations

import numpy as np

from charrnn.arrays import Floats32, Integers
from charrnn.compiler.processor import WIDTH
from charrnn.config import ModelConfig
from charrnn.inference import step_codegen
from charrnn.inference.instructions import Call, Program
from charrnn.inference.network_arrays import LayerArrays, NetworkArrays
from charrnn.inference.packed_network import PackedNetwork
from charrnn.inference.packing import aligned, panel_count
from charrnn.inference.pair_instructions import copy_rows
from charrnn.inference.step_program import StepProgram, row_layout
from charrnn.inference.workspace import Workspace

_ROWS = 1024  # input parts that are made at once, about: more do not stay in the cache


class _EncoderProgram(StepProgram):
    """The steps of one direction of a layer; what is below has columns of its own."""

    def inputs(self, number: int, new: str) -> list[str]:
        return ["below"]


class CompiledEncoder:
    """An encoder of compiled steps."""

    def __init__(
        self, arrays: NetworkArrays, layers: list[list[LayerArrays]], weights: str
    ) -> None:
        """Pack the weights and compile what a step needs.

        Args:
            arrays: of the network.
            layers: of the encoder, from the input upwards, by directions.
            weights: what matrices are stored as: float32, bfloat16 or int8.
        """
        self._directions = arrays.config.directions

        def reader(number: int, layer: LayerArrays) -> _LayerReader:
            network = PackedNetwork.of_encoder_layer(arrays, number, layer, weights)
            return _LayerReader(arrays.config, layer, network)

        self._layers = [
            [reader(number, layer) for layer in directions]
            for number, directions in enumerate(layers)
        ]

    def read(self, ids: Integers, lengths: Integers, threads: int) -> Floats32:
        """Return the outputs (S, B, H) of the last layer.

        Args:
            ids: of the sources (S, B), padded at their ends.
            lengths: of the sources (B,).
            threads: how many run a step.
        """
        steps = np.arange(len(ids))[:, None]
        reverse = np.where(steps < lengths, lengths - 1 - steps, steps)
        turned = np.ascontiguousarray(np.take_along_axis(ids, reverse, 0))
        below: Floats32 | None = None
        for layer in self._layers:
            found = []
            for direction, reader in zip(self._directions, layer, strict=True):
                if direction == "forward":
                    found.append(reader.read(ids, below, threads))
                    continue
                given = below if below is None else _along(below, reverse)
                found.append(_along(reader.read(turned, given, threads), reverse))
            below = np.concatenate(found, -1)
        assert below is not None
        return below


def _along(values: Floats32, steps: Integers) -> Floats32:
    """Return values (S, B, ...) with the steps of each row in another order (S, B)."""
    return values[steps, np.arange(values.shape[1])]


class _LayerReader:
    """Runs one direction of a layer over whole sources."""

    def __init__(self, config: ModelConfig, layer: LayerArrays, network: PackedNetwork) -> None:
        self._network, form = network, layer.recurrence
        functions = step_codegen.compiled_step(form, bool(network.zoneout))
        below = panel_count(config.hidden_size)
        layout = row_layout(form, network, functions, below=below)
        # One workspace has a row for each symbol, the other for each source.
        self._inputs, self._steps = (
            _EncoderProgram(
                config,
                form,
                network,
                functions,
                Workspace(layout, config, network.units),
            )
            for _ in range(2)
        )
        self._start = (layer.start,)
        self._below = slice(layout["below"], layout["below"] + config.hidden_size)

    def read(self, ids: Integers, below: Floats32 | None, threads: int) -> Floats32:
        """Return the outputs (S, B, D), given ids (S, B) and what the layer below gave (S, B, H).

        Args:
            ids: read by the first layer, and by the others with skip connections.
            below: None for the first layer.
            threads: how many run a step.
        """
        steps, batch = ids.shape
        size = min(steps, max(1, _ROWS // batch))
        self._inputs.work.reserve(size * batch)
        self._steps.work.reserve(batch)
        outputs = aligned((steps, batch, self._network.panels * WIDTH), np.float32)
        state = tuple(
            tuple(np.repeat(part[None], batch, 0) for part in layer) for layer in self._start
        )
        for first in range(0, steps, size):
            part = np.ascontiguousarray(ids[first : first + size])
            if below is not None:
                given = below[first : first + size].reshape(part.size, -1)
                self._inputs.work.rows[: part.size, self._below] = given
            calls = self._inputs.input_part(0, "")
            Program(calls, calls).run(part.reshape(1, -1), threads)
            self._steps.work.load(state, "0")
            self._recurrence(outputs[first:], batch).run(part, threads)
            state = self._steps.work.state(state, str(len(part) % 2))
        return outputs[..., : self._network.units]

    def _recurrence(self, outputs: Floats32, batch: int) -> Program:
        """Return the steps from input parts to outputs, both with `batch` rows for each step."""
        return Program(
            *(
                [
                    self._take(batch),
                    *self._steps.recurrence(0, old, new, order),
                    self._put(new, outputs, batch),
                ]
                for old, new, order in self._steps.turns()
            )
        )

    def _take(self, batch: int) -> Call:
        """Return the copy of the input parts of a step."""
        form, panels = self._steps.form, self._network.panels
        name = "normalx" if form.layer_norm else "x"
        read, write = self._inputs, self._steps
        given = (
            *(read.address(name), read.work.stride, read.work.stride * batch),
            *(write.address(name), write.work.stride, 0),
        )
        return Call(copy_rows.address, (*given, panels, len(form.cell.blocks)))

    def _put(self, new: str, outputs: Floats32, batch: int) -> Call:
        """Return the copy of the outputs of a step."""
        work, row = self._steps.work, outputs.strides[1]
        read = (work.address(f"0.0.{new}"), work.stride, 0)
        write = (outputs.ctypes.data, row, row * batch)
        return Call(copy_rows.address, (*read, *write, self._network.panels, 1))
