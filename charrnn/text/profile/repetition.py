"""Passages that a text holds more than once: copies, licence headers, form letters.

Every window of `WINDOW` characters has a hash. A text of up to `MOST` windows is compared whole; of
a longer one those windows are, whose hash is small: the same passage then is chosen wherever it
stands, and what is kept does not grow.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW = 64
MOST = 1 << 20
LONGEST = 5
EXCERPT = 60
_BASE = 0x9E3779B97F4A7C15  # odd: it has an inverse modulo 2^64
_SEED = np.uint64(0xD6E8FEB86659FD93)

Points = NDArray[np.uint32]
_Hashes = NDArray[np.uint64]
_Places = NDArray[np.int64]


@dataclass(frozen=True)
class Passage:
    """A passage that stands in the text at least twice.

    Attributes:
        length: characters.
        line: the line in which its repetition begins, from 1.
        before_line: the line in which it begins where it stands before.
        excerpt: its beginning.
    """

    length: int
    line: int
    before_line: int
    excerpt: str


@dataclass(frozen=True)
class Repetition:
    """How much of a text has been in it before.

    Attributes:
        window: length of the windows that were compared, in characters.
        share: of all windows, those that stand in the text before; 0 for a shorter text.
        one_in: one in so many windows was compared.
        longest: the longest passages found, no two of which repeat the same.
    """

    window: int
    share: float
    one_in: int
    longest: list[Passage]


@dataclass(frozen=True)
class _Run:
    """Windows one after another that all stand before at one distance: [start, end) repeats."""

    start: int
    end: int
    distance: int
    mark: int  # the smallest of their hashes: that of other repetitions of the same, too

    @property
    def length(self) -> int:
        return self.end - self.start

    @property
    def source(self) -> tuple[int, int]:
        return self.start - self.distance, self.end - self.distance


def _run(columns: Sequence[NDArray[Any]], index: int) -> _Run:
    return _Run(*(int(column[index]) for column in columns))


class Passages:
    """Finds repeated passages in a text that comes in pieces."""

    def __init__(self) -> None:
        self._held = np.empty(0, np.uint32)  # the last WINDOW - 1 code points
        self._read = 0  # windows
        self._halvings = 0  # one in 2**halvings is compared
        self._hashes = np.empty(0, np.uint64)  # of windows so far, sorted
        self._places = np.empty(0, np.int64)  # where each stood last
        self._compared = self._repeated = 0  # windows, each for all that it stands for
        self._open: _Run | None = None  # it may go on in the next piece
        self._longest: list[_Run] = []
        self._powers = np.empty(0, np.uint64)

    def add(self, points: Points) -> None:
        """The next piece."""
        points = np.concatenate([self._held, points])
        self._held = points[max(0, len(points) - WINDOW + 1) :]
        if len(points) < WINDOW:
            return
        hashes = self._hashed(points)
        chosen = np.flatnonzero(_is_chosen(hashes, self._halvings))
        places = chosen + self._read
        self._read += len(hashes)
        if len(chosen):
            self._compare(hashes[chosen], places)

    def _hashed(self, points: Points) -> _Hashes:
        """A hash of each window (N - WINDOW + 1,): a polynomial modulo 2^64, then mixed."""
        if len(self._powers) < len(points):
            self._powers = _powers(_BASE, len(points))
            self._inverses = _powers(pow(_BASE, -1, 1 << 64), len(points))
        values = _mixed(points + _SEED)
        sums = np.zeros(len(points) + 1, np.uint64)
        np.cumsum(values * self._powers[: len(points)], out=sums[1:])
        count = len(points) - WINDOW + 1
        return _mixed((sums[WINDOW:] - sums[:count]) * self._inverses[:count])

    def _compare(self, hashes: _Hashes, places: _Places) -> None:
        """Which of these windows stood before, and where they did so last."""
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        firsts = np.flatnonzero(np.diff(ordered, prepend=~ordered[:1]))
        distinct, first_here = ordered[firsts], places[order[firsts]]
        last_here = places[order[np.append(firsts[1:], len(order)) - 1]]
        at = np.searchsorted(self._hashes, distinct)
        within = np.minimum(at, len(self._hashes) - 1)
        known = self._hashes[within] == distinct if len(self._hashes) else at < 0

        before = np.empty(len(places), np.int64)
        before[order[1:]] = places[order[:-1]]
        before[order[firsts]] = first_here  # not before: at distance 0
        before[order[firsts[known]]] = self._places[within[known]]
        self._places[within[known]] = last_here[known]
        self._hashes = np.insert(self._hashes, at[~known], distinct[~known])
        self._places = np.insert(self._places, at[~known], last_here[~known])

        distances = places - before
        self._compared += len(places) << self._halvings
        self._repeated += int(np.count_nonzero(distances)) << self._halvings
        self._add_runs(hashes, places, distances)
        while len(self._hashes) > MOST:
            self._halvings += 1
            kept = _is_chosen(self._hashes, self._halvings)
            self._hashes, self._places = self._hashes[kept], self._places[kept]

    def _add_runs(self, hashes: _Hashes, places: _Places, distances: _Places) -> None:
        """Runs of windows that repeat at one distance (0: they do not)."""
        starts = np.flatnonzero(np.diff(distances, prepend=-1))
        lasts = np.append(starts[1:], len(places)) - 1
        marks = np.minimum.reduceat(hashes, starts)
        begins, ends, same = places[starts], places[lasts] + WINDOW, distances[starts]
        if self._open and self._open.distance == same[0]:
            begins[0], marks[0] = self._open.start, min(self._open.mark, marks[0])
        elif self._open:
            self._keep(self._open)
        columns = (begins, ends, same, marks)
        self._open = _run(columns, -1) if same[-1] else None
        repeating = np.flatnonzero(same[:-1])
        lengths = (ends - begins)[repeating]
        for index in repeating[np.argsort(-lengths, kind="stable")[: 4 * LONGEST]].tolist():
            self._keep(_run(columns, index))

    def _keep(self, run: _Run) -> None:
        """Among the longest; of those that repeat the same, the longest alone."""
        others = [other for other in self._longest if other.mark != run.mark]
        same = [other for other in self._longest if other.mark == run.mark]
        longest = max([*same, run], key=lambda other: other.length)
        self._longest = sorted([*others, longest], key=lambda other: -other.length)[: 4 * LONGEST]

    def finish(self) -> None:
        """There are no more pieces."""
        if self._open:
            self._keep(self._open)
        self._longest = self._longest[:LONGEST]

    @property
    def _margin(self) -> int:
        """Windows that are compared lie about 2**halvings apart: so far a run may go on."""
        return max(WINDOW, 32 << self._halvings)

    def around(self) -> list[tuple[int, int]]:
        """The places that `result` must see, to find the true ends of the passages.

        For each passage: what comes before it and its beginning, here and where it stands before;
        then what comes behind it, here and there.
        """
        margin = self._margin
        wanted = []
        for run in self._longest:
            starts, ends = (run.start, run.source[0]), (run.end, run.source[1])
            wanted += [(max(0, start - margin), start + EXCERPT) for start in starts]
            wanted += [(end, end + margin) for end in ends]
        return wanted

    def result(self, around: Sequence[str], line_numbers: Sequence[int]) -> Repetition:
        """What was found.

        Args:
            around: the text at the places of `around()`.
            line_numbers: the line in which each of those begins, from 1.
        """
        longest = []
        for number, run in enumerate(self._longest):
            head, source_head, tail, source_tail = around[4 * number : 4 * number + 4]
            line, source_line = line_numbers[4 * number : 4 * number + 2]
            earlier = min(self._margin, run.start)  # characters of the head before the passage
            source_earlier = min(self._margin, run.source[0])
            more = _common(head[:earlier][::-1], source_head[:source_earlier][::-1])
            length = more + run.length + _common(tail, source_tail)
            start, source_start = earlier - more, source_earlier - more
            longest.append(
                Passage(
                    length,
                    line + head[:start].count("\n"),
                    source_line + source_head[:source_start].count("\n"),
                    head[start : start + min(EXCERPT, length)],
                )
            )
        share = self._repeated / self._compared if self._compared else 0.0
        longest.sort(key=lambda passage: -passage.length)
        return Repetition(WINDOW, share, 1 << self._halvings, longest)


def _is_chosen(hashes: _Hashes, halvings: int) -> NDArray[np.bool_]:
    """Whether the first `halvings` bits are 0."""
    return hashes < np.uint64(1 << (64 - halvings)) if halvings else np.ones(len(hashes), bool)


def _powers(base: int, count: int) -> _Hashes:
    """1, base, base^2, ... modulo 2^64."""
    powers = np.full(count, base, np.uint64)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint64)


def _mixed(values: _Hashes) -> _Hashes:
    mixed = (values ^ (values >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(29)
    return mixed * np.uint64(0x94D049BB133111EB) ^ (mixed >> np.uint64(32))


def _common(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def place(pieces: Iterable[str], wanted: Sequence[tuple[int, int]]) -> tuple[list[str], list[int]]:
    """The text of each wanted [start, end), and the line, from 1, in which it begins."""
    parts: list[list[str]] = [[] for _ in wanted]
    lines = [0] * len(wanted)
    starts = sorted({start for start, _ in wanted})
    line_at: dict[int, int] = {}
    position, line = 0, 1
    for piece in pieces:
        end = position + len(piece)
        at = position
        for start in starts[bisect.bisect_left(starts, position) : bisect.bisect_left(starts, end)]:
            line += piece.count("\n", at - position, start - position)
            line_at[start], at = line, start
        line += piece.count("\n", at - position)
        for number, (first, last) in enumerate(wanted):
            if first < end and last > position:
                parts[number].append(piece[max(0, first - position) : last - position])
        position = end
    for number, (start, _) in enumerate(wanted):
        lines[number] = line_at.get(start, line)
    return ["".join(part) for part in parts], lines
