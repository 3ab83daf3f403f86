"""UTF-8 as bytes: code points, characters, and the boundaries between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Integers

CODE_POINTS = 0x110000
SMALL = 2**13  # bytes beyond ASCII at a time


def code_points(block: bytes) -> NDArray[np.unsignedinteger[Any]]:
    """Return the code points of valid UTF-8, in the smallest type that costs no conversion.

    Raises:
        UnicodeDecodeError: the block is not valid UTF-8.
    """
    if block.isascii():
        return np.frombuffer(block, np.uint8)
    text = block.decode()
    units = np.frombuffer(text.encode("utf-16-le"), "<u2")
    return units if len(units) == len(text) else np.frombuffer(text.encode("utf-32-le"), "<u4")


def count_characters(block: bytes) -> int:
    """Return the number of characters in valid UTF-8."""
    if block.isascii():
        return len(block)
    signed = np.frombuffer(block, np.int8)
    return int(np.count_nonzero(signed >= -0x40))  # every byte but 10xxxxxx starts a character


def character_start(text: bytes, position: int) -> int:
    """Return where the character that contains byte `position` starts."""
    while 0 < position < len(text) and text[position] & 0xC0 == 0x80:
        position -= 1
    return position


def complete_length(text: bytes) -> int:
    """Return the length of `text` without an unfinished character at its end."""
    for back in range(1, min(4, len(text)) + 1):
        lead = text[-back]
        if lead & 0xC0 != 0x80:
            needed = 1 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return len(text) - back if needed > back else len(text)
    return len(text)


def small_blocks(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same bytes, in blocks of at most `SMALL` bytes where they are not ASCII.

    Python decodes into a string that is too long and then shortens it. glibc keeps some hundreds
    of the small pieces that fall off, and before each a gap in its heap as large as a block.
    """
    for chunk in chunks:
        if chunk.isascii():
            yield chunk
            continue
        beyond = np.frombuffer(chunk, np.int8) < 0
        first = int(beyond.argmax()) // SMALL * SMALL
        last = (len(chunk) - 1 - int(beyond[::-1].argmax())) // SMALL * SMALL
        if first:
            yield chunk[:first]
        for start in range(first, last + SMALL, SMALL):
            yield chunk[start : start + SMALL]
        if last + SMALL < len(chunk):
            yield chunk[last + SMALL :]


class CodePointCounter:
    """Counts how often each code point occurs."""

    def __init__(self) -> None:
        self._counts = np.zeros(CODE_POINTS, np.int64)
        self._pairs = np.zeros(2**16, np.int64)  # counting ASCII in pairs takes half as long

    def add(self, block: bytes) -> None:
        """Count the code points of a block of valid UTF-8."""
        points = code_points(block)
        if points.itemsize == 1:
            self._counts[points[len(points) & ~1 :]] += 1
            np.add.at(self._pairs, points[: len(points) & ~1].view(np.uint16), 1)
        else:
            np.add.at(self._counts, points, 1)

    def finish(self) -> Integers:
        """Return the counts of all code points (0x110000,). Nothing may be added afterwards."""
        pairs = self._pairs.reshape(256, 256)
        self._counts[:256] += pairs.sum(0) + pairs.sum(1)
        return self._counts

    def occurring(self) -> tuple[Integers, Integers]:
        """Return the code points that occur (N,), sorted, and how often each does; see `finish`."""
        counts = self.finish()
        points = np.flatnonzero(counts)
        return points, counts[points]
