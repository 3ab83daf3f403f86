"""Batches of pairs for training: each epoch in a new order, pairs of similar lengths together.

A batch is padded to its longest source and its longest target. Random order alone would pad a
third of a batch of words; sorting all pairs would train on the same batches again and again. So the
shuffled pairs are sorted within pools of many batches, and the batches are shuffled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from charrnn.arrays import Ids, Integers
from charrnn.text.pairs import PairPart
from charrnn.text.streams import IGNORED

POOL = 64  # batches that are sorted together


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


def batch(part: PairPart, which: Integers, start_token: int, end_token: int) -> PairBatch:
    """Return these pairs of a part as a batch."""
    sources = [part.source(int(index)) for index in which]
    targets = [part.target(int(index)) for index in which]
    inside, after = padded(targets, 0), [np.append(text, end_token) for text in targets]
    starts = np.full((1, len(which)), start_token)
    lengths = np.array([len(text) for text in sources])
    return PairBatch(
        padded(sources, 0), lengths, np.concatenate([starts, inside]), padded(after, IGNORED)
    )


def padded(texts: Sequence[Ids], filler: int) -> Integers:
    """Return texts (B) beside each other (T, B), padded at their ends."""
    rows = np.full((len(texts), max(map(len, texts), default=0)), filler, np.int64)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = text
    return np.ascontiguousarray(rows.T)


class PairOrder:
    """The batches of each epoch, which follow from the seed and the epoch alone.

    Args:
        part: the pairs.
        batch_size: B, the most pairs of a batch; batches are of nearly equal numbers.
        seed: of the order.
    """

    def __init__(self, part: PairPart, batch_size: int, seed: int) -> None:
        self._lengths = part.source_lengths, part.target_lengths
        self._pairs, self._seed = len(part), seed
        self.batches = -(-len(part) // batch_size)
        self.of_epoch = lru_cache(1)(self._of_epoch)

    def _of_epoch(self, epoch: int) -> list[Integers]:
        """Return which pairs each batch of an epoch has."""
        rng = np.random.default_rng([self._seed, epoch, 0x9A125])
        order = rng.permutation(self._pairs)
        source, target = (lengths[order] for lengths in self._lengths)
        pool = np.arange(self._pairs) * self.batches // self._pairs // POOL
        batches = np.array_split(order[np.lexsort((target, source, pool))], self.batches)
        return [batches[n] for n in rng.permutation(self.batches)]
