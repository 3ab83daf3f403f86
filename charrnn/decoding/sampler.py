"""What chooses the next symbols of several texts: filters, limits and randomness, row by row.

A row's randomness is its own counter-based generator, and a choice takes one number from it, so
what a row writes depends neither on the other rows nor on how many symbols are written at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats, Floats64, Integers
from charrnn.config import SampleConfig
from charrnn.decoding.constraints import ENDED, Constraint
from charrnn.decoding.filters import ALL_ALLOWED, NO_BIAS, Filters, choose, choose_by_temperature
from charrnn.decoding.step import log_softmax

OVER = -2  # in place of a symbol: the text had ended before
NOTHING: Integers = np.zeros(0, np.int64)


def generator(seed: int, index: int, drawn: int = 0) -> np.random.Generator:
    """The randomness of sample `index` under `seed`: Philox, a counter under the key (seed, i).

    Args:
        seed: of all samples.
        index: which sample.
        drawn: how many of its numbers were used before.
    """
    bits = np.random.Philox(key=np.array([seed, index], np.uint64))
    bits.advance(drawn // 4)  # one step of the counter gives four
    random = np.random.Generator(bits)
    random.random(drawn % 4)
    return random


def filters_of(config: SampleConfig) -> Filters:
    """The numbers of a config that a choice depends on, of the types that `Filters` names."""
    kinds = {name: type(value) for name, value in Filters()._asdict().items()}
    return Filters(**{name: kind(getattr(config, name)) for name, kind in kinds.items()})


class Chooser:
    """The next symbol of each of B texts: a `charrnn.inference.engine.Chooser`.

    What it chose is `taken`: ids, ENDED where a constraint ended the text, OVER afterwards.
    """

    def __init__(
        self,
        filters: Filters,
        generators: Sequence[np.random.Generator],
        length: int,
        *,
        read: Integers = NOTHING,
        bias: Floats64 = NO_BIAS,
        constraint: Constraint | None = None,
    ) -> None:
        """One text for each of the `generators`.

        Args:
            filters: how to choose.
            generators: each text's randomness.
            length: how many symbols a text has at most.
            read: the prompt's ids, at which penalties look.
            bias: (V,), is added to all logits.
            constraint: what every text must be.
        """
        self._filters, self._bias, self._constraint = filters, bias, constraint
        self._generators = list(generators)
        self._left = length
        self._bounds = np.full(len(generators), 2 * filters.mirostat_ent)
        self._places = np.zeros(len(generators), np.int64)  # in the automaton; -1: ended
        plain = Filters(temperature=filters.temperature, repeat_last_n=filters.repeat_last_n)
        self._simple = filters == plain and not len(bias)
        self._history = np.tile(read, (len(generators), 1))
        self._used = np.full(len(generators), len(read), np.int64)
        self._taken: list[tuple[Integers, Floats64]] = []

    def taken(self) -> tuple[Integers, Floats64]:
        """What was chosen since this was last asked: ids and log-probabilities (T, B)."""
        ids, log_probs = (np.concatenate(parts) for parts in zip(*self._taken, strict=True))
        self._taken.clear()
        return ids, log_probs

    def keep(self, rows: NDArray[np.intp]) -> None:
        """Go on with these rows alone."""
        self._generators = [self._generators[row] for row in rows.tolist()]
        self._places, self._used = self._places[rows], self._used[rows]
        self._bounds = self._bounds[rows]
        self._history = self._history[rows]

    def choose(self, logits: Floats) -> Integers:
        """Logits (B, V) -> what to read next (B,)."""
        chosen = [self._choose_row(row, row_logits) for row, row_logits in enumerate(logits)]
        ids = np.array([symbol for symbol, _ in chosen])
        self._taken.append((ids[None], np.array([[log_prob for _, log_prob in chosen]])))
        self._left -= 1
        return np.asarray(np.maximum(ids, 0))

    def _choose_row(self, row: int, logits: Floats) -> tuple[int, float]:
        point = self._generators[row].random()
        place, limits, choices = int(self._places[row]), self._constraint, ALL_ALLOWED
        if place < 0:
            return OVER, 0.0
        if limits is not None:
            choices = limits.choices(place, self._left)
            if not choices.any():
                self._places[row] = -1
                return ENDED, 0.0
        with np.errstate(over="ignore"):  # a tiny temperature makes -inf of a far logit
            if self._simple:
                temperature = self._filters.temperature
                symbol, log_prob = choose_by_temperature(logits, temperature, choices, point)
            else:
                recent = self._history[row, : self._used[row]]
                given = (logits, self._filters, recent, self._bias, choices)
                symbol, log_prob, bound = choose(*given, point, float(self._bounds[row]))
                self._bounds[row] = bound
        if limits is not None:
            if not limits.allowed(place, self._left)[symbol]:
                self._places[row] = -1
                ending = limits.ending(log_softmax(logits[None]), np.array([place]), self._left)
                return ENDED, float(ending[0])
            self._places[row] = limits.advance(place, symbol)
        if not self._simple:
            self._make_room(1)
            self._history[row, self._used[row]] = symbol
            self._used[row] += 1
        return symbol, log_prob

    def _make_room(self, count: int) -> None:
        """For so many more symbols of each text; the room grows by doubling."""
        rows, size = self._history.shape
        needed = int(self._used.max(initial=0)) + count
        if needed > size:
            room = np.zeros((rows, max(needed, 2 * size)), np.int64)
            room[:, :size] = self._history
            self._history = room

    def compiled(
        self, logits: int, row: int, symbols: int, steps: int
    ) -> tuple[int, tuple[int, ...]]:
        """The choice of `steps` symbols as compiled code: see the protocol.

        Its arguments: logits, per row; V; points (T, B); ids and log-probabilities (T, B) that were
        chosen; filters; history (B, N), N (0: none is kept), used (B); bias, its length; whether
        there is a constraint, its table, S, distance, accepting, ends; places (B); symbols left;
        mirostat's bounds (B).
        """
        batch = len(self._generators)
        points = np.stack([random.random(steps) for random in self._generators], 1)
        ids, log_probs = np.zeros((steps, batch), np.int64), np.zeros((steps, batch))
        if not self._simple:
            self._make_room(steps)
        settings = np.array(self._filters, np.float64)
        limits = self._constraint
        self._arrays: list[NDArray[Any]] = [points, settings]  # which must outlive the run
        table: tuple[int, ...] = (0, 0, 0, 0, 0, 0)
        if limits is not None:
            parts = [np.ascontiguousarray(part) for part in vars(limits).values()]
            self._arrays += parts
            after, distance, accepting, ends = (part.ctypes.data for part in parts)
            table = (1, after, len(limits.next), distance, accepting, ends)
        arguments = (
            *(logits, row, symbols, points.ctypes.data, ids.ctypes.data, log_probs.ctypes.data),
            *(settings.ctypes.data, self._history.ctypes.data),
            0 if self._simple else self._history.shape[1],
            *(self._used.ctypes.data, self._bias.ctypes.data, len(self._bias)),
            *table,
            *(self._places.ctypes.data, self._left, self._bounds.ctypes.data),
        )
        self._taken.append((ids, log_probs))
        self._left -= steps
        return self.compile(), arguments

    def compile(self) -> int:
        """The address of the compiled choice; the first time it takes some seconds."""
        from charrnn.decoding import compiled

        return compiled.by_temperature() if self._simple else compiled.by_all()
