"""Notices about a text: what was changed while it was read, and which characters look wrong."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from charrnn.arrays import Integers

Notify = Callable[[str], object]  # called with a sentence for the user
_BINARY, _WIDE = 1e-3, 0.3  # shares of NUL in a binary file, and in text of a wider encoding


_SHORT, _TINY = 30_000, 1_000  # characters of texts from which little, or nothing, can be learned


@dataclass
class SeenIn:
    """The files in which something was seen: the first one's name, and how many."""

    first: str = ""
    count: int = 0

    def add(self, name: str) -> None:
        """Count one more file."""
        self.first = self.first or name
        self.count += 1

    def __str__(self) -> str:
        others = self.count - 1
        return self.first + (f" and {others:,} more file{'s'[: others > 1]}" if others else "")


def reading_notices(marks: SeenIn, crlf: SeenIn, replaced: SeenIn, newline: str) -> Iterator[str]:
    """Yield a sentence for each kind of change, or of line end that stays.

    Args:
        marks: files of which a byte order mark was dropped.
        crlf: files with CR LF line ends.
        replaced: files with bytes that could not be decoded.
        newline: what was done to CR LF: ``keep`` or ``lf``.
    """
    if marks.count:
        many = "their starts were" if marks.count > 1 else "its start was"
        dropped = "byte order marks at" if marks.count > 1 else "a byte order mark at"
        yield f"{marks}: {dropped} {many} dropped"
    if crlf.count:
        done = (
            "CR LF line ends were converted to LF"
            if newline == "lf"
            else "lines end in CR LF, which is kept (--newline lf converts it)"
        )
        yield f"{crlf}: {done}"
    if replaced.count:
        yield f"{replaced}: bytes that could not be decoded became U+FFFD"


def character_notices(name: str, points: Integers, counts: Integers, errors: str) -> Iterator[str]:
    """Yield a sentence for each kind of character that a text should not have.

    Args:
        name: the text.
        points: its code points (N,), sorted.
        counts: how often each occurs (N,).
        errors: how it was decoded: with ``replace``, U+FFFD is no surprise.
    """
    low = dict(zip(points[: 2**12].tolist(), counts[: 2**12].tolist(), strict=True))
    nuls, total = low.get(0, 0), int(counts.sum())
    if nuls > _BINARY * total:
        wide = " (UTF-16 without its mark? --encoding utf-16-le)" if nuls > _WIDE * total else ""
        yield f"{name} looks binary: {nuls:,} of its characters are NUL (U+0000){wide}"
    control = {
        point: count
        for point, count in low.items()
        if unicodedata.category(chr(point)) == "Cc" and chr(point) not in "\0\t\n\r\f"
    }
    if control:
        shown = ", ".join(f"U+{point:04X}" for point in list(control)[:4])
        more = ", ..." if len(control) > 4 else ""
        yield f"{name} has {sum(control.values()):,} control characters ({shown}{more})"
    index = np.searchsorted(points, 0xFFFD)
    if errors == "strict" and index < len(points) and points[index] == 0xFFFD:
        yield (
            f"{name} has U+FFFD {counts[index]:,} times: characters were lost when it was decoded "
            "before"
        )
    if len(points) == 1:
        yield f"{name} is one character over and over: there is little to learn"


def short_text_notice(name: str, characters: int) -> str:
    """Return what to expect of a training on a text that is short; "" if it is not.

    The lengths are those at which one-minute trainings on parts of a book of plays began to write
    words, and sentences that make sense.
    """
    if characters >= _SHORT:
        return ""
    expected = "words that do not exist" if characters >= _TINY else "letters in a random order"
    return (
        f"{name} has only {characters:,} characters: expect {expected}, or copies of the text; "
        "about 100,000 give real words, a million give sentences"
    )
