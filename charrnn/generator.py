"""A model file made to write: prompt -> state -> text, streaming or in batches; torch-free.

model = charrnn.load("runs/shakespeare-1")
print(model.sample(prompt="ROMEO:", temperature=0.8))
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import checkpoint, scoring, states
from charrnn.checkpoint import Model
from charrnn.config import BeamConfig, Limits, SampleConfig
from charrnn.decoding import constraints, sampling
from charrnn.decoding.beam import Hypothesis, beam_search
from charrnn.decoding.constraints import ENDED, Constraint
from charrnn.decoding.greedy import greedy
from charrnn.decoding.step import ends_with
from charrnn.errors import CorpusError, PromptError
from charrnn.kernels.numpy_engine import NumpyEngine
from charrnn.states import Prompted
from charrnn.tokenizer import CharTokenizer

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
        finished_by: "length", "stop" or "constraint" (the pattern or the lines ended it).
        ids: every symbol that was chosen, a stop string included.
    """

    text: str
    seed: int | None
    log_prob: float
    finished_by: str
    ids: tuple[int, ...] = field(default=(), repr=False)


class Generator:
    """Writes and scores text with a trained model; loading and writing need no torch."""

    def __init__(self, model: Model) -> None:
        self.config = model.config
        self.tokenizer = model.tokenizer
        self.training = model.training
        self._values = model.values
        self._constraints: dict[tuple[Limits, int], Constraint | None] = {}

    @cached_property
    def engine(self) -> NumpyEngine:
        """What runs the network."""
        return NumpyEngine(self.config, self._values)

    @cached_property
    def model_hash(self) -> str:
        """What tells this model from others: of its architecture, tokenizer and weights."""
        return states.model_hash(Model(self.config, self.tokenizer, self._values))

    def knows(self, text: str) -> bool:
        """Whether the model has seen every symbol of a text."""
        try:
            self.tokenizer.encode(text)
        except PromptError:
            return False
        return True

    def read(
        self,
        prompt: str | Prompted,
        after: Prompted | None = None,
        progress: Callable[[int], object] = lambda symbols: None,
    ) -> Prompted:
        """Read the start symbol and then `prompt`, which may be empty.

        Whatever takes a prompt takes it read, too: it can be continued many times.

        Args:
            prompt: a text, or one that was read.
            after: what was read before it, instead of the start symbol.
            progress: called every 256 symbols with how many were read; may raise.

        Raises:
            PromptError: it has symbols that the model has never seen.
        """
        if isinstance(prompt, Prompted):
            return prompt
        ids = self.tokenizer.encode(prompt)
        if after is None:
            start = np.array([self.config.start_symbol], np.int64)
            after = Prompted(*self.engine.step(start, self.engine.start_state(1)))
        state = after.state
        for first in range(0, len(ids) - 1, _READ):
            part = ids[first : min(first + _READ, len(ids) - 1)].astype(np.int64)
            state = self.engine.advance(part[:, None], state)
            progress(first + len(part))
        if len(ids) == 0:
            return after
        logits, state = self.engine.step(ids[-1:].astype(np.int64), state)
        return replace(after, logits=logits, state=state, read=after.read + len(ids))

    def after(self, prompted: Prompted, sample: Sample) -> Prompted:
        """What was read, and then `sample`, which was written after it: to save, or to go on from.

        A stop string that ended it was read too. The symbols are read one by one, as they were when
        they were written, so that to go on from here is to never have stopped.
        """
        logits, state = prompted.logits, prompted.state
        for symbol in sample.ids:
            logits, state = self.engine.step(np.array([symbol]), state)
        drawn = len(sample.ids) + (prompted.drawn if sample.seed == prompted.seed else 0)
        read = prompted.read + len(sample.ids)
        return Prompted(logits, state, read, sample.seed, drawn)

    def save_state(self, path: str | Path, prompted: Prompted) -> None:
        """Write what was read to a file, for `load_state`."""
        states.save(Path(path), prompted, self.config, self.model_hash)

    def load_state(self, path: str | Path) -> Prompted:
        """What `save_state` wrote; whatever takes a prompt takes it.

        Raises:
            StateError: missing, damaged, foreign, or another model's.
        """
        return states.load(Path(path), self.config, self.model_hash)

    def sample(self, prompt: str | Prompted = "", **options: Any) -> str:
        """A random text after `prompt`; options are those of `SampleConfig`."""
        return self.samples(prompt, SampleConfig(**options))[0].text

    def samples(
        self, prompt: str | Prompted, config: SampleConfig, write: Write = lambda piece: None
    ) -> list[Sample]:
        """`num_samples` random texts as one batch; `write` gets the first one's characters."""
        prompt, seed = self._begin(prompt, config)
        stops = self._stops(config.stop)
        texts = [
            _Text(self.tokenizer, stops, write if index == 0 else lambda piece: None)
            for index in range(config.num_samples)
        ]
        for drawn in self._sampling(prompt, config, seed, stops):
            for row, symbol, log_prob in drawn:
                texts[row].add(symbol, log_prob)
        return [text.finish(seed) for text in texts]

    def stream(self, prompt: str | Prompted = "", **options: Any) -> Iterator[str]:
        """One random text as it is written, piece by piece."""
        config = SampleConfig(**options | {"num_samples": 1})
        prompt, seed = self._begin(prompt, config)
        stops = self._stops(config.stop)
        pieces: list[str] = []
        text = _Text(self.tokenizer, stops, pieces.append)
        for drawn in self._sampling(prompt, config, seed, stops):
            text.add(*drawn[0][1:])
            yield from pieces
            pieces.clear()
        text.finish(seed)
        yield from pieces

    def _begin(self, prompt: str | Prompted, config: SampleConfig) -> tuple[Prompted, int]:
        """The prompt, read, and the seed: that which wrote the prompt goes on, if none is given."""
        read = self.read(prompt)
        seed = read.seed if config.seed is None else config.seed
        return read, secrets.randbits(32) if seed is None else seed

    def _sampling(
        self, read: Prompted, config: SampleConfig, seed: int, stops: list[tuple[int, ...]]
    ) -> Iterator[list[tuple[int, int, float]]]:
        drawn = read.drawn if seed == read.seed else 0
        rngs = [sampling.generator(seed, index, drawn) for index in range(config.num_samples)]
        constraint = self._constraint(config)
        begin = (self.engine, read.logits, read.state)
        return sampling.sample(*begin, config, rngs, stops, constraint)

    def _constraint(self, config: SampleConfig | BeamConfig) -> Constraint | None:
        key = (config.limits, config.length)
        if key not in self._constraints:  # made once: it takes a moment
            self._constraints[key] = constraints.build(self.tokenizer.symbols, *key)
        return self._constraints[key]

    def greedy(
        self,
        prompt: str | Prompted = "",
        length: int = 1000,
        stop: str | Sequence[str] = (),
        write: Write = lambda piece: None,
        **limits: Any,
    ) -> Sample:
        """The text of the most likely symbols; `write` gets its characters as they come.

        Limits are those of `Limits`: regex, allow, forbid, max_lines.
        """
        config = BeamConfig(length=length, width=1, stop=stop, **limits)
        stops = self._stops(config.stop)
        text = _Text(self.tokenizer, stops, write)
        read = self.read(prompt)
        constraint = self._constraint(config)
        begin = (self.engine, read.logits, read.state)
        for chosen in greedy(*begin, config.length, stops, constraint):
            text.add(*chosen)
        return text.finish(None)

    def beam(
        self, prompt: str | Prompted, config: BeamConfig, write: Write = lambda piece: None
    ) -> list[Sample]:
        """The most probable texts that beam search finds, best first.

        `write` gets the best one's characters as soon as no later step can change them.
        """
        stops = self._stops(config.stop)
        best = _Text(self.tokenizer, stops, write)

        def settled(ids: NDArray[np.int64]) -> None:
            for symbol in ids[best.length :].tolist():
                best.add(symbol, 0.0)

        read = self.read(prompt)
        found = beam_search(
            self.engine,
            read.logits,
            read.state,
            config,
            stops=stops,
            constraint=self._constraint(config),
            on_settled=settled,
        )
        settled(np.array(found[0].ids, np.int64))
        best.finish(None)
        return [self._sample(hypothesis, stops) for hypothesis in found]

    def _sample(self, hypothesis: Hypothesis, stops: list[tuple[int, ...]]) -> Sample:
        text = _Text(self.tokenizer, stops, lambda piece: None)
        for symbol in hypothesis.ids:
            text.add(symbol, 0.0)
        if hypothesis.ended:
            text.add(ENDED, 0.0)
        return replace(text.finish(None), log_prob=hypothesis.log_prob)

    def score(self, text: str, *, exact: bool = False) -> scoring.Score:
        """How well the model predicts `text` (not empty): nats, bpc, bits per byte."""
        if not text:
            raise CorpusError("the text is empty (0 characters): there is nothing to score")
        ids = self.tokenizer.encode(text)
        start = self.config.start_symbol
        return scoring.score(self.engine, ids, len(text.encode()), start, exact=exact)

    def _stops(self, stop: str | Sequence[str]) -> list[tuple[int, ...]]:
        try:
            return [tuple(self.tokenizer.encode(text).tolist()) for text in stop]
        except PromptError as error:
            raise PromptError(f"--stop can never be met: {error}") from None


class _Text:
    """A text as it grows: what may still become a stop string is held back from `write`."""

    def __init__(
        self, tokenizer: CharTokenizer, stops: Sequence[tuple[int, ...]], write: Write
    ) -> None:
        self._tokenizer = tokenizer
        self._stops = stops
        self._write = write
        self._held = max(map(len, stops), default=0)
        self._ids: list[int] = []
        self._written = 0
        self._log_prob = 0.0
        self._ended = False

    @property
    def length(self) -> int:
        return len(self._ids)

    def add(self, symbol: int, log_prob: float) -> None:
        self._log_prob += log_prob
        if symbol == ENDED:
            self._ended = True
            return
        self._ids.append(symbol)
        self._show(len(self._ids) - self._held)

    def _show(self, end: int) -> None:
        if end > self._written:
            self._write(self._tokenizer.decode(self._ids[self._written : end]))
            self._written = end

    def finish(self, seed: int | None) -> Sample:
        stops = [stop for stop in self._stops if ends_with(self._ids, [stop])]
        end = len(self._ids) - max(map(len, stops), default=0)
        self._show(end)
        text = self._tokenizer.decode(self._ids[:end])
        by_limit = "constraint" if self._ended else "length"
        finished_by = "stop" if stops else by_limit
        return Sample(text, seed, self._log_prob, finished_by, tuple(self._ids))


def load(path: str | Path) -> Generator:
    """The generator of a model file, or of a run's folder.

    Raises:
        ModelError: missing, damaged or foreign.
    """
    return Generator(checkpoint.load(checkpoint.find(Path(path))))
