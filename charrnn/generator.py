"""A model file made to write: prompt -> state -> text, streaming or in batches.

Torch-free, unless a CUDA device is asked for.

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

from charrnn import scoring
from charrnn.arrays import Floats64, Ids, Integers
from charrnn.config import (
    MAX_LENGTH,
    BeamConfig,
    EngineOptions,
    Limits,
    SampleConfig,
)
from charrnn.decoding import constraints, sampler
from charrnn.decoding.beam import Hypothesis, beam_search
from charrnn.decoding.constraints import Constraint
from charrnn.decoding.filters import NO_BIAS
from charrnn.decoding.sampler import Sampler, generator
from charrnn.decoding.step import ENDED
from charrnn.errors import CorpusError, OptionError, PromptError
from charrnn.inference.engine import Engine
from charrnn.inference.select import EngineSelector
from charrnn.model import model_file, saved_state
from charrnn.model.model_file import Model
from charrnn.model.saved_state import Prompted
from charrnn.run_dir import find_model
from charrnn.text.tokenizer import Decoder, Tokenizer

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
    """Writes and scores text with a trained model; on the CPU without torch."""

    def __init__(
        self,
        model: Model,
        *,
        weights: str = "float32",
        threads: int | None = None,
        device: str = "cpu",
        notify: Write = lambda sentence: None,
    ) -> None:
        """A generator of `model`.

        Args:
            model: what was trained.
            weights: what matrices are kept as: float32, bfloat16 or int8.
            threads: how many write; None: as many as are worth it.
            device: cpu, cuda or cuda:N; torch is needed on CUDA alone.
            notify: gets a sentence about what takes long, or is not as it should be.

        Raises:
            OptionError: there are no such weights, so many threads or such a device, or they do not
                go together.
        """
        options = EngineOptions(weights=weights, threads=threads, device=device)
        self.config = model.config
        self.tokenizer = model.tokenizer
        self.training = model.training
        self._model = model
        self._selector = EngineSelector(model.config, model.values, options, notify)
        self._constraints: dict[tuple[Limits, int], Constraint | None] = {}

    @cached_property
    def engine(self) -> Engine:
        """Return what runs the network.

        Raises:
            OptionError: there is no such device.
        """
        return self._selector.select()

    @cached_property
    def model_hash(self) -> str:
        """What tells this model from others: of its architecture, tokenizer and weights."""
        return saved_state.model_hash(self._model)

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
        ids = self.tokenizer.encode(prompt).astype(np.int64)
        if after is None:
            start = np.array([self.config.start_symbol], np.int64)
            after = Prompted(*self.engine.step(start, self.engine.start_state(1)))
        state = after.state
        for first in range(0, len(ids) - 1, _READ):
            part = ids[first : min(first + _READ, len(ids) - 1)]
            state = self.engine.advance(part[:, None], state)
            progress(first + len(part))
        if len(ids) == 0:
            return after
        logits, state = self.engine.step(ids[-1:], state)
        read, ids = after.read + len(ids), np.concatenate([after.ids, ids])
        return replace(after, logits=logits, state=state, read=read, ids=ids)

    def after(self, prompted: Prompted, sample: Sample) -> Prompted:
        """What was read, and then `sample`, which was written after it: to save, or to go on from.

        A stop string that ended it was read too. To go on from here is to never have stopped.
        """
        logits, state, ids = prompted.logits, prompted.state, np.array(sample.ids, np.int64)
        if self.engine.reproducible and len(ids):  # the same by windows as step by step
            state = self.engine.advance(ids[:-1, None], state)
            logits, state = self.engine.step(ids[-1:], state)
        else:
            for symbol in ids:
                logits, state = self.engine.step(symbol[None], state)
        drawn = len(ids) + (prompted.drawn if sample.seed == prompted.seed else 0)
        read, ids = prompted.read + len(ids), np.concatenate([prompted.ids, ids])
        return Prompted(logits, state, read, sample.seed, drawn, ids)

    def save_state(self, path: str | Path, prompted: Prompted) -> None:
        """Write what was read to a file, for `load_state`."""
        saved_state.save(Path(path), prompted, self.config, self.model_hash)

    def load_state(self, path: str | Path) -> Prompted:
        """What `save_state` wrote; whatever takes a prompt takes it.

        Raises:
            StateError: missing, damaged, foreign, or another model's.
        """
        return saved_state.load(Path(path), self.config, self.model_hash)

    def sample(self, prompt: str | Prompted = "", **options: Any) -> str:
        """A random text after `prompt`; options are those of `SampleConfig`."""
        return self.samples(prompt, SampleConfig(**options))[0].text

    def samples(
        self, prompt: str | Prompted, config: SampleConfig, write: Write = lambda piece: None
    ) -> list[Sample]:
        """`num_samples` texts as one batch; `write` gets the first one's characters."""
        texts, writing, seed = self._begin(prompt, config, write)
        for _ in writing:
            pass
        return [text.finish(seed) for text in texts]

    def stream(self, prompt: str | Prompted = "", **options: Any) -> Iterator[str]:
        """One random text as it is written, piece by piece."""
        pieces: list[str] = []
        config = SampleConfig(**options | {"num_samples": 1})
        (text,), writing, seed = self._begin(prompt, config, pieces.append)
        for _ in writing:
            yield from pieces
            pieces.clear()
        text.finish(seed)
        yield from pieces

    def prepare(self, config: SampleConfig) -> None:
        """Compile or capture what `samples` needs, so that it spends its time on writing alone."""
        bias = self._bias(dict(config.logit_bias))
        self._prepare(Sampler(config, [], 0, bias=bias), config.num_samples)

    def _prepare(self, chooser: Sampler, batch_size: int) -> None:
        self.engine = self._selector.prepare(self.engine, chooser, batch_size)

    def _begin(
        self, prompt: str | Prompted, config: SampleConfig, write: Write
    ) -> tuple[list[_Text | _DecodedText], Iterator[None], int | None]:
        """The texts, what writes them, and the seed; None where nothing is random.

        Without a seed the one that wrote the prompt goes on, if there is one.
        """
        read = self.read(prompt)
        given = read.seed if config.seed is None else config.seed
        seed = secrets.randbits(32) if given is None else given
        drawn = read.drawn if seed == read.seed else 0
        most, length = self._lengths(config)
        texts = [
            self._text(config.stop, length, write if index == 0 else lambda piece: None)
            for index in range(config.num_samples)
        ]
        chooser = Sampler(
            config,
            [generator(seed, index, drawn) for index in range(config.num_samples)],
            most,
            read=read.ids,
            bias=self._bias(dict(config.logit_bias)),
            constraint=self._constraint(config.limits, most),
        )
        self._prepare(chooser, config.num_samples)
        begin = (self.engine, read.logits, read.state)
        writing = sampler.write(*begin, chooser, texts, most)
        return texts, writing, seed if config.temperature else None

    def _lengths(self, config: SampleConfig) -> tuple[int, int]:
        """How many symbols there may be, and how many characters they may write.

        As many symbols as give the length for certain, of characters of four bytes at most. What
        has to match a pattern is cut nowhere: there the symbols are counted.
        """
        if self.tokenizer.whole_characters or config.limits.regex is not None:
            return config.length, MAX_LENGTH
        return min(4 * config.length, MAX_LENGTH), config.length

    def _constraint(self, limits: Limits, length: int) -> Constraint | None:
        key = (limits, length)
        if key not in self._constraints:  # made once: it takes a moment
            self._constraints[key] = constraints.build(self._written(), *key)
        return self._constraints[key]

    def _written(self) -> constraints.Symbols:
        """What each symbol writes (V,): characters, if all of them do."""
        written = self.tokenizer.token_bytes
        if not self.tokenizer.whole_characters:
            return written
        return [symbol.decode() for symbol in written]

    def _text(self, stop: Sequence[str], length: int, write: Write) -> _Text | _DecodedText:
        """A text that is empty yet.

        Args:
            stop: what ends it.
            length: characters that end it, where these are not symbols.
            write: gets its characters as they come.
        """
        if self.tokenizer.whole_characters:
            return _Text(self.tokenizer, self._stops(stop), write)
        return _DecodedText(self.tokenizer, stop, length, write)

    def greedy(
        self, prompt: str | Prompted = "", *, write: Write = lambda piece: None, **options: Any
    ) -> Sample:
        """The text of the most likely symbols; options are those of `SampleConfig`.

        `write` gets its characters as they come.
        """
        return self.samples(prompt, SampleConfig(temperature=0.0, **options), write)[0]

    def beam(
        self, prompt: str | Prompted, config: BeamConfig, write: Write = lambda piece: None
    ) -> list[Sample]:
        """The most probable texts that beam search finds, best first.

        `write` gets the best one's characters as soon as no later step can change them. Hypotheses
        are as long as `length` says in symbols, whatever these stand for.
        """
        stops = self._stops(config.stop)
        best = self._text(config.stop, MAX_LENGTH, write)
        seed = None
        if config.stochastic:
            seed = secrets.randbits(32) if config.seed is None else config.seed
        read = self.read(prompt)
        found = beam_search(
            self.engine,
            read.logits,
            read.state,
            config,
            stops=stops,
            constraint=self._constraint(config.limits, config.length),
            rng=None if seed is None else generator(seed, 0),
            on_settled=best.show,
        )
        best.show(found[0].ids[best.length :])
        best.finish(None)
        return [self._sample(hypothesis, config, seed) for hypothesis in found]

    def _sample(self, hypothesis: Hypothesis, config: BeamConfig, seed: int | None) -> Sample:
        text = self._text(config.stop, MAX_LENGTH, lambda piece: None)
        text.show(hypothesis.ids)
        found = text.finish(seed)
        ended = "stop" if found.finished_by == "stop" else hypothesis.ended
        return replace(found, log_prob=hypothesis.log_prob, finished_by=ended)

    def score(self, text: str, *, exact: bool = False) -> scoring.Score:
        """How well the model predicts `text` (not empty): nats, bpc, bits per byte."""
        if not text:
            raise CorpusError("the text is empty (0 characters): there is nothing to score")
        return self.score_ids(self.tokenizer.encode(text), exact=exact)

    def score_ids(
        self,
        ids: Ids,
        *,
        exact: bool = False,
        documents: NDArray[np.integer[Any]] | None = None,
    ) -> scoring.Score:
        """The same for a text's ids (N,), which may be mapped from a file.

        `documents`: where those start that are each to be read as a text of its own.
        """
        start = self.config.start_symbol
        return scoring.score(
            self.engine, ids, self.tokenizer, start, exact=exact, documents=documents
        )

    def surprisals(
        self,
        texts: Sequence[Ids],
        count: int = 0,
        progress: scoring.Progress = lambda done: None,
    ) -> list[scoring.Surprisals]:
        """How each text (N,) of ids is predicted, symbol by symbol; see `scoring.surprisals`."""
        start = self.config.start_symbol
        count = min(count, self.config.vocab_size)
        return scoring.surprisals(self.engine, texts, start, count=count, progress=progress)

    def _bias(self, given: dict[str, float]) -> Floats64:
        """What is added to the logits (V,); empty without any.

        Raises:
            OptionError: what should be a symbol is none, or several.
            PromptError: it is unknown.
        """
        if not given:
            return NO_BIAS
        bias = np.zeros(self.config.vocab_size)
        for symbol, value in given.items():
            ids = self.tokenizer.encode(symbol)
            if len(ids) != 1:
                raise OptionError(
                    f"--logit-bias {symbol!a} is {len(ids)} symbols of this model: name one"
                )
            bias[ids[0]] = value
        return bias

    def _stops(self, stop: str | Sequence[str]) -> list[tuple[int, ...]]:
        """What beam search ends a text at; where a text has several spellings, the text does."""
        if not self.tokenizer.unique_encoding:
            return []
        try:
            return [tuple(self.tokenizer.encode(text).tolist()) for text in stop]
        except PromptError as error:
            raise PromptError(f"--stop can never be met: {error.message}") from None


class _Text:
    """A text of symbols that are characters, as it grows.

    What may still become a stop string is held back from `write`.
    """

    def __init__(
        self, tokenizer: Tokenizer, stops: Sequence[tuple[int, ...]], write: Write
    ) -> None:
        self._tokenizer = tokenizer
        self._stops = stops
        self._write = write
        self._held = max(map(len, stops), default=0)
        self._ids: list[int] = []
        self._written = 0
        self._log_prob = 0.0
        self._finished_by = "length"
        self._end: int | None = None  # where a stop string begins

    @property
    def length(self) -> int:
        return len(self._ids)

    def extend(self, ids: Integers, log_probs: Floats64) -> bool:
        """Add symbols up to the end of the text, and say whether it goes on."""
        symbols = ids.tolist()
        count = next((at for at, symbol in enumerate(symbols) if symbol < 0), len(symbols))
        if count < len(symbols):
            self._finished_by = "constraint"
        stop = self._find_stop(symbols[:count])
        counted = count
        if stop is not None:
            counted = count = stop
            self._finished_by = "stop"
        elif count < len(symbols) and symbols[count] == ENDED:
            counted += 1  # ending has a probability, too
        self._log_prob = sum(log_probs[:counted].tolist(), self._log_prob)
        self.show(symbols[:count])
        return self._finished_by == "length"

    def _find_stop(self, symbols: Sequence[int]) -> int | None:
        """How many of these symbols there are up to the end of the first stop string."""
        if not self._stops:
            return None
        before = self._ids[len(self._ids) - min(self._held, len(self._ids)) :]
        window = "".join(map(chr, [*before, *symbols]))
        ends: list[tuple[int, int]] = []  # where one ends, and where it begins: the first is first
        for stop in self._stops:
            wanted = "".join(map(chr, stop))
            at = window.find(wanted, max(len(before) - len(stop) + 1, 0))
            if at >= 0:
                ends.append((at + len(stop), at))
        if not ends:
            return None
        end, begin = min(ends)
        self._end = len(self._ids) - len(before) + begin
        return end - len(before)

    def show(self, symbols: Sequence[int]) -> None:
        """Add symbols, and write what is sure by now."""
        self._ids.extend(symbols)
        self._show(len(self._ids) - self._held)

    def _show(self, end: int) -> None:
        if end > self._written:
            self._write(self._tokenizer.decode(self._ids[self._written : end]))
            self._written = end

    def finish(self, seed: int | None) -> Sample:
        """Write what was held back, but no stop string that has ended the text."""
        if self._end is None:
            found = [len(s) for s in self._stops if tuple(self._ids[-len(s) :]) == s]
            self._end = len(self._ids) - max(found, default=0)
        self._show(self._end)
        text = self._tokenizer.decode(self._ids[: self._end])
        return Sample(text, seed, self._log_prob, self._finished_by, tuple(self._ids))


class _DecodedText:
    """The same for other symbols: length and stop strings are looked for in what they write."""

    def __init__(
        self, tokenizer: Tokenizer, stops: Sequence[str], length: int, write: Write
    ) -> None:
        self._decoder = Decoder(tokenizer)
        self._stops, self._left = stops, length
        self._write = write
        self._held = max(map(len, stops), default=0)
        self._ids: list[int] = []
        self._shown: list[str] = []
        self._tail = ""  # not shown yet
        self._log_prob = 0.0
        self._finished_by = "length"

    @property
    def length(self) -> int:
        """In symbols."""
        return len(self._ids)

    @property
    def _goes_on(self) -> bool:
        return self._finished_by == "length" and self._left > 0

    def extend(self, ids: Integers, log_probs: Floats64) -> bool:
        """Add symbols up to the end of the text, and say whether it goes on."""
        for symbol, log_prob in zip(ids.tolist(), log_probs.tolist(), strict=True):
            if symbol < 0:
                self._finished_by = "constraint"
                self._log_prob += log_prob if symbol == ENDED else 0.0
            if not self._goes_on:
                break
            self._log_prob += log_prob
            self._add(symbol)
        self._show(len(self._tail) - self._held)
        return self._goes_on

    def show(self, symbols: Sequence[int]) -> None:
        """Add symbols, and write what is sure by now."""
        for symbol in symbols:
            if self._goes_on:
                self._add(symbol)
        self._show(len(self._tail) - self._held)

    def _add(self, symbol: int) -> None:
        self._ids.append(symbol)
        self._grow(self._decoder.feed((symbol,)))

    def _grow(self, piece: str) -> None:
        """Add what a symbol has written, as far as it belongs to the text."""
        piece = piece[: self._left]
        begin = max(0, len(self._tail) - self._held)  # no stop string is whole before
        self._left -= len(piece)
        self._tail += piece
        places = [(self._tail.find(stop, begin), len(stop)) for stop in self._stops]
        ends = [(at + length, at) for at, length in places if at >= 0]
        if ends:
            self._finished_by = "stop"
            self._tail = self._tail[: min(ends)[1]]
            self._held = 0

    def _show(self, end: int) -> None:
        if end > 0:
            self._shown.append(self._tail[:end])
            self._tail = self._tail[end:]
            self._write(self._shown[-1])

    def finish(self, seed: int | None) -> Sample:
        """Write what was held back, but no stop string that has ended the text."""
        if self._goes_on:
            self._grow(self._decoder.finish())
        self._show(len(self._tail))
        text = "".join(self._shown)
        return Sample(text, seed, self._log_prob, self._finished_by, tuple(self._ids))


def load(path: str | Path) -> Generator:
    """The generator of a model file, or of a run's folder.

    Raises:
        ModelError: missing, damaged or foreign.
    """
    return Generator(model_file.load(find_model(Path(path))))
