"""Mixes a count model of the training text into what a network predicts.

The state has one more layer than the network's: the last K tokens of each row, as
`charrnn.counts.mixing` says. In a state of zeros none are known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats, Ids, Integers, State
from charrnn.compiler.cache import declare
from charrnn.config import ModelConfig
from charrnn.counts import mixing
from charrnn.counts.table import COUNTS, MAX_ORDER, CountTable
from charrnn.inference.compiled_engine import CompiledEngine
from charrnn.inference.engine import Chooser, Engine, Expected, predicted
from charrnn.inference.instructions import WAIT, Call, Program
from charrnn.model.parameters import Parameters

(_mix_rows,) = declare("charrnn.inference.count_functions", "mix_rows")


class CountingEngine(Engine):
    """Another engine, whose logits are mixed with the counts in numpy."""

    def __init__(self, network: Engine, table: CountTable) -> None:
        """Mix the logits of this engine with the counts of this table."""
        self._network, self._table = network, table
        self.reproducible = network.reproducible

    def start_state(self, batch_size: int) -> State:
        """Return the state before a text, for `batch_size` rows."""
        contexts = mixing.empty_contexts(batch_size, self._table)
        return (*self._network.start_state(batch_size), (contexts,))

    def step(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read one token per row: ids (B,) -> logits (B, V) of the next one, and the state."""
        logits, after = self._network.step(ids, state[:-1])
        contexts = mixing.longer(state[-1][0], ids)
        return mixing.mixed(self._table, logits, contexts), (*after, (contexts,))

    def advance(self, ids: Ids, state: State) -> State:
        """Read a window (T, B) and return only the state after it."""
        after = self._network.advance(ids, state[:-1])
        return (*after, (contexts_after(ids, state[-1][0]),))

    def expected(
        self, inputs: Ids, targets: Ids, count: int, state: State
    ) -> tuple[Expected, State]:
        """Return what was predicted in place of each target (T, B), and the state after."""
        steps = []
        for ids in inputs:
            logits, state = self.step(ids, state)
            steps.append(logits)
        return predicted(np.stack(steps), targets, count), state

    def prepare(self, chooser: Chooser, batch_size: int) -> None:
        """Do nothing: the network's own choice of tokens is not used."""


class CompiledCountingEngine(CompiledEngine):
    """An engine of compiled steps that mix the counts into the logits."""

    def __init__(
        self,
        config: ModelConfig,
        values: Parameters,
        table: CountTable,
        *,
        weights: str = "float32",
        threads: int | None = None,
    ) -> None:
        """Pack the weights and compile what a step needs; see `CompiledEngine`."""
        super().__init__(config, values, weights=weights, threads=threads)
        self._table = table
        unigram = np.ascontiguousarray(table.unigram)
        arrays = (table.discounts, table.weights, table.index, table.checks, table.starts)
        self._count_arrays: list[NDArray[Any]] = [
            *(unigram, np.log(unigram)),
            *(np.ascontiguousarray(array) for array in (*arrays, table.tokens, table.codes)),
            COUNTS.astype(np.float32),
        ]
        size = 16 * (MAX_ORDER + 1) + 4 * len(unigram)
        self._count_work = np.zeros((self.most_threads, -(-size // 64) * 8 + 8), np.int64)

    def start_state(self, batch_size: int) -> State:
        """Return the state before a text, for `batch_size` rows."""
        contexts = mixing.empty_contexts(batch_size, self._table)
        return (*super().start_state(batch_size), (contexts,))

    def _mixing(self, batch: int, row: int = 0) -> list[Call]:
        """Return the calls that mix the counts into the logits in the rows from `row` on.

        A window of a batch has as many rows for each step.
        """
        table, work = self._table, self._count_work
        given = (
            *self._logits_arguments(row),
            *(work.strides[0], batch, table.order, table.bits),
            *(array.ctypes.data for array in self._count_arrays),
            *(table.tokens.itemsize, work.ctypes.data),
        )
        return [Call(_mix_rows.address, given), WAIT]

    def _run(self, ids: Integers, state: State, program: Program) -> State:
        history = _history(ids, state)
        after = super()._run(history, state[:-1], program)
        return (*after, (contexts_after(history, state[-1][0]),))

    def _run_windows(
        self, ids: Integers, state: State, after: Callable[[int, int], list[Call]] | None = None
    ) -> State:
        history = _history(ids, state)
        result = super()._run_windows(history, state[:-1], after)
        return (*result, (contexts_after(history, state[-1][0]),))


def _history(ids: Integers, state: State) -> Integers:
    """Return tokens (T, B) as programs read them: those before them lie before them in memory."""
    contexts = state[-1][0]
    size = contexts.shape[1]
    history = np.empty((size + len(ids), len(contexts)), np.int64)
    history[:size] = contexts.T.astype(np.int64) - 1
    history[size:] = ids
    return history[size:]


def contexts_after(ids: Ids, contexts: Floats) -> Floats:
    """Return the contexts (B, K) after a window of tokens (T, B)."""
    read = np.concatenate([contexts, ids.T.astype(np.float32) + 1], 1)
    return read[:, -contexts.shape[1] :].copy()
