"""Writes at once with numpy, while another process compiles; then goes on with compiled code.

The text is the one that compiled code writes from its beginning. Both kinds of code compute the
same up to rounding, so that almost always the same token is drawn: the chooser says whether it is,
and where it is not sure the engine waits for compiled code. That then reads again all that was read
since a state that is known exactly, which takes it little time, and goes on from there.

How far rounding leads apart depends on the network: little in most, ever farther in some. So each
row has a twin, whose state is disturbed at every step, by more than the last digit. By as much as
the logits of both differ, or lately did, those of compiled code may differ, too.

A state has those of the twins beside its own layers, and one layer more: what each row has read
since its state was exact, or None; and how far its twin was apart. States without all that are
exact, and are taken, too.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from charrnn.arrays import Floats, Floats64, Ids, State
from charrnn.compiler import background
from charrnn.compiler.cache import CFunction
from charrnn.inference.engine import Chooser, Engine, Expected, select_rows

# The logits of compiled code may differ by these roundings of the largest, and by half of a twin's
# distance, which is between two tokens; by more where rounding leads far apart. With 2x256 units
# and 82 tokens that is 2e-5; of 6,000 tokens no two logits were twice as far apart.
_ROUNDINGS = 8 * float(np.finfo(np.float32).eps)
_OF_DISTANCE, _OF_SQUARE = 0.5, 1000
_DISTURBED = np.float32(2.0**-21)  # by how much a twin's state differs, about, as a share of it
_LATELY = 0.9  # of a distance is left at the next step
_CHOICE_ERROR = 1e-9  # the same where only the choice is not compiled, which is made in float64
_LONG = 4096  # tokens, after which what was read is kept apart

Make = Callable[[], Engine]
Prepare = Callable[[Chooser, int], Engine]


@dataclass(eq=False)
class _Read:
    """What a row has read since a state that is known exactly.

    Attributes:
        start: that state.
        ids: the tokens (N,).
    """

    start: _Start
    ids: Ids

    def longer(self, ids: Ids, shared: bool) -> _Read:
        """Return the same with further tokens; `shared`: other rows go on from here, too."""
        if shared or len(self.ids) > _LONG:
            return _Read(self._end, ids)
        return _Read(self.start, np.concatenate([self.ids, ids]))

    @cached_property
    def _end(self) -> _Start:
        return _Start(self)


class _Start:
    """A state of one row that is known exactly, or will be once compiled code has read it."""

    def __init__(self, read: _Read | None = None, state: State = ()) -> None:
        self._read = read
        self._exact: tuple[Floats | None, State] = (None, state)

    def exact(self, engine: Engine) -> tuple[Floats | None, State]:
        """Return logits (1, V), unless nothing was read, and the state, by an exact engine."""
        if self._read is not None:
            self._exact, self._read = _reread([self._read], engine), None
        return self._exact


class InterimEngine(Engine):
    """An engine that is there at once, and replaces what runs inside when that is compiled."""

    reproducible = True  # as far as anything depends on it

    def __init__(
        self,
        early: Engine,
        num_layers: int,
        functions: list[CFunction],
        make: Make,
        prepare: Prepare,
    ) -> None:
        """Begin to compile.

        Args:
            early: writes meanwhile.
            num_layers: of the network, with which its states begin.
            functions: what the other engine needs.
            make: makes that engine, or one that replaces it where it fails; it calls `wait`.
            prepare: does so, and compiles a choice of tokens or loads it.

        Raises:
            OSError: no process can be started.
        """
        self._early, self._make, self._prepare = early, make, prepare
        self._layers = len(early.start_state(1))
        self._network_layers = num_layers
        self._jobs = background.begin(functions)
        self._choices: dict[CFunction, list[background.Background]] = {}
        self._made: Engine | None = None
        self._random = np.random.default_rng(0)

    @property
    def exact(self) -> Engine:
        """The engine of compiled code; waits for it."""
        if self._made is None:
            self._made = self._make()
        return self._made

    def wait(self) -> None:
        """Wait until what `exact` needs is compiled, as far as that is possible."""
        _wait(self._jobs)

    @property
    def _is_exact(self) -> bool:
        """Whether compiled code runs."""
        return self._made is not None or (_ended(self._jobs) and bool(self.exact))

    def settled(self, logits: Floats, state: State) -> tuple[Floats, State]:
        """Return logits and state as `exact` computes them, without the layer of this engine."""
        plain, found = self._settled(state)
        logits = logits.copy()
        for rows, exact in found:
            logits[rows] = exact
        return logits, plain

    def _settled(self, state: State) -> tuple[State, list[tuple[list[int], Floats]]]:
        """Return the exact state without the layer of this engine, and logits of rows."""
        engine, carried = self.exact, self._carried(state)
        layers, reads = carried[: self._layers], carried[-1][0]
        unknown = [row for row, read in enumerate(reads) if read is not None]
        if not unknown or not engine.reproducible:  # numpy still: nothing compiles here
            return layers, []
        plain: Any = tuple(tuple(map(np.array, layer)) for layer in layers)
        together: dict[tuple[_Start, int], list[int]] = {}
        for row in unknown:
            together.setdefault((reads[row].start, len(reads[row].ids)), []).append(row)
        found = []
        for rows in together.values():
            logits, after = _reread([reads[row] for row in rows], engine)
            if logits is not None:
                found.append((rows, logits))
            for layer, new in zip(plain, after, strict=True):
                for part, values in zip(layer, new, strict=True):
                    part[rows] = values
        return plain, found

    def start_state(self, batch_size: int) -> State:
        """Return the state before a text, for `batch_size` rows: zeros, or what was learned."""
        return self._carried(self._early.start_state(batch_size))

    def select(self, state: State, rows: Any) -> State:
        """Return the rows of a state by index (repeats allowed) or mask."""
        return select_rows(self._carried(state), rows)

    def step(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read one token per row: ids (B,) -> logits (B, V) of the next one, and the state."""
        if self._is_exact:
            logits, plain = self.exact.step(ids, self._settled(state)[0])
            return logits, self._carried(plain)
        state = self._begun(state)
        logits, state = self._step(ids, state)
        return logits, self._longer(state, ids[None])

    def advance(self, ids: Ids, state: State) -> State:
        """Read a window (T, B) and return only the state after it."""
        if self._is_exact:
            return self._carried(self.exact.advance(ids, self._settled(state)[0]))
        state = self._begun(state)
        both = self._early.advance(np.concatenate([ids, ids], 1), self._with_twins(state))
        return self._longer((*_halves(both), state[-1]), ids)

    def expected(
        self, inputs: Ids, targets: Ids, count: int, state: State
    ) -> tuple[Expected, State]:
        """Return what was predicted in place of each target; waits for compiled code."""
        plain, _ = self._settled(state)
        found, plain = self.exact.expected(inputs, targets, count, plain)
        return found, self._carried(plain)

    def write(
        self, logits: Floats, state: State, chooser: Chooser, count: int
    ) -> tuple[Floats, State]:
        """Choose a token per row and read it, `count` times; see `Engine.write`."""
        self.prepare(chooser, len(logits))
        left = count
        while left and not self._ready(chooser):
            before = left
            logits, state, left = self._written(logits, state, chooser, left)
            if left == before:  # numpy is not sure: wait for the first that makes it so
                _wait(self._choices[chooser.function] if self._made else self._jobs)
        if not left:
            return logits, state
        logits, plain = self.settled(logits, state)
        self._made = self._prepare(chooser, len(logits))
        logits, plain = self._made.write(logits, plain, chooser, left)
        return logits, self._carried(plain)

    def _written(
        self, logits: Floats, state: State, chooser: Chooser, left: int
    ) -> tuple[Floats, State, int]:
        """Write tokens that are sure; return logits and state, and how many are left to write."""
        exact = self._is_exact
        if exact:
            logits, state = self.settled(logits, state)
            error = np.full(len(logits), _CHOICE_ERROR)
        else:
            state = self._begun(state)
        written: list[Ids] = []
        while len(written) < left and not self._ready(chooser):
            if not exact:
                error = _error(logits, state[-1][1])
            if not chooser.is_sure(logits, error):
                break
            written.append(chooser.choose(logits))
            step = self.exact.step if exact else self._step
            logits, state = step(written[-1], state)
        if exact:
            return logits, self._carried(state), left - len(written)
        if written:
            state = self._longer(state, np.stack(written))
        return logits, state, left - len(written)

    def prepare(self, chooser: Chooser, batch_size: int) -> None:
        """Begin to compile the choice of tokens, if that was not done yet."""
        function = chooser.function
        if function not in self._choices:
            self._choices[function] = background.begin([function])

    def finish(self, chooser: Chooser, batch_size: int) -> None:
        """Wait until all is compiled that writing needs."""
        self.prepare(chooser, batch_size)
        self._wait(chooser)
        self._made = self._prepare(chooser, batch_size)

    def _ready(self, chooser: Chooser) -> bool:
        """Return whether all is compiled that writing needs."""
        return _ended(self._jobs) and _ended(self._choices[chooser.function])

    def _wait(self, chooser: Chooser) -> None:
        _wait(self._jobs)
        _wait(self._choices[chooser.function])

    # What follows is numpy's writing. Its states have all that the module says.

    def _begun(self, state: State) -> State:
        """Return a state in which it is known of every row what was read."""
        state = self._carried(state)
        reads: Any = state[-1][0].copy()
        for row, read in enumerate(reads):
            if read is None:
                start = select_rows(state[: self._layers], np.array([row]))
                reads[row] = _Read(_Start(state=start), np.zeros(0, np.int64))
        return (*state[:-1], (reads, state[-1][1]))

    def _step(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Do what `step` does, without noting what was read."""
        logits, both = self._early.step(np.concatenate([ids, ids]), self._with_twins(state))
        own, twins = np.split(logits, 2)
        apart = own - twins
        distance = np.maximum(_LATELY * state[-1][1], np.ptp(apart, -1))
        return own, (*_halves(both), (state[-1][0], distance))

    def _with_twins(self, state: State) -> State:
        """Return the state (2B, ...) of rows and twins, whose states are disturbed."""
        layers, twins = state[: self._layers], state[self._layers : -1]
        return tuple(
            tuple(
                np.concatenate([part, twin if self._is_ids(layer) else self._disturbed(twin)])
                for part, twin in zip(parts, others, strict=True)
            )
            for layer, (parts, others) in enumerate(zip(layers, twins, strict=True))
        )

    def _is_ids(self, layer: int) -> bool:
        """Return whether a layer of the state holds tokens: those that counts go by."""
        return layer >= self._network_layers

    def _disturbed(self, part: Floats) -> Floats:
        noise = self._random.standard_normal(part.shape, np.float32)
        return part * (1 + _DISTURBED * noise)

    def _longer(self, state: State, ids: Ids) -> State:
        """Return a state in which rows have read a window (T, B) more."""
        reads, distance = state[-1]
        times = Counter(map(id, reads))
        result: Any = np.empty(len(reads), object)
        for row, read in enumerate(reads):
            result[row] = read.longer(ids[:, row], times[id(read)] > 1)
        return (*state[:-1], (result, distance))

    def _carried(self, state: State) -> State:
        """Return a state with the layers of this engine."""
        if len(state) > self._layers:
            return state
        rows = len(state[0][0])
        reads: Any = np.full(rows, None, object)
        return (*state, *state, (reads, np.zeros(rows)))


def _error(logits: Floats, distance: Floats) -> Floats64:
    """Return by how much logits (B, V) may differ, given the distances of twins (B,)."""
    peak = np.abs(logits.astype(np.float64)).max(-1, initial=1.0)
    found: Floats64 = _ROUNDINGS * peak + _OF_DISTANCE * distance + _OF_SQUARE * distance**2
    return found


def _halves(state: State) -> State:
    """Return the layers of a state (2B, ...) in two halves (B, ...), one after the other."""
    halves = (
        tuple(tuple(part[rows] for part in layer) for layer in state)
        for rows in np.split(np.arange(len(state[0][0])), 2)
    )
    return tuple(itertools.chain.from_iterable(halves))


def _reread(reads: list[_Read], engine: Engine) -> tuple[Floats | None, State]:
    """Return exact logits (B, V), unless nothing was read, and states after the same start."""
    logits, state = reads[0].start.exact(engine)
    rows = np.zeros(len(reads), np.intp)
    state = engine.select(state, rows)
    ids = np.stack([read.ids for read in reads], 1)
    if not len(ids):
        return None if logits is None else logits[rows], state
    if len(ids) > 1:
        state = engine.advance(ids[:-1], state)
    return engine.step(ids[-1], state)


def _ended(jobs: list[background.Background]) -> bool:
    return all(job.ended for job in jobs)


def _wait(jobs: list[background.Background]) -> None:
    for job in jobs:
        job.wait()
