"""A pattern in Python's own syntax -> an expression: what ``re.fullmatch`` matches, exactly.

The standard library parses the pattern and says which characters a class has (with its flags, its
categories, its folding of case), so there is no second dialect. What looks back at what was
written, or depends on how a match was found, has no expression and is refused.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.decoding.automaton import Expressions

# One character's pattern with its flags -> the bits of its classes.
Leaf = Callable[[str, int], int]
_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}
_ROUNDS = 1000  # of a repetition that is written out
_REFUSED = {
    "GROUPREF": "a reference to a group",
    "GROUPREF_EXISTS": "a reference to a group",
    "ATOMIC_GROUP": "an atomic group",
    "POSSESSIVE_REPEAT": "a possessive repetition",
    "AT_BOUNDARY": r"\b",
    "AT_NON_BOUNDARY": r"\B",
}


class UnsupportedError(Exception):
    """Part of the syntax that has no expression; its message names it."""


def members(pattern: str, flags: int, alphabet: str) -> NDArray[np.bool_]:
    """(A,) which characters of the sorted `alphabet` a pattern of one character matches."""
    result = np.zeros(len(alphabet), np.bool_)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a later Python may read otherwise
        runs = re.compile(f"(?:{pattern})+", flags)
    for run in runs.finditer(alphabet):
        result[run.start() : run.end()] = True
    return result


def expression(pattern: str, expressions: Expressions, leaf: Leaf) -> int:
    """The expression of `pattern`, of whose syntax `re.compile` approves.

    Raises:
        UnsupportedError: it has a back reference, a look behind, a word boundary, an atomic group
            or a possessive repetition.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsed = parser.parse(pattern)
    return _Reader(expressions, leaf).sequence(
        parsed, expressions.empty, int(parsed.state.flags), True
    )


class _Reader:
    """Walks the parsed pattern; every part is given what follows it, which it may look ahead at."""

    def __init__(self, expressions: Expressions, leaf: Leaf) -> None:
        self._make = expressions
        self._leaf = leaf

    def sequence(self, items: Any, rest: int, flags: int, at_start: bool | None) -> int:
        """The parts one after another, and then `rest`.

        `at_start` tells whether nothing was matched before; None: it depends on the text.
        """
        starts = []
        for index in range(len(items)):
            starts.append(at_start)
            shortest, longest = items[index : index + 1].getwidth()
            if longest > 0:
                at_start = False if shortest > 0 or at_start is False else None
        for (name, value), start in zip(reversed(list(items)), reversed(starts), strict=True):
            rest = self._part(str(name), value, rest, flags, start)
        return rest

    def _part(self, name: str, value: Any, rest: int, flags: int, at_start: bool | None) -> int:
        make = self._make
        match name:
            case "LITERAL" | "NOT_LITERAL" | "ANY" | "IN":
                bits = self._leaf(_source(name, value), flags & (re.I | re.A | re.S))
                return make.concat(make.classes(bits), rest)
            case "SUBPATTERN":
                _, added, removed, inside = value
                return self.sequence(inside, rest, (flags | added) & ~removed, at_start)
            case "BRANCH":
                return make.union(self.sequence(way, rest, flags, at_start) for way in value[1])
            case "MAX_REPEAT" | "MIN_REPEAT":
                return self._repetition(value, rest, flags, at_start)
            case "ASSERT" | "ASSERT_NOT":
                return self._look_ahead(name, value, rest, flags, at_start)
            case "AT":
                return self._position(str(value), rest, flags, at_start)
            case "FAILURE":
                return make.nothing
        raise UnsupportedError(_REFUSED.get(name, name.lower()))

    def _repetition(self, value: Any, rest: int, flags: int, at_start: bool | None) -> int:
        low, high, inside = value
        if high == 1:
            once = self.sequence(inside, rest, flags, at_start)
            return once if low else self._make.union((once, rest))
        if _looks_around(inside):
            return self._looking_repetition(value, rest, flags)
        part = self.sequence(inside, self._make.empty, flags, None)
        bound = None if high == parser.MAXREPEAT else int(high)
        return self._make.concat(self._make.repeat(part, int(low), bound), rest)

    def _looking_repetition(self, value: Any, rest: int, flags: int) -> int:
        """One in which each round may look ahead at the next ones and at what follows them."""
        low, high, inside = value

        def once(after: int) -> int:
            return self.sequence(inside, after, flags, None)

        if high == parser.MAXREPEAT:
            if inside.getwidth()[0] == 0:
                raise UnsupportedError("a repetition of what may be empty and looks ahead")
            rest = self._make.loop(rest, once)
            high = low
        if high > _ROUNDS:
            raise UnsupportedError(f"more than {_ROUNDS} rounds of what looks ahead")
        after = rest
        for _ in range(high - low):
            after = self._make.union((rest, once(after)))
        for _ in range(low):
            after = once(after)
        return after

    def _look_ahead(
        self, name: str, value: Any, rest: int, flags: int, at_start: bool | None
    ) -> int:
        direction, inside = value
        if direction < 0:
            raise UnsupportedError("looking behind")
        ahead = self.sequence(inside, self._make.anything, flags, at_start)
        if name == "ASSERT_NOT":
            ahead = self._make.complement(ahead)
        return self._make.intersection((ahead, rest))

    def _position(self, name: str, rest: int, flags: int, at_start: bool | None) -> int:
        make = self._make
        if name in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
            if at_start:
                return rest
            if at_start is None or (flags & re.M and name == "AT_BEGINNING"):
                raise UnsupportedError("^ after the beginning")
            return make.nothing
        if name not in ("AT_END", "AT_END_STRING"):
            raise UnsupportedError(_REFUSED.get(name, name.lower()))
        ends = [make.empty]
        if name == "AT_END":  # also before the line feed that ends the text
            line_end = make.classes(self._leaf(_source("LITERAL", ord("\n")), 0))
            ends.append(make.concat(line_end, make.anything if flags & re.M else make.empty))
        return make.intersection((make.union(ends), rest))


def _looks_around(items: Any) -> bool:
    """Whether what follows or precedes matters to some part."""
    for name, value in items:
        if str(name) in ("AT", "ASSERT", "ASSERT_NOT"):
            return True
        inside: Sequence[Any] = ()
        if str(name) == "BRANCH":
            inside = value[1]
        elif str(name) in ("SUBPATTERN", "MAX_REPEAT", "MIN_REPEAT"):
            inside = value[-1:]
        if any(_looks_around(part) for part in inside):
            return True
    return False


def _source(name: str, value: Any) -> str:
    """A pattern of one character, written out again."""
    if name == "ANY":
        return "."
    if name == "IN":
        return f"[{''.join(_item(str(kind), what) for kind, what in value)}]"
    return f"[{'^' if name == 'NOT_LITERAL' else ''}{_escape(value)}]"


def _item(name: str, value: Any) -> str:
    match name:
        case "NEGATE":
            return "^"
        case "RANGE":
            return f"{_escape(value[0])}-{_escape(value[1])}"
        case "CATEGORY":
            return _CATEGORIES[str(value)]
    return _escape(value)


def _escape(code: int) -> str:
    return f"\\U{code:08x}"
