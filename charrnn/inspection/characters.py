"""Count the characters and lines of a text."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.text import line_ends
from charrnn.text.oddities import unicode_name
from charrnn.text.utf8 import CODE_POINTS

LF, CR = 10, 13

Points = NDArray[np.uint32]


def code_points(text: str) -> Points:
    """Return the code points of a text (N,)."""
    return np.frombuffer(text.encode("utf-32-le"), "<u4")


class CharacterStatistics:
    """Counts characters and lines of a text that comes in pieces.

    Attributes:
        characters: code points.
        lines: line ends, and a last line without one.
        longest_line: characters of the longest line, without its end.
        longest_line_number: its number, from 1.
    """

    def __init__(self) -> None:
        self.characters = 0
        self.lines = 0
        self.longest_line = self.longest_line_number = 0
        self._counts = np.zeros(CODE_POINTS, np.int64)
        self._crlf = 0
        self._line = 0  # characters of the line that has not ended

    def add(self, points: Points) -> None:
        """Count the next piece, of one code point or more; none is cut between CR and LF."""
        self.characters += len(points)
        self._counts += np.bincount(points, minlength=CODE_POINTS)
        pairs = (points[:-1] == CR) & (points[1:] == LF)
        self._crlf += int(np.count_nonzero(pairs))
        ends = np.flatnonzero(line_ends.ends(points))
        if not len(ends):
            self._line += len(points)
            return
        lengths = np.diff(ends, prepend=-1) - 1
        lengths -= np.append(False, pairs)[ends]  # the CR of CR LF belongs to the end
        lengths[0] += self._line
        longest = int(lengths.argmax())
        self._note_line(int(lengths[longest]), self.lines + longest + 1)
        self.lines += len(ends)
        self._line = len(points) - 1 - int(ends[-1])

    def _note_line(self, length: int, number: int) -> None:
        if length > self.longest_line:
            self.longest_line, self.longest_line_number = length, number

    def finish(self) -> None:
        """End the last line; there are no more pieces."""
        if self._line:
            self.lines += 1
            self._note_line(self._line, self.lines)

    @property
    def bytes(self) -> int:
        """The length in UTF-8."""
        limits = (0x80, 0x800, 0x10000)  # from each on, a code point takes one byte more
        return self.characters + sum(int(self._counts[point:].sum()) for point in limits)

    def counts(self) -> dict[str, int]:
        """Return how often each character occurs, most frequent first."""
        points = np.flatnonzero(self._counts)
        order = np.argsort(-self._counts[points], kind="stable")
        return {chr(point): int(self._counts[point]) for point in points[order].tolist()}

    def line_ends(self) -> dict[str, int]:
        """Return how many line ends of each kind there are."""
        return line_ends.count_kinds(self.counts(), self._crlf)


def rows(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return a row for each character: its count, code point, name and category."""
    return [
        {
            "symbol": character,
            "code_point": f"U+{ord(character):04X}",
            "name": unicode_name(character),
            "category": unicodedata.category(character),
            "count": count,
        }
        for character, count in counts.items()
    ]
