"""Notices about a text: what was changed, or kept, while it was read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from charrnn.errors import counted
from charrnn.text.line_ends import NAMES

Notify = Callable[[str], object]  # called with a sentence for the user


_NAMED = 4  # names in a sentence
_SHORT, _TINY = 30_000, 1_000  # characters of texts from which little, or nothing, can be learned


def ignore(notice: str) -> None:
    """Drop a notice."""


def some(names: Sequence[str]) -> str:
    """List the first of several names, and count the others."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


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
        return self.first + (f" and {counted(others, 'more file')}" if others else "")


def reading_notices(
    marks: SeenIn, ended: SeenIn, converted: Mapping[str, int], replaced: SeenIn
) -> Iterator[str]:
    """Yield a sentence for each kind of change.

    Args:
        marks: files of which a byte order mark was dropped.
        ended: files with line ends that were converted.
        converted: how many line ends of each kind became LF.
        replaced: files with bytes that could not be decoded.
    """
    if marks.count:
        many = "their starts were" if marks.count > 1 else "its start was"
        dropped = "byte order marks at" if marks.count > 1 else "a byte order mark at"
        yield f"{marks}: {dropped} {many} dropped"
    if converted.keys() == {"crlf"}:
        yield f"{ended}: CR LF line ends were converted to LF"
    elif converted:
        counts = ", ".join(f"{count:,} {NAMES[kind]}" for kind, count in converted.items())
        yield f"{ended}: line ends were converted to LF: {counts}"
    if replaced.count:
        yield f"{replaced}: bytes that could not be decoded became U+FFFD"


def windows_notice(files: SeenIn, line_ends: Mapping[str, int]) -> Iterator[str]:
    """Yield a sentence about a text whose lines all end in CR LF, which is not odd."""
    if [kind for kind, count in line_ends.items() if count] == ["crlf"]:
        yield f"{files}: lines end in CR LF, which is kept (--newline lf converts it)"


def short_text_notice(name: str, characters: int) -> str:
    """Return what to expect of a training on a text that is short; "" if it is not.

    The lengths are rough: half-minute trainings on 3, 20 and 100 kB of a book of plays wrote
    random letters, invented words and mostly real words.
    """
    if characters >= _SHORT:
        return ""
    expected = "words that do not exist" if characters >= _TINY else "letters in a random order"
    return (
        f"{name} has only {counted(characters, 'character')}: expect {expected}, or copies of "
        "the text; about 100,000 give real words, a million give sentences"
    )
