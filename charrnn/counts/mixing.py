"""The probabilities of a count model, and their mixture with a network's: the reference in numpy.

    log p(c) = (1 - s) log p_network(c) + s log p_counts(c) - log Z

The share s depends on the longest known context, on how many different tokens have followed it, and
on the network's certainty, -log(1 - max p_network). A row of contexts holds the last K tokens, the
latest one last, each as its id + 1; 0 where there is none. The start token is V + 1 there.

Shapes: B rows, V tokens, K tokens of context.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats, Floats64, Ids, Integers
from charrnn.counts.table import CHECK_BITS, COUNTS, KINDS, KNOTS, CountTable, extended

CERTAINTY = 0.8  # nats from one knot to the next


class Counted(NamedTuple):
    """What a count model says after contexts.

    Attributes:
        probabilities: of the next token (B, V).
        orders: tokens of the longest known context (B,).
        kinds: its kind, 0 to KINDS - 1 (B,).
    """

    probabilities: Floats64
    orders: Integers
    kinds: Integers


def empty_contexts(rows: int, table: CountTable) -> Floats:
    """Return the contexts before a text (B, K)."""
    return np.zeros((rows, table.order), np.float32)


def longer(contexts: Floats, ids: Ids) -> Floats:
    """Return contexts (B, K) after one more token each (B,)."""
    return np.concatenate([contexts[:, 1:], ids[:, None].astype(np.float32) + 1], 1)


def counted(table: CountTable, contexts: Floats) -> Counted:
    """Return what the counts say after contexts (B, K)."""
    rows, vocab_size = len(contexts), len(table.unigram)
    probabilities = np.tile(table.unigram.astype(np.float64), (rows, 1))
    orders, kinds = np.zeros(rows, np.int64), np.full(rows, KINDS - 1)
    keys = np.zeros(rows, np.uint64)
    known = np.ones(rows, bool)
    for k in range(1, table.order + 1):
        latest = contexts[:, -k].astype(np.int64) - 1
        keys = extended(keys, latest.astype(np.uint64))
        places = np.where(known & (latest >= 0), _find(table, keys), -1)
        known = places >= 0
        if not known.any():
            break
        found, places = np.flatnonzero(known), places[known]
        sizes = (table.starts[places + 1] - table.starts[places]).astype(np.int64)
        row = np.repeat(found, sizes)
        entry = np.arange(sizes.sum()) + np.repeat(
            table.starts[places].astype(np.int64) - (np.cumsum(sizes) - sizes), sizes
        )
        counts = COUNTS[table.codes[entry]]
        taken = table.discounts[k][np.minimum(counts, 3).astype(np.int64)].astype(np.float64)
        total = np.bincount(row, counts, rows)
        probabilities[found] *= (np.bincount(row, taken, rows)[found] / total[found])[:, None]
        probabilities.reshape(-1)[row * vocab_size + table.tokens[entry]] += (
            counts - taken
        ) / total[row]
        orders[found], kinds[found] = k, np.minimum(sizes, KINDS) - 1
    return Counted(probabilities, orders, kinds)


def _find(table: CountTable, keys: NDArray[np.uint64]) -> Integers:
    """Return the places of contexts (B,) in the table; -1 where one is not there."""
    bits = np.uint64(table.bits)
    buckets = (keys & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)
    checks = (keys >> bits) & np.uint64(2**CHECK_BITS - 1)
    places, ends = table.index[buckets].astype(np.int64), table.index[buckets + 1].astype(np.int64)
    found = np.full(len(keys), -1)
    while (open_ := (found < 0) & (places < ends)).any():
        same = open_.copy()
        same[open_] = table.checks[places[open_]] == checks[open_]
        found[same] = places[same]
        places = places + 1
    return found


def certainties(logits: Floats) -> Floats64:
    """Return the network's certainty (B,) in knots, from 0 to KNOTS - 1."""
    powers = np.exp((logits - logits.max(-1, keepdims=True)).astype(np.float64))
    total = powers.sum(-1)
    with np.errstate(all="ignore"):
        found = -np.log((total - 1) / total) / CERTAINTY
    return np.where(found < KNOTS - 1, found, KNOTS - 1)  # also where it is not a number


def knots(certainty: Floats64) -> tuple[Integers, Floats64]:
    """Return the knot below each certainty, and how far it is towards the next one."""
    below = np.minimum(certainty.astype(np.int64), KNOTS - 2)
    return below, certainty - below


def mixed(table: CountTable, logits: Floats, contexts: Floats) -> Floats:
    """Return the logits of the mixture, given those of a network (B, V) and contexts (B, K)."""
    found = counted(table, contexts)
    below, part = knots(certainties(logits))
    shares = table.weights[found.orders, found.kinds].astype(np.float64)
    rows = np.arange(len(logits))
    share = (1 - part) * shares[rows, below] + part * shares[rows, below + 1]
    result = (1 - share[:, None]) * logits + share[:, None] * np.log(found.probabilities)
    return result.astype(logits.dtype)
