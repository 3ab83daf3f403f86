"""Regular expressions as values, and the automaton of one: Brzozowski's derivatives.

The derivative of an expression by a character is what may follow that character; an expression that
matches nothing more is where a text may end. Taken again and again, equal expressions being one,
they are the states of a deterministic automaton, without a detour over a nondeterministic one, and
"both", "not" and counted repetition cost no more than "either" (Owens, Reppy and Turon,
"Regular-expression derivatives re-examined", 2009).

An expression is a number, its place among all that were made. Characters come as classes: those
that no part of the expressions tells apart are one, and a set of classes is the bits of an int.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_STATES = 20_000
MAX_WORK = 3_000_000  # parts of expressions that are looked at: some seconds


class TooLargeError(Exception):
    """More states, or more work to find them, than is allowed."""


@dataclass(frozen=True)
class Automaton:
    """States reading character classes.

    Attributes:
        next: (S, K) the state after each class; -1 where no text goes on.
        accepting: (S,) whether a text may end here.
    """

    next: NDArray[np.int32]
    accepting: NDArray[np.bool_]


# An expression's kind, and its parts: a set of classes, other expressions, bounds of a repetition.
Node = tuple[str, tuple[int, ...]]
_UNBOUNDED = -1


class Expressions:
    """Makes expressions over `num_classes` classes of characters; equal ones are one."""

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes
        self._ids: dict[Node, int] = {}
        self._nodes: list[Node] = []
        self._nullable: list[bool] = []
        self._derivatives: dict[tuple[int, int], int] = {}
        self._loops: list[int] = []
        self._work = 0
        self.nothing = self._intern("union", ())
        self.empty = self._intern("empty", ())
        self.anything = self._intern("complement", (self.nothing,))

    def _intern(self, kind: str, parts: tuple[int, ...]) -> int:
        self._work += 1 + len(parts)
        if self._work > MAX_WORK:
            raise TooLargeError
        node = (kind, parts)
        if node not in self._ids:
            self._ids[node] = len(self._nodes)
            self._nodes.append(node)
            self._nullable.append(self._matches_empty(kind, parts))
        return self._ids[node]

    def _matches_empty(self, kind: str, parts: tuple[int, ...]) -> bool:
        match kind:
            case "union":
                return any(self._nullable[part] for part in parts)
            case "concat" | "intersection":
                return all(self._nullable[part] for part in parts)
            case "complement":
                return not self._nullable[parts[0]]
            case "repeat" | "loop":
                return parts[1] == 0
        return kind == "empty"

    def classes(self, mask: int) -> int:
        """One character of these classes."""
        return self._intern("classes", (mask,)) if mask else self.nothing

    def concat(self, first: int, rest: int) -> int:
        """One after the other."""
        if self.nothing in (first, rest):
            return self.nothing
        if first == self.empty:
            return rest
        if rest == self.empty:
            return first
        kind, parts = self._nodes[first]
        if kind == "concat":  # kept leaning to the right, so that equal ones look equal
            return self.concat(parts[0], self.concat(parts[1], rest))
        return self._intern("concat", (first, rest))

    def repeat(self, part: int, low: int, high: int | None) -> int:
        """`low` to `high` (None: any number) times."""
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
        """`rest`, after any number of rounds, each of which may depend on all that follows it.

        Args:
            rest: what comes after the last round.
            once: given what follows, one round and then that; a round is not empty.
        """
        place = len(self._loops)
        again = self._intern("loop", (place, 0 if self._nullable[rest] else 1))
        self._loops.append(rest)
        self._loops[place] = self.union((rest, once(again)))
        return again

    def complement(self, part: int) -> int:
        """All texts but these."""
        kind, parts = self._nodes[part]
        return parts[0] if kind == "complement" else self._intern("complement", (part,))

    def union(self, parts: Iterable[int]) -> int:
        """Any of them."""
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
        """All of them at once."""
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
        self._work += len(flat)
        return flat

    def _of(self, kind: str, parts: list[int]) -> int:
        if len(parts) == 1:
            return parts[0]
        if not parts and kind == "intersection":
            return self.anything
        return self._intern(kind, tuple(sorted(parts)))

    def _factored(self, parts: set[int]) -> list[int]:
        """The union's parts, fewer: counting in nested ways makes very many that are the same.

        x*y or x*z is x*(y or z), and x{2,5}y or x{4,9}y is x{2,9}y.
        """
        rests: dict[int, list[int]] = {}  # behind each repetition that comes first
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
            for low, bound in _joined(sorted(counts)):
                most = None if bound == np.inf else int(bound)
                others.append(self.concat(self.repeat(repeated, low, most), rest))
        return others

    def derivative(self, expression: int, cls: int) -> int:
        """What may follow a character of class `cls`."""
        found = self._derivatives.get((expression, cls))
        if found is None:
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
                return self.union(self.derivative(part, cls) for part in parts)
            case "intersection":
                return self.intersection(self.derivative(part, cls) for part in parts)
        return self.nothing  # the derivative of the empty text

    def automaton(self, start: int, depth: int) -> Automaton:
        """The states that texts of `start` of up to `depth` characters lead to; 0 is the first.

        Where none so short matches, it goes on to the shortest that does.

        Raises:
            TooLargeError: there are more than 20,000 states, or finding them takes too long.
        """
        found, ids = [start], {start: 0}
        rows: list[list[int]] = []
        ends = False
        while len(rows) < len(found) and (depth > 0 or not ends):
            layer = found[len(rows) :]
            ends = ends or any(self._nullable[state] for state in layer)
            rows += [self._row(state, found, ids) for state in layer]
            depth -= 1
        rows += [[-1] * self._num_classes] * (len(found) - len(rows))
        table = np.array(rows, np.int32).reshape(len(found), self._num_classes)
        return Automaton(table, np.array([self._nullable[state] for state in found]))

    def _row(self, state: int, found: list[int], ids: dict[int, int]) -> list[int]:
        row = []
        for cls in range(self._num_classes):
            after = self.derivative(state, cls)
            if after == self.nothing:
                row.append(-1)
                continue
            if after not in ids:
                if len(found) == MAX_STATES:
                    raise TooLargeError
                ids[after] = len(found)
                found.append(after)
            row.append(ids[after])
        return row


def _joined(spans: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Sorted spans of whole numbers, those that touch made one."""
    joined = [spans[0]]
    for low, high in spans[1:]:
        first, last = joined[-1]
        if low <= last + 1:
            joined[-1] = (first, max(last, high))
        else:
            joined.append((low, high))
    return joined


def trimmed(automaton: Automaton) -> Automaton:
    """Without the states from which no text can end; the first one stays."""
    useful = np.isfinite(distances(automaton))
    useful[0] = True
    return _renumbered(automaton, np.cumsum(useful) - 1, useful)


def _renumbered(
    automaton: Automaton, number: NDArray[np.integer], kept: NDArray[np.bool_]
) -> Automaton:
    """The kept states under new numbers; ways to the others are closed."""
    table = automaton.next[kept]
    goes_on = (table >= 0) & kept[table]
    return Automaton(
        np.where(goes_on, number[table], -1).astype(np.int32), automaton.accepting[kept]
    )


def distances(automaton: Automaton) -> NDArray[np.float64]:
    """(S,) the fewest steps from each state to an accepting one; infinite where there is none."""
    pairs = np.unique(_edges(automaton), axis=0)  # (E, 2) from, to; sorted by from
    order = np.argsort(pairs[:, 1], kind="stable")
    sources = pairs[order, 0]
    first = np.searchsorted(pairs[order, 1], np.arange(len(automaton.next) + 1))
    result = np.full(len(automaton.next), np.inf)
    layer = np.flatnonzero(automaton.accepting)
    steps = 0
    while len(layer):
        result[layer] = steps
        before = [sources[first[state] : first[state + 1]] for state in layer.tolist()]
        reached = np.unique(np.concatenate(before))
        layer = reached[np.isinf(result[reached])]
        steps += 1
    return result


def _edges(automaton: Automaton) -> NDArray[np.int64]:
    states, columns = np.nonzero(automaton.next >= 0)
    return np.stack([states, automaton.next[states, columns]], 1).astype(np.int64)


def minimised(automaton: Automaton) -> Automaton:
    """The smallest automaton that accepts the same: Hopcroft's algorithm.

    Every state of `automaton` is reached and, but for the first, can end.
    """
    sink = len(automaton.next)  # where -1 leads
    sources = _sources(automaton.next, sink)
    accepting = set(np.flatnonzero(automaton.accepting).tolist())
    blocks = [accepting, set(range(sink + 1)) - accepting]
    block_of = [0 if state in accepting else 1 for state in range(sink + 1)]
    pending = [0, 1]
    while pending:
        splitter = list(blocks[pending.pop()])
        for before in sources:
            touched: dict[int, set[int]] = {}
            for state in splitter:
                for source in before.get(state, ()):
                    touched.setdefault(block_of[source], set()).add(source)
            for block, part in touched.items():
                if len(part) == len(blocks[block]):
                    continue
                smaller, larger = sorted((part, blocks[block] - part), key=len)
                blocks[block] = larger
                for state in smaller:
                    block_of[state] = len(blocks)
                pending.append(len(blocks))
                blocks.append(smaller)
    return _merged(automaton, block_of)


def _sources(table: NDArray[np.int32], sink: int) -> list[dict[int, list[int]]]:
    """For each class: state -> the states that lead there."""
    result = []
    for column in table.T.tolist():
        before: dict[int, list[int]] = {sink: [sink]}
        for source, target in enumerate(column):
            before.setdefault(sink if target < 0 else target, []).append(source)
        result.append(before)
    return result


def _merged(automaton: Automaton, block_of: list[int]) -> Automaton:
    """One state per block, numbered in the order in which the states come; 0 stays the first."""
    numbers: dict[int, int] = {}
    number = np.array([numbers.setdefault(block, len(numbers)) for block in block_of[:-1]])
    first = np.unique(number, return_index=True)[1]
    table = automaton.next[first]
    return Automaton(
        np.where(table < 0, -1, number[table]).astype(np.int32), automaton.accepting[first]
    )
