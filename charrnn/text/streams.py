"""Training text as B parallel streams, read window by window; the cursor is a value.

Stream b starts near position b * N / B, moved back to the start of a line where one is near, and
is read in order with the state carried from window to window: every k1 symbols comes an update,
whose window reaches k2 symbols back (truncated BPTT(k1, k2); k1 = k2 is the usual case, where no
symbol is read twice). An epoch's start has the start symbol in every stream: so the network learns
how a passage begins from B beginnings, not from the single one of the corpus. What is left of a
stream at its end, shorter than k1, waits for no one: the next epoch starts.

Where documents are kept apart, each begins with a window, from the start symbol and the state
before a text. Its last window is filled up with what is not counted, so that any kernel can run it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Ids
from charrnn.errors import CorpusError

_BLOCK = 2**16  # ids looked through at a time
IGNORED = -100  # a target that is not counted, as torch's cross entropy has it


@dataclass(frozen=True)
class Cursor:
    """Where the streams are: how many epochs are done, and windows of the current one."""

    epoch: int = 0
    window: int = 0


@dataclass(frozen=True)
class Window:
    """What one update reads: at most k2 steps, of which the last k1 are counted.

    Attributes:
        start: the position of its first step in the streams.
        inputs: (T, B) ids.
        targets: (T, B) ids, one step later.
        counted: how many of its last steps have losses that no other window counts.
        shift: how many steps later the next window starts.
        begins: (B,) where a document begins, and so the state; None where all are one text.
    """

    start: int
    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    counted: int
    shift: int
    begins: NDArray[np.bool_] | None = None


class Places(NamedTuple):
    """Where windows lie in a text.

    Attributes:
        positions: (T, B) of their targets; any position where nothing is counted.
        inside: (T, B) whether it is counted.
        begins: (B,) whether a document begins with the window.
    """

    positions: NDArray[np.int64]
    inside: NDArray[np.bool_]
    begins: NDArray[np.bool_]


@dataclass(frozen=True)
class Documents:
    """The windows of T symbols of a text's documents, in order: a document begins with a window.

    Attributes:
        starts: (D,) where documents start.
        ends: (D,) where they end.
        first: (D + 1,) the number of each one's first window; at last the number of all.
        seq_len: T.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    first: NDArray[np.int64]
    seq_len: int

    @classmethod
    def of(cls, starts: NDArray[np.integer[Any]], length: int, seq_len: int) -> Documents:
        """Of a text of `length` symbols, whose documents start at `starts`."""
        within = np.asarray(starts).astype(np.int64)
        begins: NDArray[np.int64] = np.unique(np.append(within[within < length], 0))
        ends = np.append(begins[1:], length)
        first = np.append(0, np.cumsum(-(-(ends - begins) // seq_len)))
        return cls(begins, ends, first, seq_len)

    @property
    def count(self) -> int:
        """How many windows there are."""
        return int(self.first[-1])

    def at(self, windows: NDArray[np.int64]) -> Places:
        """The windows with these numbers (B,)."""
        document = np.searchsorted(self.first, windows, side="right") - 1
        before = (windows - self.first[document]) * self.seq_len
        positions = self.starts[document] + before + np.arange(self.seq_len)[:, None]
        inside = positions < self.ends[document]
        return Places(np.where(inside, positions, 0), inside, before == 0)


@dataclass(frozen=True)
class Streams:
    """B streams over the ids of a text, which are looked at where and when they are read.

    Attributes:
        ids: (N,) ids of the text; may be mapped from a file.
        starts: (B,) where each stream starts in it.
        length: how many ids each stream has.
        start_symbol: what is read before a stream's first id.
        seq_len: k2, how many steps a gradient is taken back.
        update_every: k1, steps from one update to the next; at most k2.
        documents: windows that keep documents apart; each is one update. Of them each stream has
            as many; those left over wait for no one.
    """

    ids: Ids
    starts: NDArray[np.int64]
    length: int
    start_symbol: int
    seq_len: int
    update_every: int
    documents: Documents | None = None

    @property
    def windows(self) -> int:
        """Updates in an epoch."""
        if self.documents:
            return self.documents.count // self.batch_size
        return self.length // self.update_every

    @property
    def counted(self) -> float:
        """How many symbols an update counts, in the mean."""
        steps = self.update_every * self.batch_size
        if self.documents:
            return len(self.ids) / self.documents.count * self.batch_size
        return float(steps)

    @property
    def batch_size(self) -> int:
        """B."""
        return len(self.starts)

    def window(self, cursor: Cursor) -> Window:
        """The window at `cursor`; the first ones of an epoch reach back to its start only."""
        if self.documents:
            return self._of_documents(self.documents, cursor)
        end = (cursor.window + 1) * self.update_every
        start = max(0, end - self.seq_len)
        shift = max(0, end + self.update_every - self.seq_len) - start
        rows = np.arange(start - 1, end)[:, None]
        read = self.ids[self.starts + rows].astype(np.int64)  # a copy of the window alone
        if start == 0:
            read[0] = self.start_symbol
        return Window(start, read[:-1], read[1:], self.update_every, shift)

    def _of_documents(self, documents: Documents, cursor: Cursor) -> Window:
        windows = np.arange(self.batch_size) * self.windows + cursor.window
        positions, inside, begins = documents.at(windows)
        inputs = self.ids[positions - 1].astype(np.int64)
        inputs[0, begins | (cursor.window == 0)] = self.start_symbol
        targets = np.where(inside, self.ids[positions].astype(np.int64), IGNORED)
        start = cursor.window * self.seq_len
        return Window(start, inputs, targets, self.seq_len, self.seq_len, begins)

    def advance(self, cursor: Cursor) -> Cursor:
        """The cursor one update later; at an epoch's end, the next epoch's start."""
        if cursor.window + 1 < self.windows:
            return Cursor(cursor.epoch, cursor.window + 1)
        return Cursor(cursor.epoch + 1, 0)


def check_fit(length: int, batch_size: int, seq_len: int, name: str) -> None:
    """Refuse a batch and window that the text cannot fill once, saying what would fit."""
    if length // batch_size >= seq_len:
        return
    fitting = [f"--batch-size {length // seq_len}"] if length >= seq_len else []
    fitting += [f"--seq-len {length // batch_size}"] if length >= batch_size else []
    advice = " or ".join(fitting) or f"--batch-size 1 --seq-len {length}"
    raise CorpusError(
        f"{name} has {length:,} characters to train on; {batch_size} streams with windows of "
        f"{seq_len} need {batch_size * seq_len:,}: {advice} would fit"
    )


def make(
    ids: Ids,
    batch_size: int,
    seq_len: int,
    start_symbol: int,
    newline: int | NDArray[np.integer[Any]] | None,
    update_every: int | None = None,
    documents: NDArray[np.integer[Any]] | None = None,
) -> Streams:
    """Cut `ids` (N,) into `batch_size` streams of floor(N / B) symbols; they must hold a window.

    `newline` is the id, or the ids, after which a line starts. Without `update_every` every window
    is one update. With `documents`, where they start, they are kept apart.

    Raises:
        CorpusError: the documents have fewer windows than there are streams.
    """
    if documents is not None:
        apart = Documents.of(documents, len(ids), seq_len)
        if apart.count < batch_size:
            raise CorpusError(
                f"the documents have {apart.count} windows of {seq_len}: too few for "
                f"{batch_size} streams; lower --batch-size or --seq-len"
            )
        starts = np.zeros(batch_size, np.int64)
        return Streams(ids, starts, len(ids), start_symbol, seq_len, seq_len, apart)
    length = len(ids) // batch_size
    starts = np.arange(batch_size) * length
    if newline is not None:
        starts = np.array([_line_start(ids, int(at), newline, length // 8) for at in starts])
    return Streams(ids, starts, length, start_symbol, seq_len, update_every or seq_len)


def _line_start(
    ids: Ids, start: int, newline: int | NDArray[np.integer[Any]], furthest: int
) -> int:
    """The nearest start of a line at or before `start`, if it is no further than that."""
    first = max(0, start - furthest)
    end, last = start, max(0, first - 1)
    while end > last:
        block = max(last, end - _BLOCK)
        ends = np.flatnonzero(np.isin(ids[block:end], newline))
        if len(ends):
            return block + int(ends[-1]) + 1
        end = block
    return first if first == 0 else start
