"""Pairs in batches: of similar lengths, so that little is padding, and in training shuffled.

A batch is padded to its longest source and its longest target. Random order would make half of a
batch of words padding; sorting all pairs would train on the same batches again and again. So the
shuffled pairs are sorted within pools of many batches, and the batches are shuffled. Pairs that are
much longer than most have batches of their own, with fewer pairs, so that they fit into memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from charrnn.arrays import Ids, Integers
from charrnn.text.pairs import PairPart
from charrnn.text.streams import IGNORED

POOL = 64  # batches that are sorted together
LONG = 4  # times the mean length: longer pairs have batches of their own


@dataclass(frozen=True)
class PairBatch:
    """Pairs side by side, padded at their ends.

    Attributes:
        sources: (S, B) ids.
        lengths: of the sources (B,).
        inputs: of the decoder (T, B): the start token, then the target.
        targets: (T, B): the target, the token that ends it, then `charrnn.text.streams.IGNORED`.
    """

    sources: Integers
    lengths: Integers
    inputs: Integers
    targets: Integers

    def some(self, own: slice) -> PairBatch:
        """Return some of the pairs, padded as all of them are."""
        parts = (self.sources[:, own], self.lengths[own], self.inputs[:, own], self.targets[:, own])
        return PairBatch(*map(np.ascontiguousarray, parts))


def batch(part: PairPart, which: Integers, start_token: int, end_token: int) -> PairBatch:
    """Return these pairs of a part as a batch."""
    sources, lengths = _gathered(part, 2 * which)
    targets, ends = _gathered(part, 2 * which + 1)
    one = np.zeros((1, len(which)), np.int64)
    inputs = np.concatenate([one + start_token, targets])
    step = np.arange(len(inputs))[:, None]
    after = np.where(step < ends, np.concatenate([targets, one]), IGNORED)
    return PairBatch(sources, lengths, inputs, np.where(step == ends, end_token, after))


def padded(texts: Sequence[Ids], filler: int) -> Integers:
    """Return texts (B) beside each other (T, B), padded at their ends."""
    rows = np.full((len(texts), max(map(len, texts), default=0)), filler, np.int64)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = text
    return np.ascontiguousarray(rows.T)


def _gathered(part: PairPart, which: Integers) -> tuple[Integers, Integers]:
    """Return texts of a part (sources are even) beside each other (T, B), and their lengths."""
    first = part.starts[which].astype(np.int64)
    after = np.append(part.starts[1:], len(part.ids)).astype(np.int64)[which]
    lengths = after - first
    step = np.arange(lengths.max(initial=0))[:, None]
    inside = step < lengths
    ids = part.ids[np.where(inside, first + step, 0)].astype(np.int64)
    return np.where(inside, ids, 0), lengths


def by_length(part: PairPart, which: Integers, limit: int) -> Iterator[Integers]:
    """Yield these pairs in batches, longest first, each padded to `limit` steps or of one pair."""
    source, target = part.source_lengths[which], part.target_lengths[which] + 1
    order = np.lexsort((target, source))[::-1]
    first, longest = 0, 0
    for end, index in enumerate(order):
        steps = max(longest, int(target[index])) + int(source[order[first]])
        if end > first and steps * (end + 1 - first) > limit:
            yield which[order[first:end]]
            first, longest = end, 0
        longest = max(longest, int(target[index]))
    if len(order):
        yield which[order[first:]]


class PairOrder:
    """The batches of each epoch, which follow from the seed and the epoch alone.

    Args:
        part: the pairs.
        batch_size: B, the most pairs of a batch; most batches are of nearly equal numbers.
        seed: of the order.

    Attributes:
        batches: how many an epoch has.
        tokens: of the sources and targets of an epoch.
        most_steps: the padded steps of the largest batch, all sources and targets together.
    """

    def __init__(self, part: PairPart, batch_size: int, seed: int) -> None:
        self._part, self.tokens = part, len(part.ids)
        self._source, self._target, self._seed = part.source_lengths, part.target_lengths + 1, seed
        lengths = self._source + self._target
        limit = LONG * float(lengths.mean()) if len(part) else 0.0
        self._usual = np.flatnonzero(lengths <= limit)
        self.most_steps = int(max(limit * min(batch_size, len(part)), *lengths, 0))
        self._long = list(by_length(part, np.flatnonzero(lengths > limit), self.most_steps))
        self._count = -(-len(self._usual) // batch_size)
        self.batches = self._count + len(self._long)
        self.of_epoch = lru_cache(1)(self._of_epoch)

    def _of_epoch(self, epoch: int) -> list[Integers]:
        """Return which pairs each batch of an epoch has."""
        rng = np.random.default_rng([self._seed, epoch, 0x9A125])
        usual = shuffled(self._usual, (self._source, self._target), self._count, rng)
        batches = [*usual, *self._long]
        return [batches[n] for n in rng.permutation(self.batches)]

    def pairs(self, epoch: int, number: int) -> tuple[PairPart, Integers]:
        """Return the pairs, and which of them a batch of an epoch has."""
        return self._part, self.of_epoch(epoch)[number]


def shuffled(
    which: Integers, lengths: tuple[Integers, Integers], count: int, rng: np.random.Generator
) -> list[Integers]:
    """Return pairs in `count` batches of similar lengths, in random order but for that.

    Args:
        which: the pairs.
        lengths: two numbers of each pair, by which those of a pool are sorted.
        count: how many batches.
        rng: draws the order.
    """
    order = rng.permutation(which)
    pool = np.arange(len(order)) * count // max(1, len(order)) // POOL
    order = order[np.lexsort((lengths[1][order], lengths[0][order], pool))]
    return np.array_split(order, count) if count else []
