"""Enumerate all texts of toy networks, to compare searches with."""

from __future__ import annotations

import itertools

Text = tuple[int, ...]
Stops = list[Text]


def stopped(text: Text, stops: Stops) -> bool:
    """Return whether a text ends with a stop string."""
    return any(text[-len(stop) :] == stop for stop in stops)


def ended(text: Text, stops: Stops) -> str:
    """Return what ended a text."""
    return "stop" if stopped(text, stops) else "length"


def all_texts(size: int, length: int, stops: Stops) -> list[Text]:
    """Return every text of `length` tokens, or shorter where a stop string ends it."""
    texts: set[Text] = set()
    for text in itertools.product(range(size), repeat=length):
        ends = [end for end in range(1, length) if stopped(text[:end], stops)]
        texts.add(text[: ends[0]] if ends else text)
    return list(texts)
