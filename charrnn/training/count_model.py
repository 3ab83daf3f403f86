"""A count model of the training text: made before the first step, fitted to the network at the end.

A few pieces of the training text, the ends of its streams, are kept back from the network and the
counts: there the mixture's weights are fitted, and there is measured what the counts are worth. The
held-out text plays no part in that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from charrnn import scoring
from charrnn.arrays import Floats32, Ids, Integers
from charrnn.config import EngineOptions
from charrnn.counts import build, fit
from charrnn.counts.fit import Fit
from charrnn.counts.table import CountTable
from charrnn.errors import OptionError, counted
from charrnn.inference.engine import Engine
from charrnn.inference.select import EngineSelector
from charrnn.model import parameters
from charrnn.model.parameters import Parameters
from charrnn.scoring import Score
from charrnn.storage import machine
from charrnn.text.notices import ignore
from charrnn.training.events import Stop
from charrnn.training.setup import Setup, text_streams
from charrnn.training.validation import InterruptedScoring

SIZE = 4  # times the bytes of the network: about the most that the counts take
PAYS = 0.005  # nats per token that counts must be worth to be kept where nobody asked for them
SLOWER = 2.0  # times as long as the network alone may scoring with counts take
WARM_UP = 256  # tokens that the network reads before a piece
# Of a text so many tokens are counted for each second of a training, the last ones: counting takes
# about 3 % of its time.
COUNTED_PER_SECOND = 100_000
_ALWAYS = 2**20  # tokens that are counted however short the training is
_MAX_PIECE = 1024
_TRIED = 32  # steps that tell how long the last ones will take ...
_TIMES = 3  # ... if they are made this often; the fastest time counts


def check(setup: Setup) -> None:
    """Refuse counts where they have no meaning.

    Raises:
        OptionError: the text is read as pairs, or too short.
    """
    if setup.options.counts != "on":
        return
    if setup.plan.model.encoder:
        raise OptionError("--counts is for texts, and this is a model of pairs: leave it out")
    if len(setup.data.train) < fit.MIN_TOKENS:
        raise OptionError(
            f"--counts needs {counted(fit.MIN_TOKENS, 'token')} of training text, and there are "
            f"{len(setup.data.train):,}: leave it out"
        )


def wanted(setup: Setup) -> bool:
    """Return whether the text is to be counted: asked for, or left to a training by the clock."""
    if setup.plan.model.encoder:
        return False
    by_clock = setup.plan.train.minutes is not None
    return fit.wanted(setup.options.counts, len(setup.data.train), by_clock=by_clock)


@dataclass(frozen=True)
class Counts:
    """What the counts are worth beside a network.

    Attributes:
        fit: the table, and its gain on what was kept back.
        score: of the mixture on the validation text; None where it was not measured.
    """

    fit: Fit
    score: Score | None

    def described(self) -> Mapping[str, Any]:
        """Return what a model file says about them."""
        table = self.fit.table
        sizes = {"order": table.order, "contexts": table.contexts, "bytes": table.bytes}
        nats = {"network_nats": self.fit.network_nats, "mixed_nats": self.fit.mixed_nats}
        return {**sizes, **nats}


class TextCounts:
    """The counts of a training text.

    Attributes:
        seconds: about how long fitting them will take, without scoring.
        each: seconds for each token that is scored.
    """

    def __init__(self, setup: Setup, values: Parameters) -> None:
        """Count the text; `values` are of any network of the run, to see how long reading takes."""
        self._setup = setup
        self._text = _Text(setup)
        size = SIZE * 4 * parameters.count(setup.plan.model)
        self._table = build.build(self._text.counted, setup.plan.model.vocab_size, size)
        machine.give_memory_back()  # counting takes more of it than the first steps
        engine = self._engine(values, self._table)
        self._read(engine, 1)  # compiles
        step = self._timed(lambda: fit.fit(self._table, *self._read(engine, _TRIED)))
        step /= 2 * _TRIED
        self.seconds = 1.5 * step * (self._text.length + WARM_UP)
        steps = min(scoring.SHORT_CHUNK, len(self._text.ids) - 1)
        streams = min(scoring.MAX_STREAMS, len(self._text.ids) // (steps + 1))
        positions = np.arange(steps + 1)[:, None] + np.arange(streams) * (steps + 1)
        ids = self._text.ids[positions].astype(np.int64)
        self.each = self._timed(partial(self._score, engine, ids)) / (steps * streams)

    def _score(self, engine: Engine, ids: Integers) -> None:
        """Score tokens (T, B) after the first one of each stream."""
        engine.nats(ids[:-1], ids[1:], engine.start_state(ids.shape[1]))

    def _timed(self, run: Callable[[], object]) -> float:
        """Return the seconds that something takes."""
        seconds = []
        for _ in range(_TIMES):
            began = perf_counter()
            run()
            seconds.append(perf_counter() - began)
        return min(seconds)

    def scoring(self, limit: int | None, most: float | None) -> float | None:
        """Return the seconds that scoring takes; None: more than can be spent on it.

        Args:
            limit: about how many tokens of the validation text to score; None: all.
            most: seconds that the network takes alone at most, and both about as long; None: any.
        """
        tokens = len(self._setup.data.valid) if limit is None else limit
        seconds = (tokens + scoring.WARM_UP * scoring.MAX_STREAMS) * self.each
        return seconds if most is None or seconds <= SLOWER * most else None

    def finish(
        self, values: Parameters, stop: Stop, limit: int | None, most: float | None
    ) -> Counts:
        """Fit the counts to the network with these weights, and score both together.

        Args:
            values: the weights.
            stop: asked whether to stop scoring.
            limit: about how many tokens of the validation text to score; None: all.
            most: as of `scoring`; if that takes too long, nothing is scored.
        """
        machine.give_memory_back()  # that of scoring
        fitted = fit.fit(self._table, *self._read(self._engine(values, self._table)))
        valid = self._setup.data.valid
        if not len(valid) or stop() or self.scoring(limit, most) is None:
            return Counts(fitted, None)
        try:
            engine = _Stoppable(self._engine(values, fitted.table), stop)
            score = scoring.score(
                engine,
                valid,
                self._setup.data.tokenizer,
                self._setup.plan.model.start_token,
                limit=limit,
                documents=self._setup.documents("valid"),
            )
        except InterruptedScoring:
            return Counts(fitted, None)
        return Counts(fitted, score)

    def _engine(self, values: Parameters, table: CountTable) -> Engine:
        options = EngineOptions(threads=torch.get_num_threads())
        return EngineSelector(self._setup.plan.model, values, options, ignore, table).engine

    def _read(self, engine: Engine, steps: int | None = None) -> tuple[Floats32, Floats32, Ids]:
        """Return the network's logits before the tokens of all pieces (N, V), contexts, tokens.

        The engine's counts have no weight yet: its logits are those of the network.

        Args:
            engine: reads the pieces.
            steps: so many tokens of each piece, and before it; None: all.
        """
        text, start_token = self._text, self._setup.plan.model.start_token
        length, before = min(text.length, steps or text.length), min(WARM_UP, steps or WARM_UP)
        state = engine.start_state(len(text.starts))
        logits = np.empty((length, len(text.starts), self._table.unigram.size), np.float32)
        for offset in range(-before, length):
            positions = text.starts + offset
            begins = text.begins(positions)
            scoring.reset(engine, state, np.flatnonzero(begins))
            inputs = np.where(begins, start_token, text.ids[np.maximum(positions, 1) - 1])
            found, state = engine.step(inputs.astype(np.int64), state)
            if offset >= 0:
                logits[offset] = found
        positions = (text.starts + np.arange(length)[:, None]).ravel()
        contexts = text.contexts(positions, self._table.order)
        return logits.reshape(len(positions), -1), contexts, text.ids[positions].astype(np.int64)


class _Text:
    """A training text as it is counted.

    Attributes:
        ids: its tokens, or the last ones of a long text (N,).
        starts: the positions of the pieces that are kept back (P,).
        length: of each piece.
        counted: the sequence that is counted: with start tokens, and without what is kept back.
    """

    def __init__(self, setup: Setup) -> None:
        minutes = setup.plan.train.minutes
        limit = build.MAX_TOKENS
        if minutes is not None:
            limit = min(limit, max(_ALWAYS, int(60 * minutes * COUNTED_PER_SECOND)))
        first = max(0, len(setup.data.train) - limit)
        self.ids = np.asarray(setup.data.train[first:])
        documents = setup.documents("train")
        begins = np.zeros(1, np.int64) if first == 0 else np.zeros(0, np.int64)
        if documents is not None:
            inside = documents.astype(np.int64) - first
            begins = np.union1d(begins, inside[(inside >= 0) & (inside < len(self.ids))])
        self._begins = begins
        vocab_size = setup.plan.model.vocab_size
        self.starts, self.length = _pieces(setup, first)
        marks = np.repeat([[build.NONE, setup.plan.model.start_token]], len(begins), 0)
        ids = self.ids.astype(build.sequence_dtype(vocab_size))
        self._sequence = np.insert(ids, np.repeat(begins, 2), marks.ravel())
        self.counted = self._sequence.copy()
        left_out = (self.starts[:, None] + np.arange(self.length)).ravel()
        self.counted[self._places(left_out)] = build.NONE

    def begins(self, positions: Integers) -> NDArray[np.bool_]:
        """Return which positions begin a text; before the first one all do."""
        return np.asarray((positions <= 0) | np.isin(positions, self._begins))

    def _places(self, positions: Integers) -> Integers:
        """Return where positions of the text are in the sequence."""
        begun = np.searchsorted(self._begins, positions, side="right")
        return np.asarray(positions + 2 * begun)

    def contexts(self, positions: Integers, order: int) -> Floats32:
        """Return the contexts of tokens (N, K), as `charrnn.counts.mixing` has them."""
        places = self._places(positions)
        found = np.zeros((len(positions), order), np.float32)
        known = np.ones(len(positions), bool)
        for k in range(1, order + 1):
            before = np.where(places >= k, self._sequence[np.maximum(places - k, 0)], build.NONE)
            known &= before >= 0
            found[:, order - k] = np.where(known, before + 1, 0)
        return found


def _pieces(setup: Setup, first: int) -> tuple[Integers, int]:
    """Return where the pieces start on which counts are fitted, from token `first` on (P,).

    Returns:
        relative to `first`; their length.
    """
    length, kept = len(setup.data.train), setup.plan.train.kept_back
    if kept and setup.documents("train") is None:
        own = max(1, kept // setup.plan.train.batch_size)  # of a stream
        size = min(_MAX_PIECE, own)
        ends = [each.stop for each in text_streams(setup).unread if each.stop - each.start >= own]
        starts = np.array(ends)[:, None] - size * np.arange(own // size, 0, -1) - first
        return starts[starts >= 0], size
    fitted = kept or fit.kept_back(length, setup.plan.model.vocab_size)
    size = max(1, min(_MAX_PIECE, max(fitted // 32, 64), fitted))
    pieces = max(1, fitted // size)
    if kept:  # of documents the last ones are not read
        return length - first - size * np.arange(pieces, 0, -1), size
    # A run to which counts are added later has read all of the text.
    return np.linspace(0, length - first - size, pieces).astype(np.int64), size


@dataclass(frozen=True)
class _Stoppable:
    """An engine as scoring uses it, which can be stopped between two chunks."""

    engine: Engine
    stop: Stop

    def start_state(self, batch_size: int) -> Any:
        """Return the state before a text."""
        return self.engine.start_state(batch_size)

    def nats(self, *window: Any) -> Any:
        """Score a chunk, unless `stop` returns True: then InterruptedScoring is raised."""
        if self.stop():
            raise InterruptedScoring
        return self.engine.nats(*window)
