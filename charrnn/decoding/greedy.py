"""Greedy decoding: the most likely symbol at each step, the lowest id among equals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from charrnn.decoding.step import Floats, Network, State, ends_with, log_softmax


def greedy(
    network: Network,
    logits: Floats,
    state: State,
    length: int,
    stops: Sequence[tuple[int, ...]] = (),
) -> Iterator[tuple[int, float]]:
    """Symbols and their log-probabilities for one row.

    Args:
        network: what reads the chosen symbols.
        logits: (1, V) for the first symbol, after the prompt.
        state: the state that gave them.
        length: how many symbols at most.
        stops: ids of the strings that end the text.
    """
    written: list[int] = []
    for position in range(length):
        chosen = logits.argmax(-1)  # (1,)
        written.append(int(chosen[0]))
        yield written[-1], float(log_softmax(logits)[0, chosen[0]])
        if position == length - 1 or ends_with(written, stops):
            return
        logits, state = network.step(chosen, state)
