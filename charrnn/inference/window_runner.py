"""Reads a window of known tokens a layer at a time, where few texts are read.

The products of what comes from below are made for all steps at once, and only the recurrence goes
step by step, with one layer's matrix, which stays in the cache. Each number is made by the same
functions as in single steps, so it is the same number. The networks of an ensemble run one after
the other on one thread, for the sake of the cache, and side by side on several, which then wait
less.

The rows of step t lie below those of step t - 1; the first ones hold the state before the window.
In each row, the state's columns "1" hold the state after that row's step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

from charrnn.arrays import Integers, State
from charrnn.inference.instructions import Call, Program
from charrnn.inference.step_program import StepProgram, side_by_side
from charrnn.inference.workspace import own

MAX_ROWS = 192  # of a window
MIN_STEPS = 8  # fewer are not worth a window
MAX_TEXTS = 8  # with more, single steps are as fast


class WindowRunner:
    """Runs windows of networks; its programs are kept for the next window of the same shape."""

    def __init__(self, each: Sequence[StepProgram], threads: int) -> None:
        self._each, self._threads = each, threads
        self._program = each[0]
        self.programs: dict[tuple[int, int], list[tuple[Program, Program]]] = {}

    def is_worthwhile(self, steps: int, batch: int) -> bool:
        """Return whether a window is faster than single steps."""
        worth = steps >= MIN_STEPS and batch <= MAX_TEXTS and not self._program.config.encoder
        return worth and not self._program.form.cell.feeds_back

    def rows(self, steps: int, batch: int) -> int:
        """Return how many rows of the workspace such a window needs."""
        return (self._steps_at_once(steps, batch) + 1) * batch

    @staticmethod
    def _steps_at_once(steps: int, batch: int) -> int:
        return min(steps, MAX_ROWS // batch)

    def run(
        self, ids: Integers, state: State, after: Callable[[int, int], list[Call]] | None = None
    ) -> State:
        """Read ids (T, B) and return the state after them.

        With `after`, the logits of every step are made as well. Then come the calls that it returns
        for the first step of a window and the row where its logits are, on the rows of all steps.
        """
        steps, batch = ids.shape
        size = self._steps_at_once(steps, batch)
        work = self._program.work
        work.load(state, "1")
        for first in range(0, steps, size):
            part = ids[first : first + size].reshape(1, -1)
            count = part.size // batch
            for input_parts, recurrence in self._window(count, batch):
                input_parts.run(part, self._threads)
                recurrence.run(part[:, :batch], self._threads)
            if after is not None:
                logits = [each.starting_at(batch).logits("1") for each in self._each]
                calls = [*side_by_side(logits, self._threads), *after(first, batch)]
                Program(calls, calls).run(part, self._threads)
            state = work.state(state, "1", count * batch)
            work.load(state, "1")
        return state

    def _window(self, steps: int, batch: int) -> list[tuple[Program, Program]]:
        """Return for each layer the program of all steps' input parts, and that of the steps."""
        if (steps, batch) not in self.programs:
            together = [self._each] if self._threads > 1 else [[each] for each in self._each]
            self.programs[steps, batch] = [
                self._layer(each, number, steps, batch)
                for each in together
                for number in range(self._program.config.num_layers)
            ]
        return self.programs[steps, batch]

    def _layer(
        self, networks: Sequence[StepProgram], number: int, steps: int, batch: int
    ) -> tuple[Program, Program]:
        """Return the two programs of a layer of networks that run side by side."""
        input_parts, recurrence = [], []
        for each in networks:
            for k in range(len(each.form.cell.states)):
                after = own(each.number, f"{number}.{k}.1")
                before = own(each.number, f"{number}.{k}.before")
                each.work.layout.add_alias(before, after, -batch)
            input_parts.append(each.starting_at(batch).input_part(number, "1"))
            rows = [each.starting_at(step * batch) for step in range(1, steps + 1)]
            calls = [row.recurrence(number, "before", "1") for row in rows]
            recurrence.append(list(chain.from_iterable(calls)))
        both = [side_by_side(calls, self._threads) for calls in (input_parts, recurrence)]
        return Program(both[0], both[0]), Program(both[1], both[1])
