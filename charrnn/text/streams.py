"""Cut a training text into B parallel streams and read them window by window.

Stream b starts near position b * N / B, at the start of a line if one is near. It is read in order,
and the state is carried from window to window: every k1 tokens there is an update, whose window
reaches k2 tokens back (truncated BPTT(k1, k2), Williams and Peng 1990; usually k1 = k2, and no
token is read twice). Each epoch begins with the start token in every stream, so that the network
learns how a text begins from B beginnings instead of one. The end of a stream is not read if it is
shorter than k1, or kept back for something else.

A network with a learned start needs more beginnings than those: then a stream also begins anew
wherever one of its windows begins at the start of a line, or, in a text without line ends, at every
`RESTART`-th window.

If documents are kept apart, each begins with a window of its own, from the start token and the
initial state. Its last window is padded with targets that do not count, so that every window has
the same shape. Items of a list come in a new order at every epoch, which depends on the seed and
the epoch alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Ids, Integers
from charrnn.errors import CorpusError, counted

_BLOCK = 2**16  # ids searched at a time
IGNORED = -100  # a target that does not count, the default of torch's cross entropy
RESTART = 32  # windows after which a stream begins anew in a text without line ends
ALL = slice(None)  # streams


@dataclass(frozen=True)
class Cursor:
    """The position in the streams: completed epochs, and windows of the current epoch."""

    epoch: int = 0
    window: int = 0


@dataclass(frozen=True)
class Window:
    """What one update reads: at most k2 steps, of which the last k1 count.

    Attributes:
        start: index of its first step in the streams.
        inputs: (T, B) ids.
        targets: (T, B) ids, one step later than the inputs.
        counted: number of its last steps whose losses only this window counts.
        shift: number of steps after which the next window starts.
        begins: (B,) whether a document or a stream begins, and so a new state; None where none
            does.
        share: of the tokens that count in the windows of all streams, the part that is in this one,
            which may be that of some streams.
    """

    start: int
    inputs: Integers
    targets: Integers
    counted: int
    shift: int
    begins: NDArray[np.bool_] | None = None
    share: float = 1.0


class WindowPositions(NamedTuple):
    """The positions of windows in a text.

    Attributes:
        positions: (T, B) of the targets; 0 where a target does not count.
        inside: (T, B) whether the target counts.
        begins: (B,) whether a document begins with the window.
    """

    positions: Integers
    inside: NDArray[np.bool_]
    begins: NDArray[np.bool_]


@dataclass(frozen=True)
class Documents:
    """The windows of T tokens of a text's documents, in order; each document begins a window.

    Attributes:
        starts: (D,) where documents start.
        ends: (D,) where they end.
        first: (D + 1,) index of each document's first window; the last entry counts all windows.
        seq_len: T.
    """

    starts: Integers
    ends: Integers
    first: Integers
    seq_len: int

    @classmethod
    def of(cls, starts: NDArray[np.integer[Any]], length: int, seq_len: int) -> Documents:
        """Return the windows of a text of `length` tokens whose documents start at `starts`."""
        within = np.asarray(starts).astype(np.int64)
        begins: Integers = np.unique(np.append(within[within < length], 0))
        ends = np.append(begins[1:], length)
        first = np.append(0, np.cumsum(-(-(ends - begins) // seq_len)))
        return cls(begins, ends, first, seq_len)

    @property
    def count(self) -> int:
        """The number of windows."""
        return int(self.first[-1])

    def shuffled(self, seed: int, epoch: int) -> Documents:
        """Return the same documents in the order of an epoch, which the numbers alone decide."""
        random = np.random.Philox(key=np.array([seed, epoch], np.uint64))
        order = np.argsort(random.random_raw(len(self.starts)), kind="stable")
        first = np.append(0, np.cumsum(np.diff(self.first)[order]))
        return Documents(self.starts[order], self.ends[order], first, self.seq_len)

    def at(self, windows: Integers) -> WindowPositions:
        """Return the positions of the windows with these indices (B,)."""
        document = np.searchsorted(self.first, windows, side="right") - 1
        before = (windows - self.first[document]) * self.seq_len
        positions = self.starts[document] + before + np.arange(self.seq_len)[:, None]
        inside = positions < self.ends[document]
        return WindowPositions(np.where(inside, positions, 0), inside, before == 0)


@dataclass(frozen=True)
class Streams:
    """B streams over the ids of a text; ids are read from disk when a window needs them.

    Attributes:
        ids: (N,) ids of the text; may be mapped from a file.
        starts: (B,) where each stream starts in it.
        length: ids in each stream.
        start_token: the id that is read before a stream's first id.
        seq_len: k2, the number of steps that gradients flow back.
        update_every: k1, steps from one update to the next; at most k2.
        documents: windows that keep documents apart, each of which is one update. All streams have
            the same number of them; the rest is not read.
        order: the documents of an epoch in its order; None: they keep theirs.
        begins_anew: whether streams begin anew at the starts of lines.
        newline: the ids after which a line starts; None without one.
    """

    ids: Ids
    starts: Integers
    length: int
    start_token: int
    seq_len: int
    update_every: int
    documents: Documents | None = None
    order: Callable[[int], Documents] | None = None
    begins_anew: bool = False
    newline: int | NDArray[np.integer[Any]] | None = None

    @property
    def windows(self) -> int:
        """The number of updates in an epoch."""
        if self.documents:
            return self.documents.count // self.batch_size
        return self.length // self.update_every

    @property
    def counted(self) -> float:
        """The mean number of tokens that an update counts."""
        steps = self.update_every * self.batch_size
        if self.documents:
            return len(self.ids) / self.documents.count * self.batch_size
        return float(steps)

    @property
    def batch_size(self) -> int:
        """B, the number of streams."""
        return len(self.starts)

    @property
    def unread(self) -> list[slice]:
        """The ends of streams that are not read, in order; of documents none are told."""
        if self.documents:
            return []
        ends = self.starts + self.windows * self.update_every
        following = np.append(self.starts[1:], len(self.ids))
        pairs = zip(ends.tolist(), following.tolist(), strict=True)
        return [slice(first, end) for first, end in pairs if first < end]

    def window(self, cursor: Cursor, own: slice = ALL) -> Window:
        """Return the window at `cursor`; the first of an epoch reach back to its start only.

        Args:
            cursor: the position.
            own: which streams to read.
        """
        if self.documents:
            in_order = self.order(cursor.epoch) if self.order else self.documents
            return self._of_documents(in_order, cursor, own)
        end = (cursor.window + 1) * self.update_every
        start = max(0, end - self.seq_len)
        shift = max(0, end + self.update_every - self.seq_len) - start
        rows = np.arange(start - 1, end)[:, None]
        starts = self.starts[own]
        read = self.ids[starts + rows].astype(np.int64)  # a copy of the window alone
        begins = self._begin_anew(read[0], cursor, own) if start and self.begins_anew else None
        if start == 0:
            read[0] = self.start_token
        elif begins is not None:
            read[0, begins] = self.start_token
        share = len(starts) / self.batch_size
        return Window(start, read[:-1], read[1:], self.update_every, shift, begins, share)

    def _begin_anew(self, before: Integers, cursor: Cursor, own: slice) -> NDArray[np.bool_]:
        """Return which streams (B,) begin anew with a window, given the ids (B,) before it."""
        if self.newline is not None and np.size(self.newline):
            return np.asarray(np.isin(before, self.newline), np.bool_)
        turns = cursor.window + np.arange(self.batch_size)[own]
        return np.asarray(turns % RESTART == 0, np.bool_)

    def _of_documents(self, documents: Documents, cursor: Cursor, own: slice) -> Window:
        windows = np.arange(self.batch_size) * self.windows + cursor.window
        positions, inside, begins = documents.at(windows)
        counted = inside.sum()
        positions, inside, begins = positions[:, own], inside[:, own], begins[own]
        inputs = self.ids[positions - 1].astype(np.int64)
        inputs[0, begins | (cursor.window == 0)] = self.start_token
        targets = np.where(inside, self.ids[positions].astype(np.int64), IGNORED)
        start = cursor.window * self.seq_len
        share = float(inside.sum() / counted)
        return Window(start, inputs, targets, self.seq_len, self.seq_len, begins, share)

    def advance(self, cursor: Cursor) -> Cursor:
        """Return the cursor one update later; after the last, the start of the next epoch."""
        if cursor.window + 1 < self.windows:
            return Cursor(cursor.epoch, cursor.window + 1)
        return Cursor(cursor.epoch + 1, 0)


def check_fit(length: int, batch_size: int, seq_len: int, name: str) -> None:
    """Refuse a batch and window that the text cannot fill once.

    Raises:
        CorpusError: the message says what would fit.
    """
    if length // batch_size >= seq_len:
        return
    fitting = [f"--batch-size {length // seq_len}"] if length >= seq_len else []
    fitting += [f"--seq-len {length // batch_size}"] if length >= batch_size else []
    advice = " or ".join(fitting) or f"--batch-size 1 --seq-len {length}"
    raise CorpusError(
        f"{name} has {counted(length, 'character')} to train on; windows of {seq_len} in "
        f"{counted(batch_size, 'stream')} need {batch_size * seq_len:,}: {advice} would fit"
    )


def make(
    ids: Ids,
    batch_size: int,
    seq_len: int,
    start_token: int,
    newline: int | NDArray[np.integer[Any]] | None,
    update_every: int | None = None,
    documents: NDArray[np.integer[Any]] | None = None,
    shuffle: int | None = None,
    *,
    begins_anew: bool = False,
    kept_back: int = 0,
) -> Streams:
    """Cut `ids` (N,) into B streams of floor(N / B) tokens, which must hold a window.

    Args:
        ids: the training text.
        batch_size: B.
        seq_len: k2.
        start_token: the id that is read before a stream's first id.
        newline: the id or ids after which a line starts; None if streams may start anywhere.
        update_every: k1; None means k2.
        documents: where documents start, to keep them apart; None for a single text.
        shuffle: a seed, to read the documents in a new order at every epoch.
        begins_anew: let streams begin anew at the starts of lines; not with `documents`.
        kept_back: about how many tokens not to read: the ends of all streams, or of the documents.

    Raises:
        CorpusError: the documents have fewer windows than there are streams.
    """
    if documents is not None:
        ids = ids[: len(ids) - kept_back]
        apart = Documents.of(documents, len(ids), seq_len)
        if apart.count < batch_size:
            raise CorpusError(
                f"the documents have {apart.count} windows of {seq_len}: too few for "
                f"{counted(batch_size, 'stream')}; lower --batch-size or --seq-len"
            )
        starts = np.zeros(batch_size, np.int64)
        order = None if shuffle is None else lru_cache(1)(partial(apart.shuffled, shuffle))
        return Streams(ids, starts, len(ids), start_token, seq_len, seq_len, apart, order)
    length = len(ids) // batch_size
    starts = np.arange(batch_size) * length
    if newline is not None:
        starts = np.array([_line_start(ids, int(at), newline, length // 8) for at in starts])
    read = (len(ids) - kept_back) // batch_size
    made = Streams(ids, starts, read, start_token, seq_len, update_every or seq_len)
    return replace(made, begins_anew=begins_anew, newline=newline)


def _line_start(
    ids: Ids, start: int, newline: int | NDArray[np.integer[Any]], furthest: int
) -> int:
    """Return the nearest start of a line at or before `start`, at most `furthest` tokens away."""
    first = max(0, start - furthest)
    end, last = start, max(0, first - 1)
    while end > last:
        block = max(last, end - _BLOCK)
        ends = np.flatnonzero(np.isin(ids[block:end], newline))
        if len(ends):
            return block + int(ends[-1]) + 1
        end = block
    return first if first == 0 else start
