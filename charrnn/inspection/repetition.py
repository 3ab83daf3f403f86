"""Find passages that occur more than once in a text: copies, licence headers, form letters.

Every window of `WINDOW` characters has a hash. In a text of up to `MAX_WINDOWS` windows all are
compared; in a longer one only the windows with the smallest hashes, so that copies of a passage are
chosen alike wherever they stand, and memory is bounded.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Integers
from charrnn.inspection.characters import Points, code_points
from charrnn.text import line_ends
from charrnn.text.oddities import Issue

WINDOW = 64
MAX_WINDOWS = 1 << 20  # in memory
LONGEST = 5  # passages that are reported
EXCERPT = 60  # characters
LEAK = 0.05  # share of a held-out part; prose repeats less of itself
_BASE = 0x9E3779B97F4A7C15  # odd: it has an inverse modulo 2^64
_SEED = np.uint64(0xD6E8FEB86659FD93)

_Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Passage:
    """A passage that occurs at least twice.

    Attributes:
        length: characters.
        line: the line in which the repetition begins, from 1.
        before_line: the line in which the earlier occurrence begins.
        excerpt: its beginning.
    """

    length: int
    line: int
    before_line: int
    excerpt: str


@dataclass(frozen=True)
class Repetition:
    """How much of a text repeats earlier parts of it.

    Attributes:
        window: length of the windows that were compared, in characters.
        share: share of all windows that occur earlier in the text; 0 for a shorter text.
        held_out_share: share of the held-out windows that occur in the text before that part.
        one_in: n if one in n windows was compared.
        longest: the longest passages, no two of which repeat the same text.
    """

    window: int
    share: float
    held_out_share: float
    one_in: int
    longest: list[Passage]

    def issues(self) -> list[Issue]:
        """Return the issue of a held-out part that repeats what is trained on."""
        if self.held_out_share < LEAK:
            return []
        sentence = (
            f"{self.held_out_share:.1%} of the held-out part repeats passages of the text before "
            "it: losses there are better than those on new text will be"
        )
        return [Issue("held out", round(100 * self.held_out_share), sentence)]


@dataclass(frozen=True)
class _Run:
    """Consecutive windows that all occur earlier at one distance: [start, end) repeats."""

    start: int
    end: int
    distance: int
    mark: int  # the smallest of their hashes, which other repetitions of the same text share

    @property
    def length(self) -> int:
        return self.end - self.start

    @property
    def source(self) -> tuple[int, int]:
        return self.start - self.distance, self.end - self.distance


def _run(columns: Sequence[NDArray[Any]], index: int) -> _Run:
    return _Run(*(int(column[index]) for column in columns))


class RepetitionFinder:
    """Finds repeated passages in a text that comes in pieces."""

    def __init__(self, cut: int) -> None:
        """Begin; the part from the position `cut` on is held out."""
        self._cut = cut
        self._held = np.empty(0, np.uint32)  # the last WINDOW - 1 code points
        self._read = 0  # windows
        self._halvings = 0  # one in 2**halvings windows is compared
        self._hashes = np.empty(0, np.uint64)  # of the windows so far, sorted
        self._positions = np.empty(0, np.int64)  # the last position of each
        self._trained = np.empty(0, np.bool_)  # whether each occurs before the held-out part
        self._compared = self._repeated = 0  # windows, scaled up to all windows
        self._held_out = self._leaked = 0  # the same of the held-out part
        self._open: _Run | None = None  # it may continue in the next piece
        self._longest: list[_Run] = []
        self._powers = np.empty(0, np.uint64)

    def add(self, points: Points) -> None:
        """Look at the next piece."""
        points = np.concatenate([self._held, points])
        self._held = points[max(0, len(points) - WINDOW + 1) :]
        if len(points) < WINDOW:
            return
        hashes = self._hashed(points)
        chosen = np.flatnonzero(_is_chosen(hashes, self._halvings))
        positions = chosen + self._read
        self._read += len(hashes)
        if len(chosen):
            self._compare(hashes[chosen], positions)

    def _hashed(self, points: Points) -> _Hashes:
        """Return a hash of each window (N - WINDOW + 1,): a polynomial modulo 2^64, then mixed."""
        if len(self._powers) < len(points):
            self._powers = _powers(_BASE, len(points))
            self._inverses = _powers(pow(_BASE, -1, 1 << 64), len(points))
        values = _mixed(points + _SEED)
        sums = np.zeros(len(points) + 1, np.uint64)
        np.cumsum(values * self._powers[: len(points)], out=sums[1:])
        count = len(points) - WINDOW + 1
        return _mixed((sums[WINDOW:] - sums[:count]) * self._inverses[:count])

    def _compare(self, hashes: _Hashes, positions: Integers) -> None:
        """Find the last earlier position of each of these windows."""
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        firsts = np.flatnonzero(np.diff(ordered, prepend=~ordered[:1]))
        distinct, first_here = ordered[firsts], positions[order[firsts]]
        last_here = positions[order[np.append(firsts[1:], len(order)) - 1]]
        at = np.searchsorted(self._hashes, distinct)
        within = np.minimum(at, len(self._hashes) - 1)
        known = self._hashes[within] == distinct if len(self._hashes) else at < 0

        before = np.empty(len(positions), np.int64)
        before[order[1:]] = positions[order[:-1]]
        before[order[firsts]] = first_here  # no earlier position: distance 0
        before[order[firsts[known]]] = self._positions[within[known]]
        trained = first_here < self._cut
        trained[known] |= self._trained[within[known]]
        late = np.add.reduceat(positions[order] >= self._cut, firsts, dtype=np.int64)
        self._held_out += int(late.sum()) << self._halvings
        self._leaked += int(late[trained].sum()) << self._halvings

        self._positions[within[known]] = last_here[known]
        self._trained = np.insert(self._trained, at[~known], trained[~known])
        self._hashes = np.insert(self._hashes, at[~known], distinct[~known])
        self._positions = np.insert(self._positions, at[~known], last_here[~known])

        distances = positions - before
        self._compared += len(positions) << self._halvings
        self._repeated += int(np.count_nonzero(distances)) << self._halvings
        self._add_runs(hashes, positions, distances)
        while len(self._hashes) > MAX_WINDOWS:
            self._halvings += 1
            chosen = _is_chosen(self._hashes, self._halvings)
            self._hashes, self._positions = self._hashes[chosen], self._positions[chosen]
            self._trained = self._trained[chosen]

    def _add_runs(self, hashes: _Hashes, positions: Integers, distances: Integers) -> None:
        """Add the runs of windows that repeat at one distance; 0 means that they do not repeat."""
        starts = np.flatnonzero(np.diff(distances, prepend=-1))
        lasts = np.append(starts[1:], len(positions)) - 1
        marks = np.minimum.reduceat(hashes, starts)
        begins, ends, same = positions[starts], positions[lasts] + WINDOW, distances[starts]
        if self._open and self._open.distance == same[0]:
            begins[0], marks[0] = self._open.start, min(self._open.mark, marks[0])
        elif self._open:
            self._add_run(self._open)
        columns = (begins, ends, same, marks)
        self._open = _run(columns, -1) if same[-1] else None
        repeating = np.flatnonzero(same[:-1])
        lengths = (ends - begins)[repeating]
        for index in repeating[np.argsort(-lengths, kind="stable")[: 4 * LONGEST]].tolist():
            self._add_run(_run(columns, index))

    def _add_run(self, run: _Run) -> None:
        """Keep a run if it is among the longest, and the longest with its mark."""
        others = [other for other in self._longest if other.mark != run.mark]
        same = [other for other in self._longest if other.mark == run.mark]
        longest = max([*same, run], key=lambda other: other.length)
        self._longest = sorted([*others, longest], key=lambda other: -other.length)[: 4 * LONGEST]

    def finish(self) -> None:
        """End the last run; there are no more pieces."""
        if self._open:
            self._add_run(self._open)
        self._longest = self._longest[:LONGEST]

    @property
    def _margin(self) -> int:
        """How far a passage may continue beyond its run: compared windows are 2**halvings apart."""
        return max(WINDOW, 32 << self._halvings)

    def ranges(self) -> list[tuple[int, int]]:
        """Return the ranges of the text that `result` needs to find the ends of the passages.

        Four for each passage: before and at its beginning, in the repetition and in the earlier
        occurrence; then after its end, likewise.
        """
        margin = self._margin
        ranges = []
        for run in self._longest:
            starts, ends = (run.start, run.source[0]), (run.end, run.source[1])
            ranges += [(max(0, start - margin), start + EXCERPT) for start in starts]
            ranges += [(end, end + margin) for end in ends]
        return ranges

    def result(self, around: Sequence[str], line_numbers: Sequence[int]) -> Repetition:
        """Return the passages and how much of the text repeats.

        Args:
            around: the text of each of `ranges()`.
            line_numbers: the line in which each of those begins, from 1.
        """
        longest = []
        for index, run in enumerate(self._longest):
            head, source_head, tail, source_tail = around[4 * index : 4 * index + 4]
            line, source_line = line_numbers[4 * index : 4 * index + 2]
            earlier = min(self._margin, run.start)  # characters of the head before the passage
            source_earlier = min(self._margin, run.source[0])
            more = _common(head[:earlier][::-1], source_head[:source_earlier][::-1])
            length = more + run.length + _common(tail, source_tail)
            start, source_start = earlier - more, source_earlier - more
            longest.append(
                Passage(
                    length,
                    line + line_ends.count(head[:start]),
                    source_line + line_ends.count(source_head[:source_start]),
                    head[start : start + min(EXCERPT, length)],
                )
            )
        share = self._repeated / self._compared if self._compared else 0.0
        leaked = self._leaked / self._held_out if self._held_out else 0.0
        longest.sort(key=lambda passage: -passage.length)
        return Repetition(WINDOW, share, leaked, 1 << self._halvings, longest)


def _is_chosen(hashes: _Hashes, halvings: int) -> NDArray[np.bool_]:
    """Return which hashes start with `halvings` bits of 0."""
    return hashes < np.uint64(1 << (64 - halvings)) if halvings else np.ones(len(hashes), bool)


def _powers(base: int, count: int) -> _Hashes:
    """Return 1, base, base^2, ... modulo 2^64 (count,)."""
    powers = np.full(count, base, np.uint64)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint64)


def _mixed(values: _Hashes) -> _Hashes:
    mixed = (values ^ (values >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(29)
    return mixed * np.uint64(0x94D049BB133111EB) ^ (mixed >> np.uint64(32))


def _common(one: str, other: str) -> int:
    """Return how many characters two texts have in common at their beginnings."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def extract(
    pieces: Iterable[str], ranges: Sequence[tuple[int, int]]
) -> tuple[list[str], list[int]]:
    """Return the text of each range [start, end), and the line, from 1, in which it begins."""
    parts: list[list[str]] = [[] for _ in ranges]
    lines = [0] * len(ranges)
    starts = sorted({start for start, _ in ranges})
    line_at: dict[int, int] = {}
    position, line = 0, 1
    for piece in line_ends.whole(pieces):
        end = position + len(piece)
        ends = np.flatnonzero(line_ends.ends(code_points(piece)))
        for start in starts[bisect.bisect_left(starts, position) : bisect.bisect_left(starts, end)]:
            line_at[start] = line + int(np.searchsorted(ends, start - position))
        line += len(ends)
        for index, (first, last) in enumerate(ranges):
            if first < end and last > position:
                parts[index].append(piece[max(0, first - position) : last - position])
        position = end
    for index, (start, _) in enumerate(ranges):
        lines[index] = line_at.get(start, line)
    return ["".join(part) for part in parts], lines
