"""Sampling of several texts side by side: their randomness, the choices, and the loop.

Each text has a counter-based random generator of its own, and a choice uses one of its numbers, so
a text depends neither on the others nor on how many tokens are written at a time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray

from charrnn.arrays import Floats, Floats64, Integers, State
from charrnn.compiler.cache import CFunction
from charrnn.config import SampleConfig
from charrnn.decoding.certainty import is_sure
from charrnn.decoding.choice import Batch, Choose, choose_token
from charrnn.decoding.constraints import UNCONSTRAINED, Constraint
from charrnn.decoding.filters import NO_BIAS, choose, choose_by_temperature, only_temperature
from charrnn.inference.engine import Engine, check_finite

NO_PROMPT: Integers = np.zeros(0, np.int64)

# The loop writes for this long at a time: it can be watched and stopped in between, and its
# overhead per token stays small.
YIELD_SECONDS = 0.03
# Tokens at first, at most, and by what factor their number may grow.
FIRST_COUNT, _MAX_COUNT, _MAX_GROWTH = 8, 4096, 4


def generator(seed: int, index: int, drawn: int = 0) -> np.random.Generator:
    """Return the random generator of sample `index`: Philox, a counter under the key (seed, index).

    Args:
        seed: the seed of all samples.
        index: the number of the sample.
        drawn: how many of its numbers have been used already.
    """
    bits = np.random.Philox(_Key(seed, index))  # type: ignore[arg-type]
    random = np.random.Generator(bits)
    if drawn:
        bits.advance(drawn // 4)  # each count yields four numbers
        random.random(drawn % 4)
    return random


class _Key(ISeedSequence):
    """Gives Philox its key; with `key=` it first asks the system for a seed, which takes longer."""

    def __init__(self, seed: int, index: int) -> None:
        self._words = np.array([seed, index], np.uint64)

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> NDArray[Any]:
        return self._words


class Sampler:
    """Chooses the next token of each of B texts: a `charrnn.inference.engine.Chooser`.

    Attributes:
        only_temperature: whether all filters are off, so that the faster choice will do.
    """

    def __init__(
        self,
        settings: SampleConfig,
        generators: Sequence[np.random.Generator],
        length: int,
        *,
        read: Integers = NO_PROMPT,
        bias: Floats64 = NO_BIAS,
        constraint: Constraint | None = None,
    ) -> None:
        """Start one text for each of the `generators`.

        Args:
            settings: temperature, filters and penalties.
            generators: each text's randomness.
            length: the maximum number of tokens of a text.
            read: the ids of the prompt, which count as recent tokens.
            bias: (V,) added to the logits.
            constraint: what every text must match.
        """
        self._settings, self._bias = settings, bias
        self._constraint = Constraint._make(map(np.ascontiguousarray, constraint or UNCONSTRAINED))
        self._generators = list(generators)
        self._left = length
        self.only_temperature = only_temperature(settings) and not len(bias)
        self._states = np.zeros(len(generators), np.int64)
        self._bounds = np.full(len(generators), 2.0 * settings.mirostat_ent)
        self._used = np.full(len(generators), len(read), np.int64)
        self._history = np.tile(read[:0] if self.only_temperature else read, (len(generators), 1))
        self._ahead = np.zeros((len(generators), 0))  # random numbers for choices to come
        self._batches: list[Batch] = []  # since `take` was last called

    def take(self) -> tuple[Integers, Floats64]:
        """Return what was chosen since the last call: ids and log-probabilities (T, B).

        An id is ENDED where a constraint ended the text, and OVER after that.
        """
        tokens = np.concatenate([batch.tokens for batch in self._batches])
        log_probs = np.concatenate([batch.log_probs for batch in self._batches])
        self._batches.clear()
        return tokens, log_probs

    def select(self, rows: NDArray[np.intp]) -> None:
        """Continue with these texts only."""
        self._generators = [self._generators[row] for row in rows.tolist()]
        self._ahead = self._ahead[rows]
        self._states, self._bounds = self._states[rows], self._bounds[rows]
        self._history, self._used = self._history[rows], self._used[rows]

    def choose(self, logits: Floats) -> Integers:
        """Choose a token per text from logits (B, V); return the ids (B,) to read next."""
        batch = self.batch(1)
        # A tiny temperature turns distant logits into -inf; ending may be impossible.
        with np.errstate(over="ignore", divide="ignore"):
            for row, row_logits in enumerate(logits):
                choose_token(batch, 0, row, row_logits, self._choose)
        return np.asarray(np.maximum(batch.tokens[0], 0))

    def compiled(
        self, logits: int, stride: int, vocab_size: int, steps: int
    ) -> tuple[int, tuple[int, ...]]:
        """Return the address and the arguments of compiled code that makes `steps` choices.

        Args:
            logits: the address of the first text's logits, in float32.
            stride: bytes from one text's logits to the next one's.
            vocab_size: V.
            steps: how many tokens each text gets.
        """
        from charrnn.decoding import compiled

        return self.compile(), compiled.pack([self.batch(steps)], logits, stride, vocab_size)

    @property
    def function(self) -> CFunction:
        """The compiled choice."""
        from charrnn.decoding import compiled

        return compiled.by_temperature if self.only_temperature else compiled.by_filters

    def compile(self) -> int:
        """Return the address of the compiled choice; the first call takes some seconds."""
        return self.function.address

    def is_sure(self, logits: Floats, error: Floats64) -> bool:
        """Return whether all logits that differ from these by at most `error` (B,) choose the same.

        Nothing is chosen; see `charrnn.decoding.certainty`.
        """
        if self._settings.mirostat_ent:  # its limit would keep a small difference forever
            return False
        self._ahead = self._draw(1)
        if not self.only_temperature:
            self._reserve(1)
        batch = self._batch(np.ascontiguousarray(self._ahead.T))
        return is_sure(batch, logits, self._choose, error)

    @property
    def _choose(self) -> Choose:
        return choose_by_temperature if self.only_temperature else choose

    def batch(self, steps: int) -> Batch:
        """Return what the next `steps` choices of each text read and write."""
        if not self.only_temperature:
            self._reserve(steps)
        batch = self._batch(np.ascontiguousarray(self._draw(steps).T))
        self._ahead = self._ahead[:, :0]
        self._batches.append(batch)
        self._left -= steps
        return batch

    def _draw(self, steps: int) -> Floats64:
        """Return the next random numbers of the texts (B, steps): first those drawn ahead."""
        ahead = self._ahead.shape[1]
        drawn = np.zeros((len(self._generators), steps))
        drawn[:, :ahead] = self._ahead
        if self._settings.temperature > 0:
            for row, random in zip(drawn, self._generators, strict=True):
                random.random(out=row[ahead:])
        return drawn

    def _batch(self, uniforms: Floats64) -> Batch:
        """Return what choices with these random numbers (T, B) read and write."""
        return Batch(
            settings=self._settings,
            bias=self._bias,
            constraint=self._constraint,
            left=self._left,
            states=self._states,
            bounds=self._bounds,
            history=self._history,
            used=self._used,
            uniforms=uniforms,
            tokens=np.zeros(uniforms.shape, np.int64),
            log_probs=np.zeros(uniforms.shape),
        )

    def _reserve(self, count: int) -> None:
        """Reserve space for `count` more tokens in each text's history, doubling it if needed."""
        rows, size = self._history.shape
        needed = int(self._used.max(initial=0)) + count
        if needed > size:
            history = np.zeros((rows, max(needed, 2 * size)), np.int64)
            history[:, :size] = self._history
            self._history = history


class Text(Protocol):
    """One of the texts, as it grows."""

    def extend(self, ids: Integers, log_probs: Floats64) -> bool:
        """Add tokens; return whether the text goes on."""
        ...


def write(
    network: Engine,
    logits: Floats,
    state: State,
    sampler: Sampler,
    texts: Sequence[Text],
    length: int,
    first: int = 0,
) -> Iterator[None]:
    """Write up to `length` tokens of each text; yield after every `YIELD_SECONDS`.

    Args:
        network: reads tokens and selects rows.
        logits: (1, V) for the first token, after the prompt.
        state: the state after the prompt, one row.
        sampler: chooses the tokens of as many texts.
        texts: receive their tokens; one that has ended leaves the batch.
        length: the maximum number of tokens of a text.
        first: how many to write at first; 0: few.

    Raises:
        RunError: the network's numbers overflow.
    """
    rows = np.arange(len(texts))
    prompts = np.repeat(np.arange(len(logits)), len(texts) // len(logits))
    logits, state = logits[prompts], network.select(state, prompts)
    count = first or FIRST_COUNT
    while length > 0 and len(rows):
        count = min(count, length)
        began = time.perf_counter()
        logits, state = network.write(logits, state, sampler, count)
        ids, log_probs = sampler.take()
        check_finite(log_probs)
        length -= count
        count = next_count(count, time.perf_counter() - began)
        columns = zip(rows.tolist(), ids.T, log_probs.T, strict=True)
        unfinished = np.array([texts[row].extend(*column) for row, *column in columns])
        yield
        if not unfinished.all():
            stay: NDArray[np.intp] = np.flatnonzero(unfinished)
            sampler.select(stay)
            rows, logits, state = rows[stay], logits[stay], network.select(state, stay)


def next_count(count: int, seconds: float, wanted_seconds: float = YIELD_SECONDS) -> int:
    """Return how many tokens to write in the wanted time if writing `count` took `seconds`."""
    wanted = int(count * wanted_seconds / max(seconds, 1e-6))
    return max(1, min(wanted, _MAX_GROWTH * count, _MAX_COUNT))
