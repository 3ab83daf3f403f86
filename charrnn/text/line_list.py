"""Notices a list of lines that an option reads as what they are: names, titles, words, or pairs."""

from __future__ import annotations

import itertools

from charrnn.text.corpus import Corpus

SAMPLE = 2**18  # bytes that are looked at
MIN_LINES = 50
LONG_LINE, LONG_ENTRY = 120, 40  # characters: of any line, and in the mean
SORTED = 0.98  # share of neighbors in order
# Shares of the lines of a list, at most, that are blank or indented, and that end like sentences.
ODD, PUNCTUATED = 0.02, 0.1


def advice(text: Corpus) -> str | None:
    """Return what `--items lines` or `--pairs` would do for a list; None for any other text."""
    if text.reading.pairs:
        return None
    count = dict(zip(text.points.tolist(), text.counts.tolist(), strict=True)).get(10, 0)
    if text.reading.document_separator or count < MIN_LINES:
        return None
    lines = _first_lines(text)
    if len(lines) >= MIN_LINES and all(line.count("\t") == 1 for line in lines):
        return (
            f"{text.name} looks like {count:,} pairs with a tab between them: --pairs would learn "
            "to write what is after the tab for what is before it"
        )
    in_order = len(lines) >= MIN_LINES and _is_sorted(lines)
    if not in_order and not _is_list(lines):
        return None
    what = "a sorted list" if in_order else "a list"
    return (
        f"{text.name} looks like {what} of {count:,} lines: --items lines would train on each line "
        "by itself, in a new order at every epoch, hold out lines from all of it, and write one "
        "line at a time"
    )


def _first_lines(text: Corpus) -> list[str]:
    """Return the whole lines at the beginning of a text."""
    read = b""
    for piece in text.pieces():
        read += piece.data
        if len(read) >= SAMPLE:
            break
    return read[: read.rfind(b"\n") + 1].decode().split("\n")[:-1]


def _is_sorted(lines: list[str]) -> bool:
    """Return whether lines are in order, whatever their case; many equal ones do not count."""
    keys = [line.casefold() for line in lines]
    pairs = len(keys) - 1
    most = int((1 - SORTED) * pairs)
    falling = (True for a, b in itertools.pairwise(keys) if a > b)
    if any(itertools.islice(falling, most, None)):  # soon true of most texts
        return False
    return sum(a < b for a, b in itertools.pairwise(keys)) >= pairs / 2


def _is_list(lines: list[str]) -> bool:
    """Return whether lines are short, most of them different, and not those of verse or code."""
    if len(lines) < MIN_LINES or len(set(lines)) < len(lines) / 2:
        return False
    lengths = [len(line) for line in lines]
    if max(lengths) > LONG_LINE or sum(lengths) > LONG_ENTRY * len(lines):
        return False
    odd = sum(not line or line[0].isspace() for line in lines)
    if odd > ODD * len(lines):
        return False
    ended = sum(line.rstrip().endswith(tuple(".,;:!?…—{}")) for line in lines)
    return ended <= PUNCTUATED * len(lines)
