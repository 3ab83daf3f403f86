"""The validation pairs of a training, and how the network is scored on their targets."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from charrnn.arrays import Integers
from charrnn.network.module import CharRNN
from charrnn.network.pair_module import PairRNN
from charrnn.scoring import Score
from charrnn.text.pair_order import PairBatch, batch, by_length
from charrnn.text.pairs import PairPart
from charrnn.text.tokenizer import Tokenizer
from charrnn.text.tokenizer.base import Size
from charrnn.training.budget import RECENT
from charrnn.training.distributed import ALONE, World
from charrnn.training.events import Stop, never
from charrnn.training.validation import (
    LEAVING,
    SAMPLES,
    VALID_CAP,
    Estimate,
    InterruptedScoring,
    Validation,
)

STEPS = 2**14  # of sources and targets that are read at a time, padding included
TIMED = 256  # pairs that are scored to measure the speed of scoring


@dataclass(frozen=True)
class PairValidation:
    """The validation pairs.

    Attributes:
        part: the pairs; there may be none.
        tokenizer: what their tokens stand for.
        world: the processes that score them together.
    """

    part: PairPart
    tokenizer: Tokenizer
    world: World = ALONE

    @property
    def length(self) -> int:
        """The number of tokens."""
        return len(self.part.ids)

    @torch.no_grad()
    def estimate(self, network: CharRNN, stop: Stop) -> Estimate:
        """Return how good the network is on about `VALID_CAP` tokens, evenly spread.

        The layers run as in training.

        Raises:
            InterruptedScoring: `stop` returned True.
        """
        if not self.length:
            return Estimate()
        assert isinstance(network, PairRNN)
        total, right, which = 0.0, 0, self._spread(self._some())
        for read in self._batches(network, stop, which):
            nats, found = network.pair_results(read)
            total, right = total + float(nats.sum(dtype=np.float64)), right + int(found.sum())
        score = Score(self._summed(total), *self._size(which))
        return Estimate(score.nats, self._summed(right) / len(which))

    @torch.no_grad()
    def score(self, network: CharRNN, stop: Stop, limit: int | None = None) -> Score | None:
        """Score the targets, with their ends, of all pairs or of `limit`; None without pairs.

        Raises:
            InterruptedScoring: `stop` returned True.
        """
        if not self.length:
            return None
        return self._score(network, stop, self._spread(len(self.part) if limit is None else limit))

    def window_nats(self, network: CharRNN, stop: Stop, limit: int | None = None) -> float | None:
        """Return None: a target is read as a whole."""
        return None

    def right_error(self, share: float | None) -> float:
        """Return the standard error of a share of right answers; 0 without one."""
        return 0.0 if share is None else math.sqrt(share * (1 - share) / self._some())

    def estimated(self, nats: float | None) -> Score | None:
        """Return the score of the pairs that `estimate` reads, given its nats per character."""
        if nats is None:
            return None
        size = self._size(self._spread(self._some()))
        return Score(nats * size.characters, *size)

    def affordable(self, network: CharRNN, seconds: float) -> int | None:
        """Return how many pairs can be scored in that time, at least a few; None: all."""
        each = min(self._each(network) for _ in range(SAMPLES))
        return self._limit(self.world.agreed(each), seconds)

    def seconds(self, network: CharRNN, limit: float) -> float:
        """Return how long the scoring and the files at the end will take.

        At the end come `estimate`, and in about `limit` seconds at most `score`. Before that this
        function is called again, which takes time, too.
        """
        if not self.length:
            return LEAVING
        each = self._each(network)
        pairs = self._limit(each, limit)
        measured = (SAMPLES + RECENT + 1) * min(TIMED, self._some())  # by `affordable`, and here
        scored = self._some() + (len(self.part) if pairs is None else pairs)
        return each * (scored + measured) + LEAVING

    @torch.no_grad()
    def _each(self, network: CharRNN) -> float:
        """Return how long scoring a pair takes, measured on a few."""
        which = self._spread(min(TIMED, self._some()))
        began = time.perf_counter()
        self._score(network, never, which)
        return (time.perf_counter() - began) / len(which)

    def _limit(self, each: float, seconds: float) -> int | None:
        """Return how many pairs of `each` seconds to score at the end; None: all."""
        limit = max(self._some(), int(seconds / max(each, 1e-9)))
        return limit if limit < len(self.part) else None

    def _some(self) -> int:
        """Return how many pairs are scored while training."""
        return max(1, min(len(self.part), len(self.part) * VALID_CAP // max(1, self.length)))

    def _spread(self, count: int) -> Integers:
        """Return `count` pairs, evenly spread."""
        return np.arange(count) * len(self.part) // count

    def _score(self, network: CharRNN, stop: Stop, which: Integers) -> Score:
        assert isinstance(network, PairRNN)
        total = 0.0
        for read in self._batches(network, stop, which):
            total += float(network.pair_nats(read).sum(dtype=np.float64))
        return Score(self._summed(total), *self._size(which))

    def _batches(self, network: CharRNN, stop: Stop, which: Integers) -> Iterator[PairBatch]:
        """Yield this process's share of these pairs in batches, unless `stop` returns True."""
        for some in by_length(self.part, which, STEPS):
            if stop():
                raise InterruptedScoring
            own = some[self.world.share(len(some))]
            if len(own):
                yield batch(self.part, own, network.config.start_token, network.config.end_token)

    def _summed(self, value: float) -> float:
        """Return the sum over all processes."""
        return float(self.world.sum(torch.tensor(value, dtype=torch.float64)))

    def _size(self, which: Integers) -> Size:
        """Return the length of targets in characters and bytes."""
        chosen = [self.part.target(int(index)) for index in which]
        return self.tokenizer.measure(np.concatenate(chosen))


AnyValidation = Validation | PairValidation
