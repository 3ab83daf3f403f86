"""Runs a pair model by compiled steps: as a text model, and each row looks at its source.

`charrnn.inference.numpy_pair_engine` has the same network in a readable form. Shapes: S steps, B
rows, H hidden units.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from charrnn.arrays import Floats, Floats32, Ids, Integers, State
from charrnn.compiler.processor import WIDTH
from charrnn.config import ModelConfig
from charrnn.inference import instructions, step_codegen
from charrnn.inference.compiled_encoder import CompiledEncoder
from charrnn.inference.compiled_engine import CompiledEngine
from charrnn.inference.instructions import WAIT, Call, Program
from charrnn.inference.network_arrays import encoder_layers
from charrnn.inference.packing import PackedMatrix, aligned, padded
from charrnn.inference.pair_engine import PairEngine, Sources
from charrnn.inference.pair_instructions import SOURCE, add_source, attend
from charrnn.inference.step_program import ALONE, StepProgram, row_layout
from charrnn.inference.workspace import Workspace
from charrnn.model import parameters
from charrnn.model.parameters import Parameters

# Sources that are read side by side, sorted by length, and their symbols: at most, or one source.
_SOURCES, _SYMBOLS = 192, 2**16
_ROWS = 512  # of one step: more do not stay in the cache


class _Records:
    """The records of `charrnn.inference.pair_instructions` for the rows of a workspace."""

    def __init__(self) -> None:
        self._records = np.zeros((0, SOURCE), np.int64)
        self.weights: Floats32 = np.zeros((0, 0), np.float32)

    @property
    def address(self) -> int:
        """Where they are in memory."""
        return self._records.ctypes.data

    def reserve(self, batch: int) -> None:
        """Make room for this many rows."""
        if batch > len(self._records):
            self._records = np.zeros((batch, SOURCE), np.int64)

    def load(self, read: Sources) -> None:
        """Let the first rows look at these sources."""
        rows, batch = read.rows, len(read.rows)
        symbols = read.lengths[rows]
        longest = int(symbols.max(initial=0))
        if batch > len(self.weights) or longest > self.weights.shape[1]:
            shape = np.maximum((batch, longest), self.weights.shape)
            self.weights = np.zeros(shape, np.float32)
        place = read.starts[rows] * read.memory.strides[0]
        columns = (
            read.keys.ctypes.data + place,
            read.memory.ctypes.data + place,
            symbols,
            read.parts.ctypes.data + rows * read.parts.strides[0],
            self.weights.ctypes.data + np.arange(batch) * self.weights.strides[0],
        )
        self._records[:batch] = np.stack(columns, 1)


@dataclass(frozen=True)
class _DecoderProgram(StepProgram):
    """The calls of a step of a decoder.

    Attributes:
        records: say where the source of each row is.
    """

    records: _Records = field(default_factory=_Records)

    @property
    def _attends(self) -> bool:
        return self.config.context == "attention"

    def inputs(self, number: int, new: str) -> list[str]:
        mean = ["mean"] if number and self._attends else []
        return [*super().inputs(number, new), *mean]

    def outputs(self, new: str) -> list[str]:
        return [*super().outputs(new), *(["mean"] if self._attends else [])]

    def token_rows(self, number: int, table: Floats32, out: str) -> list[Call]:
        panels, skipped = self.network.panels, 0
        for layer in self.network.layers[:number]:
            skipped += sum(step.table.shape[1] for step in layer.inputs if step.table is not None)
        given = (self.records.address, skipped, self.address(out), self.work.stride)
        blocks = table.shape[1] // (panels * WIDTH)
        call = Call(add_source.address, (*given, panels, blocks))
        return [*super().token_rows(number, table, out), call]

    def recurrence(self, number: int, old: str, new: str, order: str = ALONE) -> list[Call]:
        calls = super().recurrence(number, old, new, order)
        return [*calls, self._attend(new), WAIT] if number == 0 and self._attends else calls

    def _attend(self, new: str) -> Call:
        stride, panels = self.work.stride, self.network.panels
        rows = (self.address(f"0.0.{new}"), stride, self.address("mean"), stride)
        sizes = (self.network.units, panels * WIDTH)
        return Call(attend.address, (self.records.address, *rows, *sizes))


class CompiledPairEngine(PairEngine, CompiledEngine):
    """An engine of compiled steps of a pair model."""

    def __init__(
        self,
        config: ModelConfig,
        values: Parameters,
        *,
        weights: str = "float32",
        threads: int | None = None,
    ) -> None:
        """Pack the weights and compile what a step needs; see `CompiledEngine`."""
        self._records = _Records()
        config, values = parameters.joined(config, values)
        super().__init__(config, values, weights=weights, threads=threads)
        (arrays,), (self._network,) = self._arrays, self._networks
        self._encoder = CompiledEncoder(arrays, encoder_layers(arrays, values), weights)
        layers, states = config.num_layers, arrays.recurrence.cell.states

        def packed(name: str, blocks: int = 1) -> PackedMatrix:
            return PackedMatrix.of(values[name], blocks, weights)

        self._start_maps = []
        for name in states:
            matrix = packed(f"context.start.{name}.weight", layers)
            bias = padded(values[f"context.start.{name}.bias"], layers, matrix.panels)
            self._start_maps.append((matrix, bias))
        self._added_map = packed("context.input.weight")
        self._query = None
        if config.context == "attention":
            # (W y) . m = y . (W' m): keys, unlike queries, are the same at every step of a target.
            self._query = PackedMatrix.of(values["attention.query.weight"].T, 1, weights)

    def _make_step_programs(self) -> list[StepProgram]:
        form, config, (network,) = self._arrays[0].recurrence, self.config, self._networks
        functions = step_codegen.compiled_step(form, bool(network.zoneout))
        layout = row_layout(form, network, functions, mean=network.panels)
        work = Workspace(layout, config, network.units)
        given = (config, form, network, functions, work)
        return [_DecoderProgram(*given, records=self._records)]

    def encode(self, sources: Ids, lengths: Integers) -> State:
        """Return the state before the targets of sources; see `PairEngine.encode`."""
        config = self.config
        ends = np.zeros((len(lengths), config.hidden_size), np.float32)
        starts = np.cumsum(lengths) - lengths
        memory = aligned((int(lengths.sum()), self._network.panels * WIDTH), np.float32)
        for rows, outputs in self._read(sources, lengths):
            ends[rows] = self._ends(outputs, lengths[rows])
            steps = np.arange(len(outputs))
            inside = steps < lengths[rows, None]
            places = (starts[rows, None] + steps)[inside]
            memory[places, : config.hidden_size] = outputs.transpose(1, 0, 2)[inside]
        keys = memory[:, :0] if self._query is None else self._product(memory, self._query)
        added = self._product(ends, self._added_map)
        given = (np.arange(len(lengths)), memory, keys, starts, lengths, added)
        read: Any = Sources(*given, self._source_parts(added))
        return (*self._first_state(ends), (read,))

    def step(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read one token per row, some rows at a time; see `Engine.step`."""
        if len(ids) <= _ROWS:
            return super().step(ids, state)
        parts = [slice(first, first + _ROWS) for first in range(0, len(ids), _ROWS)]
        logits, states = zip(
            *(
                super(CompiledPairEngine, self).step(ids[part], self.select(state, part))
                for part in parts
            ),
            strict=True,
        )
        layers = tuple(
            tuple(np.concatenate(parts) for parts in zip(*layer, strict=True))
            for layer in zip(*(some[:-1] for some in states), strict=True)
        )
        return np.concatenate(logits), (*layers, state[-1])

    def _read(self, sources: Ids, lengths: Integers) -> Iterator[tuple[Integers, Floats32]]:
        """Yield sources of similar lengths: which they are, and the encoder's outputs (S, B, H)."""
        left = np.argsort(-lengths, kind="stable")
        while len(left):
            longest = int(lengths[left[0]])
            count = min(_SOURCES, max(1, _SYMBOLS // longest))
            rows, left = left[:count], left[count:]
            ids = np.ascontiguousarray(sources[:longest, rows], np.int64)
            yield rows, self._encoder.read(ids, lengths[rows], self.threads_for(count))

    def _ends(self, outputs: Floats32, lengths: Integers) -> Floats32:
        """Return what each direction has read last, beside each other (B, H)."""
        size = self.config.encoder_size
        last = outputs[lengths - 1, np.arange(len(lengths)), :size]
        return np.concatenate([last, outputs[0, :, size:]], -1)

    def _source_parts(self, added: Floats32) -> Floats32:
        """Return what sources add to the input parts of all layers; see `Sources`."""
        steps = [step for layer in self._network.layers for step in layer.inputs]
        maps = [step.source for step in steps if step.source is not None]
        return np.concatenate([self._product(added, matrix) for matrix in maps], 1)

    def _first_state(self, ends: Floats32) -> State:
        """Return the decoder's first state from what the encoder has read last (B, H)."""
        size, layers = self.config.hidden_size, self.config.num_layers
        parts = [
            self._product(ends, matrix, bias).reshape(len(ends), layers, -1)[..., :size]
            for matrix, bias in self._start_maps
        ]
        return tuple(tuple(part[:, index] for part in parts) for index in range(layers))

    def _product(
        self, rows: Floats32, matrix: PackedMatrix, bias: Floats32 | None = None
    ) -> Floats32:
        """Return the product of rows (B, K or more) and a matrix, its blocks padded to panels."""
        width = matrix.panels * matrix.blocks * WIDTH
        start = aligned((width,), np.float32) if bias is None else bias
        out = aligned((len(rows), width), np.float32)
        given = (
            *(rows.ctypes.data, rows.strides[0], matrix.depth, matrix.values.ctypes.data),
            *(matrix.panels, matrix.blocks, start.ctypes.data, 0, out.ctypes.data, out.strides[0]),
            *(matrix.scale.ctypes.data, False),
        )
        calls = [Call(instructions.product(self.weights), given)]
        program = Program(calls, calls)
        program.run(np.zeros((1, len(rows)), np.int64), self.threads_for(len(rows)))
        return out

    def attention(self, ids: Ids, state: State) -> Floats:
        """Return the weights (T, B, S) of the sources' symbols while targets (T, B) are read."""
        read: Any = state[-1][0]
        found = []
        for step in ids:
            state = self.advance(step[None], state)
            symbols = read.lengths[read.rows]
            weights = self._records.weights[: len(step), : symbols.max()].copy()
            found.append(np.where(np.arange(weights.shape[1]) < symbols[:, None], weights, 0))
        return np.stack(found)

    def _reserve(self, batch: int) -> None:
        super()._reserve(batch)
        self._records.reserve(len(self._work.rows))

    def _run(self, ids: Integers, state: State, program: Program) -> State:
        *layers, sources = state
        read: Any = sources[0]
        self._records.load(read)
        return (*super()._run(ids, tuple(layers), program), sources)
