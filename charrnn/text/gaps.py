"""Gaps in a text: passages that a model learns to fill, given what is left and right of them.

A gap is a pair (see `charrnn.text.pairs`). Its source is the left context, a mark and the right
context, its target what is missing. The mark is the token that ends a target, which stands in no
text. Every epoch draws other gaps: their lengths are log-uniform, so that words are frequent and
sentences occur, and those of the contexts uniform, so that short ones are known, too. A gap and its
contexts never leave their document.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Ids, Integers
from charrnn.text.pair_order import PairOrder, shuffled
from charrnn.text.pairs import PairPart
from charrnn.text.tokenizer import Tokenizer

MAX_GAP = 63  # tokens
MAX_CONTEXT = 64  # tokens on each side
PER_GAP = 15  # tokens of the text for each gap of an epoch: about the mean length of a gap
HELD_OUT = 4096  # gaps at most on which a model is scored
_DRAWN, _ORDER = 0x6A9, 0x6AA  # the streams of random numbers


@dataclass(frozen=True)
class Gaps:
    """N gaps of a text.

    Attributes:
        ids: the text (M,).
        mark: the token that stands for a gap in a source.
        bounds: where left context, gap, and right context begin, and where that ends (4, N).
    """

    ids: Ids
    mark: int
    bounds: Integers

    @property
    def source_lengths(self) -> Integers:
        """The number of tokens of each source (N,)."""
        left, start, end, right = self.bounds
        return np.asarray(start - left + 1 + right - end)

    @property
    def target_lengths(self) -> Integers:
        """The number of tokens that are missing (N,)."""
        return np.asarray(self.bounds[2] - self.bounds[1])

    @property
    def octaves(self) -> Integers:
        """The power of two of each target's length (N,)."""
        return np.frexp(self.target_lengths)[1].astype(np.int64)

    def part(self, which: Integers | slice = slice(None)) -> PairPart:
        """Return these gaps as pairs."""
        ids = self.ids
        return PairPart.of(
            (np.concatenate([ids[left:start], [self.mark], ids[end:right]]), ids[start:end])
            for left, start, end, right in self.bounds[:, which].T.tolist()
        )


class GapText:
    """A text in which gaps are drawn."""

    def __init__(
        self, ids: Ids, starts: NDArray[np.integer[Any]] | Sequence[int], tokenizer: Tokenizer
    ) -> None:
        """Draw none yet.

        Args:
            ids: the text (M,).
            starts: where its documents begin.
            tokenizer: what the ids stand for.
        """
        self.ids, self._mark = ids, tokenizer.vocab_size
        every = np.concatenate([[0], np.asarray(starts, np.int64), [len(ids)]])
        self._documents = np.unique(every)
        first = np.array([token[0] for token in tokenizer.token_bytes])
        self._inside = first & 0xC0 == 0x80  # tokens that do not begin with a character

    def __len__(self) -> int:
        """Return the number of gaps in an epoch."""
        return -(-len(self.ids) // PER_GAP)

    def drawn(self, *seed: int, limit: int | None = None) -> Gaps:
        """Return gaps that follow from the seed alone, spread evenly; at most `limit` of them."""
        count, size = min(len(self), limit or len(self)), len(self.ids)
        rng = np.random.default_rng([*seed, _DRAWN])
        inside = ((np.arange(count) + rng.random(count)) * (size / max(1, count))).astype(np.int64)
        inside = np.minimum(inside, size - 1)  # a token of each gap
        lengths = np.exp(rng.random(count) * np.log(MAX_GAP + 1)).astype(np.int64)
        start = inside - (rng.random(count) * lengths).astype(np.int64)
        document = np.searchsorted(self._documents, inside, "right")
        first, after = self._documents[document - 1], self._documents[document]
        end = np.minimum(start + lengths, after)
        start = self._before(np.maximum(start, first))
        end = self._behind(end)
        contexts = rng.integers(0, MAX_CONTEXT + 1, (2, count))
        left = self._before(np.maximum(start - contexts[0], first))
        right = self._behind(np.minimum(end + contexts[1], after))
        return Gaps(self.ids, self._mark, np.stack([left, start, end, right]))

    def usual(self, count: int) -> PairPart:
        """Return gaps of usual lengths, as similar to each other as those of a batch."""
        gaps = self.drawn(0, limit=16 * count)
        order = np.lexsort((gaps.source_lengths, gaps.octaves))
        first = max(0, 7 * len(order) // 12 - count // 2)  # among those of 8 to 15 tokens
        return gaps.part(order[first : first + count])

    def held_out(self) -> PairPart:
        """Return the gaps on which a model is scored: always the same ones."""
        return self.drawn(0, limit=HELD_OUT).part()

    def _before(self, positions: Integers) -> Integers:
        """Return positions, those inside of a character moved to its begin."""
        for _ in range(3):
            positions = positions - self._inside[self.ids[positions]]
        return positions

    def _behind(self, positions: Integers) -> Integers:
        """Return positions, those inside of a character moved to its end."""
        last = len(self.ids) - 1
        for _ in range(3):
            inside = self._inside[self.ids[np.minimum(positions, last)]]
            positions = positions + (inside & (positions <= last))
        return positions


class GapOrder:
    """The batches of each epoch, as `charrnn.text.pair_order.PairOrder` has them for pairs.

    Attributes:
        batches: how many an epoch has.
        tokens: of the sources and targets of an epoch, about.
        most_steps: the padded steps of the largest batch, all sources and targets together.
    """

    def __init__(self, text: GapText, batch_size: int, seed: int) -> None:
        self._text, self._seed = text, seed
        self.batches = -(-len(text) // batch_size)
        self.most_steps = min(batch_size, len(text)) * (2 * MAX_CONTEXT + 1 + MAX_GAP + 1)
        some = text.drawn(seed, 0, limit=HELD_OUT)
        read = some.source_lengths + some.target_lengths
        self.tokens = round(float(read.mean()) * len(text)) if len(text) else 0
        self._of_epoch = lru_cache(1)(self._drawn)

    def pairs(self, epoch: int, number: int) -> tuple[PairPart, Integers]:
        """Return pairs, and which of them a batch of an epoch has."""
        gaps, batches = self._of_epoch(epoch)
        part = gaps.part(batches[number])
        return part, np.arange(len(part))

    def _drawn(self, epoch: int) -> tuple[Gaps, list[Integers]]:
        gaps = self._text.drawn(self._seed, epoch)
        rng = np.random.default_rng([self._seed, epoch, _ORDER])
        # Of a pool some gaps are so long and others so short that both lengths cannot be equal.
        every = np.arange(len(self._text))
        batches = shuffled(every, (gaps.octaves, gaps.source_lengths), self.batches, rng)
        return gaps, [batches[n] for n in rng.permutation(self.batches)]


Pairs = PairPart | GapText  # what a model of pairs is trained on


def order_of(pairs: Pairs, batch_size: int, seed: int) -> PairOrder | GapOrder:
    """Return the batches of each epoch."""
    kind: Any = PairOrder if isinstance(pairs, PairPart) else GapOrder
    made: PairOrder | GapOrder = kind(pairs, batch_size, seed)
    return made
