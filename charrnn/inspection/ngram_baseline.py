"""Measure n-gram models: how well the last k characters predict the next one.

A network that does no better has learned no more than a table of counts holds. The counts come from
the training part and are measured on the validation part: measured on the text that was counted,
the entropy would fall towards 0 with every order, which means nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats64, Integers
from charrnn.inspection.characters import code_points

ORDERS = 6  # 0 to 5 characters of context

_Keys = NDArray[np.uint64]


@dataclass(frozen=True)
class Counting:
    """Cross-entropies of n-gram models on unseen text.

    Attributes:
        counted: characters that were counted.
        measured: characters that were predicted.
        nats: per character; entry k has a context of k characters.
    """

    counted: int
    measured: int
    nats: list[float]

    @property
    def bpc(self) -> list[float]:
        """The same in bits per character."""
        return [value / math.log(2) for value in self.nats]


def measure_counting(counted: str, held_out: str, vocab_size: int) -> Counting:
    """Count the n-grams of one text and predict the text that follows it.

    The estimate is that of Witten and Bell (1991, "The zero-frequency problem", method C),
    interpolated:

        p_k(c | x) = (n(x c) + T(x) p_{k-1}(c | x')) / (n(x) + T(x))

    with counts n, T(x) the number of different characters seen after x, and x' the context x
    without its first character. p_{-1} is 1 / V: every character of the text is possible.

    Args:
        counted: the text to count.
        held_out: the text to predict.
        vocab_size: V, different characters of the whole text.
    """
    characters, indices = np.unique(code_points(counted + held_out), return_inverse=True)
    bits = np.uint64(max(1, int(len(characters) - 1).bit_length()))
    ids: _Keys = indices.astype(np.uint64)
    split = len(counted)
    probability = np.full(len(held_out), 1 / vocab_size)
    contexts = np.zeros(len(ids), np.uint64)
    nats = []
    for order in range(ORDERS):
        if order:
            older = np.zeros(len(ids), np.uint64)
            older[order:] = ids[:-order] + np.uint64(1)  # 0 stands before the text
            contexts = _mixed(contexts, older)
        keys: _Keys = contexts >> bits << bits | ids
        probability = _interpolated(keys[:split], keys[split:], bits, probability)
        nats.append(-float(np.log(probability).mean()))
    return Counting(len(counted), len(held_out), nats)


def _mixed(contexts: _Keys, older: _Keys) -> _Keys:
    """Hash contexts with one more character; collisions are too rare to matter."""
    mixed = (contexts ^ older) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return mixed ^ (mixed >> np.uint64(32))


def _interpolated(counted: _Keys, asked: _Keys, bits: np.uint64, shorter: Floats64) -> Floats64:
    """Return the probabilities of `asked` (N,) from those of the next shorter context (N,).

    A key is a context and, in its last `bits`, a character. Sorting the counted keys puts those of
    a context next to each other: one sort gives all counts.
    """
    pairs, pair_counts = _runs(np.sort(counted))
    contexts, kinds = _runs(pairs >> bits)
    ends = np.cumsum(kinds)
    totals = np.diff(np.concatenate([[0], np.cumsum(pair_counts)])[ends], prepend=0)
    order = np.argsort(asked)  # so that lookups touch memory in order
    ordered = asked[order]
    n_pair = _looked_up(pairs, pair_counts, ordered)
    n_context = _looked_up(contexts, totals, ordered >> bits)
    n_kinds = _looked_up(contexts, kinds, ordered >> bits)
    given = shorter[order]
    seen = n_context + n_kinds
    probability = np.where(seen > 0, (n_pair + n_kinds * given) / np.maximum(seen, 1), given)
    result = np.empty_like(shorter)
    result[order] = probability
    return result


def _runs(ordered: _Keys) -> tuple[_Keys, Integers]:
    """Return the distinct values of a sorted array and how often each occurs."""
    starts = np.flatnonzero(np.diff(ordered, prepend=~ordered[:1]))
    return ordered[starts], np.diff(starts, append=len(ordered))


def _looked_up(keys: _Keys, values: Integers, asked: _Keys) -> Floats64:
    """Return the value of each key in `asked`, 0 for missing keys."""
    at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[at] == asked, values[at], 0).astype(np.float64)
