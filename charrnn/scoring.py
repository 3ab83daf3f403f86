"""How well a model predicts a text: nats per character, and the protocols they are measured by.

One definition for everything: training's validation, ``charrnn eval`` and Python use these
functions, with any engine that reads a window and gives the nats of its targets.

    nats             mean of -ln p(symbol | all before it) per character
    bpc              nats / ln 2: bits per character
    bits_per_byte    the same total in bits, per byte of the text in UTF-8

A text is read from its first symbol to its last, after the start token and the state before a
text: `surprisals`, symbol by symbol, of many texts side by side. `score` is the sum of that, or
reads one text in several streams, which is faster and nearly the same.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Ids, Integers
from charrnn.inference.engine import Engine, Scorer
from charrnn.text.streams import Documents
from charrnn.text.tokenizer import Tokenizer

MAX_STREAMS = 32
WARM_UP = 512
WINDOW = 256
MAX_WINDOWS = 1024
_CHUNK = 192  # symbols read at a time; the result does not depend on it beyond rounding
SHORT_CHUNK = 64  # the same where an engine makes arrays for all of them: as in training
TEXTS = 96  # read side by side: with more, products are not faster
_SHORTEST = 16  # symbols read at a time, even where a text ends before
_NONE = np.empty(0, np.uint8)

Progress = Callable[[int], object]  # told how many symbols are done; may raise


@dataclass(frozen=True)
class Surprisals:
    """How a text was predicted, symbol by symbol.

    Attributes:
        ids: its symbols (N,).
        nats: -ln p (N,) of each, after all before it.
        likeliest: ids (N, K) of what was expected most in its place, the best first.
        likeliest_nats: -ln p (N, K) of those.
    """

    ids: Ids
    nats: NDArray[np.float64]
    likeliest: NDArray[np.int32]
    likeliest_nats: NDArray[np.float32]

    def __getitem__(self, where: slice) -> Surprisals:
        """Those of a part of the text."""
        return Surprisals(
            self.ids[where], self.nats[where], self.likeliest[where], self.likeliest_nats[where]
        )

    def score(self, tokenizer: Tokenizer) -> Score:
        """The whole text's."""
        return Score(float(self.nats.sum(dtype=np.float64)), *tokenizer.measure(self.ids))


@dataclass(frozen=True)
class Score:
    """A text's total and its length."""

    total_nats: float
    characters: int
    num_bytes: int

    @property
    def nats(self) -> float:
        """Mean nats per character."""
        return self.total_nats / self.characters

    @property
    def bpc(self) -> float:
        """Bits per character."""
        return self.nats / math.log(2)

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte of the text in UTF-8."""
        return self.total_nats / math.log(2) / self.num_bytes


def score(
    engine: Scorer,
    ids: Ids,
    tokenizer: Tokenizer,
    start_token: int,
    *,
    exact: bool = False,
    most: int | None = None,
    documents: NDArray[np.integer[Any]] | None = None,
) -> Score:
    """Score `ids` (N,) in order with the state carried; per character, whatever a symbol is.

    The text is cut into at most 32 contiguous streams; each begins with the state left by the 512
    symbols before it, which are not counted. With `exact`, one stream reads the whole text. With
    `most`, only the beginnings of the streams are read, as many symbols as that in all. With
    `documents`, where they start, each of them is read as a text of its own.
    """
    if documents is not None:
        total = _apart(engine, ids, start_token, documents, exact, most)
        read_ids = spread(ids, most, exact=exact, documents=documents)
        return Score(total, *tokenizer.measure(read_ids))
    if exact:
        (found,) = surprisals(engine, [spread(ids, most, exact=True)], start_token)
        return found.score(tokenizer)
    length, streams = _cut(len(ids), exact=False)
    state = _warm_up(engine, ids, start_token, length, streams)
    total, read = 0.0, _read(length, streams, most)
    for rows in _chunks(read):
        positions = rows[:, None] + np.arange(streams)[None, :] * length
        inside = positions < len(ids)
        positions = np.where(inside, positions, 0)
        inputs = _inputs(ids, positions, start_token)
        nats, state = engine.nats(inputs, ids[positions].astype(np.int64), state)
        total += float(np.sum(nats, where=inside, dtype=np.float64))
    return Score(total, *tokenizer.measure(spread(ids, most)))


def spread(
    ids: Ids,
    most: int | None,
    *,
    exact: bool = False,
    documents: NDArray[np.integer[Any]] | None = None,
) -> Ids:
    """Those of `ids` (N,) that are scored when there are to be no more than `most`, about."""
    if documents is not None:
        windows, length, streams = _cut_apart(ids, documents, exact)
        read = _read(length, streams, most and most // windows.seq_len)
        numbers = np.arange(streams)[:, None] * length + np.arange(read)
        positions, inside, _ = windows.at(numbers[numbers < windows.count])
        return ids if read == length else ids[positions.T[inside.T]]
    length, streams = _cut(len(ids), exact=exact)
    read = _read(length, streams, most)
    if read == length:
        return ids
    return np.concatenate([ids[at : at + read] for at in range(0, len(ids), length)])


def _cut(count: int, *, exact: bool) -> tuple[int, int]:
    """The length of the streams into which so many symbols are cut, and their number."""
    streams = 1 if exact else max(1, min(MAX_STREAMS, count // WARM_UP))
    length = math.ceil(count / streams)
    return length, math.ceil(count / length)


def _read(length: int, streams: int, most: int | None) -> int:
    """How much of each stream is read."""
    return length if most is None else min(length, max(1, most // streams))


def surprisals(
    engine: Scorer,
    texts: Sequence[Ids],
    start_token: int,
    *,
    count: int = 0,
    progress: Progress = lambda done: None,
) -> list[Surprisals]:
    """Read texts, each of them (N,) in one stream from the start token on, side by side.

    Long ones begin first; where one ends, the next takes its place. A text's numbers do not depend
    on what is read beside it, beyond rounding (with compiled steps, not at all).

    Args:
        engine: reads; with a `count`, it is an `Engine`.
        texts: ids.
        start_token: what is read before the first of them.
        count: K, how many of the likeliest symbols are kept for every place; at most V.
        progress: told after every window.
    """
    reading = _Reading(engine, texts, start_token, count)
    while reading.goes_on():
        reading.read()
        progress(reading.done)
    return reading.found()


class _Reading:
    """Texts that are read side by side, a window at a time.

    Attributes:
        done: symbols read so far.
    """

    def __init__(self, engine: Scorer, texts: Sequence[Ids], start_token: int, count: int) -> None:
        self._engine, self._start_token, self._count = engine, start_token, count
        lengths = np.array([len(text) for text in texts], np.int64)
        self._ends = np.cumsum(lengths)
        self._starts = self._ends - lengths
        self._ids: Ids = texts[0] if len(texts) == 1 else np.concatenate([*texts, _NONE])
        self.done, total = 0, int(lengths.sum())
        self._nats = np.empty(total)
        self._likeliest = np.empty((total, count), np.int32)
        self._likeliest_nats = np.empty((total, count), np.float32)
        longest_first = np.argsort(-lengths, kind="stable")
        self._waiting = iter(longest_first[: np.count_nonzero(lengths)].tolist())
        self._rows = self._at = np.empty(0, np.int64)  # texts that are read, and where in all ids
        self._state = engine.start_state(0)

    def goes_on(self) -> bool:
        """Let texts that have ended make room for others; whether there is one to be read."""
        going = np.flatnonzero(self._at < self._ends[self._rows])
        new = np.array(list(itertools.islice(self._waiting, TEXTS - len(going))), np.int64)
        if len(going) < len(self._rows) or len(new):
            state = self._engine.start_state(len(going) + len(new))
            for layer, before in zip(state, self._state, strict=True):
                for part, old in zip(layer, before, strict=True):
                    part[: len(going)] = old[going]
            self._state = state
            self._rows = np.concatenate([self._rows[going], new])
            self._at = np.concatenate([self._at[going], self._starts[new]])
        return len(self._rows) > 0

    def read(self) -> None:
        """Read a window: to the end of the text that ends first, if that is far enough."""
        left = self._ends[self._rows] - self._at
        steps = min(_CHUNK, int(left.max()), max(_SHORTEST, int(left.min())))
        positions = self._at + np.arange(steps)[:, None]
        inside = positions < self._ends[self._rows]
        positions = np.minimum(positions, len(self._ids) - 1)
        inputs = _inputs(self._ids, positions, self._start_token)
        inputs[0, self._at == self._starts[self._rows]] = self._start_token
        window = (inputs, self._ids[positions].astype(np.int64))
        where = positions[inside]
        if self._count:
            engine = cast("Engine", self._engine)
            found, self._state = engine.expected(*window, self._count, self._state)
            self._likeliest[where] = found.likeliest[inside]
            self._likeliest_nats[where] = found.likeliest_nats[inside]
            nats = found.nats
        else:
            nats, self._state = self._engine.nats(*window, self._state)
        self._nats[where] = nats[inside]
        self._at = self._at + steps
        self.done += len(where)

    def found(self) -> list[Surprisals]:
        """What came of each text."""
        every = Surprisals(self._ids, self._nats, self._likeliest, self._likeliest_nats)
        bounds = zip(self._starts.tolist(), self._ends.tolist(), strict=True)
        return [every[start:end] for start, end in bounds]


def _chunks(steps: int) -> list[Integers]:
    """The numbers of so many steps, in parts that are read at a time."""
    return np.split(np.arange(steps), range(SHORT_CHUNK, steps, SHORT_CHUNK))


def _inputs(ids: Ids, positions: Integers, start_token: int) -> Integers:
    """What is read before the ids at `positions`: the ones before them, or the start token."""
    before = ids[positions - 1].astype(np.int64)
    return np.where(positions == 0, start_token, before)


def _warm_up(engine: Scorer, ids: Ids, start_token: int, length: int, streams: int) -> Any:
    """The state before each stream: read what precedes it; nothing precedes the first."""
    state = engine.start_state(streams)
    if streams == 1:
        return state
    before = min(WARM_UP, length)
    starts = np.arange(streams) * length - before
    starts[0] = 0
    for rows in _chunks(before):
        inputs = _inputs(ids, starts[None, :] + rows[:, None], start_token)
        _, state = engine.nats(inputs, inputs * 0, state)
    _begin(engine, state, 0)
    return state


def _begin(engine: Scorer, state: Any, rows: Any) -> None:
    """Make some rows of a state what it is before a text."""
    for layer, start in zip(state, engine.start_state(1), strict=True):
        for part, first in zip(layer, start, strict=True):
            part[rows] = first[0]


def _apart(
    engine: Scorer,
    ids: Ids,
    start_token: int,
    starts: NDArray[np.integer[Any]],
    exact: bool,
    most: int | None,
) -> float:
    """Nats of documents that know nothing of each other; streams warm up within theirs."""
    windows, length, streams = _cut_apart(ids, starts, exact)
    before = math.ceil(WARM_UP / windows.seq_len) if streams > 1 else 0
    state = engine.start_state(streams)
    total = 0.0
    steps = range(-before, _read(length, streams, most and most // windows.seq_len))
    for step in steps:
        numbers = np.arange(streams) * length + step
        positions, inside, begins = windows.at(np.clip(numbers, 0, windows.count - 1))
        if step > steps.start:
            _begin(engine, state, np.flatnonzero(begins))
        inputs = ids[positions - 1].astype(np.int64)
        inputs[0, begins] = start_token
        nats, state = engine.nats(inputs, ids[positions].astype(np.int64), state)
        if step >= 0:
            counted = inside & (numbers < windows.count)
            total += float(np.sum(nats, where=counted, dtype=np.float64))
    return total


def _cut_apart(
    ids: Ids, starts: NDArray[np.integer[Any]], exact: bool
) -> tuple[Documents, int, int]:
    """The windows of documents, how many of them a stream has, and the number of streams.

    Windows are as long as documents are in the mean, so that little of them is empty.
    """
    mean = len(ids) // max(1, len(starts))
    windows = Documents.of(starts, len(ids), max(8, min(_CHUNK, mean)))
    most = windows.count * windows.seq_len // WARM_UP
    streams = 1 if exact else max(1, min(MAX_STREAMS, most))
    length = math.ceil(windows.count / streams)
    return windows, length, math.ceil(windows.count / length)


def window_nats(engine: Scorer, ids: Ids, tokenizer: Tokenizer) -> float | None:
    """Nats per character over windows of 256 symbols, each from a zero state, no start token.

    The protocol of nanoGPT's 1.4697, over all windows that follow one another (at most 1,024,
    evenly spread) instead of random ones. None if the text is shorter than a window.
    """
    count = (len(ids) - 1) // WINDOW
    if count < 1:
        return None
    chosen = np.unique(np.linspace(0, count - 1, min(count, MAX_WINDOWS)).astype(np.int64))
    total, characters = 0.0, 0
    for first in range(0, len(chosen), MAX_STREAMS):
        starts = chosen[first : first + MAX_STREAMS] * WINDOW
        state = engine.start_state(len(starts))
        for rows in _chunks(WINDOW):
            positions = starts[None, :] + rows[:, None]
            inputs, targets = ids[positions], ids[positions + 1]
            nats, state = engine.nats(inputs.astype(np.int64), targets.astype(np.int64), state)
            total += float(np.sum(nats, dtype=np.float64))
            characters += tokenizer.measure(targets.ravel()).characters
    return total / max(1, characters)
