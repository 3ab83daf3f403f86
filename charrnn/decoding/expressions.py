"""Regular expressions as values, and their automata, by Brzozowski's derivatives.

The derivative of an expression by a character matches what may follow that character; where an
expression matches the empty text, a text may end. Repeated derivatives, with equal expressions
identified, are the states of a deterministic automaton. This needs no nondeterministic automaton
in between, and intersection, complement and counted repetition cost no more than union (Owens,
Reppy and Turon, "Regular-expression derivatives re-examined", 2009).

An expression is an int, its number among all that were made. Characters come as classes: those
that no part of an expression tells apart are one class, and a set of classes is the bits of an int.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from charrnn.decoding.automaton import MAX_STATES, MAX_TABLE, Automaton, TooLargeError

MAX_WORK = 3_000_000  # parts of expressions visited: some seconds

# An expression's kind and its parts: a set of classes, other expressions, bounds of a repetition.
Node = tuple[str, tuple[int, ...]]
_UNBOUNDED = -1


class _Nodes:
    """The table of expressions; equal ones get one number.

    Attributes:
        nodes: kind and parts of each expression.
        nullable: whether each matches the empty text.
        first: the classes that a text of each may begin with, or more, as bits.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.nullable: list[bool] = []
        self.first: list[int] = []
        self._ids: dict[Node, int] = {}
        self._work = 0

    def number(self, kind: str, parts: tuple[int, ...]) -> int:
        """Return the number of an expression, which may be new."""
        self.count(1 + len(parts))
        node = (kind, parts)
        if node not in self._ids:
            self._ids[node] = len(self.nodes)
            self.nodes.append(node)
            self.nullable.append(self._is_nullable(kind, parts))
            self.first.append(self._first_of(kind, parts))
        return self._ids[node]

    def count(self, work: int) -> None:
        """Count the parts that are visited.

        Raises:
            TooLargeError: there are too many.
        """
        self._work += work
        if self._work > MAX_WORK:
            raise TooLargeError

    def _is_nullable(self, kind: str, parts: tuple[int, ...]) -> bool:
        match kind:
            case "union":
                return any(self.nullable[part] for part in parts)
            case "concat" | "intersection":
                return all(self.nullable[part] for part in parts)
            case "complement":
                return not self.nullable[parts[0]]
            case "repeat" | "loop":
                return parts[1] == 0
        return kind == "empty"

    def _first_of(self, kind: str, parts: tuple[int, ...]) -> int:
        match kind:
            case "classes":
                return parts[0]
            case "union":
                return functools.reduce(int.__or__, (self.first[part] for part in parts), 0)
            case "intersection":
                return functools.reduce(int.__and__, (self.first[part] for part in parts), -1)
            case "concat":
                rest = self.first[parts[1]] if self.nullable[parts[0]] else 0
                return self.first[parts[0]] | rest
            case "repeat":
                return self.first[parts[0]]
        return 0 if kind == "empty" else -1  # a complement, or a loop whose rounds come later


class Expressions:
    """Makes expressions over `num_classes` classes of characters, and their derivatives."""

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self._table = _Nodes()
        self._intern, self._count = self._table.number, self._table.count
        self._nodes, self._nullable = self._table.nodes, self._table.nullable
        self._derivatives: dict[tuple[int, int], int] = {}
        self._loops: list[int] = []
        self.nothing = self._intern("union", ())
        self.empty = self._intern("empty", ())
        self.anything = self._intern("complement", (self.nothing,))

    def matches_empty(self, expression: int) -> bool:
        """Return whether an expression matches the empty text."""
        return self._nullable[expression]

    def first(self, expression: int) -> Iterator[int]:
        """Yield the classes that a text may begin with, or more."""
        mask = self._table.first[expression] & ((1 << self.num_classes) - 1)
        while mask:
            yield (mask & -mask).bit_length() - 1
            mask &= mask - 1

    def classes(self, mask: int) -> int:
        """Return the expression of one character of these classes."""
        return self._intern("classes", (mask,)) if mask else self.nothing

    def concat(self, first: int, rest: int) -> int:
        """Return the concatenation."""
        if self.nothing in (first, rest):
            return self.nothing
        if first == self.empty:
            return rest
        if rest == self.empty:
            return first
        kind, parts = self._nodes[first]
        if kind == "concat":  # nested to the right, so that equal ones have equal parts
            return self.concat(parts[0], self.concat(parts[1], rest))
        return self._intern("concat", (first, rest))

    def repeat(self, part: int, low: int, high: int | None) -> int:
        """Return the repetition, `low` to `high` times (None: any number)."""
        if high == 0 or part in (self.nothing, self.empty):
            return self.empty if low == 0 or part == self.empty else self.nothing
        if (low, high) == (1, 1):
            return part
        if self._nullable[part]:
            low = 0
        if self._nodes[part][0] == "repeat" and self._nodes[part][1][1:] == (0, _UNBOUNDED):
            return part
        return self._intern("repeat", (part, low, _UNBOUNDED if high is None else high))

    def loop(self, rest: int, once: Callable[[int], int]) -> int:
        """Return any number of rounds and then `rest`; a round may look ahead at what follows it.

        Args:
            rest: what comes after the last round.
            once: given what follows, returns one round followed by that; a round is not empty.
        """
        index = len(self._loops)
        again = self._intern("loop", (index, 0 if self._nullable[rest] else 1))
        self._loops.append(rest)
        self._loops[index] = self.union((rest, once(again)))
        return again

    def complement(self, part: int) -> int:
        """Return the expression of all other texts."""
        kind, parts = self._nodes[part]
        return parts[0] if kind == "complement" else self._intern("complement", (part,))

    def union(self, parts: Iterable[int]) -> int:
        """Return the expression that matches where any of the parts does."""
        flat = self._flat("union", parts)
        if self.anything in flat:
            return self.anything
        mask = 0
        others = []
        for part in self._factored(flat):
            kind, inside = self._nodes[part]
            if kind == "classes":
                mask |= inside[0]
            else:
                others.append(part)
        if mask:
            others.append(self.classes(mask))
        return self._of("union", others)

    def intersection(self, parts: Iterable[int]) -> int:
        """Return the expression that matches where all of the parts do."""
        flat = self._flat("intersection", parts)
        if self.nothing in flat:
            return self.nothing
        masks = [self._nodes[part][1][0] for part in flat if self._nodes[part][0] == "classes"]
        others = [part for part in flat if self._nodes[part][0] != "classes"]
        if masks:
            mask = masks[0]
            for other in masks[1:]:
                mask &= other
            others.append(self.classes(mask))
            if not mask:
                return self.nothing
        return self._of("intersection", [part for part in others if part != self.anything])

    def _flat(self, kind: str, parts: Iterable[int]) -> set[int]:
        flat: set[int] = set()
        for part in parts:
            inside = self._nodes[part]
            flat.update(inside[1] if inside[0] == kind else (part,))
        self._count(len(flat))
        return flat

    def _of(self, kind: str, parts: list[int]) -> int:
        if len(parts) == 1:
            return parts[0]
        if not parts and kind == "intersection":
            return self.anything
        return self._intern(kind, tuple(sorted(parts)))

    def _factored(self, parts: set[int]) -> list[int]:
        """Return fewer parts with the same union: nested counts make very many of them.

        x*y|x*z is x*(y|z), and x{2,5}y|x{4,9}y is x{2,9}y.
        """
        rests: dict[int, list[int]] = {}  # what follows each repetition that comes first
        others = []
        for part in parts:
            kind, inside = self._nodes[part]
            first, rest = inside if kind == "concat" else (part, self.empty)
            if self._nodes[first][0] == "repeat":
                rests.setdefault(first, []).append(rest)
            else:
                others.append(part)
        spans: dict[tuple[int, int], list[tuple[int, float]]] = {}
        for first, found in rests.items():
            rest = found[0] if len(found) == 1 else self.union(found)
            repeated, low, high = self._nodes[first][1]
            bound = np.inf if high == _UNBOUNDED else high
            spans.setdefault((repeated, rest), []).append((low, bound))
        for (repeated, rest), counts in spans.items():
            for low, bound in _joined_spans(sorted(counts)):
                limit = None if bound == np.inf else int(bound)
                others.append(self.concat(self.repeat(repeated, low, limit), rest))
        return others

    def derivative(self, expression: int, cls: int) -> int:
        """Return the expression of what may follow a character of class `cls`."""
        if not self._table.first[expression] >> cls & 1:
            return self.nothing
        found = self._derivatives.get((expression, cls))
        if found is None:
            self._count(1)
            found = self._derive(*self._nodes[expression], cls)
            self._derivatives[expression, cls] = found
        return found

    def _derive(self, kind: str, parts: tuple[int, ...], cls: int) -> int:
        match kind:
            case "classes":
                return self.empty if parts[0] >> cls & 1 else self.nothing
            case "concat":
                first, rest = parts
                after = self.concat(self.derivative(first, cls), rest)
                if self._nullable[first]:
                    return self.union((after, self.derivative(rest, cls)))
                return after
            case "repeat":
                part, low, high = parts
                fewer = None if high == _UNBOUNDED else high - 1
                rest = self.repeat(part, max(low - 1, 0), fewer)
                return self.concat(self.derivative(part, cls), rest)
            case "loop":
                return self.derivative(self._loops[parts[0]], cls)
            case "complement":
                return self.complement(self.derivative(parts[0], cls))
            case "union":
                self._count(len(parts) // 8)  # most can be seen to be nothing
                return self.union(self.derivative(part, cls) for part in parts)
            case "intersection":
                return self.intersection(self.derivative(part, cls) for part in parts)
        return self.nothing  # the derivative of the empty text


def explore(expressions: Expressions, start: int, depth: int) -> Automaton:
    """Return the states that texts of `start` of up to `depth` characters reach; 0 is `start`.

    If no text that short matches, the search goes on to the shortest that does.

    Raises:
        TooLargeError: there are more than `MAX_STATES` states, or finding them takes too long.
    """
    states, numbers = [start], {start: 0}
    rows: list[NDArray[np.int32]] = []
    ends = False
    while len(rows) < len(states) and (depth > 0 or not ends):
        layer = states[len(rows) :]
        ends = ends or any(expressions.matches_empty(state) for state in layer)
        rows += [_transitions(expressions, state, states, numbers) for state in layer]
        depth -= 1
    table = np.full((len(states), expressions.num_classes), -1, np.int32)
    table[: len(rows)] = rows
    return Automaton(table, np.array([expressions.matches_empty(state) for state in states]))


def _transitions(
    expressions: Expressions, state: int, states: list[int], numbers: dict[int, int]
) -> NDArray[np.int32]:
    """Return the number of the state after each class; add new states to both collections."""
    row = np.full(expressions.num_classes, -1, np.int32)
    for cls in expressions.first(state):
        after = expressions.derivative(state, cls)
        if after == expressions.nothing:
            continue
        if after not in numbers:
            if len(states) == min(MAX_STATES, MAX_TABLE // expressions.num_classes):
                raise TooLargeError
            numbers[after] = len(states)
            states.append(after)
        row[cls] = numbers[after]
    return row


def _joined_spans(spans: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return sorted spans of integers with those that touch joined."""
    joined = [spans[0]]
    for low, high in spans[1:]:
        first, last = joined[-1]
        if low <= last + 1:
            joined[-1] = (first, max(last, high))
        else:
            joined.append((low, high))
    return joined
