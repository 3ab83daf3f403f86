"""The validation text of a training, and how the network is scored on it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from charrnn import scoring
from charrnn.arrays import Ids
from charrnn.network.layers import State
from charrnn.network.module import CharRNN
from charrnn.scoring import Score
from charrnn.text.tokenizer import Tokenizer
from charrnn.training.events import Stop

VALID_CAP = 2**16  # tokens that are scored while training; the rest is scored at the end
TIMED = 4  # chunks that are scored to measure the speed of scoring
LEAVING = 0.4  # seconds for the last files and the end of the process


class InterruptedScoring(Exception):  # noqa: N818 - not an error: somebody wants to stop
    """A request to stop the training came while a text was being scored."""


@dataclass(frozen=True)
class Interruptible:
    """A network as `charrnn.scoring` uses one, which can be stopped between two chunks.

    Attributes:
        network: the network.
        stop: asked before each chunk.
        quick: run the layers as in training; see `CharRNN.nats`.
    """

    network: CharRNN
    stop: Stop
    quick: bool = False

    def start_state(self, batch_size: int) -> State:
        """Return the state before a text."""
        return self.network.start_state(batch_size)

    def nats(self, *window: Any) -> tuple[NDArray[Any], State]:
        """Score a chunk as `CharRNN.nats` does.

        Raises:
            InterruptedScoring: `stop` returned True.
        """
        if self.stop():
            raise InterruptedScoring
        return self.network.nats(*window, quick=self.quick)


@dataclass(frozen=True)
class Validation:
    """The validation text.

    Attributes:
        ids: its tokens (N,); N may be 0.
        tokenizer: what they stand for.
        documents: where documents start, if each is read as a text of its own.
    """

    ids: Ids
    tokenizer: Tokenizer
    documents: NDArray[np.integer[Any]] | None = None

    @property
    def length(self) -> int:
        """N, the number of tokens."""
        return len(self.ids)

    @torch.no_grad()
    def estimate(self, network: CharRNN, stop: Stop) -> float | None:
        """Return the nats on at most `VALID_CAP` tokens, evenly spread; None without a text.

        The layers run as in training.

        Raises:
            InterruptedScoring: `stop` returned True.
        """
        if not self.length:
            return None
        return self._score(Interruptible(network, stop, quick=True), VALID_CAP).nats

    @torch.no_grad()
    def score(self, network: CharRNN, stop: Stop) -> Score | None:
        """Score the whole text; None without one.

        Raises:
            InterruptedScoring: `stop` returned True.
        """
        return self._score(Interruptible(network, stop)) if self.length else None

    @torch.no_grad()
    def window_nats(self, network: CharRNN, stop: Stop) -> float | None:
        """Return the nats in windows of 256; None if the text is shorter than one.

        Raises:
            InterruptedScoring: `stop` returned True.
        """
        return scoring.window_nats(
            Interruptible(network, stop), self.ids, self.tokenizer, self.documents
        )

    def estimated(self, nats: float | None) -> Score | None:
        """Return the score of the part that `estimate` reads, given its nats per character."""
        if nats is None:
            return None
        read = scoring.spread(self.ids, VALID_CAP, documents=self.documents)
        size = self.tokenizer.measure(read)
        return Score(nats * size.characters, *size)

    @torch.no_grad()
    def seconds(self, network: CharRNN) -> float:
        """Return how long the scoring and the files at the end will take.

        Scoring is measured on a few chunks; at the end come `estimate`, `score` and `window_nats`.
        """
        length = self.length
        if not length:
            return LEAVING
        chunk = np.zeros((scoring.SHORT_CHUNK, scoring.MAX_STREAMS), np.int64)
        state = network.start_state(scoring.MAX_STREAMS)
        began = time.perf_counter()
        for _ in range(TIMED):
            network.nats(chunk, chunk, state)
        each = (time.perf_counter() - began) / (TIMED * chunk.size)
        windows = scoring.MAX_WINDOWS * scoring.WINDOW
        return each * (min(length, VALID_CAP) + length + min(length, windows)) + LEAVING

    def _score(self, engine: Interruptible, limit: int | None = None) -> Score:
        start = engine.network.config.start_token
        return scoring.score(
            engine, self.ids, self.tokenizer, start, limit=limit, documents=self.documents
        )
