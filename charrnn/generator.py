"""A model file made to write: prompt -> state -> text, streaming or in batches; torch-free.

model = charrnn.load("runs/shakespeare-1")
print(model.sample(prompt="ROMEO:", temperature=0.8))
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import checkpoint, scoring
from charrnn.checkpoint import Model
from charrnn.config import MAX_LENGTH, BeamConfig, SampleConfig
from charrnn.decoding import sampling
from charrnn.decoding.beam import Hypothesis, beam_search
from charrnn.decoding.greedy import greedy
from charrnn.decoding.step import Floats
from charrnn.errors import CorpusError
from charrnn.kernels.numpy_engine import NumpyEngine, State
from charrnn.tokenizer import Decoder, Tokenizer

Write = Callable[[str], object]

_READ = 256  # symbols of a prompt read at a time


@dataclass(frozen=True)
class Sample:
    """A written text.

    Attributes:
        text: what was written after the prompt; a stop string is not part of it.
        seed: what repeats it; None where nothing is random.
        log_prob: log-probability in nats that the model gives to what it wrote after the prompt
            (at temperature 1, a stop string included).
        finished_by: "length" or "stop".
    """

    text: str
    seed: int | None
    log_prob: float
    finished_by: str


@dataclass(frozen=True)
class Prompted:
    """A prompt that was read: logits (1, V) of the next symbol, and the state that gave them."""

    logits: Floats
    state: State


class Generator:
    """Writes and scores text with a trained model; loading and writing need no torch."""

    def __init__(self, model: Model) -> None:
        self.config = model.config
        self.tokenizer = model.tokenizer
        self.training = model.training
        self._values = model.values

    @cached_property
    def engine(self) -> NumpyEngine:
        """What runs the network."""
        return NumpyEngine(self.config, self._values)

    def read(self, prompt: str | Prompted) -> Prompted:
        """Read the start symbol and then `prompt`, which may be empty.

        Whatever takes a prompt takes it read, too: it can be continued many times.

        Raises:
            PromptError: it has symbols that the model has never seen.
        """
        if isinstance(prompt, Prompted):
            return prompt
        start = np.array([self.config.start_symbol], np.int64)
        ids = np.concatenate([start, self.tokenizer.encode(prompt).astype(np.int64)])
        state = self.engine.start_state(1)
        for first in range(0, len(ids) - 1, _READ):
            state = self.engine.advance(ids[first : min(first + _READ, len(ids) - 1), None], state)
        return Prompted(*self.engine.step(ids[-1:], state))

    def sample(self, prompt: str | Prompted = "", **options: Any) -> str:
        """A random text after `prompt`; options are those of `SampleConfig`."""
        return self.samples(prompt, SampleConfig(**options))[0].text

    def samples(
        self, prompt: str | Prompted, config: SampleConfig, write: Write = lambda piece: None
    ) -> list[Sample]:
        """`num_samples` random texts as one batch; `write` gets the first one's characters."""
        seed = secrets.randbits(32) if config.seed is None else config.seed
        stops = self._stops(config.stop)
        texts = [
            _Text(self.tokenizer, config, write if index == 0 else lambda piece: None)
            for index in range(config.num_samples)
        ]
        for drawn in self._sampling(prompt, config, seed, stops):
            for row, symbol, log_prob in drawn:
                texts[row].add(symbol, log_prob)
            if all(text.done for text in texts):
                break
        return [text.finish(seed) for text in texts]

    def stream(self, prompt: str | Prompted = "", **options: Any) -> Iterator[str]:
        """One random text as it is written, piece by piece."""
        config = SampleConfig(**options)
        seed = secrets.randbits(32) if config.seed is None else config.seed
        stops = self._stops(config.stop)
        pieces: list[str] = []
        text = _Text(self.tokenizer, config, pieces.append)
        for drawn in self._sampling(prompt, config, seed, stops):
            text.add(*drawn[0][1:])
            yield from pieces
            pieces.clear()
            if text.done:
                break
        text.finish(seed)
        yield from pieces

    def _sampling(
        self, prompt: str | Prompted, config: SampleConfig, seed: int, stops: list[tuple[int, ...]]
    ) -> Iterator[list[tuple[int, int, float]]]:
        rngs = [sampling.generator(seed, index) for index in range(config.num_samples)]
        read = self.read(prompt)
        config = replace(config, length=self._symbols(config.length))
        return sampling.sample(self.engine, read.logits, read.state, config, rngs, stops)

    def greedy(
        self,
        prompt: str | Prompted = "",
        length: int = 1000,
        stop: str | Sequence[str] = (),
        write: Write = lambda piece: None,
    ) -> Sample:
        """The text of the most likely symbols; `write` gets its characters as they come."""
        config = BeamConfig(length=length, width=1, stop=stop)
        stops = self._stops(config.stop)
        text = _Text(self.tokenizer, config, write)
        read = self.read(prompt)
        most = self._symbols(config.length)
        for chosen in greedy(self.engine, read.logits, read.state, most, stops):
            text.add(*chosen)
            if text.done:
                break
        return text.finish(None)

    def beam(
        self, prompt: str | Prompted, config: BeamConfig, write: Write = lambda piece: None
    ) -> list[Sample]:
        """The most probable texts that beam search finds, best first.

        `write` gets the best one's characters as soon as no later step can change them. Hypotheses
        are as long as `length` says in symbols, whatever these stand for.
        """
        stops = self._stops(config.stop)
        best = _Text(self.tokenizer, replace(config, length=MAX_LENGTH), write)

        def settled(ids: NDArray[np.int64]) -> None:
            for symbol in ids[best.symbols :].tolist():
                best.add(symbol, 0.0)

        read = self.read(prompt)
        found = beam_search(
            self.engine, read.logits, read.state, config, stops=stops, on_settled=settled
        )
        settled(np.array(found[0].ids, np.int64))
        best.finish(None)
        return [self._sample(hypothesis, config) for hypothesis in found]

    def _sample(self, hypothesis: Hypothesis, config: BeamConfig) -> Sample:
        text = _Text(self.tokenizer, replace(config, length=MAX_LENGTH), lambda piece: None)
        for symbol in hypothesis.ids:
            text.add(symbol, 0.0)
        return replace(text.finish(None), log_prob=hypothesis.log_prob)

    def score(self, text: str, *, exact: bool = False) -> scoring.Score:
        """How well the model predicts `text` (not empty): nats, bpc, bits per byte."""
        if not text:
            raise CorpusError("the text is empty (0 characters): there is nothing to score")
        ids = self.tokenizer.encode(text)
        start = self.config.start_symbol
        return scoring.score(self.engine, ids, self.tokenizer, start, exact=exact)

    def _stops(self, stop: str | Sequence[str]) -> list[tuple[int, ...]]:
        """What decoders end a row at; where a text has several spellings, `_Text` looks for it."""
        ids = [tuple(self.tokenizer.encode(text).tolist()) for text in stop]
        return ids if self.tokenizer.one_spelling else []

    def _symbols(self, length: int) -> int:
        """How many symbols give `length` characters, of four bytes at most, for certain."""
        longest = 1 if self.tokenizer.whole_characters else 4
        return min(longest * length, MAX_LENGTH)


class _Text:
    """A text as it grows: what may still become a stop string is held back from `write`."""

    def __init__(
        self, tokenizer: Tokenizer, config: SampleConfig | BeamConfig, write: Write
    ) -> None:
        self._decoder = Decoder(tokenizer)
        self._stops, self._left = config.stop, config.length
        self._write = write
        self._held = max(map(len, self._stops), default=0)
        self._shown: list[str] = []
        self._tail = ""  # not shown yet
        self._log_prob = 0.0
        self._stopped = False
        self.symbols = 0

    @property
    def done(self) -> bool:
        """It has its length, or a stop string."""
        return self._stopped or self._left <= 0

    def add(self, symbol: int, log_prob: float) -> None:
        self.symbols += 1
        if not self.done:
            self._log_prob += log_prob
            self._grow(self._decoder.feed([symbol]))

    def _grow(self, piece: str) -> None:
        piece = piece[: self._left]
        self._left -= len(piece)
        self._tail += piece
        ends = [(at + len(stop), at) for stop in self._stops if (at := self._tail.find(stop)) >= 0]
        if ends:
            self._stopped = True
            self._show(min(ends)[1])
            self._tail = ""
        else:
            self._show(len(self._tail) - self._held)

    def _show(self, end: int) -> None:
        if end > 0:
            self._shown.append(self._tail[:end])
            self._tail = self._tail[end:]
            self._write(self._shown[-1])

    def finish(self, seed: int | None) -> Sample:
        if not self.done:
            self._grow(self._decoder.finish())
        self._show(len(self._tail))
        finished_by = "stop" if self._stopped else "length"
        return Sample("".join(self._shown), seed, self._log_prob, finished_by)


def load(path: str | Path) -> Generator:
    """The generator of a model file, or of a run's folder.

    Raises:
        ModelError: missing, damaged or foreign.
    """
    return Generator(checkpoint.load(checkpoint.find(Path(path))))
