"""Runs a network on the CPU by compiled steps: many tokens per call, on one thread or several.

A step is a program (`charrnn.inference.instructions`) over a workspace with a row for each text.
Matrices are packed as they are read, in float32, bfloat16, or int8 with a scale per row. Sums are
made in the same order whatever the number of rows and threads: a text does not depend on what is
written beside it. The networks of an ensemble are packed apart, and run side by side.

Of two steps that follow one another, the first makes the recurrent products of both, as soon as
their operand is known: so a recurrent matrix is fetched from memory once for both, and the second
product, from the matrix's end on, finds in the cache what the first has just read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import numpy as np

from charrnn.arrays import Floats, Ids, Integers, State
from charrnn.compiler import background
from charrnn.compiler.cache import CFunction, declared
from charrnn.config import ModelConfig
from charrnn.inference import instructions, step_codegen
from charrnn.inference.distribution import likeliest_rows
from charrnn.inference.engine import Chooser, Engine, Expected
from charrnn.inference.instructions import WAIT, Call, Program
from charrnn.inference.network_arrays import Product, multiply, network_arrays
from charrnn.inference.packed_network import PackedNetwork
from charrnn.inference.packing import PackedMatrix
from charrnn.inference.step_program import StepProgram, row_layout, side_by_side
from charrnn.inference.window_runner import WindowRunner
from charrnn.inference.workspace import Workspace
from charrnn.model import parameters
from charrnn.model.parameters import Parameters
from charrnn.storage import machine

# Bytes of weights for each thread: with fewer, waiting for each other costs what they gain, and on
# a busy machine far more.
_BYTES_PER_THREAD = 800_000
_ROWS = 8  # beyond these the products of further texts take longer than fetching the weights


def compiled_functions(config: ModelConfig, weights: str) -> list[CFunction]:
    """Return the functions that an engine of this architecture and type of weights needs."""
    recurrence = parameters.layer_of(config)
    zoneout = bool(config.zone_rates(len(recurrence.cell.states)))
    step = step_codegen.compiled_step(recurrence, zoneout)
    return [instructions.product_function(weights), *step.functions, *declared()]


class CompiledEngine(Engine):
    """An engine of compiled steps.

    Attributes:
        config: the architecture.
        weights: what matrices are stored as: float32, bfloat16 or int8.
        threads: how many run a step of one text.
        most_threads: that run a step of any number of texts.
    """

    reproducible = True

    def __init__(
        self,
        config: ModelConfig,
        values: Parameters,
        *,
        weights: str = "float32",
        threads: int | None = None,
    ) -> None:
        """Pack the weights and compile what a step needs.

        Args:
            config: the architecture.
            values: parameters by name.
            weights: what matrices are stored as: float32, bfloat16 or int8.
            threads: how many run a step; None: as many as are worthwhile.
        """
        self.config = config
        self.weights = weights
        self._arrays = network_arrays(config, values)
        self._networks = self._packed()
        self._step_programs = self._make_step_programs()
        self._work = self._step_programs[0].work
        # Compile here, where a caller can still fall back to numpy, and not at the first step.
        functions = compiled_functions(config, weights)
        background.share(functions)
        for function in functions:
            function.address  # noqa: B018 - compiles
        self.most_threads = threads or min(machine.cores(), self._networks[0].panels)
        self._least_threads = threads or 1
        self.threads = self.threads_for(1)
        self._windows = WindowRunner(self._step_programs, self.threads)
        # With and without logits, on one thread or more: of the first and second of two steps, and
        # of one alone.
        self._steps: dict[tuple[bool, bool], list[list[Call]]] = {}
        self._programs: dict[tuple[bool, bool], Program] = {}
        self._single_steps: dict[int, Program] = {}  # by the number of texts

    def _packed(self) -> list[PackedNetwork]:
        return [PackedNetwork.of(arrays, self.weights, self._arrays) for arrays in self._arrays]

    def _make_step_programs(self) -> list[StepProgram]:
        """Return the program of each network's steps, on one workspace."""
        config, form, count = self.config.member, self._arrays[0].recurrence, len(self._networks)
        first = self._networks[0]
        functions = step_codegen.compiled_step(form, bool(first.zoneout))
        work = Workspace(row_layout(form, first, functions, count), config, first.units)
        return [
            StepProgram(config, form, network, functions, work, number=number, networks=count)
            for number, network in enumerate(self._networks)
        ]

    def load(self, values: Parameters, product: Product = multiply) -> None:
        """Replace all parameters, as of a network that goes on training.

        Args:
            values: parameters by name.
            product: multiplies the tokens' rows by matrices.
        """
        self._arrays = network_arrays(self.config, values, product)
        for network, new in zip(self._networks, self._packed(), strict=True):
            network.load(new)

    @property
    def _matrices(self) -> Iterator[PackedMatrix]:
        return chain.from_iterable(network.matrices for network in self._networks)

    @property
    def weight_count(self) -> int:
        """Return how many packed weights a step reads, padding included."""
        return sum(matrix.values.size for matrix in self._matrices)

    @property
    def weight_bytes(self) -> int:
        """Return how many bytes of packed weights a step reads."""
        return sum(matrix.values.nbytes for matrix in self._matrices)

    def threads_for(self, rows: int) -> int:
        """Return how many threads run a step of this many texts: as many as are worthwhile."""
        useful = self.weight_bytes * max(1, rows // _ROWS) // _BYTES_PER_THREAD
        return max(self._least_threads, min(self.most_threads, useful))

    def start_state(self, batch_size: int) -> State:
        """Return the state before a text, for `batch_size` rows: zeros, or what was learned."""
        return tuple(layer for each in self._arrays for layer in each.start_state(batch_size))

    def step(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read one token per row: ids (B,) -> logits (B, V) of the next one, and the state."""
        batch = len(ids)
        self._reserve(batch)
        if batch not in self._single_steps:
            self._single_steps[batch] = self._program(batch, after=self._mixing(batch))
        state = self._run(_integers(ids)[None], state, self._single_steps[batch])
        return self._work.logits(batch).copy(), state

    def predictions(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read known tokens (T,) of one text -> logits (T, V) after each, and the state.

        They are those of single steps. T is at most `window_runner.MAX_ROWS`.
        """
        count = len(ids)
        if not self._windows.is_worthwhile(count, 1):
            logits = np.empty((count, self.config.vocab_size), np.float32)
            for t in range(count):
                logits[t], state = self.step(ids[t : t + 1], state)
            return logits, state
        self._reserve(self._windows.rows(count, 1))
        state = self._run_windows(_integers(ids)[:, None], state, lambda first, row: [])
        return self._work.logits(count + 1)[1:].copy(), state

    def advance(self, ids: Ids, state: State) -> State:
        """Read a window (T, B) and return only the state after it."""
        ids = _integers(ids)
        if self._windows.is_worthwhile(*ids.shape):
            self._reserve(self._windows.rows(*ids.shape))
            return self._run_windows(ids, state)
        self._reserve(ids.shape[1])
        return self._run(ids, state, self._program(ids.shape[1], logits=False))

    def write(
        self, logits: Floats, state: State, chooser: Chooser, count: int
    ) -> tuple[Floats, State]:
        """Choose a token per row and read it, `count` times; see `Engine.write`."""
        batch = len(logits)
        self._reserve(batch)
        self._work.logits(batch)[:] = logits
        call = Call(*chooser.compiled(*self._logits_arguments(), count))
        ids = np.zeros((count, batch), np.int64)
        program = self._program(batch, [call, WAIT], after=self._mixing(batch))
        state = self._run(ids, state, program)
        return self._work.logits(batch).copy(), state

    def prepare(self, chooser: Chooser, batch_size: int) -> None:
        """Compile the choice of tokens."""
        chooser.compile()

    def expected(
        self, inputs: Ids, targets: Ids, count: int, state: State
    ) -> tuple[Expected, State]:
        """Return what was predicted in place of each target (T, B), and the state after."""
        inputs, targets = _integers(inputs), _integers(targets)
        nats = np.empty(targets.shape, np.float32)
        likeliest = np.empty((*targets.shape, count), np.int32)
        likeliest_nats = np.empty(likeliest.shape, np.float32)

        def calls(first: int, row: int) -> list[Call]:
            given = (
                *self._logits_arguments(row),
                *(targets[first:].ctypes.data, nats[first:].ctypes.data),
            )
            result = self._mixing(inputs.shape[1], row)
            result.append(Call(instructions.nats_rows.address, given))
            if count:
                addresses = (likeliest[first:].ctypes.data, likeliest_nats[first:].ctypes.data)
                result.append(Call(likeliest_rows.address, (*given, count, *addresses)))
            return result

        if self._windows.is_worthwhile(*inputs.shape):
            self._reserve(self._windows.rows(*inputs.shape))
            state = self._run_windows(inputs, state, calls)
        else:
            batch = inputs.shape[1]
            self._reserve(batch)
            state = self._run(inputs, state, self._program(batch, after=calls(0, 0)))
        return Expected(nats, likeliest, likeliest_nats), state

    def _mixing(self, batch: int, row: int = 0) -> list[Call]:
        """Return the calls that change logits before they are used, in the rows from `row` on."""
        return []

    def _logits_arguments(self, row: int = 0) -> tuple[int, int, int]:
        """Return the address of a row's logits, the bytes to the next row's, and V."""
        return self._work.address("logits", row), self._work.stride, self.config.vocab_size

    def _reserve(self, batch: int) -> None:
        """Make room for this many rows; programs hold the addresses of one array."""
        if self._work.reserve(batch):
            self._steps.clear()
            self._windows.programs.clear()
            self._single_steps.clear()

    def _program(
        self,
        batch: int,
        before: Sequence[Call] = (),
        after: Sequence[Call] = (),
        *,
        logits: bool = True,
    ) -> Program:
        """Return the program of a step of some texts between other calls.

        Args:
            batch: how many texts.
            before: calls before it.
            after: calls after it.
            logits: whether the logits are made as well.
        """
        threads = self.threads_for(batch)
        kind = logits, threads > 1
        if kind not in self._steps:
            each = self._step_programs
            self._steps[kind] = [
                side_by_side([program.step(*turn, logits) for program in each], threads)
                for turn in each[0].turns()
            ]
            self._programs[kind] = Program(*self._steps[kind])
        if not before and not after:
            return self._programs[kind]
        return Program(*([*before, *calls, *after] for calls in self._steps[kind]))

    def _run(self, ids: Integers, state: State, program: Program) -> State:
        """Run all steps of `ids` (T, B) from a state, and return the state after them."""
        self._work.load(state, "0")
        program.run(ids, self.threads_for(ids.shape[1]))
        return self._work.state(state, str(len(ids) % 2))

    def _run_windows(
        self, ids: Integers, state: State, after: Callable[[int, int], list[Call]] | None = None
    ) -> State:
        """Run the steps of `ids` (T, B) a layer at a time; see `WindowRunner.run`."""
        return self._windows.run(ids, state, after)


def _integers(ids: Ids) -> Integers:
    """Return ids as programs read them."""
    return np.ascontiguousarray(ids, np.int64)
