r"""Line ends: what a line is, wherever lines are counted, limited, scored or converted.

A line ends in LF, CR LF, CR alone, NEL (U+0085), U+2028 or U+2029: the ends by which Unicode and
the systems of the past end lines. A form feed, a vertical tab and the separators U+001C to U+001E,
at which `str.splitlines` cuts as well, are characters inside a line: a page break stands beside a
line end, and would add a line that nobody wrote.

Blocks of bytes are UTF-8 that is cut between characters, and never between CR and LF.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The kinds of line ends, by the name that programs read; and what people call them.
KINDS = {"lf": "\n", "crlf": "\r\n", "cr": "\r", "nel": "\x85", "ls": "\u2028", "ps": "\u2029"}
NAMES = {
    "lf": "LF",
    "crlf": "CR LF",
    "cr": "CR alone",
    "nel": "NEL (U+0085)",
    "ls": "U+2028",
    "ps": "U+2029",
}
CHARACTERS = "\n\r\x85\u2028\u2029"  # a line end is one of them, or CR LF
_END = re.compile(f"\r\n|[{CHARACTERS}]")
_BYTES = {name: end.encode() for name, end in KINDS.items()}
_BEYOND_ASCII = ("nel", "ls", "ps")
_LF, _CR, _NEL, _LS, _PS = map(ord, CHARACTERS)


def split(text: str) -> list[str]:
    """Return the lines of a text with their ends; a last line without an end counts."""
    ends = [match.end() for match in _END.finditer(text)]
    if not ends or ends[-1] < len(text):
        ends.append(len(text))
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False) if end > start]


def without_end(line: str) -> str:
    """Return a line without its end."""
    return line.rstrip(CHARACTERS)


def ends_line(text: str, following: str) -> bool:
    """Return whether a line ends after `text`, which `following` continues."""
    is_end = bool(text) and text[-1] in CHARACTERS
    return is_end and not (text[-1] == "\r" and following[:1] == "\n")


def position(before: str, following: str = "") -> tuple[int, int]:
    """Return the line and the column, from 1, of the text `following` after the text `before`."""
    if before.endswith("\r") and following.startswith("\n"):  # the end of the same line
        line, column = position(before[:-1])
        return line, column + 1
    *_, start = (0, *(match.end() for match in _END.finditer(before)))
    return count(before) + 1, len(before) - start + 1


def count(text: str) -> int:
    """Return the number of line ends in a text."""
    if "\r" not in text and text.isascii():
        return text.count("\n")
    return sum(1 for _ in _END.finditer(text))


def ends(points: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which code points (N,) end a line: of CR LF, the LF; at the end of all, a CR, too."""
    found: NDArray[np.bool_] = points == _LF
    for point in (_NEL, _LS, _PS):
        found |= points == point
    alone: NDArray[np.bool_] = points == _CR
    alone[:-1] &= points[1:] != _LF
    return found | alone


def count_in_bytes(text: NDArray[np.uint8], start: int, end: int) -> int:
    """Return how many line ends have their last byte in [start, end) of UTF-8 (N,)."""
    # The two bytes before tell what the last byte of an end belongs to; the one after, CR LF.
    before = text[max(0, start - 2) : start]
    window = np.concatenate([np.zeros(2 - len(before), np.uint8), before, text[start : end + 1]])
    here = window[2 : 2 + end - start]
    one, two, after = window[1:][: len(here)], window[: len(here)], window[3 : 3 + len(here)]
    alone = here == _CR
    alone[: len(after)] &= after != _LF
    nel = (here == 0x85) & (one == 0xC2)
    separators = ((here == 0xA8) | (here == 0xA9)) & (one == 0x80) & (two == 0xE2)
    return int(np.count_nonzero((here == _LF) | alone | nel | separators))


def whole(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the same text, in pieces that are not cut between CR and LF."""
    held = ""
    for piece in pieces:
        text = held + piece
        held = "\r" if text.endswith("\r") else ""
        text = text[: len(text) - len(held)]
        if text:
            yield text
    if held:
        yield held


def count_other_than_lf(block: bytes) -> dict[str, int]:
    """Return how many line ends of each kind but LF a block has; kinds without any are left out."""
    found = {}
    if b"\r" in block:  # one byte is found much faster than two
        found["crlf"] = block.count(_BYTES["crlf"])
        found["cr"] = block.count(b"\r") - found["crlf"]
    if not block.isascii():
        found |= {kind: block.count(_BYTES[kind]) for kind in _BEYOND_ASCII}
    return {kind: number for kind, number in found.items() if number}


def to_lf(block: bytes, kinds: Iterable[str]) -> bytes:
    """Return a block with LF in place of the line ends of these kinds."""
    for kind in KINDS:  # CR LF comes before CR
        if kind in kinds:
            block = block.replace(_BYTES[kind], b"\n")
    return block


def count_kinds(counts: Mapping[str, int], crlf: int) -> dict[str, int]:
    """Return how many line ends of each kind a text has.

    Args:
        counts: how often each character occurs.
        crlf: how many CR and LF are pairs.
    """
    found = {kind: counts.get(end, 0) for kind, end in KINDS.items()}
    found |= {"crlf": crlf, "lf": found["lf"] - crlf, "cr": found["cr"] - crlf}
    return {kind: found[kind] for kind in KINDS}
