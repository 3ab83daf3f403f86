"""What units may track in a text, and which of them do.

Shapes: N symbols, U units.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats, Integers

LEAST = 10  # symbols of either kind, or different values, that a feature must have in each half
MOST = 2000  # characters between a bracket and the one that closes it
_CLOSING = {")": "(", "]": "[", "}": "{"}
# What begins and ends within a paragraph.
_INSIDE = r"(?:[^{0}\n]|\n(?![ \t]*\n))*?"
_SPANS = {
    "inside quotes": "|".join(
        rf"{opens}{_INSIDE.format(closes)}{closes}" for opens, closes in ('""', "“”", "«»")
    ),
    "inside $ $": rf"(?<!\\)\${_INSIDE.format('$')}\$",
    "inside < >": r"<[^<>\s][^<>]*>",
    "inside a comment": r"/\*.*?\*/|(?<!\S)//[^\n]*\n|^[ \t]*[#%][^\n]*\n",
    "inside the first word of a line": r"^[ \t]*\w+.?",
    "inside a word in capitals": r"\b[^\W\d_a-z]{2,}\b.?",
}


@dataclass(frozen=True)
class Feature:
    """Something that can be known at each symbol of a text.

    Attributes:
        name: in a table.
        values: (N,) whole numbers; 0 and 1 where it is a question of yes or no.
    """

    name: str
    values: Integers

    @property
    def counts(self) -> bool:
        """Whether it is a number, and no question of yes or no."""
        return bool(self.values.max(initial=0) > 1)


@dataclass(frozen=True)
class Tracker:
    """A unit that tracks a feature.

    Attributes:
        unit: its column.
        score: -1 .. 1 on the second half of the text, which had no part in choosing it.
        chosen_by: the score on the first half.
    """

    unit: int
    score: float
    chosen_by: float


def features(text: str) -> Iterator[Feature]:
    """All that is looked for, character by character: what is known once that one is read."""
    symbols = [*text]
    following = [*text[1:], ""]
    letters = np.array([symbol.isalpha() for symbol in symbols])
    goes_on = np.array([symbol.isalpha() for symbol in following])
    breaks = np.array([symbol == "\n" for symbol in symbols])

    def asked(name: str, answers: Sequence[bool] | NDArray[np.bool_]) -> Feature:
        return Feature(name, np.asarray(answers, np.int64))

    for name, pattern in _SPANS.items():
        inside = np.zeros(len(text), np.bool_)
        for found in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
            inside[found.start() : found.end() - 1] = True
        yield asked(name, inside)
    depth = _depth(text)
    yield asked("inside brackets", depth > 0)
    yield Feature("bracket depth", depth)
    yield Feature("position in the line", _since(breaks))
    yield Feature("position in the word", np.where(letters, _since(~letters), 0))
    yield Feature("indentation", _indentation(text))
    yield asked("letter", letters)
    yield asked("capital letter", [symbol.isupper() for symbol in symbols])
    yield asked("digit", [symbol.isdigit() for symbol in symbols])
    yield asked("last letter of a word", letters & ~goes_on)
    yield asked("end of a sentence", [symbol in ".!?" for symbol in symbols])
    yield asked("a line end follows", [symbol == "\n" for symbol in following])


def _since(marks: NDArray[np.bool_]) -> Integers:
    """How far back the last mark is: 0 on it, and counted from the beginning before the first."""
    places = np.arange(len(marks))
    return places - np.maximum.accumulate(np.where(marks, places, -1))


def _depth(text: str) -> Integers:
    """How many brackets are open; only those that are closed again are counted."""
    change = np.zeros(len(text) + 1, np.int64)
    opened: list[tuple[str, int]] = []
    for place, symbol in enumerate(text):
        if symbol in _CLOSING.values():
            opened.append((symbol, place))
        elif symbol in _CLOSING:
            kinds = [kind for kind, _ in opened]
            if _CLOSING[symbol] in kinds:
                last = len(kinds) - 1 - kinds[::-1].index(_CLOSING[symbol])
                if place - opened[last][1] <= MOST:
                    change[opened[last][1]] += 1
                    change[place] -= 1
                del opened[last:]
    return np.cumsum(change[:-1])


def _indentation(text: str) -> Integers:
    """Blanks before the first other symbol of the line, as far as they have been read."""
    found: list[int] = []
    for line in text.splitlines(keepends=True):
        blanks = len(line) - len(line.lstrip(" \t"))
        found += [min(place + 1, blanks) for place in range(len(line))]
    return np.array(found, np.int64)


def at_symbols(feature: Feature, last_characters: Integers) -> Feature:
    """The feature at each symbol: at the last character (N,) that the symbol writes."""
    return Feature(feature.name, feature.values[last_characters])


def can_be_found(feature: Feature) -> bool:
    """Whether both halves of the text have enough of it to tell who tracks it."""
    for half in _halves(feature.values):
        _, times = np.unique(half, return_counts=True)
        if len(times) < 2 or len(half) - times.max() < LEAST:
            return False
    return True


def trackers(units: Floats, feature: Feature, most: int) -> list[Tracker]:
    """The units (N, U) that track a feature best on the first half of a text, best first.

    A question of yes or no is scored by the rank-biserial correlation, 2 AUC - 1 of the ROC curve:
    1 where every yes has a larger activation than every no, 0 by chance. A number is scored by
    Spearman's rank correlation. The sign tells which way round.
    """
    search, held_out = _halves(units)
    wanted, checked = _halves(feature.values)
    found = scores(search, wanted, feature.counts)
    best = np.argsort(-np.abs(found), kind="stable")[:most]
    again = scores(held_out[:, best], checked, feature.counts)
    return [
        Tracker(int(unit), float(score), float(found[unit]))
        for unit, score in zip(best, again, strict=True)
    ]


def _halves(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    middle = len(values) // 2
    return values[:middle], values[middle:]


def scores(units: Floats, wanted: Integers, counts: bool) -> Floats:
    """Of each unit (N, U): Spearman's correlation with `wanted` (N,), or 2 AUC - 1."""
    ranked = ranks(units)
    if not counts:
        yes = wanted > 0
        ones, zeros = yes.sum(), (~yes).sum()
        above = ranked[yes].sum(0) - ones * (ones + 1) / 2
        return np.asarray(2 * above / (ones * zeros) - 1)
    ranked -= ranked.mean(0)
    against = ranks(wanted[:, None].astype(np.float64))
    against -= against.mean()
    lengths = np.linalg.norm(ranked, axis=0) * np.linalg.norm(against)
    products = (against * ranked).sum(0)
    return np.asarray(products / np.where(lengths > 0, lengths, 1.0))


def ranks(values: Floats) -> NDArray[np.float64]:
    """1 .. N in every column of (N, U); equal values share the mean of their ranks."""
    order = np.argsort(values, axis=0, kind="stable")
    ordered = np.take_along_axis(values, order, 0)
    places = np.broadcast_to(np.arange(len(values))[:, None], values.shape)
    new = np.ones(values.shape, np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    ends = np.ones(values.shape, np.bool_)
    ends[:-1] = new[1:]
    first = np.maximum.accumulate(np.where(new, places, 0), 0)
    last = np.minimum.accumulate(np.where(ends, places, len(values))[::-1], 0)[::-1]
    found = np.empty(values.shape, np.float64)
    np.put_along_axis(found, order, (first + last) / 2 + 1, 0)
    return found


def last_characters(symbols: Sequence[bytes], text: str) -> Integers:
    """For each symbol of a text, what it stands for being given (N), its last character's place."""
    ends = np.cumsum([len(symbol) for symbol in symbols]) - 1
    sizes = [len(character.encode()) for character in text]
    return np.asarray(np.repeat(np.arange(len(text)), sizes)[ends])
