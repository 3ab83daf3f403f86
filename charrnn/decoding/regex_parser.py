"""From a pattern in Python's syntax to an expression: exactly what ``re.fullmatch`` matches.

The standard library parses the pattern and decides which characters a class contains (with flags,
categories and case folding), so there is no second dialect. Syntax that looks back at earlier text,
or depends on how a match was found, has no expression and is refused.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.decoding.expressions import Expressions

# From a pattern of one character and its flags to the bits of its classes.
Leaf = Callable[[str, int], int]
_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}
_MAX_ROUNDS = 1000  # of a repetition that is unrolled
_REFUSED = {
    "GROUPREF": "a reference to a group",
    "GROUPREF_EXISTS": "a reference to a group",
    "ATOMIC_GROUP": "an atomic group",
    "POSSESSIVE_REPEAT": "a possessive repetition",
    "AT_BOUNDARY": r"\b",
    "AT_NON_BOUNDARY": r"\B",
}


class UnsupportedError(Exception):
    """The pattern has syntax without an expression; the message names it."""


def members(pattern: str, flags: int, alphabet: str) -> NDArray[np.bool_]:
    """Return which characters (A,) of the sorted `alphabet` a one-character pattern matches."""
    result = np.zeros(len(alphabet), np.bool_)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about syntax that a later Python may read differently
        runs = re.compile(f"(?:{pattern})+", flags)
    for run in runs.finditer(alphabet):
        result[run.start() : run.end()] = True
    return result


def expression(pattern: str, expressions: Expressions, leaf: Leaf) -> int:
    """Return the expression of `pattern`, which `re.compile` must accept.

    Raises:
        UnsupportedError: it has a back reference, a lookbehind, a word boundary, an atomic group
            or a possessive repetition.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsed = parser.parse(pattern)
    return _Reader(expressions, leaf).sequence(
        parsed, expressions.empty, int(parsed.state.flags), True
    )


class _Reader:
    """Walks the parsed pattern; every part is given what follows it, for lookaheads."""

    def __init__(self, expressions: Expressions, leaf: Leaf) -> None:
        self._make = expressions
        self._leaf = leaf

    def sequence(self, items: Any, rest: int, flags: int, at_start: bool | None) -> int:
        """Return the concatenation of parts, followed by `rest`.

        `at_start` says whether nothing was matched before; None: that depends on the text.
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
                bits = self._leaf(_pattern_of(name, value), flags & (re.I | re.A | re.S))
                return make.concat(make.classes(bits), rest)
            case "SUBPATTERN":
                _, added, removed, inside = value
                return self.sequence(inside, rest, (flags | added) & ~removed, at_start)
            case "BRANCH":
                return make.union(self.sequence(part, rest, flags, at_start) for part in value[1])
            case "MAX_REPEAT" | "MIN_REPEAT":
                return self._repetition(value, rest, flags, at_start)
            case "ASSERT" | "ASSERT_NOT":
                return self._lookahead(name, value, rest, flags, at_start)
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
            return self._lookahead_repetition(value, rest, flags)
        part = self.sequence(inside, self._make.empty, flags, None)
        bound = None if high == parser.MAXREPEAT else int(high)
        return self._make.concat(self._make.repeat(part, int(low), bound), rest)

    def _lookahead_repetition(self, value: Any, rest: int, flags: int) -> int:
        """Return a repetition whose rounds may look ahead at later rounds and at what follows."""
        low, high, inside = value

        def once(after: int) -> int:
            return self.sequence(inside, after, flags, None)

        if high == parser.MAXREPEAT:
            if inside.getwidth()[0] == 0:
                raise UnsupportedError("a repetition of a lookahead that may match nothing")
            rest = self._make.loop(rest, once)
            high = low
        if high > _MAX_ROUNDS:
            raise UnsupportedError(f"more than {_MAX_ROUNDS} repetitions of a lookahead")
        after = rest
        for _ in range(high - low):
            after = self._make.union((rest, once(after)))
        for _ in range(low):
            after = once(after)
        return after

    def _lookahead(
        self, name: str, value: Any, rest: int, flags: int, at_start: bool | None
    ) -> int:
        direction, inside = value
        if direction < 0:
            raise UnsupportedError("a lookbehind")
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
        if name == "AT_END":  # also matches before a final line feed
            line_end = make.classes(self._leaf(_pattern_of("LITERAL", ord("\n")), 0))
            ends.append(make.concat(line_end, make.anything if flags & re.M else make.empty))
        return make.intersection((make.union(ends), rest))


def _looks_around(items: Any) -> bool:
    """Return whether some part depends on what follows or precedes it."""
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


def _pattern_of(name: str, value: Any) -> str:
    """Return the source of a parsed pattern of one character."""
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
