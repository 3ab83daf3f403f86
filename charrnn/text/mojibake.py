"""Mojibake: UTF-8 that was once read as Windows-1252 or Latin-1, such as ``Ã©`` for ``é``.

Each byte of a character beyond ASCII became a character of its own. They are still in the order
of bytes that UTF-8 prescribes: a lead byte, then one to three continuation bytes. French has that
order without any damage, where a quotation ends in an accented vowel and a no-break space; such
places do not count.
"""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import counted
from charrnn.terminal import character_name
from charrnn.text.oddities import EXAMPLES, Issue

Points = NDArray[np.unsignedinteger[Any]]
MIN_SHARE = 0.05  # of the characters beyond ASCII; less may be chance
NO_BREAK, GUILLEMET = 0xA0, 0xBB
_CONTINUATION = 1


class MojibakeDetector:
    """Counts places that look like misread UTF-8 in a text that comes in pieces."""

    def __init__(self) -> None:
        self._roles = _role_table()
        self._held = np.empty(0, np.uint32)  # the last three code points
        self._beyond_ascii = 0
        self._characters = 0  # that are part of such places
        self._places = 0
        self._examples: dict[str, str] = {}

    def add(self, points: Points) -> None:
        """Look at the next piece."""
        self._beyond_ascii += int(np.count_nonzero(points >= 0x80))
        points = np.concatenate([self._held, points])
        self._count(points)
        self._held = points[-3:]

    def finish(self) -> None:
        """Look at the last code points; there are no more pieces."""
        self._count(np.concatenate([self._held, np.zeros(3, np.uint32)]))

    def _count(self, points: Points) -> None:
        """Count places that start before the last three code points."""
        if len(points) < 4 or not (points >= 0x80).any():
            return
        roles = self._roles[np.minimum(points, len(self._roles) - 1)]
        continued = roles == _CONTINUATION
        follows = np.ones(len(points) - 3, bool)
        closing = (points[1:-2] == NO_BREAK) & (points[2:-1] == GUILLEMET)
        for size in (2, 3, 4):
            follows &= continued[size - 1 : len(points) - 4 + size]
            starts = np.flatnonzero((roles[:-3] == size) & follows & ~closing)
            self._characters += size * len(starts)
            self._places += len(starts)
            for start in starts[: 20 * EXAMPLES].tolist():
                if len(self._examples) < EXAMPLES:
                    self._add_example(points[start : start + size])

    def _add_example(self, points: Points) -> None:
        seen = "".join(map(chr, points.tolist()))
        meant = bytes(_byte(character) for character in seen).decode("utf-8", "replace")
        if "\ufffd" not in meant:
            self._examples[seen] = meant

    def issues(self, *, whole: bool) -> list[Issue]:
        """Return the issue, if there are more places than chance explains.

        Args:
            whole: the detector has seen the whole text, not only a part of it.
        """
        if not self._examples or self._characters < MIN_SHARE * self._beyond_ascii:
            return []
        shown = ", ".join(
            f"{character_name(meant)} as {''.join(f'U+{ord(s):04X}' for s in seen)}"
            if any(unicodedata.category(character) == "Cc" for character in seen)
            else f"'{seen}' for {character_name(meant)}"
            for seen, meant in self._examples.items()
        )
        places = counted(self._places, "place") + ("" if whole else " near the start")
        look = "look" if self._places > 1 else "looks"
        sentence = f"{places} {look} like UTF-8 read as another encoding: {shown}"
        return [Issue("misread", self._places, sentence)]


def _role_table() -> NDArray[np.uint8]:
    """Return which byte of UTF-8 each code point may have been: 0 none, 1 continuation, 2-4 lead.

    The role of a lead byte is the number of bytes of its character.
    """
    table = np.zeros(0x2124, np.uint8)
    for byte in range(0x80, 0xF5):
        role = 1 if byte < 0xC0 else 0 if byte < 0xC2 else 2 + (byte >= 0xE0) + (byte >= 0xF0)
        table[byte] = role
        table[ord(_windows_1252(byte))] = role
    return table


def _windows_1252(byte: int) -> str:
    """Return the character of a byte in Windows-1252, or in Latin-1 for the five undefined ones."""
    return bytes([byte]).decode("cp1252", "ignore") or chr(byte)


_BYTES = {_windows_1252(byte): byte for byte in range(0x80, 0x100)}


def _byte(character: str) -> int:
    return _BYTES.get(character, ord(character) & 0xFF)
