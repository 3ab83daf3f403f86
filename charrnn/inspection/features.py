"""Features of a text that units may track, and the units that do.

Shapes: N tokens, U units.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats, Integers
from charrnn.text import line_ends

MIN_MINORITY = 10  # tokens in each half that differ from a feature's most frequent value
MAX_BRACKET_SPAN = 2000  # characters between a bracket and the one that closes it
_CLOSING = {")": "(", "]": "[", "}": "{"}
# A span that begins and ends within a paragraph.
_INSIDE = r"(?:[^{0}\n]|\n(?![ \t]*\n))*?"
_SPANS = {
    "inside quotes": "|".join(
        rf"{opens}{_INSIDE.format(closes)}{closes}" for opens, closes in ('""', "“”", "«»")
    ),
    "inside $ $": rf"(?<!\\)\${_INSIDE.format('$')}\$",
    "inside < >": r"<[^<>\s][^<>]*>",
    "inside a comment": r"/\*.*?\*/|(?<!\S)//[^\n]*\n|^[ \t]*[#%][^\n]*\n",
    "inside the first word of a line": rf"(?<![^{line_ends.CHARACTERS}])[ \t]*\w+.?",
    "inside a word in capitals": r"\b[^\W\d_a-z]{2,}\b.?",
}


@dataclass(frozen=True)
class Feature:
    """A property of each token of a text.

    Attributes:
        name: for tables.
        values: (N,) whole numbers; 0 and 1 for a yes-or-no feature.
    """

    name: str
    values: Integers

    @property
    def is_number(self) -> bool:
        """Whether the feature is a number, not a yes or no."""
        return bool(self.values.max(initial=0) > 1)


@dataclass(frozen=True)
class Tracker:
    """A unit that tracks a feature.

    Attributes:
        unit: its column.
        score: -1 .. 1 on the second half of the text, which was not used to choose the unit.
        chosen_by: the score on the first half, by which it was chosen.
    """

    unit: int
    score: float
    chosen_by: float


def features(text: str) -> Iterator[Feature]:
    """Yield all features by character; each value is known once the character is read."""
    characters = [*text]
    following = [*text[1:], ""]
    letters = np.array([character.isalpha() for character in characters])
    letter_follows = np.array([character.isalpha() for character in following])
    points = np.array([ord(character) for character in characters])
    breaks = line_ends.ends(points)
    is_end = np.isin(points, [ord(character) for character in line_ends.CHARACTERS])

    def yes_or_no(name: str, answers: Sequence[bool] | NDArray[np.bool_]) -> Feature:
        return Feature(name, np.asarray(answers, np.int64))

    for name, pattern in _SPANS.items():
        inside = np.zeros(len(text), np.bool_)
        for match in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
            inside[match.start() : match.end() - 1] = True
        yield yes_or_no(name, inside)
    depth = _depth(text)
    yield yes_or_no("inside brackets", depth > 0)
    yield Feature("bracket depth", depth)
    yield Feature("position in the line", _since(breaks))
    yield Feature("position in the word", np.where(letters, _since(~letters), 0))
    yield Feature("indentation", _indentation(text))
    yield yes_or_no("letter", letters)
    yield yes_or_no("capital letter", [character.isupper() for character in characters])
    yield yes_or_no("digit", [character.isdigit() for character in characters])
    yield yes_or_no("last letter of a word", letters & ~letter_follows)
    yield yes_or_no("end of a sentence", [character in ".!?" for character in characters])
    yield yes_or_no("a line end follows", np.append(is_end[1:], False))


def _since(marks: NDArray[np.bool_]) -> Integers:
    """Return the distance from the last mark, 0 at a mark; before the first, from index -1."""
    indices = np.arange(len(marks))
    return indices - np.maximum.accumulate(np.where(marks, indices, -1))


def _depth(text: str) -> Integers:
    """Return the number of open brackets; only brackets that are closed again count."""
    change = np.zeros(len(text) + 1, np.int64)
    opened: list[tuple[str, int]] = []
    for index, character in enumerate(text):
        if character in _CLOSING.values():
            opened.append((character, index))
        elif character in _CLOSING:
            kinds = [kind for kind, _ in opened]
            if _CLOSING[character] in kinds:
                last = len(kinds) - 1 - kinds[::-1].index(_CLOSING[character])
                if index - opened[last][1] <= MAX_BRACKET_SPAN:
                    change[opened[last][1]] += 1
                    change[index] -= 1
                del opened[last:]
    return np.cumsum(change[:-1])


def _indentation(text: str) -> Integers:
    """Return the blanks at the start of the line that have been read so far."""
    indentation: list[int] = []
    for line in line_ends.split(text):
        blanks = len(line) - len(line.lstrip(" \t"))
        indentation += [min(index + 1, blanks) for index in range(len(line))]
    return np.array(indentation, np.int64)


def at_tokens(feature: Feature, last_characters: Integers) -> Feature:
    """Return the feature by token: its value at each token's last character (N,)."""
    return Feature(feature.name, feature.values[last_characters])


def is_frequent_enough(feature: Feature) -> bool:
    """Return whether the feature varies enough in both halves of the text to search for units."""
    for half in _halves(feature.values):
        _, times = np.unique(half, return_counts=True)
        if len(times) < 2 or len(half) - times.max() < MIN_MINORITY:
            return False
    return True


def trackers(units: Floats, feature: Feature, count: int) -> list[Tracker]:
    """Return the `count` units (N, U) that track a feature best on the first half of a text.

    A yes-or-no feature is scored by the rank-biserial correlation, 2 AUC - 1 of the ROC curve: 1 if
    every yes has a larger activation than every no, 0 by chance. A number is scored by Spearman's
    rank correlation. The best unit comes first, whatever the sign of its score.
    """
    search, held_out = _halves(units)
    wanted, checked = _halves(feature.values)
    searched = scores(search, wanted, feature.is_number)
    best = np.argsort(-np.abs(searched), kind="stable")[:count]
    again = scores(held_out[:, best], checked, feature.is_number)
    return [
        Tracker(int(unit), float(score), float(searched[unit]))
        for unit, score in zip(best, again, strict=True)
    ]


def _halves(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    middle = len(values) // 2
    return values[:middle], values[middle:]


def scores(units: Floats, wanted: Integers, is_number: bool) -> Floats:
    """Return for each unit (N, U) Spearman's correlation with `wanted` (N,), or 2 AUC - 1."""
    ranked = ranks(units)
    if not is_number:
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
    """Return the ranks 1 .. N in each column of (N, U); equal values share their mean rank."""
    order = np.argsort(values, axis=0, kind="stable")
    ordered = np.take_along_axis(values, order, 0)
    indices = np.broadcast_to(np.arange(len(values))[:, None], values.shape)
    new = np.ones(values.shape, np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    ends = np.ones(values.shape, np.bool_)
    ends[:-1] = new[1:]
    first = np.maximum.accumulate(np.where(new, indices, 0), 0)
    last = np.minimum.accumulate(np.where(ends, indices, len(values))[::-1], 0)[::-1]
    ranked = np.empty(values.shape, np.float64)
    np.put_along_axis(ranked, order, (first + last) / 2 + 1, 0)
    return ranked


def last_characters(tokens: Sequence[bytes], text: str) -> Integers:
    """Return the index of the last character of each token (N) of a text.

    Args:
        tokens: the bytes of each token, in the order of the text.
        text: the same text.
    """
    ends = np.cumsum([len(token) for token in tokens]) - 1
    sizes = [len(character.encode()) for character in text]
    return np.asarray(np.repeat(np.arange(len(text)), sizes)[ends])
