"""Counts a text: how often each token followed the last 0 to K tokens.

The estimate is interpolated modified Kneser-Ney: contexts of the highest order K, and those with
which a text begins, have counts of occurrences; a token after a shorter context is counted once for
each different token before that context. `charrnn.counts.groups` counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats64, Ids, Integers
from charrnn.counts.table import (
    CHECK_BITS,
    COUNTS,
    KINDS,
    KNOTS,
    MAX_ORDER,
    SMALL,
    CountTable,
    extended,
    token_dtype,
)

MAX_TOKENS = 17_000_000  # of a text that are counted, the last ones: it takes 25 bytes for each
MIN_SEEN = 2  # contexts that occur less often are left out
CONTEXT_BYTES = 2 + 4 + 2  # check, start, and at most half of an index
NONE = -1  # stands before a text, and where tokens are left out

_Keys = NDArray[np.uint64]


@dataclass(frozen=True)
class _Order:
    """The counts after all contexts of one length.

    Attributes:
        length: k, the tokens of a context.
        places: of each context, a position of the text that follows it (C,).
        parents: the number of the context with one token less (C,).
        gains: what the counts tell beyond those of that one, in nats of the whole text (C,).
        sizes: how many entries each has (C,).
        tokens: of the entries (E,).
        codes: of their counts (E,), see `charrnn.counts.table.COUNTS`.
        discounts: by count (4,).
    """

    length: int
    places: NDArray[np.int32]
    parents: NDArray[np.int32]
    gains: NDArray[np.float32]
    sizes: NDArray[np.int32]
    tokens: NDArray[Any]
    codes: NDArray[np.uint8]
    discounts: Floats64

    @property
    def bytes(self) -> Integers:
        """The size of each context in a table (C,)."""
        return np.asarray(CONTEXT_BYTES + (1 + self.tokens.itemsize) * self.sizes.astype(np.int64))

    def keys(self, text: Integers, kept: NDArray[np.bool_]) -> _Keys:
        """Return the keys of some contexts."""
        places = self.places[kept]
        found: _Keys = np.zeros(len(places), np.uint64)
        for k in range(1, self.length + 1):
            found = extended(found, text[places - k].astype(np.uint64))
        return found


def sequence_dtype(vocab_size: int) -> Any:
    """Return the smallest type of a sequence to count."""
    return np.dtype(np.int16 if vocab_size < 2**15 else np.int32)


def build(
    sequence: Ids,
    vocab_size: int,
    max_bytes: int,
    order: int = MAX_ORDER,
) -> CountTable:
    """Count a text.

    Args:
        sequence: (N,) tokens, with V, the start token, before each text, and `NONE` between parts
            that do not follow each other.
        vocab_size: V.
        max_bytes: about the size of the table; the contexts that tell least are left out for it.
        order: K, the most tokens of a context.

    Returns:
        the table, with weights of 0: the mixture is the network alone.
    """
    text: Integers = np.asarray(sequence[-MAX_TOKENS:], sequence_dtype(vocab_size))
    unigram, discounts, orders = _count(text, vocab_size, order)
    kept = _fitting(orders, max_bytes)
    discounts = np.stack([discounts, *(each.discounts for each in orders)])
    return _packed(text, unigram, discounts, orders, kept)


def _count(text: Integers, vocab_size: int, order: int) -> tuple[Floats64, Floats64, list[_Order]]:
    """Return the probabilities without a context, their discounts, and all contexts by length."""
    from charrnn.counts import groups  # imports the compiler

    predicted = (text >= 0) & (text < vocab_size)
    positions = np.arange(len(text), dtype=np.int32)[predicted]
    following, before = text[positions], np.empty(len(positions), text.dtype)
    starts, parents = np.array([0, len(positions)]), np.zeros(1, np.int32)
    unigram, first, orders = np.ones(0), np.zeros(4), list[_Order]()
    shorter: tuple[Any, ...] = ()  # what the contexts of one token less predict
    for k in range(order + 1):
        groups.order_by_token_before(text, positions, following, before, starts, k, vocab_size)
        sizes, tokens, counts, kinds = groups.entries(
            following, before, starts, vocab_size, k == order
        )
        # Contexts that occur once are in no group, but their counts of 1 tell of new tokens, too.
        kinds[1] += int(predicted.sum()) - len(positions)
        discounts = _discounts(kinds)
        if k:
            told = (starts, sizes, tokens, counts, discounts, parents, shorter)
            gains, probabilities = groups.gains(*told)
            kind, codes = token_dtype(vocab_size), _codes(counts)
            places = positions[starts[:-1]]
            orders.append(
                _Order(k, places, parents, gains, sizes, tokens.astype(kind), codes, discounts)
            )
        else:
            unigram, first = _unigram(tokens, counts, discounts, vocab_size), discounts
            probabilities = unigram[tokens].astype(np.float32)
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        shorter = (bounds, tokens, probabilities, vocab_size)
        if k < order:
            starts, parents = groups.longer(positions, following, before, starts, MIN_SEEN)
            left = slice(int(starts[-1]))
            positions, following, before = positions[left], following[left], before[left]
            predicted[: k + 1] = False
            predicted[k + 1 :] &= text[: max(0, len(text) - k - 1)] >= 0
    return unigram, first, orders


def _discounts(kinds: Integers) -> Floats64:
    """Return what modified Kneser-Ney subtracts from counts of 0, 1, 2 and more (4,).

    `kinds` tells how many counts are 1, 2, 3 and 4, from index 1 on.
    """
    n = kinds[1:5].astype(np.float64)
    if not n[:3].all():
        return np.array([0, 0.5, 0.75, 1.0])  # too few to estimate them
    share = n[0] / (n[0] + 2 * n[1])
    found = np.arange(1, 4) - np.arange(2, 5) * share * n[1:] / n[:3]
    return np.concatenate([[0], np.clip(found, 0.05, np.arange(1, 4) - 0.05)])


def _unigram(tokens: Ids, found: Ids, discounts: Floats64, vocab_size: int) -> Floats64:
    """Return the probabilities without a context, interpolated with 1 / V."""
    counts = np.zeros(vocab_size)
    counts[tokens] = found
    taken = discounts[np.minimum(counts, 3).astype(np.int64)]
    total = max(1.0, counts.sum())
    free = max(float(taken.sum()), 0.5) / max(total, 0.5)
    probabilities = (counts - taken) / total + free / vocab_size
    return np.asarray(probabilities / probabilities.sum())


def _fitting(orders: list[_Order], max_bytes: int) -> list[NDArray[np.bool_]]:
    """Return which contexts of each length fit into this size: those that tell most by byte.

    A context stays where one with more tokens stays, or nobody would look for that one.
    """
    bytes_ = [each.bytes for each in orders]
    worth = [each.gains / size for each, size in zip(orders, bytes_, strict=True)]
    for shorter, longer, order in zip(worth[-2::-1], worth[:0:-1], orders[:0:-1], strict=True):
        np.maximum.at(shorter, order.parents, longer)
    best = np.argsort(-np.concatenate(worth), kind="stable")
    filled = np.cumsum(np.concatenate(bytes_)[best])
    count = int(np.searchsorted(filled, max_bytes, side="right"))
    kept = np.zeros(len(best), np.bool_)
    kept[best[:count]] = True
    return np.split(kept, np.cumsum([len(each.sizes) for each in orders])[:-1])


def _packed(
    text: Integers,
    unigram: Floats64,
    discounts: Floats64,
    orders: list[_Order],
    kept: list[NDArray[np.bool_]],
) -> CountTable:
    """Return the table of the contexts that are kept, bucket by bucket."""
    pairs = list(zip(orders, kept, strict=True))
    keys = np.concatenate([order.keys(text, some) for order, some in pairs])
    sizes = np.concatenate([order.sizes[some] for order, some in pairs])
    stored = [np.repeat(some, order.sizes) for order, some in pairs]
    tokens = np.concatenate([each.tokens[some] for each, some in zip(orders, stored, strict=True)])
    codes = np.concatenate([each.codes[some] for each, some in zip(orders, stored, strict=True)])
    buckets = max(0, (len(keys) // 4).bit_length())
    low = keys & ((np.uint64(1) << np.uint64(buckets)) - np.uint64(1))
    sorting = np.argsort(low, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes[sorting])])
    first = np.concatenate([[0], np.cumsum(sizes)])[:-1]
    entries = np.repeat(first[sorting] - starts[:-1], sizes[sorting]) + np.arange(starts[-1])
    checks = (keys >> np.uint64(buckets)) & np.uint64(2**CHECK_BITS - 1)
    return CountTable(
        unigram.astype(np.float32),
        discounts.astype(np.float32),
        np.zeros((len(discounts), KINDS, KNOTS), np.float32),
        np.searchsorted(low[sorting], np.arange(2**buckets + 1)).astype(np.uint32),
        checks[sorting].astype(np.uint16),
        starts.astype(np.uint32),
        tokens[entries],
        codes[entries],
    )


def _codes(counts: Ids) -> NDArray[np.uint8]:
    """Return the nearest codes of counts; small ones are their own."""
    found = counts.astype(np.uint8)
    large = np.flatnonzero(counts > SMALL)
    middles = (COUNTS[:-1] + COUNTS[1:]) / 2
    found[large] = np.searchsorted(middles, counts[large], side="left")
    return found
