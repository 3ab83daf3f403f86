"""Measures how well a model predicts a text: nats per character, and the protocols behind them.

Validation during training, ``charrnn eval`` and Python all use these functions, with any engine
that reads a window and returns the nats of its targets.

    nats             mean of -ln p(token | all tokens before it), per character
    bpc              nats / ln 2: bits per character
    bits_per_byte    the same total in bits, per byte of the text in UTF-8

A text is read from its first token to its last, after the start token and the start state.
`surprisals` returns the nats of each token, for many texts side by side. `score` returns their sum,
or reads one text in several streams, which is faster and gives nearly the same result.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Ids, Integers
from charrnn.inference.engine import Engine, Scorer
from charrnn.scoring.character_starts import CharacterStarts, blocks
from charrnn.scoring.results import Score, Surprisals
from charrnn.text.streams import Documents
from charrnn.text.tokenizer import Tokenizer

MAX_STREAMS = 32
WARM_UP = 512
WINDOW = 256
MAX_WINDOWS = 1024
_CHUNK = 192  # tokens read at a time; the result depends on it only by rounding
SHORT_CHUNK = 64  # the same if an engine stores arrays for all of them, as in training
_MAX_TEXTS = 96  # read side by side: with more, products are not faster
_MIN_CHUNK = 16  # tokens read at a time, even if a text ends before
_NO_IDS = np.empty(0, np.uint8)


def score(
    engine: Scorer,
    ids: Ids,
    tokenizer: Tokenizer,
    start_token: int,
    *,
    exact: bool = False,
    limit: int | None = None,
    documents: NDArray[np.integer[Any]] | None = None,
) -> Score:
    """Score a text in order, with the state carried along.

    The text is cut into at most 32 contiguous streams; each starts from the state after the 512
    tokens before it, which are not counted.

    Args:
        engine: reads the text.
        ids: (N,) the text.
        tokenizer: counts characters and bytes, whatever a token stands for.
        start_token: is read before the first token.
        exact: whether to read the whole text in one stream.
        limit: about how many tokens to read, at the beginnings of the streams; None: all.
        documents: where documents start, if each is to be read as a text of its own.
    """
    total = total_nats(engine, ids, start_token, exact=exact, limit=limit, documents=documents)
    read_ids = spread(ids, limit, exact=exact, documents=documents)
    return Score(float(total), *tokenizer.measure(read_ids))


def total_nats(
    engine: Scorer,
    ids: Ids,
    start_token: int,
    *,
    exact: bool = False,
    limit: int | None = None,
    documents: NDArray[np.integer[Any]] | None = None,
) -> NDArray[np.float64]:
    """Return the sum of the nats that `score` reads, with its arguments.

    If the engine returns nats (K, T, B) of a window, there are K sums.
    """
    if documents is not None:
        return _total_of_documents(engine, ids, start_token, documents, exact, limit)
    length, streams = _cut(len(ids), exact=exact)
    state = _warm_up(engine, ids, start_token, length, streams)
    total, read = np.zeros(()), _read_length(length, streams, limit)
    for rows in _chunks(read, _CHUNK if streams == 1 else SHORT_CHUNK):
        positions = rows[:, None] + np.arange(streams)[None, :] * length
        inside = positions < len(ids)
        positions = np.where(inside, positions, 0)
        inputs = _inputs(ids, positions, start_token)
        nats, state = engine.nats(inputs, ids[positions].astype(np.int64), state)
        total = total + _sum(nats, inside)
    return total


def _sum(nats: NDArray[Any], counted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the sum of the nats (..., T, B) that are counted (T, B)."""
    total: NDArray[np.float64] = np.sum(nats, axis=(-2, -1), where=counted, dtype=np.float64)
    return total


def spread(
    ids: Ids,
    limit: int | None,
    *,
    exact: bool = False,
    documents: NDArray[np.integer[Any]] | None = None,
) -> Ids:
    """Return those of `ids` (N,) that `score` reads with the same limit."""
    if documents is not None:
        windows, length, streams = _cut_documents(ids, documents, exact)
        read = _read_length(length, streams, limit and limit // windows.seq_len)
        if read == length:
            return ids
        numbers = np.arange(streams)[:, None] * length + np.arange(read)
        positions, inside, _ = windows.at(numbers[numbers < windows.count])
        return ids[positions.T[inside.T]]
    length, streams = _cut(len(ids), exact=exact)
    read = _read_length(length, streams, limit)
    if read == length:
        return ids
    return np.concatenate([ids[start : start + read] for start in range(0, len(ids), length)])


def apart(ids: Ids, documents: NDArray[np.integer[Any]] | None) -> list[Ids]:
    """Return the ids of each document, given where they start; None: of the whole text."""
    if documents is None:
        return [ids]
    windows = Documents.of(documents, len(ids), max(1, len(ids)))
    return [ids[a:b] for a, b in zip(windows.starts, windows.ends, strict=True)]


def _cut(count: int, *, exact: bool) -> tuple[int, int]:
    """Return length and number of the streams into which a text of `count` tokens is cut."""
    streams = 1 if exact else max(1, min(MAX_STREAMS, count // WARM_UP))
    length = math.ceil(count / streams)
    return length, math.ceil(count / length)


def _read_length(length: int, streams: int, limit: int | None) -> int:
    """Return how many steps of each stream are read."""
    return length if limit is None else min(length, max(1, limit // streams))


def surprisals(
    engine: Scorer,
    texts: Sequence[Ids],
    start_token: int,
    *,
    count: int = 0,
    progress: Callable[[int], object] = lambda done: None,
) -> list[Surprisals]:
    """Read texts side by side, each in one stream from the start token on.

    Long texts start first; where one ends, the next takes its place. A text's result depends on the
    others only by rounding; with the compiled engine, not at all.

    Args:
        engine: reads the texts; with a `count`, it must be an `Engine`.
        texts: ids (N,) of each.
        start_token: is read before the first token.
        count: K, how many of the most likely tokens to return for each position, at most V.
        progress: called after every window.
    """
    reading = _Reading(engine, texts, start_token, count)
    while reading.refill():
        reading.read()
        progress(reading.done)
    return reading.results()


class _Reading:
    """Texts that are being read side by side, a window at a time.

    Attributes:
        done: how many tokens have been read.
    """

    def __init__(self, engine: Scorer, texts: Sequence[Ids], start_token: int, count: int) -> None:
        self._engine, self._start_token, self._count = engine, start_token, count
        lengths = np.array([len(text) for text in texts], np.int64)
        self._ends = np.cumsum(lengths)
        self._starts = self._ends - lengths
        self._ids: Ids = texts[0] if len(texts) == 1 else np.concatenate([*texts, _NO_IDS])
        self.done, total = 0, int(lengths.sum())
        self._nats = np.empty(total)
        self._likeliest = np.empty((total, count), np.int32)
        self._likeliest_nats = np.empty((total, count), np.float32)
        longest_first = np.argsort(-lengths, kind="stable")
        self._waiting = iter(longest_first[: np.count_nonzero(lengths)].tolist())
        # Which texts are being read, and their positions in all ids.
        self._rows = self._positions = np.empty(0, np.int64)
        self._state = engine.start_state(0)

    def refill(self) -> bool:
        """Replace texts that have ended by waiting ones; return whether any text is left."""
        going_on = np.flatnonzero(self._positions < self._ends[self._rows])
        count = _MAX_TEXTS - len(going_on)
        new = np.array(list(itertools.islice(self._waiting, count)), np.int64)
        if len(going_on) < len(self._rows) or len(new):
            state = self._engine.start_state(len(going_on) + len(new))
            for layer, before in zip(state, self._state, strict=True):
                for part, old in zip(layer, before, strict=True):
                    part[: len(going_on)] = old[going_on]
            self._state = state
            self._rows = np.concatenate([self._rows[going_on], new])
            self._positions = np.concatenate([self._positions[going_on], self._starts[new]])
        return len(self._rows) > 0

    def read(self) -> None:
        """Read a window, to the end of the text that ends first, unless that is very short."""
        left = self._ends[self._rows] - self._positions
        steps = min(_CHUNK, int(left.max()), max(_MIN_CHUNK, int(left.min())))
        positions = self._positions + np.arange(steps)[:, None]
        inside = positions < self._ends[self._rows]
        positions = np.minimum(positions, len(self._ids) - 1)
        inputs = _inputs(self._ids, positions, self._start_token)
        inputs[0, self._positions == self._starts[self._rows]] = self._start_token
        window = (inputs, self._ids[positions].astype(np.int64))
        where = positions[inside]
        if self._count:
            engine = cast("Engine", self._engine)
            expected, self._state = engine.expected(*window, self._count, self._state)
            self._likeliest[where] = expected.likeliest[inside]
            self._likeliest_nats[where] = expected.likeliest_nats[inside]
            nats = expected.nats
        else:
            nats, self._state = self._engine.nats(*window, self._state)
        self._nats[where] = nats[inside]
        self._positions = self._positions + steps
        self.done += len(where)

    def results(self) -> list[Surprisals]:
        """Return the surprisals of each text."""
        whole = Surprisals(self._ids, self._nats, self._likeliest, self._likeliest_nats)
        bounds = zip(self._starts.tolist(), self._ends.tolist(), strict=True)
        return [whole[start:end] for start, end in bounds]


def _chunks(steps: int, size: int = SHORT_CHUNK) -> Iterator[Integers]:
    """Yield the indices of `steps` steps, in the parts that are read at a time."""
    for first in range(0, steps, size):
        yield np.arange(first, min(first + size, steps))


def _inputs(ids: Ids, positions: Integers, start_token: int) -> Integers:
    """Return the inputs for the ids at `positions`: the ids before them, or the start token."""
    before = ids[positions - 1].astype(np.int64)
    return np.where(positions == 0, start_token, before)


def _warm_up(engine: Scorer, ids: Ids, start_token: int, length: int, streams: int) -> Any:
    """Return the state before each stream, after reading what precedes it."""
    state = engine.start_state(streams)
    if streams == 1:
        return state
    before = min(WARM_UP, length)
    starts = np.arange(streams) * length - before
    starts[0] = 0
    for rows in _chunks(before):
        inputs = _inputs(ids, starts[None, :] + rows[:, None], start_token)
        _, state = engine.nats(inputs, inputs * 0, state)
    reset(engine, state, 0)
    return state


def reset(engine: Scorer, state: Any, rows: Any) -> None:
    """Set some rows of a state to the start state."""
    for layer, start in zip(state, engine.start_state(1), strict=True):
        for part, first in zip(layer, start, strict=True):
            part[rows] = first[0]


def _total_of_documents(
    engine: Scorer,
    ids: Ids,
    start_token: int,
    starts: NDArray[np.integer[Any]],
    exact: bool,
    limit: int | None,
) -> NDArray[np.float64]:
    """Return the sums for documents that are read apart; streams warm up within documents."""
    windows, length, streams = _cut_documents(ids, starts, exact)
    before = math.ceil(WARM_UP / windows.seq_len) if streams > 1 else 0
    state = engine.start_state(streams)
    total = np.zeros(())
    steps = range(-before, _read_length(length, streams, limit and limit // windows.seq_len))
    for step in steps:
        numbers = np.arange(streams) * length + step
        positions, inside, begins = windows.at(np.clip(numbers, 0, windows.count - 1))
        if step > steps.start:
            reset(engine, state, np.flatnonzero(begins))
        inputs = ids[positions - 1].astype(np.int64)
        inputs[0, begins] = start_token
        nats, state = engine.nats(inputs, ids[positions].astype(np.int64), state)
        if step >= 0:
            counted = inside & (numbers < windows.count)
            total = total + _sum(nats, counted)
    return total


def _cut_documents(
    ids: Ids, starts: NDArray[np.integer[Any]], exact: bool
) -> tuple[Documents, int, int]:
    """Return the windows of documents, how many windows a stream has, and the number of streams.

    Windows have the mean length of the documents, so that little padding is needed.
    """
    mean = len(ids) // max(1, len(starts))
    windows = Documents.of(starts, len(ids), max(8, min(_CHUNK, mean)))
    affordable = windows.count * windows.seq_len // WARM_UP
    streams = 1 if exact else max(1, min(MAX_STREAMS, affordable))
    length = math.ceil(windows.count / streams)
    return windows, length, math.ceil(windows.count / length)


def window_nats(
    engine: Scorer,
    ids: Ids,
    tokenizer: Tokenizer,
    documents: NDArray[np.integer[Any]] | None = None,
    limit: int = MAX_WINDOWS,
) -> float | None:
    """Return nats per character over windows of 256 characters, each from a state of zeros.

    This is the protocol of nanoGPT's 1.4697, without a start token, but over consecutive windows
    (at most 1,024, evenly spread) instead of random ones. The character before a window is read
    first, all its bytes if those are its tokens. None if the text, or each of its documents, is
    shorter than a window, or where a token may be several characters.

    Args:
        engine: reads the text.
        ids: (N,) the text.
        tokenizer: tells how many characters a token is.
        documents: where documents start, if no window may reach into another one.
        limit: the most windows to read.
    """
    if not _in_characters(ids, tokenizer):
        return None
    heads = CharacterStarts.of(ids, tokenizer)
    starts = _window_starts(heads, len(ids), documents)
    count = len(starts)
    if count < 1:
        return None
    chosen = starts[np.unique(np.linspace(0, count - 1, min(count, limit)).astype(np.int64))]
    total = 0.0
    for first in range(0, len(chosen), MAX_STREAMS):
        total += _read_windows(engine, ids, heads, chosen[first : first + MAX_STREAMS])
    return total / (len(chosen) * WINDOW)


def _in_characters(ids: Ids, tokenizer: Tokenizer) -> bool:
    """Return whether no token of a text is several characters."""
    several = np.flatnonzero(tokenizer.token_characters > 1)
    if not len(several):
        return True
    return not any(np.isin(ids[block], several).any() for block in blocks(len(ids)))


def _window_starts(
    heads: CharacterStarts | None, length: int, documents: NDArray[np.integer[Any]] | None
) -> Integers:
    """Return before which characters windows begin (W,): side by side in each document."""
    begins = np.zeros(1, np.int64) if documents is None else np.asarray(documents).astype(np.int64)
    if heads is not None:
        begins, length = heads.before(begins), heads.count
    counts = np.maximum(0, np.diff(begins, append=length) - 1) // WINDOW
    before = np.cumsum(counts) - counts
    starts: Integers = np.repeat(begins - before * WINDOW, counts)
    return starts + np.arange(len(starts)) * WINDOW


def _read_windows(
    engine: Scorer, ids: Ids, heads: CharacterStarts | None, characters: Integers
) -> float:
    """Return the nats of windows (B,) that are read side by side, given the characters before."""
    bounds = characters[:, None] + np.array([0, 1, WINDOW + 1])
    if heads is not None:
        bounds = heads.at(bounds)
    begins, firsts, ends = bounds.T
    learned = engine.start_state(len(begins))
    state = tuple(tuple(part * 0 for part in layer) for layer in learned)
    total = 0.0
    for rows in _chunks(int((ends - begins).max()) - 1):
        targets = begins[None, :] + rows[:, None] + 1
        counted = (targets >= firsts) & (targets < ends)
        targets = np.minimum(targets, len(ids) - 1)
        window = ids[targets - 1].astype(np.int64), ids[targets].astype(np.int64)
        nats, state = engine.nats(*window, state)
        if counted.all():
            total += float(np.sum(nats, dtype=np.float64))
        else:
            total += float(np.sum(nats, where=counted, dtype=np.float64))
    return total
