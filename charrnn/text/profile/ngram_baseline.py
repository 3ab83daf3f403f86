"""Models that only count: how well the last k characters tell the next one.

A network that does no better than these has learned no more than a table would hold. They learn
from the characters before the split and are measured on those behind it, which they have not seen:
entropies of a text by its own counts would fall towards 0 with every order, and mean nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.text.profile.symbols import code_points

ORDERS = 6  # 0 to 5 characters of context

_Floats = NDArray[np.float64]
_Keys = NDArray[np.uint64]


@dataclass(frozen=True)
class Counting:
    """Cross-entropies of counting models on text that they have not seen.

    Attributes:
        counted: characters that were counted.
        measured: characters that were predicted.
        nats: per character, by order: entry k knows the k characters before.
    """

    counted: int
    measured: int
    nats: list[float]

    @property
    def bpc(self) -> list[float]:
        """The same in bits."""
        return [value / math.log(2) for value in self.nats]


def measure_counting(counted: str, held_out: str, vocab_size: int) -> Counting:
    """Count one text, predict the text that follows it.

    The estimate is Witten and Bell's (1991, "The zero-frequency problem", method C), interpolated:

        p_k(c | x) = (n(x c) + T(x) p_{k-1}(c | x')) / (n(x) + T(x))

    with n how often it was counted, T(x) the number of different symbols seen after x, and x' the
    context x without its first character. p_{-1} is 1 / V: every symbol of the text is possible.
    """
    symbols, indices = np.unique(code_points(counted + held_out), return_inverse=True)
    bits = np.uint64(max(1, int(len(symbols) - 1).bit_length()))
    ids: _Keys = indices.astype(np.uint64)
    split = len(counted)
    probability = np.full(len(held_out), 1 / vocab_size)
    contexts = np.zeros(len(ids), np.uint64)
    nats = []
    for order in range(ORDERS):
        if order:
            older = np.zeros(len(ids), np.uint64)
            older[order:] = ids[:-order] + np.uint64(1)  # 0 is the time before the text
            contexts = _mixed(contexts, older)
        keys: _Keys = contexts >> bits << bits | ids
        probability = _interpolated(keys[:split], keys[split:], bits, probability)
        nats.append(-float(np.log(probability).mean()))
    return Counting(len(counted), len(held_out), nats)


def _mixed(contexts: _Keys, older: _Keys) -> _Keys:
    """Contexts one character longer, as numbers that are as good as never the same by chance."""
    mixed = (contexts ^ older) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return mixed ^ (mixed >> np.uint64(32))


def _interpolated(counted: _Keys, asked: _Keys, bits: np.uint64, shorter: _Floats) -> _Floats:
    """Probabilities of `asked` (N,), each a context and, in the last `bits`, a symbol.

    Sorted, the counted keys of a context are neighbours: one sort gives all counts.
    """
    pairs, pair_counts = _runs(np.sort(counted))
    contexts, kinds = _runs(pairs >> bits)
    ends = np.cumsum(kinds)
    totals = np.diff(np.concatenate([[0], np.cumsum(pair_counts)])[ends], prepend=0)
    order = np.argsort(asked)  # neighbours are looked up in neighbouring memory
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


def _runs(ordered: _Keys) -> tuple[_Keys, NDArray[np.int64]]:
    """The distinct values of a sorted array, and how often each occurs."""
    starts = np.flatnonzero(np.diff(ordered, prepend=~ordered[:1]))
    return ordered[starts], np.diff(starts, append=len(ordered))


def _looked_up(keys: _Keys, values: NDArray[np.int64], asked: _Keys) -> _Floats:
    """The value of each key that is asked for, 0 for those that are not there."""
    at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[at] == asked, values[at], 0).astype(np.float64)
