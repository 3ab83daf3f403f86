"""Symbols, lines, and signs that something went wrong with a text before it came here."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.terminal import symbol_name

CODE_POINTS = 0x110000
LF, CR = 10, 13
GIANT_LINE = 100_000  # characters; a printed page has some 3,000
BINARY_SHARE = 0.001  # of NUL in a text
MISREAD_SHARE = 0.05  # of what is not ASCII; less may be chance
EXAMPLES = 3
NO_BREAK, GUILLEMET = 0xA0, 0xBB

Points = NDArray[np.uint32]


def code_points(text: str) -> Points:
    """The code points of a text (N,)."""
    return np.frombuffer(text.encode("utf-32-le"), "<u4")


@dataclass(frozen=True)
class Sign:
    """Something suspicious.

    Attributes:
        kind: a word for programs.
        count: how many characters, lines or places it concerns.
        text: a sentence for people.
    """

    kind: str
    count: int
    text: str


def name_of(symbol: str) -> str:
    """The name that Unicode gives a symbol; it has none for control characters."""
    if symbol == "\x7f":
        return "DELETE"
    if symbol < " ":
        return unicodedata.name(chr(0x2400 + ord(symbol))).removeprefix("SYMBOL FOR ")
    return unicodedata.name(symbol, f"({_category_name(symbol)})")


def _category_name(symbol: str) -> str:
    names = {"Cc": "control character", "Co": "private use", "Cn": "no character of Unicode"}
    return names.get(unicodedata.category(symbol), "no name")


class Signs:
    """Counts over a text that comes in pieces."""

    def __init__(self) -> None:
        self.characters = 0
        self.lines = 0
        self.longest_line = self.longest_line_number = 0
        self._counts = np.zeros(CODE_POINTS, np.int64)
        self._crlf = 0
        self._line = 0  # characters of the line that has not ended
        self._last = 0  # the last code point
        self._misread = _Misread()

    def add(self, points: Points) -> None:
        """The next piece, of one code point or more."""
        self.characters += len(points)
        self._counts += np.bincount(points, minlength=CODE_POINTS)
        self._add_lines(points)
        ends = points == LF
        self._crlf += int(np.count_nonzero(ends[1:] & (points[:-1] == CR)))
        self._crlf += bool(ends[0] and self._last == CR)
        self._last = int(points[-1])
        self._misread.add(points)

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
        """There are no more pieces."""
        if self._line:
            self.lines += 1
            self._note_line(self._line, self.lines)
        self._misread.finish()

    @property
    def bytes(self) -> int:
        """Length in UTF-8."""
        past = (0x80, 0x800, 0x10000)  # each takes one byte more from there on
        return self.characters + sum(int(self._counts[point:].sum()) for point in past)

    def symbols(self) -> dict[str, int]:
        """How often each symbol occurs, most frequent first."""
        points = np.flatnonzero(self._counts)
        order = np.argsort(-self._counts[points], kind="stable")
        return {chr(point): int(self._counts[point]) for point in points[order].tolist()}

    def newlines(self) -> dict[str, int]:
        """How many line ends there are of each kind."""
        lf, cr = int(self._counts[LF]), int(self._counts[CR])
        return {"lf": lf - self._crlf, "crlf": self._crlf, "cr": cr - self._crlf}

    def found(self) -> list[Sign]:
        """All that is suspicious, in the order of this file."""
        symbols = self.symbols()
        signs = [
            self._mixed_newlines(),
            self._giant_line(),
            self._binary(),
            _listed("control", symbols, _is_control, "control characters"),
            _listed("replacement", symbols, "\ufffd".__eq__, "signs of text that was lost"),
            _listed("byte order mark", symbols, "\ufeff".__eq__, "byte order marks in the text"),
            _listed("invisible", symbols, _is_invisible, "invisible format characters"),
            _listed("unassigned", symbols, _is_unassigned, "not characters of Unicode"),
            _listed("private use", symbols, _is_private, "characters without a common meaning"),
            _listed("combining", symbols, _is_accent, "accents apart from their letters"),
            self._misread.sign(int(self._counts[0x80:].sum())),
        ]
        return [sign for sign in signs if sign]

    def _mixed_newlines(self) -> Sign | None:
        kinds = {name: count for name, count in self.newlines().items() if count}
        if len(kinds) < 2:
            return None
        names = {"lf": "LF", "crlf": "CR LF", "cr": "CR alone"}
        counts = ", ".join(f"{count:,} {names[name]}" for name, count in kinds.items())
        return Sign("newlines", sum(kinds.values()) - max(kinds.values()), f"line ends: {counts}")

    def _giant_line(self) -> Sign | None:
        if self.longest_line < GIANT_LINE:
            return None
        return Sign(
            "giant line",
            self.longest_line,
            f"line {self.longest_line_number:,} has {self.longest_line:,} characters",
        )

    def _binary(self) -> Sign | None:
        nul = int(self._counts[0])
        if nul <= BINARY_SHARE * self.characters:
            return None
        return Sign("binary", nul, f"{nul / self.characters:.1%} of it is NUL: it is no text")


def _listed(
    kind: str, symbols: dict[str, int], is_meant: Callable[[str], bool], what: str
) -> Sign | None:
    meant = {symbol: count for symbol, count in symbols.items() if is_meant(symbol)}
    if not meant:
        return None
    some = list(meant.items())[:EXAMPLES]
    named = ", ".join(f"{count:,} {_named(symbol)}" for symbol, count in some)
    more = f" and {len(meant) - EXAMPLES} more kinds" if len(meant) > EXAMPLES else ""
    total = sum(meant.values())
    return Sign(kind, total, f"{total:,} {what}: {named}{more}")


def _named(symbol: str) -> str:
    return f"U+{ord(symbol):04X} {name_of(symbol)}"


def _is_control(symbol: str) -> bool:
    return unicodedata.category(symbol) == "Cc" and symbol not in "\n\r\t"


def _is_invisible(symbol: str) -> bool:
    """Format characters, but the joiners that scripts and emoji need, and the byte order mark."""
    return unicodedata.category(symbol) == "Cf" and symbol not in "\u200c\u200d\ufeff"


def _is_unassigned(symbol: str) -> bool:
    return unicodedata.category(symbol) == "Cn"


def _is_private(symbol: str) -> bool:
    return unicodedata.category(symbol) == "Co"


def _is_accent(symbol: str) -> bool:
    """A Latin, Greek or Cyrillic letter with one may as well be written as one symbol."""
    return "\u0300" <= symbol <= "\u036f"


class _Misread:
    """UTF-8 that was once read as Windows-1252 or Latin-1: ``Ã©`` for ``é``.

    Each byte of a character beyond ASCII then became a character of its own, and they still stand
    in the order of bytes that UTF-8 asks for: a lead byte, then one to three continuations. French
    writes such an order where a quotation ends in a vowel with an accent and a space: that is not
    counted.
    """

    CONTINUATION = 1

    def __init__(self) -> None:
        self._roles = self._role_table()
        self._held = np.empty(0, np.uint32)  # the last three code points
        self._characters = 0  # that are part of such places
        self._places = 0
        self._examples: dict[str, str] = {}

    @classmethod
    def _role_table(cls) -> NDArray[np.uint8]:
        """What byte each code point may once have been: 0 none, 2 to 4 a lead of so many bytes."""
        table = np.zeros(0x2124, np.uint8)
        for byte in range(0x80, 0xF5):
            role = 1 if byte < 0xC0 else 0 if byte < 0xC2 else 2 + (byte >= 0xE0) + (byte >= 0xF0)
            table[byte] = role
            table[ord(_windows(byte))] = role
        return table

    def add(self, points: Points) -> None:
        """The next piece."""
        points = np.concatenate([self._held, points])
        self._count(points)
        self._held = points[-3:]

    def finish(self) -> None:
        """There are no more pieces."""
        self._count(np.concatenate([self._held, np.zeros(3, np.uint32)]))

    def _count(self, points: Points) -> None:
        """Places that start before the last three code points."""
        if len(points) < 4 or not (points >= 0x80).any():
            return
        roles = self._roles[np.minimum(points, len(self._roles) - 1)]
        continued = roles == self.CONTINUATION
        follows = np.ones(len(points) - 3, bool)
        closing = (points[1:-2] == NO_BREAK) & (points[2:-1] == GUILLEMET)
        for size in (2, 3, 4):
            follows &= continued[size - 1 : len(points) - 4 + size]
            starts = np.flatnonzero((roles[:-3] == size) & follows & ~closing)
            self._characters += size * len(starts)
            self._places += len(starts)
            for start in starts[: 20 * EXAMPLES].tolist():
                if len(self._examples) < EXAMPLES:
                    self._note(points[start : start + size])

    def _note(self, points: Points) -> None:
        seen = "".join(map(chr, points.tolist()))
        meant = bytes(_byte(symbol) for symbol in seen).decode("utf-8", "replace")
        if "\ufffd" not in meant:
            self._examples[seen] = meant

    def sign(self, beyond_ascii: int) -> Sign | None:
        """What was found, where it is more than chance."""
        if not self._examples or self._characters < MISREAD_SHARE * beyond_ascii:
            return None
        shown = ", ".join(
            f"{symbol_name(meant)} as {''.join(f'U+{ord(s):04X}' for s in seen)}"
            if any(unicodedata.category(symbol) == "Cc" for symbol in seen)
            else f"'{seen}' for {symbol_name(meant)}"
            for seen, meant in self._examples.items()
        )
        return Sign(
            "misread",
            self._places,
            f"{self._places:,} places look like UTF-8 read as another encoding: {shown}",
        )


def _windows(byte: int) -> str:
    """The character of a byte in Windows-1252; five bytes have none there, and stay as they are."""
    return bytes([byte]).decode("cp1252", "ignore") or chr(byte)


_BYTES = {_windows(byte): byte for byte in range(0x80, 0x100)}


def _byte(symbol: str) -> int:
    return _BYTES.get(symbol, ord(symbol) & 0xFF)


def rows(symbols: Mapping[str, int]) -> list[dict[str, Any]]:
    """Symbols and their counts, with their names."""
    return [
        {
            "symbol": symbol,
            "code_point": f"U+{ord(symbol):04X}",
            "name": name_of(symbol),
            "category": unicodedata.category(symbol),
            "count": count,
        }
        for symbol, count in symbols.items()
    ]
