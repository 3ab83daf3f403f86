"""What a text is like, before anything is trained on it.

The text comes in pieces and is read twice; what is kept of it does not grow with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from charrnn.text.profile.ngram_baseline import Counting, measure_counting
from charrnn.text.profile.repetition import Passages, Repetition, place
from charrnn.text.profile.symbols import Sign, Signs, code_points, rows
from charrnn.text.split import split_positions

__all__ = ["Counting", "Passages", "Repetition", "Sign", "Statistics", "measure", "rows"]

PIECE = 1 << 20  # characters
# The counting models learn from so many characters and are measured on so many.
MOST_COUNTED = 4_000_000
MOST_MEASURED = 1_000_000

Pieces = Callable[[], Iterable[str]]


@dataclass(frozen=True)
class Statistics:
    """What was found in a text.

    Attributes:
        characters: code points.
        bytes: in UTF-8.
        lines: line feeds, and a last line without one.
        longest_line: characters of the longest line, without its end.
        longest_line_number: which one that is, from 1.
        symbols: how often each symbol occurs, most frequent first.
        newlines: how many line ends are ``lf``, ``crlf`` and a lone ``cr``.
        signs: what looks as if something went wrong with the text.
        repetition: passages that occur more than once.
        counting: what models that only count come to; None for a text of two characters or less.
    """

    characters: int
    bytes: int
    lines: int
    longest_line: int
    longest_line_number: int
    symbols: dict[str, int]
    newlines: dict[str, int]
    signs: list[Sign]
    repetition: Repetition
    counting: Counting | None


def measure(pieces: Pieces, valid_fraction: float) -> Statistics:
    """Read a text twice and say what it is like.

    Args:
        pieces: gives the text from its beginning, each time it is called.
        valid_fraction: the last part, held out to measure counting models, as in training.
    """
    signs, passages = Signs(), Passages()
    for piece in pieces():
        for start in range(0, len(piece), PIECE):
            points = code_points(piece[start : start + PIECE])
            signs.add(points)
            passages.add(points)
    signs.finish()
    passages.finish()

    length = signs.characters
    cut, _ = split_positions(length, valid_fraction, 0.0)
    last = min(length, cut + MOST_MEASURED)
    wanted = [(max(0, cut - MOST_COUNTED), cut), (cut, last), *passages.around()]
    (counted, held_out, *around), line_numbers = place(pieces(), wanted)
    enough = len(counted) > 1 and held_out
    return Statistics(
        characters=length,
        bytes=signs.bytes,
        lines=signs.lines,
        longest_line=signs.longest_line,
        longest_line_number=signs.longest_line_number,
        symbols=signs.symbols(),
        newlines=signs.newlines(),
        signs=signs.found(),
        repetition=passages.result(around, line_numbers[2:]),
        counting=measure_counting(counted, held_out, len(signs.symbols())) if enough else None,
    )
