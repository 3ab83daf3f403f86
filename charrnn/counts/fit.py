"""Fits how much of a mixture is the counts', on a part of the training text that was kept back.

Neither the counts nor the network have learned from that part: on what it has learned, a network
looks better than on a new text, and the shares of the counts would be too small. The shares are
between 0 and 1, and the likelihood of a mixture is concave in them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from charrnn.arrays import Floats, Floats32, Floats64, Ids, Integers
from charrnn.counts.mixing import certainties, counted, knots
from charrnn.counts.table import KINDS, KNOTS, CountTable

MIN_TOKENS = 1000  # of a text that is counted
_PART = 80  # one token of this many is kept back
_MOST = 2**15  # tokens that are kept back
_FEWEST = 512
_LOGITS = 2**24  # of all tokens: a large vocabulary gets fewer tokens
_ROUNDS = 8  # of Newton's method
_PRIOR = 30.0  # how firmly shares that are rarely used stay at the common one
_CHUNK = 2**18  # numbers at a time


@dataclass(frozen=True)
class Fit:
    """A table whose weights were fitted.

    Attributes:
        table: with the weights.
        network_nats: of the network alone on the part that was kept back, per token.
        mixed_nats: of the mixture there.
    """

    table: CountTable
    network_nats: float
    mixed_nats: float

    @property
    def gain(self) -> float:
        """Nats per token that the counts are worth."""
        return self.network_nats - self.mixed_nats


def wanted(counts: str, length: int, *, by_clock: bool) -> bool:
    """Return whether a text of this length is to be counted: by ``--counts on|auto|off``.

    auto leaves it to a training by the clock, which keeps counts that pay.
    """
    if counts == "auto":
        return by_clock and length >= MIN_TOKENS
    return counts == "on"


def kept_back(length: int, vocab_size: int) -> int:
    """Return how many tokens of a text of this length are kept back to fit the shares on."""
    return min(_MOST, max(_FEWEST, _LOGITS // vocab_size), length // _PART)


def fit(table: CountTable, logits: Floats, contexts: Floats, targets: Ids) -> Fit:
    """Fit the weights of a table.

    Args:
        table: counts of the other parts of the text.
        logits: of the network (N, V).
        contexts: (N, K); see `charrnn.counts.mixing`.
        targets: the tokens that followed (N,).
    """
    network, difference, places, certainty = _prepared(table, logits, contexts)
    below, part = knots(certainty)
    one = np.full(1, 0.3)
    common = (np.zeros((len(targets), 1), np.int64), np.ones((len(targets), 1)))
    for _ in range(_ROUNDS):
        one = _step(one, one, network, difference, targets, *common, prior=0.0)
    cells = np.stack([places * KNOTS + below, places * KNOTS + below + 1], 1)
    shares = first = np.full((table.order + 1) * KINDS * KNOTS, one[0])
    parts = np.stack([1 - part, part], 1)
    for _ in range(_ROUNDS):
        shares = _step(shares, first, network, difference, targets, cells, parts, prior=_PRIOR)
    weights = shares.reshape(table.order + 1, KINDS, KNOTS).astype(np.float32)
    share = (shares[cells] * parts).sum(1)
    nats = [_nats(given, network, difference, targets) for given in (0 * share, share)]
    return Fit(replace(table, weights=weights), *nats)


def _prepared(
    table: CountTable, logits: Floats, contexts: Floats
) -> tuple[Floats32, Floats32, Integers, Floats64]:
    """Return log p of the network (N, V) and what is added to it; cells and certainties (N,)."""
    network = np.empty(logits.shape, np.float32)
    difference = np.empty(logits.shape, np.float32)
    places, certainty = np.empty(len(logits), np.int64), np.empty(len(logits))
    for rows in _chunks(logits):
        given = logits[rows].astype(np.float64)
        given -= given.max(-1, keepdims=True)
        given -= np.log(np.exp(given).sum(-1, keepdims=True))
        found = counted(table, contexts[rows])
        network[rows] = given
        difference[rows] = np.log(found.probabilities) - given
        places[rows] = found.orders * KINDS + found.kinds
        certainty[rows] = certainties(logits[rows])
    return network, difference, places, certainty


def _chunks(logits: Floats) -> list[slice]:
    size = max(1, _CHUNK // logits.shape[1])
    return [slice(start, start + size) for start in range(0, len(logits), size)]


def _step(
    shares: Floats64,
    first: Floats64,
    network: Floats32,
    difference: Floats32,
    targets: Ids,
    cells: Integers,
    parts: Floats64,
    *,
    prior: float,
) -> Floats64:
    """Return the shares after a step of Newton's method.

    Args:
        shares: by cell (S,).
        first: what the prior holds them at (S,).
        network: log p of the network (N, V).
        difference: log p of the counts - log p of the network (N, V).
        targets: (N,).
        cells: the cells between whose shares a mixture's is interpolated (N, P).
        parts: how much each of them counts (N, P).
        prior: its weight.
    """
    slope = prior * (first - shares)
    bend = prior * np.eye(len(shares))
    for rows in _chunks(network):
        share = (shares[cells[rows]] * parts[rows]).sum(1)
        d = difference[rows]
        p = network[rows] + share[:, None].astype(np.float32) * d
        p = np.exp(p - p.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        mean = (p * d).sum(-1)
        spread = (p * d * d).sum(-1) - mean**2
        gain = d[np.arange(len(d)), targets[rows]] - mean
        for k in range(cells.shape[1]):
            at, weight = cells[rows, k], parts[rows, k]
            slope += np.bincount(at, gain * weight, len(shares))
            for j in range(cells.shape[1]):
                np.add.at(bend, (at, cells[rows, j]), spread * weight * parts[rows, j])
    bend[np.diag_indices(len(shares))] += 1e-6
    change = np.linalg.solve(bend, slope)
    return np.asarray(np.clip(shares + np.clip(change, -0.3, 0.3), 0, 1))


def _nats(share: Floats64, network: Floats32, difference: Floats32, targets: Ids) -> float:
    """Return the mean -log p of the targets by mixtures with these shares (N,)."""
    total = 0.0
    for rows in _chunks(network):
        z = (network[rows] + share[rows, None] * difference[rows]).astype(np.float64)
        peak = z.max(-1, keepdims=True)
        log_sum = np.log(np.exp(z - peak).sum(-1)) + peak[:, 0]
        total += float((log_sum - z[np.arange(len(z)), targets[rows]]).sum())
    return total / max(1, len(targets))
