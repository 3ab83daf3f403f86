"""The validation pairs of a training, and how the network is scored on their targets."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from charrnn.arrays import Integers
from charrnn.network.module import CharRNN
from charrnn.network.pair_module import PairRNN
from charrnn.scoring import Score
from charrnn.text.pair_order import batch, by_length
from charrnn.text.pairs import PairPart
from charrnn.text.tokenizer import Tokenizer
from charrnn.text.tokenizer.base import Size
from charrnn.training.events import Stop, never
from charrnn.training.validation import LEAVING, VALID_CAP, InterruptedScoring, Validation

STEPS = 2**14  # of sources and targets that are read at a time, padding included
TIMED = 256  # pairs that are scored to measure the speed of scoring


@dataclass(frozen=True)
class PairValidation:
    """The validation pairs.

    Attributes:
        part: the pairs; there may be none.
        tokenizer: what their tokens stand for.
    """

    part: PairPart
    tokenizer: Tokenizer

    @property
    def length(self) -> int:
        """The number of tokens."""
        return len(self.part.ids)

    @torch.no_grad()
    def estimate(self, network: CharRNN, stop: Stop) -> float | None:
        """Return the nats per character on about `VALID_CAP` tokens, evenly spread; None without.

        The layers run as in training.

        Raises:
            InterruptedScoring: `stop` returned True.
        """
        return self._score(network, stop, self._spread(), quick=True).nats if self.length else None

    @torch.no_grad()
    def score(self, network: CharRNN, stop: Stop) -> Score | None:
        """Score all targets, with their ends; None without pairs.

        Raises:
            InterruptedScoring: `stop` returned True.
        """
        return self._score(network, stop, np.arange(len(self.part))) if self.length else None

    def window_nats(self, network: CharRNN, stop: Stop) -> float | None:
        """Return None: a target is read as a whole."""
        return None

    def estimated(self, nats: float | None) -> Score | None:
        """Return the score of the pairs that `estimate` reads, given its nats per character."""
        if nats is None:
            return None
        size = self._size(self._spread())
        return Score(nats * size.characters, *size)

    @torch.no_grad()
    def seconds(self, network: CharRNN) -> float:
        """Return how long the scoring and the files at the end will take.

        Scoring is measured on a few pairs; at the end come `estimate` and `score`.
        """
        if not self.length:
            return LEAVING
        which = self._spread()[:TIMED]
        began = time.perf_counter()
        self._score(network, never, which)
        each = (time.perf_counter() - began) / len(which)
        return each * (len(self._spread()) + len(self.part)) + LEAVING

    def _spread(self) -> Integers:
        """Return which pairs are scored while training."""
        count = max(1, min(len(self.part), len(self.part) * VALID_CAP // max(1, self.length)))
        return np.arange(count) * len(self.part) // count

    def _score(
        self, network: CharRNN, stop: Stop, which: Integers, *, quick: bool = False
    ) -> Score:
        assert isinstance(network, PairRNN)
        config, total = network.config, 0.0
        for some in by_length(self.part, which, STEPS):
            if stop():
                raise InterruptedScoring
            read = batch(self.part, some, config.start_token, config.end_token)
            total += float(network.pair_nats(read, quick=quick).sum(dtype=np.float64))
        return Score(total, *self._size(which))

    def _size(self, which: Integers) -> Size:
        """Return the length of targets in characters and bytes."""
        chosen = [self.part.target(int(index)) for index in which]
        return self.tokenizer.measure(np.concatenate(chosen))


AnyValidation = Validation | PairValidation
