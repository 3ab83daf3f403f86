"""Documents: the parts of a text that start at each file and after each separator."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.text.utf8 import character_start, count_characters


class Piece(NamedTuple):
    """A block of UTF-8, cut between characters; it starts a document or continues one."""

    begins: bool
    data: bytes


def split_documents(
    pieces: Iterable[Piece], separator: bytes, *, blank_lines: bool = False
) -> Iterator[Piece]:
    """Yield the same text, cut after every separator, where a new document begins.

    Args:
        pieces: the text.
        separator: what ends a document; an empty one ends none.
        blank_lines: line ends that follow a separator still belong to the document before them.
    """
    if not separator:
        yield from pieces
        return
    held, begins = b"", False  # the end of the text so far, in which a separator may begin
    ended = False  # the text so far ends with a separator
    for piece in pieces:
        if piece.begins:
            if held:
                yield Piece(begins, held)
            held, begins, ended = b"", True, False
        text, start = held + piece.data, 0
        if ended and blank_lines and (start := _after_line_ends(text, 0)):
            yield Piece(False, text[:start])
        while (found := text.find(separator, start)) >= 0:
            end = found + len(separator)
            if blank_lines:
                end = _after_line_ends(text, end)
            yield Piece(begins, text[start:end])
            start, begins = end, True
        ended = begins and start == len(text)
        cut = character_start(text, max(start, len(text) - len(separator) + 1))
        if cut > start:
            yield Piece(begins, text[start:cut])
            begins = False
        held = text[max(start, cut) :]
    if held:
        yield Piece(begins, held)


def _after_line_ends(text: bytes, start: int) -> int:
    """Return where the run of line ends at `start` ends."""
    while text.startswith(b"\n", start):
        start += 1
    return start


class DocumentSurvey:
    """Collects the length and the hash of each document as its pieces pass by."""

    def __init__(self) -> None:
        self.count = 0
        self._lengths, self._digests = array("Q"), array("Q")

    def add(self, piece: Piece) -> None:
        """Add the next piece of the text."""
        if piece.begins:
            self._end()
            self.count += 1
            self._length, self._hash = 0, hashlib.blake2b(digest_size=8)
        self._length += count_characters(piece.data)
        self._hash.update(piece.data)

    def _end(self) -> None:
        if self.count:
            self._lengths.append(self._length)
            self._digests.append(int.from_bytes(self._hash.digest(), "little"))

    def finish(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return the characters and the hash of each document (D,), (D,)."""
        self._end()
        return np.array(self._lengths, np.uint64), np.array(self._digests, np.uint64)
