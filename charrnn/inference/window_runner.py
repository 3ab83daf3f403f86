"""Reads a window of known tokens a layer at a time, where few texts are read.

The products of what comes from below are made for all steps at once, and only the recurrence goes
step by step, with one layer's matrix, which stays in the cache. Each number is made by the same
functions as in single steps, so it is the same number.

The rows of step t lie below those of step t - 1; the first ones hold the state before the window.
In each row, the state's columns "1" hold the state after that row's step.
"""

from __future__ import annotations

from collections.abc import Callable

from charrnn.arrays import Integers, State
from charrnn.inference.instructions import Call, Program
from charrnn.inference.step_program import StepProgram

MAX_ROWS = 192  # of a window
MIN_STEPS = 8  # fewer are not worth a window
MAX_TEXTS = 8  # with more, single steps are as fast


class WindowRunner:
    """Runs windows of a network; its programs are kept for the next window of the same shape."""

    def __init__(self, program: StepProgram, threads: int) -> None:
        self._program, self._threads = program, threads
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
                calls = [*self._program.starting_at(batch).logits("1"), *after(first, batch)]
                Program(calls, calls).run(part, self._threads)
            state = work.state(state, "1", count * batch)
            work.load(state, "1")
        return state

    def _window(self, steps: int, batch: int) -> list[tuple[Program, Program]]:
        """Return for each layer the program of all steps' input parts, and that of the steps."""
        if (steps, batch) not in self.programs:
            layout = self._program.work.layout
            layers = range(self._program.config.num_layers)
            for number in layers:
                for k in range(len(self._program.form.cell.states)):
                    layout.add_alias(f"{number}.{k}.before", f"{number}.{k}.1", -batch)
            programs = []
            for number in layers:
                input_parts = self._program.starting_at(batch).input_part(number, "1")
                recurrence = []
                for step in range(1, steps + 1):
                    rows = self._program.starting_at(step * batch)
                    recurrence += rows.recurrence(number, "before", "1")
                programs.append(
                    (Program(input_parts, input_parts), Program(recurrence, recurrence))
                )
            self.programs[steps, batch] = programs
        return self.programs[steps, batch]
