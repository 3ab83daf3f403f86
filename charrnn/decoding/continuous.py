"""Continuous batching: texts of several requests side by side, which join and leave at any token.

A text does not depend on those beside it: each has random numbers of its own, and the engine sums
in the same order for every number of rows. So a seed gives the same text alone and in a crowd.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats, Floats64, Integers, State
from charrnn.compiler.cache import CFunction
from charrnn.decoding import compiled
from charrnn.decoding.generation import SampleBatch
from charrnn.decoding.sampler import FIRST_COUNT, Sampler, next_count
from charrnn.errors import RunError
from charrnn.inference.engine import Engine, Expected, check_finite, predicted
from charrnn.inference.select import EngineSelector


class JointSampler:
    """Chooses tokens for the texts of several samplers: a `charrnn.inference.engine.Chooser`."""

    def __init__(self, samplers: Sequence[Sampler], rows: Sequence[int]) -> None:
        """Choose for as many rows as each sampler has texts."""
        self._samplers, self._ends = samplers, np.cumsum(rows)[:-1]

    def choose(self, logits: Floats) -> Integers:
        """Return the tokens (B,) to read next, given logits (B, V)."""
        parts = np.split(logits, self._ends)
        chosen = [each.choose(part) for each, part in zip(self._samplers, parts, strict=True)]
        return np.concatenate(chosen)

    def compiled(
        self, logits: int, stride: int, vocab_size: int, steps: int
    ) -> tuple[int, tuple[int, ...]]:
        """Return the same choice as compiled code; see `Sampler.compiled`."""
        batches = [sampler.batch(steps) for sampler in self._samplers]
        return self.compile(), compiled.pack(batches, logits, stride, vocab_size)

    @property
    def function(self) -> CFunction:
        """The compiled choice: the faster one if that does for all."""
        plain = all(sampler.only_temperature for sampler in self._samplers)
        return compiled.by_temperature if plain else compiled.by_filters

    def compile(self) -> int:
        """Return the address of the compiled choice."""
        return self.function.address

    def is_sure(self, logits: Floats, error: Floats64) -> bool:
        """Return whether the choice is the same for all logits so near; see `Sampler.is_sure`."""
        parts, errors = np.split(logits, self._ends), np.split(error, self._ends)
        given = zip(self._samplers, parts, errors, strict=True)
        return all(sampler.is_sure(part, some) for sampler, part, some in given)


class Token(NamedTuple):
    """A token that was written, and what the model expected in its place.

    Attributes:
        id: of the token.
        nats: -ln p of it, at temperature 1.
        likeliest: ids (K,) of the most likely tokens, best first.
        likeliest_nats: -ln p (K,) of those.
    """

    id: int
    nats: float
    likeliest: NDArray[np.int32]
    likeliest_nats: Floats


@dataclass(eq=False)
class Member:
    """The texts of one request.

    Attributes:
        batch: the texts, as `charrnn.decoding.generation.Writer.start` returns them.
        count: K, how many likely tokens to note for each one written; None: note no tokens.
        tokens: what was written of each text, if it is noted; some may follow the text's end.
        unfinished: the numbers of the texts that still grow.
        left: how many tokens each of those may still get.
        held: the logits and the state from which those go on, while nobody writes them.
        error: why the texts ended early: the network's numbers overflow.
    """

    batch: SampleBatch
    count: int | None = None
    tokens: list[list[Token]] = field(default_factory=list)
    unfinished: NDArray[np.intp] = field(init=False)
    left: int = field(init=False)
    held: tuple[Floats, State] | None = None
    error: RunError | None = None

    def __post_init__(self) -> None:
        self.left = self.batch.max_tokens
        self.unfinished = np.arange(len(self.batch.texts) if self.left else 0)
        self.tokens = [[] for _ in self.batch.texts]

    @property
    def rows(self) -> int:
        """How many texts still grow."""
        return len(self.unfinished)

    def extend(
        self, ids: Integers, log_probs: Floats64, expected: Expected | None
    ) -> NDArray[np.intp]:
        """Add the tokens (T, B) that were chosen; return which of the B rows go on.

        Args:
            ids: of the tokens; see `OutputText.extend`.
            log_probs: of the tokens.
            expected: what the model expected in their places, if that is noted.
        """
        self.left -= len(ids)
        goes_on = []
        for row, text in enumerate(self.unfinished.tolist()):
            if expected is not None:
                nats, likeliest = expected.nats[:, row].tolist(), expected.likeliest[:, row]
                columns = (ids[:, row].tolist(), nats, likeliest, expected.likeliest_nats[:, row])
                self.tokens[text] += map(Token, *columns)
            goes_on.append(self.batch.texts[text].extend(ids[:, row], log_probs[:, row]))
        stay: NDArray[np.intp] = np.flatnonzero(goes_on) if self.left else np.arange(0)
        if len(stay) < len(self.unfinished):
            self.unfinished = self.unfinished[stay]
            self.batch.chooser.select(stay)
        return stay


class ContinuousBatch:
    """Writes the texts of all members a few tokens at a time; not to be used by several threads.

    Attributes:
        members: the requests whose texts grow, in the order of their rows.
    """

    def __init__(self, selector: EngineSelector) -> None:
        """Begin without members.

        Args:
            selector: has the engine that writes.
        """
        self._selector = selector
        self.members: list[Member] = []
        self._count = FIRST_COUNT
        self._logits: Floats = np.zeros((0, 0), np.float32)
        self._state: State = ()

    @property
    def _engine(self) -> Engine:
        return self._selector.writing

    def join(self, member: Member) -> None:
        """Write these texts, too, from the next call of `write` on; the first tokens come soon."""
        if not member.rows:
            return
        if member.held is None:
            read, rows = member.batch.prompt, np.zeros(member.rows, np.intp)
            member.held = read.logits[rows], self._engine.select(read.state, rows)
        logits, state = member.held
        member.held = None
        if self.members:
            logits = np.concatenate([self._logits, logits])
            own = self._engine.select(self._state, slice(None))  # of the engine that writes now
            layers = (zip(*both, strict=True) for both in zip(own, state, strict=True))
            state = tuple(tuple(map(np.concatenate, parts)) for parts in layers)
        self._logits, self._state = logits, state
        self.members.append(member)
        self._count = min(self._count, FIRST_COUNT)

    def leave(self, member: Member) -> None:
        """Write these texts no further, if they are still written; they may join again."""
        if member not in self.members:
            return
        own = np.concatenate([np.full(each.rows, each is member) for each in self.members])
        rows = np.flatnonzero(own)
        member.held = self._logits[rows], self._engine.select(self._state, rows)
        self.members.remove(member)
        self._select(np.flatnonzero(~own))

    def write(self, seconds: float) -> list[Member]:
        """Write some tokens of every text, for about this time; return the members that ended."""
        members = self.members
        if not members:
            return []
        before = self._logits, self._state
        count = min(self._count, *(member.left for member in members))
        chooser = JointSampler(
            [member.batch.chooser for member in members], [member.rows for member in members]
        )
        began = time.perf_counter()
        self._logits, self._state = self._engine.write(*before, chooser, count)
        self._count = next_count(count, time.perf_counter() - began, seconds)
        first, stay = 0, []
        for member in members:
            rows = np.arange(first, first + member.rows)
            first += member.rows
            stay.append(rows[self._extend(member, rows, *before)])
        self.members = [member for member in members if member.rows]
        self._select(np.concatenate(stay))
        return [member for member in members if not member.rows]

    def _extend(
        self, member: Member, rows: NDArray[np.intp], logits: Floats, state: State
    ) -> NDArray[np.intp]:
        """Give a member its tokens, which follow these rows of logits; return which rows go on."""
        ids, log_probs = member.batch.chooser.take()
        try:
            check_finite(log_probs)
        except RunError as error:
            member.error, member.unfinished = error, member.unfinished[:0]
            return member.unfinished
        expected = None
        if member.count is not None:
            given = logits[rows], self._engine.select(state, rows)
            expected = _expected(self._engine, np.maximum(ids, 0), member.count, *given)
        return member.extend(ids, log_probs, expected)

    def _select(self, rows: NDArray[np.intp]) -> None:
        if len(rows) < len(self._logits):
            self._logits, self._state = self._logits[rows], self._engine.select(self._state, rows)


def _expected(engine: Engine, ids: Integers, count: int, logits: Floats, state: State) -> Expected:
    """Return what was expected in place of ids (T, B) that follow these logits (B, V)."""
    first = predicted(logits[None], ids[:1], count)
    if len(ids) == 1:
        return first
    rest, _ = engine.expected(ids[:-1], ids[1:], count, state)
    return Expected(
        *(
            np.concatenate([getattr(first, name), getattr(rest, name)])
            for name in ("nats", "likeliest", "likeliest_nats")
        )
    )
