"""A network run forward by compiled steps: many symbols per call, on one thread or several.

A step is a program (`charrnn.inference.instructions`) over one array of work, a row for each text:

    lookup of the symbol's input part -> for each layer its products and stages -> logits

The first layer's input part, and what a skip connection adds to the others, are looked up in tables
made in advance. Matrices are packed as they are read, in float32, bfloat16, or int8 with a scale
per row. Sums are made in the same order whatever the number of rows and threads: a text does not
depend on what is written beside it.

Of two steps that follow one another, the first makes the recurrent products of both, as soon as
their operand is known: so a recurrent matrix is fetched from memory once for both, and the second
product, from the matrix's end on, finds in the cache what the first has just read.

Where few texts are read whose symbols are all known, a layer at a time goes over a window of steps:
the products of what comes from below are made for all steps at once, and only the recurrence goes
step by step, with one layer's matrix, which stays in the cache. Each number is made by the same
functions as before, so it is the same number.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats, Ids
from charrnn.compiler.cache import compile_declared
from charrnn.compiler.matmul import WIDTH
from charrnn.config import ModelConfig
from charrnn.inference import instructions, step_codegen
from charrnn.inference.distribution import likeliest_rows
from charrnn.inference.instructions import WAIT, Call, Program
from charrnn.inference.numpy_engine import Chooser, Expected, NumpyEngine, State
from charrnn.model.parameters import Parameters

_LINE = 64  # bytes of a cache line
# Bytes of weights for each thread: with fewer, waiting for each other costs what they gain, and on
# a busy machine far more.
_WORTH_A_THREAD = 800_000
# Rows of a window of steps, the fewest steps that are worth one, and the most texts.
_WINDOW_ROWS = 192
_WINDOW_STEPS = 8
_WINDOW_TEXTS = 8


def _aligned(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Zeros that begin with a cache line."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.zeros(size + _LINE, np.uint8)
    first = -room.ctypes.data % _LINE
    made: NDArray[Any] = room[first : first + size].view(dtype).reshape(shape)
    return made


def _panels(size: int) -> int:
    return -(-size // WIDTH)


@dataclass(frozen=True)
class _Packed:
    """A matrix (blocks*H, K) as products read it: (blocks * panels, K, W).

    Attributes:
        values: of the kind of the weights.
        scale: of each column, for whole numbers.
        panels: of each block.
        blocks: how many.
    """

    values: NDArray[Any]
    scale: NDArray[np.float32]
    panels: int
    blocks: int

    @property
    def depth(self) -> int:
        """K."""
        return int(self.values.shape[1])

    @classmethod
    def of(cls, weight: Floats, blocks: int, kind: str) -> _Packed:
        """Pack a matrix; columns are padded with zeros."""
        size, panels = len(weight) // blocks, _panels(len(weight) // blocks)
        padded = np.zeros((blocks, panels * WIDTH, weight.shape[1]), np.float32)
        padded[:, :size] = weight.reshape(blocks, size, -1)
        scale = _aligned((blocks * panels * WIDTH,), np.float32)
        scale[:] = 1.0
        if kind == "int8":
            peak = np.abs(padded).max(-1, keepdims=True)
            steps = np.where(peak > 0, peak / np.float32(127), np.float32(1))
            padded, scale[:] = np.rint(padded / steps), steps.ravel()
        columns = padded.reshape(blocks * panels, WIDTH, -1).swapaxes(1, 2)
        values = _aligned(columns.shape, instructions.STORED[kind])
        values[:] = _halves(columns) if kind == "bfloat16" else columns
        return cls(values, scale, panels, blocks)


def _halves(values: Floats) -> NDArray[np.uint32]:
    """The upper 16 bits of the nearest bfloat16, the even one of two equally near."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return (bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) >> np.uint32(16)


class _Row:
    """Where the values of a text's row are, in floats."""

    def __init__(self) -> None:
        self.size = 0
        self._places: dict[str, int] = {}

    def add(self, name: str, blocks: int, panels: int) -> None:
        """Room for so many blocks under a name, unless there is; all begin with a cache line."""
        if name not in self._places:
            self._places[name] = self.size
            self.size += -(-blocks * panels * WIDTH // 16) * 16

    def name(self, name: str, place: str, rows: int) -> None:
        """Another name for a place, in a row so many below."""
        self._places[name] = self._places[place] + rows * self.size

    def __getitem__(self, name: str) -> int:
        return self._places[name]


class Engine(NumpyEngine):
    """The same network as the numpy engine's, its steps compiled."""

    compiles = True

    def __init__(
        self,
        config: ModelConfig,
        values: Parameters,
        *,
        weights: str = "float32",
        threads: int | None = None,
    ) -> None:
        super().__init__(config, values)
        self.weights = weights
        self._kept: list[Any] = []  # arrays whose addresses are in programs
        self._panels = _panels(config.hidden_size)
        self._logit_panels = _panels(config.vocab_size)
        self._prepare()
        # Compile here, where a caller can still fall back to numpy, and not at the first step.
        instructions.product(weights)
        compile_declared()
        self.threads = threads or self._worthwhile_threads()

    @property
    def stored(self) -> Any:
        """The type of the packed matrices' values."""
        return instructions.STORED[self.weights]

    @property
    def weight_bytes(self) -> int:
        """What a step reads of packed matrices."""
        return sum(packed.values.nbytes for packed in self._kept if isinstance(packed, _Packed))

    def _worthwhile_threads(self) -> int:
        size = self.weight_bytes
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return max(1, min(cores or 1, self._panels, size // _WORTH_A_THREAD))

    # What never changes: packed matrices, tables, and where a row's values are.

    def _pack(self, weight: Floats, blocks: int) -> _Packed:
        packed = _Packed.of(np.asarray(weight), blocks, self.weights)
        self._kept.append(packed)
        return packed

    def _padded(self, values: Any, blocks: int, panels: int) -> NDArray[np.float32]:
        """Rows (..., blocks*H) with each block padded; None: one row of zeros."""
        if values is None:
            values = np.zeros(blocks, np.float32)
        lead, size = np.shape(values)[:-1], np.shape(values)[-1] // blocks
        padded = _aligned((*lead, blocks, panels * WIDTH), np.float32)
        padded[..., :size] = np.reshape(values, (*lead, blocks, size))
        self._kept.append(padded)
        return padded.reshape(*lead, -1)

    def _prepare(self) -> None:
        config, cell = self.config, self._cell
        hidden, blocks = config.hidden_size, len(cell.blocks)
        row = self._row = _Row()
        first = self._layers[0]
        products = tuple(matrix.blocks for matrix in first.matrices)
        self._step_of = step_codegen.compiled(cell, products, len(first.vectors), bool(self._zone))
        self._table_rows = self._padded(self._table, blocks, self._panels)
        self._plans = []
        for number, layer in enumerate(self._layers):
            for k in range(len(cell.states)):
                for parity in "01":
                    row.add(f"{number}.{k}.{parity}", 1, self._panels)
            row.add(f"{number}.r0", products[0], self._panels)
            matrices = [self._pack(m.weight, m.blocks) for m in layer.matrices]
            biases = [self._padded(m.bias, m.blocks, self._panels) for m in layer.matrices]
            maps = [(w, b, 1) for w, b in layer.maps] + [(layer.weight.T, layer.bias, blocks)]
            inputs = self._inputs_of(maps) if number else []
            vectors = [self._padded(v, 1, self._panels) for v in layer.vectors]
            self._plans.append((inputs, matrices, biases, vectors))
        for n, count in enumerate(products):
            if n:
                row.add(f"r{n}", count, self._panels)
            row.add(f"normal{n}", count, self._panels)
            row.add(f"operand{n}", 1, self._panels)
        row.add("x", blocks, self._panels)
        row.add("normalx", blocks, self._panels)
        row.add("later", self._step_of.later, self._panels)
        row.add("map0", 1, self._panels)
        row.add("map1", 1, self._panels)
        row.add("logits", 1, self._logit_panels)
        row.add("p", 1, self._logit_panels)
        self._rates = [self._padded(np.full(hidden, r), 1, self._panels) for r in self._zone]
        self._outputs = self._output_plan()
        # With and without logits: of the first and second of two steps, and of one alone.
        self._steps: dict[bool, list[list[Call]]] = {}
        self._programs: dict[bool, Program] = {}
        row.size += 16 * (row.size // 16 % 2 == 0)  # rows one below the other share no cache sets
        self._windows: dict[tuple[int, int], list[tuple[Program, Program]]] = {}
        self._work = _aligned((0, row.size), np.float32)
        self._first = 0

    def _inputs_of(self, maps: Sequence[tuple[Floats, Any, int]]) -> list[Any]:
        """The products from a layer's input to its blocks: matrix, bias or table, blocks."""
        hidden, found = self.config.hidden_size, []
        for number, (weight, bias, blocks) in enumerate(maps):
            table = None
            if number == 0 and weight.shape[1] > hidden:  # the symbol itself comes from a table
                assert self._inputs is not None
                table = self._inputs @ weight[:, hidden:].T + (0 if bias is None else bias)
                weight, bias, table = (
                    weight[:, :hidden],
                    None,
                    self._padded(table, blocks, self._panels),
                )
            packed = self._pack(weight, blocks)
            found.append((packed, self._padded(bias, blocks, self._panels), table))
        return found

    def _output_plan(self) -> list[Any]:
        """The products from the layers' outputs to the logits: a matrix per layer, and a bias."""
        hidden, plan = self.config.hidden_size, []
        maps = [*self._output_maps, (self._output_weight.T, self._output_bias)]
        for number, (weight, bias) in enumerate(maps):
            panels = self._logit_panels if number == len(maps) - 1 else self._panels
            parts = [self._pack(w, 1) for w in np.split(weight, weight.shape[1] // hidden, 1)]
            plan.append((parts, self._padded(bias, 1, panels)))
        return plan

    # The program, for an array of work.

    def _at(self, name: str, block: int = 0) -> int:
        """Where a block is in the row that programs begin with."""
        place = self._row[name] + block * self._panels * WIDTH
        return self._work.ctypes.data + self._first * self._stride + 4 * place

    @property
    def _stride(self) -> int:
        return 4 * self._row.size

    def _product(
        self, a: str, packed: _Packed, init: tuple[int, int], out: str, backwards: bool = False
    ) -> Call:
        function = instructions.product(self.weights)
        return Call(
            function,
            (
                *(self._at(a), self._stride, packed.depth, packed.values.ctypes.data),
                *(packed.panels, packed.blocks, *init, self._at(out), self._stride),
                *(packed.scale.ctypes.data, backwards),
            ),
        )

    def _lookup(self, table: NDArray[np.float32], out: str) -> Call:
        blocks = table.shape[1] // (self._panels * WIDTH)
        given = (table.ctypes.data, 4 * table.shape[1], self._at(out), self._stride)
        return Call(instructions.lookup.address, (*given, self._panels, blocks))

    def _tanh(self, name: str) -> Call:
        given = (self._at(name), self._stride, self._panels)
        return Call(instructions.tanh_rows.address, given)

    def _normalise(self, name: str, to: str, blocks: int) -> Call:
        given = (self._at(name), self._at(to), self._stride, self._panels, blocks)
        return Call(instructions.normalise_rows.address, (*given, self.config.hidden_size))

    def _input_calls(self, number: int, new: str) -> list[Call]:
        """From the symbol, or the output of the layer below, to the input part."""
        blocks = len(self._cell.blocks)
        if number == 0:
            return [self._lookup(self._table_rows, "normalx" if self._cell.layer_norm else "x")]
        calls, source = [], f"{number - 1}.0.{new}"
        inputs = self._plans[number][0]
        for depth, (packed, bias, table) in enumerate(inputs):
            last = depth == len(inputs) - 1
            to = "x" if last else f"map{depth % 2}"
            init = (bias.ctypes.data, 0)
            if table is not None:
                calls.append(self._lookup(table, to))
                init = (self._at(to), self._stride)
            calls.append(self._product(source, packed, init, to))
            if not last:
                calls += [self._tanh(to), WAIT]
            source = to
        if self._cell.layer_norm:
            calls += [WAIT, self._normalise("x", "normalx", blocks)]
        return calls

    def _recurrent_calls(self, number: int, old: str, new: str, turn: str = "alone") -> list[Call]:
        """From the input part and the state to the new state.

        `turn`: the first of two steps makes the product of the second as well.
        """
        step, cell = self._step_of, self._cell
        _, matrices, biases, vectors = self._plans[number]
        calls = []
        operand = f"{number}.0.{old}"
        if cell.feeds_back:
            calls += [WAIT, *self._output_calls(operand), self._feed_back(), WAIT]
            operand = "p"
        if step.operand is not None:
            calls += [self._stage(step.operand, number, old, new, vectors), WAIT]
            operand = "operand0"
        for n, (packed, bias) in enumerate(zip(matrices, biases, strict=True)):
            out = self._result_of(number, n)
            init = (bias.ctypes.data, 0)
            if step.merged[n]:
                init = (self._at("x", step.blocks[n][0]), self._stride)
            if n or turn != "second":
                calls.append(self._product(operand, packed, init, out))
            if self._layers[number].matrices[n].normalised:
                calls += [WAIT, self._normalise(out, f"normal{n}", packed.blocks)]
            calls += [self._stage(step.stages[n], number, old, new, vectors), WAIT]
            operand = f"operand{n + 1}"
        if turn == "first":
            ahead = (f"{number}.0.{new}", matrices[0], (biases[0].ctypes.data, 0))
            calls.append(self._product(*ahead, self._result_of(number, 0), backwards=True))
        return calls

    def _result_of(self, layer: int, product: int) -> str:
        """Where a product's result is; the first one may have to stay for the next step."""
        return f"r{product}" if product else f"{layer}.r0"

    def _feed_back(self) -> Call:
        given = (self._at("logits"), self._at("p"), self._stride, self.config.vocab_size)
        return Call(instructions.softmax_rows.address, given)

    def _stage(
        self, stage: step_codegen.Stage, layer: int, old: str, new: str, vectors: list[Any]
    ) -> Call:
        """The call of a stage: where each of its elements is."""
        given = [self._panels]
        for kind, number, block in stage.elements:
            name, k = kind + number, int(block)
            match kind:
                case "v":
                    given += [vectors[k].ctypes.data, 0]
                    continue
                case "zone":
                    given += [self._rates[int(number)].ctypes.data, 0]
                    continue
                case "state":
                    name = f"{layer}.{number}.{old}"
                case "new":
                    name = f"{layer}.{number}.{new}"
                case "x" if self._cell.layer_norm:
                    name = "normalx"
                case "r" if self._layers[0].matrices[int(number)].normalised:
                    name = f"normal{number}"
                case "r":
                    name = self._result_of(layer, int(number))
            given += [self._at(name, k), self._stride]
        return Call(stage.address, tuple(given))

    def _output_calls(self, output: str | None = None, new: str = "") -> list[Call]:
        """From the layers' outputs (or one) to the logits."""
        calls: list[Call] = []
        layers = len(self._layers)
        every = self.config.skip_connections
        sources = [f"{n}.0.{new}" for n in (range(layers) if every else [layers - 1])]
        sources = [output] if output else sources
        for depth, (parts, bias) in enumerate(self._outputs):
            last = depth == len(self._outputs) - 1
            to = "logits" if last else f"map{depth % 2}"
            init = (bias.ctypes.data, 0)
            for source, packed in zip(sources, parts, strict=True):
                calls.append(self._product(source, packed, init, to))
                init = (self._at(to), self._stride)
            if not last:
                calls += [self._tanh(to), WAIT]
            sources = [to]
        return [*calls, WAIT]

    def _program(self, before: Sequence[Call], logits: bool, after: Sequence[Call] = ()) -> Program:
        """A program: `before`, the layers, the logits if asked for, `after`."""
        if logits not in self._steps:
            ahead = self._step_of.ahead
            ways = (("0", "1", "first"), ("1", "0", "second"), ("0", "1", "alone"))
            self._steps[logits] = [
                self._step_calls(old, new, turn if ahead else "alone", logits)
                for old, new, turn in ways
            ]
            self._programs[logits] = Program(*self._steps[logits])
        if not before and not after:
            return self._programs[logits]
        return Program(*([*before, *calls, *after] for calls in self._steps[logits]))

    def _step_calls(self, old: str, new: str, turn: str, logits: bool) -> list[Call]:
        calls = []
        for number in range(len(self._layers)):
            calls += self._input_calls(number, new)
            calls += self._recurrent_calls(number, old, new, turn)
        return calls + (self._output_calls(new=new) if logits else [])

    # Running it.

    def _run_program(self, ids: NDArray[np.int64], state: State, made: Program) -> State:
        """Load a state, run all steps of `ids` (T, B), and take the state out again."""
        self._load(state, "0")
        made.run(ids, self.threads)
        return self._stored(state, str(len(ids) % 2), 0)

    def _state_rows(self, name: str, first: int, batch: int) -> Floats:
        column = self._row[name]
        return self._work[first : first + batch, column : column + self.config.hidden_size]

    def _load(self, state: State, place: str) -> None:
        """Put a state into the first rows."""
        for number, layer in enumerate(state):
            for k, part in enumerate(layer):
                self._state_rows(f"{number}.{k}.{place}", 0, len(part))[:] = part

    def _stored(self, like: State, place: str, first: int) -> State:
        """A copy of the state in the rows from `first` on, of as many texts as another has."""
        return tuple(
            tuple(
                self._state_rows(f"{number}.{k}.{place}", first, len(part)).copy()
                for k, part in enumerate(layer)
            )
            for number, layer in enumerate(like)
        )

    def _room(self, batch: int) -> None:
        """Make room for so many rows; calls are of one array."""
        if batch > len(self._work):
            self._work = _aligned((max(batch, 2 * len(self._work)), self._row.size), np.float32)
            self._steps.clear()
            self._windows.clear()

    def _logits_of(self, batch: int) -> Floats:
        """Where the logits (B, V) are."""
        first = self._row["logits"]
        return self._work[:batch, first : first + self.config.vocab_size]

    def step(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read one symbol per row: ids (B,) -> logits (B, V) of the next one, and the state."""
        self._room(len(ids))
        state = self._run_program(_integers(ids)[None], state, self._program([], True))
        return self._logits_of(len(ids)).copy(), state

    def advance(self, ids: Ids, state: State) -> State:
        """Read a window (T, B) for the state after it alone."""
        ids = _integers(ids)
        if self._worth_windows(*ids.shape):
            return self._run_windows(ids, state)
        self._room(ids.shape[1])
        return self._run_program(ids, state, self._program([], False))

    def write(
        self, logits: Floats, state: State, chooser: Chooser, count: int
    ) -> tuple[Floats, State]:
        """As `NumpyEngine.write`, all of it compiled."""
        batch = len(logits)
        self._room(batch)
        self._logits_of(batch)[:] = logits
        given = (self._at("logits"), self._stride, self.config.vocab_size)
        call = Call(*chooser.compiled(*given, count))
        ids = np.zeros((count, batch), np.int64)
        state = self._run_program(ids, state, self._program([call, WAIT], True))
        return self._logits_of(batch).copy(), state

    def expected(
        self,
        inputs: NDArray[np.int64],
        targets: NDArray[np.int64],
        count: int,
        state: State,
    ) -> tuple[Expected, State]:
        """As `NumpyEngine.expected`, compiled."""
        inputs, targets = _integers(inputs), _integers(targets)
        nats = np.empty(targets.shape, np.float32)
        likeliest = np.empty((*targets.shape, count), np.int32)
        likeliest_nats = np.empty(likeliest.shape, np.float32)

        def calls(first: int) -> list[Call]:
            given = (
                *(self._at("logits"), self._stride, self.config.vocab_size),
                *(targets[first:].ctypes.data, nats[first:].ctypes.data),
            )
            found = [Call(instructions.nats_rows.address, given)]
            if count:
                places = (likeliest[first:].ctypes.data, likeliest_nats[first:].ctypes.data)
                found.append(Call(likeliest_rows.address, (*given, count, *places)))
            return found

        if self._worth_windows(*inputs.shape):
            state = self._run_windows(inputs, state, calls)
        else:
            self._room(inputs.shape[1])
            state = self._run_program(inputs, state, self._program([], True, calls(0)))
        return Expected(nats, likeliest, likeliest_nats), state

    # A layer at a time over a window of steps. Its rows are those of step t below those of step
    # t - 1; the first ones hold the state before. In each, a state's place "1" is the new one.

    def _worth_windows(self, steps: int, batch: int) -> bool:
        worth = steps >= _WINDOW_STEPS and batch <= _WINDOW_TEXTS
        return worth and not self._cell.feeds_back

    def _run_windows(
        self, ids: NDArray[np.int64], state: State, after: Callable[[int], list[Call]] | None = None
    ) -> State:
        """Read ids (T, B) for the state.

        With `after`, make the logits of every step as well; what it gives for the first step of a
        window is called next, with the rows of all its steps.
        """
        steps, batch = ids.shape
        size = min(steps, _WINDOW_ROWS // batch)
        self._room((size + 1) * batch)
        self._load(state, "1")
        for first in range(0, steps, size):
            part = ids[first : first + size].reshape(1, -1)
            count = part.size // batch
            for below, recurrence in self._window(count, batch):
                below.run(part, self.threads)
                recurrence.run(part[:, :batch], self.threads)
            if after is not None:
                self._first = batch
                calls = [*self._output_calls(new="1"), *after(first)]
                self._first = 0
                Program(calls, calls).run(part, self.threads)
            state = self._stored(state, "1", count * batch)
            self._load(state, "1")
        return state

    def _window(self, steps: int, batch: int) -> list[tuple[Program, Program]]:
        """For each layer: what makes the input parts of all steps, and then the steps."""
        if (steps, batch) not in self._windows:
            for number in range(len(self._layers)):
                for k in range(len(self._cell.states)):
                    self._row.name(f"{number}.{k}.before", f"{number}.{k}.1", -batch)
            made = []
            for number in range(len(self._layers)):
                self._first = batch
                below = self._input_calls(number, "1")
                recurrence = []
                for step in range(1, steps + 1):
                    self._first = step * batch
                    recurrence += self._recurrent_calls(number, "before", "1")
                made.append((Program(below, below), Program(recurrence, recurrence)))
            self._first = 0
            self._windows[steps, batch] = made
        return self._windows[steps, batch]


def _integers(ids: Ids) -> NDArray[np.int64]:
    """Ids as programs read them."""
    return np.ascontiguousarray(ids, np.int64)
