"""Greedy decoding: the most likely symbol at each step, the lowest id among equals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from charrnn.decoding.constraints import ENDED, Constraint
from charrnn.decoding.step import Floats, Network, State, ends_with, log_softmax


def greedy(
    network: Network,
    logits: Floats,
    state: State,
    length: int,
    stops: Sequence[tuple[int, ...]] = (),
    constraint: Constraint | None = None,
) -> Iterator[tuple[int, float]]:
    """Symbols and their log-probabilities for one row.

    Args:
        network: what reads the chosen symbols.
        logits: (1, V) for the first symbol, after the prompt.
        state: the state that gave them.
        length: how many symbols at most.
        stops: ids of the strings that end the text.
        constraint: what the text must be; the symbol ENDED is the last where it ends the text.
    """
    written: list[int] = []
    states = np.zeros(1, np.int64)
    for position in range(length):
        offered = logits
        if constraint is not None:
            offered = constraint.masked(logits, states, length - position)
        chosen = offered.argmax(-1)  # (1,)
        if constraint is not None:
            left = length - position
            if not constraint.allowed(states, left)[0, chosen[0]]:
                yield ENDED, float(constraint.ending(log_softmax(logits), states, left)[0])
                return
            states = constraint.advance(states, chosen)
        written.append(int(chosen[0]))
        yield written[-1], float(log_softmax(logits)[0, chosen[0]])
        if position == length - 1 or ends_with(written, stops):
            return
        logits, state = network.step(chosen, state)
