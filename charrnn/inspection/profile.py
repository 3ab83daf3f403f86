"""Profile a text before anything is trained on it: characters, issues, repetition, a baseline.

The text comes in pieces and is read twice; the memory needed does not grow with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from charrnn.inspection.characters import CharacterStatistics, code_points, rows
from charrnn.inspection.ngram_baseline import Counting, measure_counting
from charrnn.inspection.repetition import Repetition, RepetitionFinder, extract
from charrnn.text import line_ends
from charrnn.text.mojibake import MojibakeDetector
from charrnn.text.oddities import Issue, character_issues
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
        lines: line ends, and a last line without one.
        longest_line: characters of the longest line, without its end.
        longest_line_number: its number, from 1.
        symbols: how often each character occurs, most frequent first.
        newlines: how many line ends there are of each kind; see `charrnn.text.line_ends`.
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


def measure(
    pieces: Pieces,
    characters: int,
    valid_fraction: float,
    *,
    known: Sequence[Issue] = (),
    strict: bool = True,
) -> Statistics:
    """Read a text twice and profile it.

    Args:
        pieces: returns the text from its beginning, each time it is called.
        characters: its length.
        valid_fraction: the last part, held out to measure the baseline, as in training.
        known: the issues found when the text was read; those of its files are kept.
        strict: U+FFFD does not stand for bytes that were replaced while the text was read.
    """
    cut, _ = split_positions(characters, valid_fraction, 0.0)
    statistics, mojibake = CharacterStatistics(), MojibakeDetector()
    repetition = RepetitionFinder(cut)
    _scan(pieces(), statistics, mojibake, repetition)
    last = min(characters, cut + MAX_MEASURED)
    ranges = [(max(0, cut - MAX_COUNTED), cut), (cut, last), *repetition.ranges()]
    (counted, held_out, *around), line_numbers = extract(pieces(), ranges)
    enough = len(counted) > 1 and held_out
    counts, ends = statistics.counts(), statistics.line_ends()
    longest, line = statistics.longest_line, statistics.longest_line_number
    repeated = repetition.result(around, line_numbers[2:])
    return Statistics(
        characters=statistics.characters,
        bytes=statistics.bytes,
        lines=statistics.lines,
        longest_line=longest,
        longest_line_number=line,
        symbols=counts,
        newlines=ends,
        signs=[
            *(issue for issue in known if issue.kind == "markup"),
            *character_issues(counts, ends, longest, line=line, strict=strict),
            *mojibake.issues(whole=True),
            *repeated.issues(),
        ],
        repetition=repeated,
        counting=measure_counting(counted, held_out, len(counts)) if enough else None,
    )


def _scan(
    pieces: Iterable[str], *scanners: CharacterStatistics | MojibakeDetector | RepetitionFinder
) -> None:
    """Give each scanner the whole text once."""
    for piece in line_ends.whole(_short(pieces)):
        points = code_points(piece)
        for scanner in scanners:
            scanner.add(points)
    for scanner in scanners:
        scanner.finish()


def _short(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the same text in pieces of at most `PIECE` characters."""
    for piece in pieces:
        for start in range(0, len(piece), PIECE):
            yield piece[start : start + PIECE]
