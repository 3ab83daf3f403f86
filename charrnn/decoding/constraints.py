r"""What a text must be, as one table that any decoder can follow: pattern, characters, lines.

Every limit is an expression over characters, all of them at once are one automaton, and a model's
symbols (characters, pieces of text, or bytes) are its steps. A symbol may be chosen when what it
leads to can still become a whole text within the symbols that are left, so there is no dead end:
whatever is chosen, the text will be one that matches in full.

What is drawn under a constraint is exact step by step: each symbol has the model's probability,
made to sum to one over the symbols that may be chosen. That is not the distribution of whole texts
that the model would have if all others were thrown away (its steps would also weigh how likely a
match is to be completed later), which cannot be had without looking ahead.

Where a pattern is satisfied and could also go on, the model decides: choosing a symbol with which
it cannot go on ends the text there, before that symbol. So ``\d+`` ends as often as the model would
write something else than a digit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats
from charrnn.config import Limits
from charrnn.decoding.automaton import (
    MAX_STATES,
    Automaton,
    Expressions,
    TooLargeError,
    distances,
    minimised,
    trimmed,
)
from charrnn.decoding.regex_parser import UnsupportedError, expression, members
from charrnn.errors import OptionError
from charrnn.terminal import character_name, visible

MAX_TABLE = 2**26  # entries of S x V: 256 MiB
_FOREVER = np.int32(2**31 - 1)

Symbols = Sequence[str] | Sequence[bytes]


class Constraint(NamedTuple):
    """Which symbols may follow, from state to state; 0 is the state before the text.

    Symbol v may be written in state s with r symbols left, it included, if and only if
    ``next[s, v] >= 0 and distance[next[s, v]] <= r - 1``. In an accepting state also a symbol that
    may not be written can be chosen, if it is one of `ends`: the text then ends before it. Where no
    symbol may be written, the text has ended.

    Attributes:
        next: (S, V) the state after a symbol; -1 where it is forbidden.
        distance: (S,) the fewest further symbols to an accepting state.
        accepting: (S,) whether a text may end here.
        ends: (V,) whether choosing a symbol that cannot be written ends the text.
    """

    next: NDArray[np.int32]
    distance: NDArray[np.int32]
    accepting: NDArray[np.bool_]
    ends: NDArray[np.bool_]

    def allowed(self, state: Any, left: int) -> NDArray[np.bool_]:
        """(V,) what may be written in `state` with `left` symbols left; (B, V) for states (B,)."""
        after = self.next[state]
        return np.asarray((after >= 0) & (self.distance[after] <= left - 1))

    def choices(self, state: Any, left: int) -> NDArray[np.bool_]:
        """What may be chosen: all that may be written, and what ends the text; as `allowed`.

        Nothing where the text has ended.
        """
        allowed = self.allowed(state, left)
        ending = allowed.any(-1) & self.accepting[state]
        return np.asarray(allowed | (ending[..., None] & self.ends))

    def masked(self, logits: Floats, states: Any, left: int) -> Floats:
        """Logits (B, V), minus infinity where nothing may be chosen."""
        return np.asarray(np.where(self.choices(states, left), logits, -np.inf))

    def ending(self, log_probs: NDArray[np.float64], states: Any, left: int) -> NDArray[np.float64]:
        """(B,) log-probability of ending here, of log-probabilities (B, V): of all that ends it.

        0 where nothing may follow, minus infinity where the text may not end.
        """
        allowed = self.allowed(states, left)
        ends = self.accepting[states][:, None] & self.ends & ~allowed
        with np.errstate(divide="ignore"):
            result = np.log(np.where(ends, np.exp(log_probs), 0.0).sum(-1))
        return np.asarray(np.where(allowed.any(-1), np.minimum(result, 0.0), 0.0))

    def advance(self, state: Any, symbol: Any) -> Any:
        """The state after a symbol that may be written; (B,) for states and symbols (B,)."""
        return self.next[state, symbol]


# What allows every text: it has no states, and nobody follows it.
UNCONSTRAINED = Constraint(
    np.zeros((0, 0), np.int32), np.zeros(0, np.int32), np.zeros(0, np.bool_), np.zeros(0, np.bool_)
)


def build(symbols: Symbols, limits: Limits, length: int) -> Constraint | None:
    """The constraint of texts of up to `length` symbols; None if every text is as good.

    Symbols that are parts of characters write valid UTF-8 under any limits, also under none.

    Args:
        symbols: what each symbol writes (V,); one that writes nothing is never chosen.
        limits: what the text must be.
        length: the most symbols that will be asked for.

    Raises:
        OptionError: nothing can match: in these symbols, or within the length; or the pattern
            is of no use here, or too large.
    """
    if limits == Limits():
        return utf8(symbols) if _texts(symbols) is None else None
    texts = _texts(symbols)
    alphabet = _everything() if texts is None else "".join(sorted(set().union(*texts)))
    reading = _Reading(limits, alphabet)
    try:
        automaton = reading.automaton(length * max(map(len, symbols)))
        steps = _over_symbols(automaton, reading.class_of, symbols, alphabet)
    except (TooLargeError, RecursionError):
        raise OptionError(
            f"{reading.name} needs more than {MAX_STATES:,} states, {MAX_TABLE:,} of states times "
            "symbols, or too long to find them: simplify it (fewer and smaller repetitions), "
            "or ask for a shorter --length"
        ) from None
    ends = np.full(len(symbols), limits.regex is not None)
    if ends.any():
        ends &= _of_characters(symbols, alphabet, reading.permitted)
    constraint = _constraint(steps, ends)
    if constraint.distance[0] > length:
        raise OptionError(reading.too_short(length, int(constraint.distance[0])))
    return constraint


def utf8(symbols: Symbols) -> Constraint:
    """Over symbols that are bytes, or more of them: every text that is valid UTF-8."""
    anything = Automaton(np.zeros((1, 1), np.int32), np.ones(1, np.bool_))
    class_of = np.zeros(0x110000 - 0x800, np.int64)
    return _constraint(_over_symbols(anything, class_of, symbols, ""), np.zeros(len(symbols), bool))


def _constraint(steps: Automaton, ends: NDArray[np.bool_]) -> Constraint:
    """The automaton over symbols with what it needs to be followed."""
    steps = trimmed(steps)
    away = distances(steps)
    distance = np.where(np.isinf(away), _FOREVER, away).astype(np.int32)
    return Constraint(steps.next, distance, steps.accepting, ends)


class _Reading:
    """Limits over an alphabet: their classes of characters, and what is to be said about them."""

    def __init__(self, limits: Limits, alphabet: str) -> None:
        self._limits = limits
        self._alphabet = alphabet
        self.permitted = np.ones(len(alphabet), np.bool_)  # (A,) by --allow and --forbid
        for name, characters in (("--allow", limits.allow), ("--forbid", limits.forbid)):
            if characters is not None:
                found = members(f"[{characters}]", 0, alphabet)
                self.permitted &= found if name == "--allow" else ~found
        if not self.permitted.any():
            raise OptionError(
                "--allow and --forbid leave no symbol to write: "
                "'charrnn info' lists those that the model knows"
            )
        self._members: dict[tuple[str, int], NDArray[np.bool_]] = {}
        self.class_of = np.zeros(len(alphabet), np.int64)  # (A,) the class of each character

    @property
    def name(self) -> str:
        """The option to blame."""
        limits = self._limits
        return "--max-lines" if limits.regex is None else f"--regex '{limits.regex}'"

    def automaton(self, length: int) -> Automaton:
        """All limits as the smallest automaton over classes of characters."""
        # Read twice: for the sets of characters that it speaks of, then with their classes.
        self._members[_ANY] = self.permitted
        self._expression(Expressions(1), self._collect)
        for found in self._members.values():
            self.class_of = self.class_of * 2 + found
            used = np.bincount(self.class_of) > 0
            self.class_of = (np.cumsum(used) - 1)[self.class_of]
        make = Expressions(int(self.class_of.max()) + 1)
        result = trimmed(make.automaton(self._expression(make, self._bits), length))
        if not result.accepting.any():
            raise OptionError(self._impossible())
        return minimised(result)

    def _expression(self, make: Expressions, leaf: Any) -> int:
        texts = make.repeat(make.classes(leaf(*_ANY)), 0, None)
        parts = [texts]
        if self._limits.regex is not None:
            try:
                parts.append(expression(self._limits.regex, make, leaf))
            except UnsupportedError as error:
                raise OptionError(f"{self.name} has {error}, which writing cannot follow") from None
        if self._limits.max_lines is not None:
            parts.append(expression(_lines(self._limits.max_lines), make, leaf))
        return make.intersection(parts)

    def _collect(self, pattern: str, flags: int) -> int:
        key = (pattern, flags)
        if key not in self._members:
            self._members[key] = members(pattern, flags, self._alphabet) & self.permitted
        return 1

    def _bits(self, pattern: str, flags: int) -> int:
        found = np.unique(self.class_of[self._members[pattern, flags]])
        return sum(1 << int(cls) for cls in found)

    def _impossible(self) -> str:
        """Why no text matches, of whatever length."""
        missing = [_readable(key[0]) for key, found in self._members.items() if not found.any()]
        if not missing:
            return f"{self.name} matches no text that the model could write"
        allowed = self._limits.allow is None and self._limits.forbid is None
        reason = "the model has never seen" if allowed else "is unknown or left out"
        return (
            f"{self.name} cannot match: it needs {', '.join(missing[:8])}, which {reason}; "
            "'charrnn info' lists the symbols the model knows"
        )

    def too_short(self, length: int, shortest: int) -> str:
        """Why nothing matches within the length."""
        if shortest == _FOREVER:
            return f"{self.name} matches nothing that the model's symbols could write"
        return (
            f"{self.name} matches nothing of up to {length:,} symbols: "
            f"the shortest match has {shortest:,}; raise --length"
        )


_ANY = ("", 0)  # the leaf that stands for every permitted character


def _lines(count: int) -> str:
    return rf"(?:[^\n]*\n){{0,{count - 1}}}[^\n]*\n?"


def _readable(pattern: str) -> str:
    """A set of characters for a message: the symbol itself where it is one."""
    one = re.fullmatch(r"\[\\U([0-9a-f]{8})\]", pattern)
    if one:
        return character_name(chr(int(one[1], 16)))
    return re.sub(r"\\U([0-9a-f]{8})", lambda code: visible(chr(int(code[1], 16))), pattern)


@cache
def _everything() -> str:
    """Every code point that UTF-8 can write, sorted."""
    return "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))


def _texts(symbols: Symbols) -> list[str] | None:
    """What each symbol writes; None where one writes a part of a character."""
    try:
        return [s.decode() if isinstance(s, bytes) else s for s in symbols]
    except UnicodeDecodeError:
        return None


def _of_characters(
    symbols: Symbols, alphabet: str, permitted: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """(V,) whether a symbol writes permitted characters only; parts of one count as permitted."""
    points = np.frombuffer(alphabet.encode("utf-32-le"), "<u4")  # sorted
    allowed = []
    for symbol in symbols:
        text = symbol.decode("utf-8", "ignore") if isinstance(symbol, bytes) else symbol
        places = np.searchsorted(
            points, np.array([ord(character) for character in text], np.uint32)
        )
        allowed.append(bool(permitted[places].all()))
    return np.array(allowed)


def _over_symbols(
    automaton: Automaton, class_of: NDArray[np.int64], symbols: Symbols, alphabet: str
) -> Automaton:
    """An automaton over classes of characters as one over symbols."""
    texts = _texts(symbols)
    if texts is None:
        automaton, class_of = _over_bytes(automaton, class_of), np.arange(256)
        units = [np.array(list(_encoded(symbol)), np.int64) for symbol in symbols]
    else:
        place = {character: index for index, character in enumerate(alphabet)}
        units = [np.array([place[c] for c in text], np.int64) for text in texts]
    if len(automaton.next) * len(symbols) > MAX_TABLE:
        raise TooLargeError
    table = _followed(automaton.next, [class_of[unit] for unit in units])
    return Automaton(table, automaton.accepting)


def _encoded(symbol: str | bytes) -> bytes:
    return symbol.encode() if isinstance(symbol, str) else symbol


def _followed(table: NDArray[np.int32], texts: list[NDArray[np.int64]]) -> NDArray[np.int32]:
    """(S, V): the state after all of a symbol's text; -1 where it is empty or impossible."""
    sink = np.full((1, table.shape[1]), -1, np.int32)
    with_sink = np.concatenate([table, sink])  # which -1 is the place of
    lengths = np.array([len(text) for text in texts])
    result = np.full((len(table), len(texts)), -1, np.int32)
    single = np.flatnonzero(lengths == 1)
    if len(single):
        result[:, single] = table[:, [int(texts[symbol][0]) for symbol in single.tolist()]]
    for symbol in np.flatnonzero(lengths > 1).tolist():
        states = np.arange(len(table), dtype=np.int32)
        for cls in texts[symbol].tolist():
            states = with_sink[states, cls]
        result[:, symbol] = states
    return result


def _distinct(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows that differ, and for each row which of them it is; numpy.unique takes seconds."""
    places: dict[bytes, int] = {}
    place_of = np.array([places.setdefault(row.tobytes(), len(places)) for row in rows])
    return rows[np.unique(place_of, return_index=True)[1]], place_of


def _over_bytes(automaton: Automaton, class_of: NDArray[np.int64]) -> Automaton:
    """An automaton over the classes of all characters as one over the bytes of their UTF-8.

    Inside a character it remembers the state before it and the bytes so far; what allows the same
    for the bytes to come is one state.
    """
    dead = automaton.next.shape[1]  # the class of surrogates, which UTF-8 has not
    surrogates = np.full(0xE000 - 0xD800, dead)
    whole = np.concatenate([class_of[:0xD800], surrogates, class_of[0xD800:]])
    # Characters by their last byte, these sets of 64 by the byte before it: each kept once.
    last, last_of = _distinct(whole.reshape(-1, 64))
    middle, middle_of = _distinct(last_of.reshape(-1, 64))
    inner: dict[bytes, int] = {}
    rows: list[NDArray[np.int32]] = []

    def state(targets: NDArray[np.int32], first: int = 0) -> int:
        """The state inside a character whose next byte, from 0x80 + `first`, leads to these."""
        row = np.full(64, -1, np.int32)
        row[first : first + len(targets)] = targets
        if (row < 0).all():
            return -1
        if row.tobytes() not in inner:
            if (len(automaton.next) + len(inner)) * 256 >= MAX_TABLE:
                raise TooLargeError
            inner[row.tobytes()] = len(automaton.next) + len(inner)
        return inner[row.tobytes()]

    def states(targets: NDArray[np.int32]) -> NDArray[np.int32]:
        return np.array([state(each) for each in targets], np.int32)

    for after in automaton.next:
        target = np.append(after, np.int32(-1))
        one_left = states(target[last])
        two_left = states(one_left[middle])
        by_block, by_group = one_left[last_of], two_left[middle_of]
        row = np.full(256, -1, np.int32)
        row[:0x80] = target[whole[:0x80]]
        row[0xC2:0xE0] = by_block[2:32]
        row[0xE0] = state(by_block[32:64], 32)  # no second way to write what is shorter
        row[0xE1:0xF0] = by_group[1:16]
        row[0xF0] = state(by_group[16:64], 16)
        row[0xF1:0xF5] = [state(by_group[first : first + 64]) for first in (64, 128, 192, 256)]
        rows.append(row)
    for targets in inner:
        row = np.full(256, -1, np.int32)
        row[0x80:0xC0] = np.frombuffer(targets, np.int32)
        rows.append(row)
    accepting = np.zeros(len(rows), np.bool_)
    accepting[: len(automaton.accepting)] = automaton.accepting
    return Automaton(np.array(rows), accepting)
