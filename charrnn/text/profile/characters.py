"""Count the characters and lines of a text."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.text.utf8 import CODE_POINTS

LF, CR = 10, 13

Points = NDArray[np.uint32]


def code_points(text: str) -> Points:
    """Return the code points of a text (N,)."""
    return np.frombuffer(text.encode("utf-32-le"), "<u4")


def unicode_name(character: str) -> str:
    """Return Unicode's name of a character, or a name for a control character."""
    if character == "\x7f":
        return "DELETE"
    if character < " ":
        return unicodedata.name(chr(0x2400 + ord(character))).removeprefix("SYMBOL FOR ")
    return unicodedata.name(character, f"({_category_name(character)})")


def _category_name(character: str) -> str:
    names = {"Cc": "control character", "Co": "private use", "Cn": "no character of Unicode"}
    return names.get(unicodedata.category(character), "no name")


class CharacterStatistics:
    """Counts characters and lines of a text that comes in pieces.

    Attributes:
        characters: code points.
        lines: line feeds, and a last line without one.
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
        self._last = 0  # the last code point

    def add(self, points: Points) -> None:
        """Count the next piece, of one code point or more."""
        self.characters += len(points)
        self._counts += np.bincount(points, minlength=CODE_POINTS)
        self._add_lines(points)
        ends = points == LF
        self._crlf += int(np.count_nonzero(ends[1:] & (points[:-1] == CR)))
        self._crlf += bool(ends[0] and self._last == CR)
        self._last = int(points[-1])

    def _add_lines(self, points: Points) -> None:
        ends = np.flatnonzero(points == LF)
        if not len(ends):
            self._line += len(points)
            return
        lengths = np.diff(ends, prepend=-1) - 1
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

    def count(self, point: int) -> int:
        """Return how often a code point occurs."""
        return int(self._counts[point])

    def beyond_ascii(self) -> int:
        """Return how many characters are not ASCII."""
        return int(self._counts[0x80:].sum())

    def counts(self) -> dict[str, int]:
        """Return how often each character occurs, most frequent first."""
        points = np.flatnonzero(self._counts)
        order = np.argsort(-self._counts[points], kind="stable")
        return {chr(point): int(self._counts[point]) for point in points[order].tolist()}

    def newlines(self) -> dict[str, int]:
        """Return how many line ends are LF, CR LF, and CR alone."""
        lf, cr = self.count(LF), self.count(CR)
        return {"lf": lf - self._crlf, "crlf": self._crlf, "cr": cr - self._crlf}


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
