"""Profile a text before anything is trained on it: characters, issues, repetition, a baseline.

The text comes in pieces and is read twice; the memory needed does not grow with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from charrnn.text.profile.characters import CharacterStatistics, code_points, rows
from charrnn.text.profile.issues import Issue, character_issues
from charrnn.text.profile.mojibake import MojibakeDetector
from charrnn.text.profile.ngram_baseline import Counting, measure_counting
from charrnn.text.profile.repetition import Repetition, RepetitionFinder, extract
from charrnn.text.split import split_positions

__all__ = ["Counting", "Issue", "Repetition", "Statistics", "measure", "rows"]

PIECE = 1 << 20  # characters
# Limits on the characters that the baseline learns from and is measured on.
MAX_COUNTED = 4_000_000
MAX_MEASURED = 1_000_000

Pieces = Callable[[], Iterable[str]]


@dataclass(frozen=True)
class Statistics:
    """The profile of a text; the fields are those of ``charrnn corpora stats --json``.

    Attributes:
        characters: code points.
        bytes: in UTF-8.
        lines: line feeds, and a last line without one.
        longest_line: characters of the longest line, without its end.
        longest_line_number: its number, from 1.
        symbols: how often each character occurs, most frequent first.
        newlines: how many line ends are ``lf``, ``crlf`` and ``cr`` alone.
        signs: what suggests that the text is damaged.
        repetition: passages that occur more than once.
        counting: the n-gram baseline; None for a text of two characters or less.
    """

    characters: int
    bytes: int
    lines: int
    longest_line: int
    longest_line_number: int
    symbols: dict[str, int]
    newlines: dict[str, int]
    signs: list[Issue]
    repetition: Repetition
    counting: Counting | None


def measure(pieces: Pieces, valid_fraction: float) -> Statistics:
    """Read a text twice and profile it.

    Args:
        pieces: returns the text from its beginning, each time it is called.
        valid_fraction: the last part, held out to measure the baseline, as in training.
    """
    statistics, mojibake, repetition = CharacterStatistics(), MojibakeDetector(), RepetitionFinder()
    for piece in pieces():
        for start in range(0, len(piece), PIECE):
            points = code_points(piece[start : start + PIECE])
            statistics.add(points)
            mojibake.add(points)
            repetition.add(points)
    statistics.finish()
    mojibake.finish()
    repetition.finish()

    cut, _ = split_positions(statistics.characters, valid_fraction, 0.0)
    last = min(statistics.characters, cut + MAX_MEASURED)
    ranges = [(max(0, cut - MAX_COUNTED), cut), (cut, last), *repetition.ranges()]
    (counted, held_out, *around), line_numbers = extract(pieces(), ranges)
    enough = len(counted) > 1 and held_out
    misread = mojibake.issue(statistics.beyond_ascii())
    counts = statistics.counts()
    return Statistics(
        characters=statistics.characters,
        bytes=statistics.bytes,
        lines=statistics.lines,
        longest_line=statistics.longest_line,
        longest_line_number=statistics.longest_line_number,
        symbols=counts,
        newlines=statistics.newlines(),
        signs=character_issues(statistics) + ([misread] if misread else []),
        repetition=repetition.result(around, line_numbers[2:]),
        counting=measure_counting(counted, held_out, len(counts)) if enough else None,
    )
