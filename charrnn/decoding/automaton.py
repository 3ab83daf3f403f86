"""Deterministic automata as tables: remove dead states, measure distances, minimize."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_STATES = 20_000
MAX_TABLE = 2**26  # transitions, states times tokens or classes: 256 MiB


class TooLargeError(Exception):
    """An automaton has too many states, or finding them takes too long."""


@dataclass(frozen=True)
class Automaton:
    """States and transitions over an alphabet of K classes; state 0 is the start.

    Attributes:
        next: (S, K) the state after each class; -1 where no text continues.
        accepting: (S,) whether a text may end here.
    """

    next: NDArray[np.int32]
    accepting: NDArray[np.bool_]


def trimmed(automaton: Automaton) -> Automaton:
    """Return the automaton without states that reach no accepting state; the start stays."""
    useful = np.isfinite(distances(automaton))
    useful[0] = True
    number = (np.cumsum(useful) - 1).astype(np.int32)
    table = automaton.next[useful]
    continues = (table >= 0) & useful[table]
    return Automaton(
        np.where(continues, number[table], -1).astype(np.int32), automaton.accepting[useful]
    )


def distances(automaton: Automaton) -> NDArray[np.float64]:
    """Return the fewest steps (S,) from each state to an accepting one; inf if there is none."""
    edges = np.unique(_edges(automaton), axis=0)
    order = np.argsort(edges[:, 1], kind="stable")
    sources = edges[order, 0]
    first = np.searchsorted(edges[order, 1], np.arange(len(automaton.next) + 1))
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
    """Return the transitions as pairs of states, (E, 2)."""
    states, columns = np.nonzero(automaton.next >= 0)
    return np.stack([states, automaton.next[states, columns]], 1).astype(np.int64)


def minimized(automaton: Automaton) -> Automaton:
    """Return the smallest automaton that accepts the same texts, by Hopcroft's algorithm.

    Every state of `automaton` must be reachable and, except for the first, able to end.
    """
    sink = len(automaton.next)  # the target of -1
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
    """Return for each class: state -> the states that lead there."""
    result = []
    for column in table.T.tolist():
        before: dict[int, list[int]] = {sink: [sink]}
        for source, target in enumerate(column):
            before.setdefault(sink if target < 0 else target, []).append(source)
        result.append(before)
    return result


def _merged(automaton: Automaton, block_of: list[int]) -> Automaton:
    """Return one state per block, numbered in the order of their first states."""
    numbers: dict[int, int] = {}
    number = np.array([numbers.setdefault(block, len(numbers)) for block in block_of[:-1]])
    first = np.unique(number, return_index=True)[1]
    table = automaton.next[first]
    return Automaton(
        np.where(table < 0, -1, number[table]).astype(np.int32), automaton.accepting[first]
    )
