"""Counts a text: how often each token followed the last 0 to K tokens.

The estimate is interpolated modified Kneser-Ney: contexts of the highest order K, and those with
which a text begins, have counts of occurrences; a token after a shorter context is counted once for
each different token before that context. For each order, one sort of 64-bit keys gives all counts:
a key is the hash of a context, the next token, and the token before the context.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats64, Ids, Integers
from charrnn.counts.table import (
    CHECK_BITS,
    COUNTS,
    KINDS,
    KNOTS,
    MAX_ORDER,
    CountTable,
    extended,
    token_dtype,
)

MAX_TOKENS = 2**23  # of a text that are counted, the last ones: it takes 60 bytes for each
MIN_SEEN = 2  # contexts that occur less often are left out
CONTEXT_BYTES = 2 + 4 + 1  # check, start, and a quarter of an index
NONE = -1  # stands before a text, and where tokens are left out

_Keys = NDArray[np.uint64]


@dataclass(frozen=True)
class _Order:
    """The counts after all contexts of one length.

    Attributes:
        keys: of the contexts (C,).
        seen: how often each occurs (C,).
        sizes: how many entries each has (C,).
        tokens: of the entries (E,).
        counts: of the entries (E,).
        discounts: by count (4,).
    """

    keys: _Keys
    seen: Integers
    sizes: Integers
    tokens: NDArray[np.int32]
    counts: NDArray[np.int32]
    discounts: Floats64

    def pruned(self, least: int) -> _Order:
        """Return the same without contexts that occur less often."""
        kept = self.seen >= least
        entries = np.repeat(kept, self.sizes)
        return _Order(
            self.keys[kept],
            self.seen[kept],
            self.sizes[kept],
            self.tokens[entries],
            self.counts[entries],
            self.discounts,
        )


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
        max_bytes: about the size of the table; the rarest contexts are left out for it.
        order: K, the most tokens of a context.

    Returns:
        the table, with weights of 0: the mixture is the network alone.
    """
    text = np.asarray(sequence[-MAX_TOKENS:], np.int32)
    bits = (vocab_size + 1).bit_length()
    predicted = (text >= 0) & (text < vocab_size)
    keys: _Keys = np.zeros(len(text), np.uint64)
    orders = []
    for k in range(order + 1):
        if k:
            keys, predicted = _longer(text, keys, predicted, k)
        found = _counted(_triples(text, keys, predicted, k, bits), bits, raw=k == order)
        orders.append(found.pruned(MIN_SEEN) if k else found)  # most of the long ones go
    unigram = _unigram(orders[0], vocab_size)
    return _packed(unigram, _fitting(orders[1:], max_bytes, vocab_size), orders, vocab_size, bits)


def _longer(
    text: NDArray[np.int32], keys: _Keys, predicted: NDArray[np.bool_], k: int
) -> tuple[_Keys, NDArray[np.bool_]]:
    """Return the keys of contexts of k tokens, and where there is such a context."""
    older = np.full(len(text), NONE, np.int32)
    older[k:] = text[: max(0, len(text) - k)]
    return extended(keys, older.astype(np.uint64)), predicted & (older >= 0)


def _triples(
    text: NDArray[np.int32], keys: _Keys, predicted: NDArray[np.bool_], k: int, bits: int
) -> _Keys:
    """Return the sorted keys of all contexts of k tokens, the next token and the one before.

    A token takes `bits`; the last one is 0 where there is nothing before a context.
    """
    triples = keys << np.uint64(2 * bits)
    triples |= text.astype(np.uint64) << np.uint64(bits)
    triples[k + 1 :] |= (text[: max(0, len(text) - k - 1)] + 1).astype(np.uint64)
    triples = triples[predicted]
    triples.sort()
    return triples


def _counted(triples: _Keys, bits: int, *, raw: bool) -> _Order:
    """Count what followed contexts.

    Args:
        triples: see `_triples`.
        bits: of a token.
        raw: whether to count occurrences in place of different tokens before.
    """
    token = np.uint64(2**bits - 1)
    different = _changes(triples)
    pairs = triples >> np.uint64(bits)
    entries = np.flatnonzero(_changes(pairs))
    seen = np.diff(entries, append=len(triples))
    counts = seen
    if not raw and len(entries):
        nothing_before = triples[entries] & token == 0
        counts = np.add.reduceat(different, entries, dtype=np.int64)
        counts = np.where((counts == 1) & nothing_before, seen, counts)
    del triples, different
    pairs = pairs[entries]
    contexts = pairs >> np.uint64(bits)
    bounds = np.flatnonzero(_changes(contexts))
    return _Order(
        contexts[bounds],
        np.add.reduceat(seen, bounds) if len(bounds) else seen,
        np.diff(bounds, append=len(entries)),
        (pairs & token).astype(np.int32),
        counts.astype(np.int32),
        _discounts(counts),
    )


def _changes(keys: _Keys) -> NDArray[np.bool_]:
    """Return where sorted keys differ from the one before; the first one does."""
    found = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=found[1:])
    return found


def _discounts(counts: Ids) -> Floats64:
    """Return what modified Kneser-Ney subtracts from counts of 0, 1, 2 and more (4,)."""
    n = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].astype(np.float64)
    if not n[:3].all():
        return np.array([0, 0.5, 0.75, 1.0])  # too few to estimate them
    share = n[0] / (n[0] + 2 * n[1])
    found = np.arange(1, 4) - np.arange(2, 5) * share * n[1:] / n[:3]
    return np.concatenate([[0], np.clip(found, 0.05, np.arange(1, 4) - 0.05)])


def _unigram(order: _Order, vocab_size: int) -> Floats64:
    """Return the probabilities without a context, interpolated with 1 / V."""
    counts = np.zeros(vocab_size)
    counts[order.tokens] = order.counts
    taken = order.discounts[np.minimum(counts, 3).astype(np.int64)]
    total = max(1.0, counts.sum())
    free = max(float(taken.sum()), 0.5) / max(total, 0.5)
    found = (counts - taken) / total + free / vocab_size
    return np.asarray(found / found.sum())


def _fitting(orders: list[_Order], max_bytes: int, vocab_size: int) -> list[_Order]:
    """Return the orders without the contexts that are too rare to fit into this size."""
    entry = 1 + np.dtype(token_dtype(vocab_size)).itemsize
    seen = np.concatenate([each.seen for each in orders])
    sizes = CONTEXT_BYTES + entry * np.concatenate([each.sizes for each in orders])
    least = MIN_SEEN
    while sizes[seen >= least].sum() > max_bytes:
        least += max(1, least // 4)
    return [each.pruned(least) for each in orders]


def _packed(
    unigram: Floats64, kept: list[_Order], orders: list[_Order], vocab_size: int, bits: int
) -> CountTable:
    """Return the table of all contexts, bucket by bucket."""
    keys = np.concatenate([each.keys for each in kept])
    sizes = np.concatenate([each.sizes for each in kept])
    # Of a key, what the sort had room for is known.
    room = 64 - 2 * bits - CHECK_BITS
    buckets = min(room, max(0, (len(keys) // 4).bit_length()))
    low = keys & ((np.uint64(1) << np.uint64(buckets)) - np.uint64(1))
    sorting = np.argsort(low, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes[sorting])])
    first = np.concatenate([[0], np.cumsum(sizes)])[:-1]
    entries = np.repeat(first[sorting] - starts[:-1], sizes[sorting]) + np.arange(starts[-1])
    counts = np.concatenate([each.counts for each in kept])[entries]
    tokens = np.concatenate([each.tokens for each in kept])[entries]
    checks = (keys >> np.uint64(buckets)) & np.uint64(2**CHECK_BITS - 1)
    return CountTable(
        unigram.astype(np.float32),
        np.stack([each.discounts for each in orders]).astype(np.float32),
        np.zeros((len(orders), KINDS, KNOTS), np.float32),
        np.searchsorted(low[sorting], np.arange(2**buckets + 1)).astype(np.uint32),
        checks[sorting].astype(np.uint16),
        starts.astype(np.uint32),
        tokens.astype(token_dtype(vocab_size)),
        _codes(counts),
    )


def _codes(counts: Ids) -> NDArray[np.uint8]:
    """Return the nearest codes of counts."""
    middles = (COUNTS[:-1] + COUNTS[1:]) / 2
    return np.searchsorted(middles, counts, side="left").astype(np.uint8)
