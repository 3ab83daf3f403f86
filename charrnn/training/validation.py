"""The validation text of a training, and how the network is scored on it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from charrnn import scoring
from charrnn.arrays import Ids
from charrnn.network.layers import State
from charrnn.network.module import CharRNN
from charrnn.scoring import Score
from charrnn.text.tokenizer import Tokenizer
from charrnn.training.budget import RECENT
from charrnn.training.distributed import ALONE, World
from charrnn.training.events import Stop

VALID_CAP = 2**16  # tokens that are scored while training; the rest is scored at the end
CALIBRATED = 2**13  # tokens on which is tried by what to multiply the logits
TIMED = 2  # chunks that are scored to measure the speed of scoring
SAMPLES = 3  # of which the best tells how long a token takes
IN_ORDER = 0.8  # of what is read of a text too long to be scored whole; the rest is in windows
LEAVING = 0.4  # seconds for the last files and the end of the process


_CHUNK = (scoring.SHORT_CHUNK, scoring.MAX_STREAMS)  # steps and streams of a chunk


class InterruptedScoring(Exception):  # noqa: N818 - not an error: somebody wants to stop
    """A request to stop the training came while a text was being scored."""


@dataclass(frozen=True)
class Interruptible:
    """A network as `charrnn.scoring` uses one, which can be stopped between two chunks.

    Attributes:
        network: the network.
        stop: asked before each chunk.
        world: the processes that share the columns of each chunk.
        quick: run the layers as in training; see `CharRNN.nats`.
        factors: by which logits are multiplied: then there are nats (F, T, B).
    """

    network: CharRNN
    stop: Stop
    world: World
    quick: bool = False
    factors: tuple[float, ...] = ()

    def start_state(self, batch_size: int) -> State:
        """Return the state before a text."""
        return self.network.start_state(batch_size)

    def nats(self, *window: Any) -> tuple[NDArray[Any], State]:
        """Score a chunk as `CharRNN.nats` or `nats_by_factor` does.

        Raises:
            InterruptedScoring: `stop` returned True.
        """
        if self.stop():
            raise InterruptedScoring
        factors = self.factors or (1.0,)
        score = partial(self.network.nats_by_factor, factors, quick=self.quick)
        nats, state = self.world.scored(score, len(factors), *window)
        return nats if self.factors else nats[0], state


class Estimate(NamedTuple):
    """How good a network is on a part of the validation text or pairs.

    Attributes:
        nats: per character; None without a text.
        right: the share of pairs whose target is the greedy answer; None for a text.
    """

    nats: float | None = None
    right: float | None = None


@dataclass(frozen=True)
class Validation:
    """The validation text.

    Attributes:
        ids: its tokens (N,); N may be 0.
        tokenizer: what they stand for.
        documents: where documents start, if each is read as a text of its own.
        world: the processes that score it together.
    """

    ids: Ids
    tokenizer: Tokenizer
    documents: NDArray[np.integer[Any]] | None = None
    world: World = ALONE

    @property
    def length(self) -> int:
        """N, the number of tokens."""
        return len(self.ids)

    @torch.no_grad()
    def estimate(self, network: CharRNN, stop: Stop) -> Estimate:
        """Return how good the network is on at most `VALID_CAP` tokens, evenly spread.

        The layers run as in training.

        Raises:
            InterruptedScoring: `stop` returned True.
        """
        if not self.length:
            return Estimate()
        engine = Interruptible(network, stop, self.world, quick=True)
        return Estimate(self._score(engine, VALID_CAP).nats)

    @torch.no_grad()
    def nats_by_factor(
        self, network: CharRNN, factors: tuple[float, ...], stop: Stop
    ) -> NDArray[np.float64]:
        """Return the nats (F,) of some tokens if all logits are multiplied by each of F factors.

        They are at most `CALIBRATED`, evenly spread; the layers run as in training.

        Raises:
            InterruptedScoring: `stop` returned True.
        """
        engine = Interruptible(network, stop, self.world, quick=True, factors=factors)
        start, documents = network.config.start_token, self.documents
        return scoring.total_nats(engine, self.ids, start, limit=CALIBRATED, documents=documents)

    @torch.no_grad()
    def score(self, network: CharRNN, stop: Stop, limit: int | None = None) -> Score | None:
        """Score about `limit` tokens, evenly spread, or the whole text; None without one.

        Raises:
            InterruptedScoring: `stop` returned True.
        """
        engine = Interruptible(network, stop, self.world)
        return self._score(engine, limit) if self.length else None

    @torch.no_grad()
    def window_nats(self, network: CharRNN, stop: Stop, limit: int | None = None) -> float | None:
        """Return the nats in windows of 256; None if the text is shorter than one.

        Args:
            network: the network.
            stop: asked before each chunk.
            limit: as of `score`; the windows are fewer accordingly.

        Raises:
            InterruptedScoring: `stop` returned True.
        """
        return scoring.window_nats(
            Interruptible(network, stop, self.world),
            self.ids,
            self.tokenizer,
            self.documents,
            self._windows(limit),
        )

    def right_error(self, share: float | None) -> float:
        """Return 0: a text has no right answers."""
        return 0.0

    def estimated(self, nats: float | None) -> Score | None:
        """Return the score of the part that `estimate` reads, given its nats per character."""
        if nats is None:
            return None
        read = scoring.spread(self.ids, VALID_CAP, documents=self.documents)
        size = self.tokenizer.measure(read)
        return Score(nats * size.characters, *size)

    def affordable(self, network: CharRNN, seconds: float) -> int | None:
        """Return how many tokens can be scored in that time, at least `VALID_CAP`; None: all."""
        each = min(self._each(network) for _ in range(SAMPLES))
        return self._limit(self.world.agreed(each), seconds)

    def seconds(self, network: CharRNN, limit: float) -> float:
        """Return how long the scoring and the files at the end will take.

        At the end come `estimate`, `nats_by_factor`, and in about `limit` seconds at most `score`
        and `window_nats`. Before that this function is called again, which takes time, too.
        """
        if not self.length:
            return LEAVING
        each, quick = self._each(network), self._each(network, quick=True)
        tokens = self._limit(each, limit)
        windows = min(self.length, self._windows(tokens) * self._window_tokens)
        warm_up = min(self.length, scoring.WARM_UP * scoring.MAX_STREAMS)
        sample = TIMED * math.prod(_CHUNK)
        again = (RECENT + 1) * sample * (each + quick)
        scored = (tokens or self.length) + windows + warm_up + SAMPLES * sample  # by `affordable`
        estimated = min(self.length, VALID_CAP) + min(self.length, CALIBRATED) + 2 * warm_up
        return each * scored + quick * estimated + again + LEAVING

    @torch.no_grad()
    def _each(self, network: CharRNN, *, quick: bool = False) -> float:
        """Return how long scoring a token takes, measured on a few chunks of this process.

        Args:
            network: the network.
            quick: run the layers as in training.
        """
        own = self.world.share(scoring.MAX_STREAMS)
        streams = max(1, own.stop - own.start)
        chunk = np.zeros((_CHUNK[0], streams), np.int64)
        state = network.start_state(streams)
        began = time.perf_counter()
        for _ in range(TIMED):
            network.nats(chunk, chunk, state, quick=quick)
        return (time.perf_counter() - began) / (TIMED * math.prod(_CHUNK))

    def _limit(self, each: float, seconds: float) -> int | None:
        """Return how many tokens of `each` seconds to score in order; None: all."""
        limit = max(VALID_CAP, int(IN_ORDER * seconds / max(each, 1e-9)))
        return limit if limit < self.length else None

    def _score(self, engine: Interruptible, limit: int | None = None) -> Score:
        start = engine.network.config.start_token
        return scoring.score(
            engine, self.ids, self.tokenizer, start, limit=limit, documents=self.documents
        )

    @cached_property
    def _window_tokens(self) -> int:
        """About how many tokens a window is: more than it has characters, where some are bytes."""
        characters = max(1, self.tokenizer.measure(self.ids).characters)
        return math.ceil(scoring.WINDOW * max(1.0, self.length / characters))

    def _windows(self, limit: int | None) -> int:
        """Return how many windows are scored beside this many tokens in order."""
        if limit is None:
            return scoring.MAX_WINDOWS
        beside = (1 - IN_ORDER) / IN_ORDER * limit
        return max(1, min(scoring.MAX_WINDOWS, int(beside) // self._window_tokens))
