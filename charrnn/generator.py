"""Loads a model to generate and score text: prompt -> state -> text, streaming or in batches.

Torch is imported only if a CUDA device is requested.

    model = charrnn.load("runs/shakespeare-1")
    print(model.sample(prompt="ROMEO:", temperature=0.8))
"""

from __future__ import annotations

import inspect
import secrets
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from charrnn import scoring
from charrnn.arrays import Ids
from charrnn.config import BeamConfig, EngineOptions, SampleConfig, cell_name
from charrnn.config.signature import BEAM, BEAMS, GREEDY, SAMPLE, SAMPLES
from charrnn.decoding.generation import SampleBatch, accepted, search, unwatched
from charrnn.decoding.output_text import Sample, Write
from charrnn.decoding.vocabulary import ConstraintCache
from charrnn.errors import CorpusError, PromptError, StateError, counted, file_name, in_python
from charrnn.inference.engine import Engine, check_finite
from charrnn.inference.prompt import read_ids, read_sample, read_start
from charrnn.inference.select import EngineSelector
from charrnn.model import parameters, saved_state
from charrnn.model.model_file import Model
from charrnn.model.saved_state import Prompted
from charrnn.text import corpus, id_file, line_ends, unknown_symbols
from charrnn.text.open import ignore

if TYPE_CHECKING:
    from typing import Unpack

    from charrnn.config.keywords import (
        BeamKeywords,
        BeamsKeywords,
        GreedyKeywords,
        SampleKeywords,
        SamplesKeywords,
    )

MAX_SHOWN = 20_000  # tokens of a text whose score knows where it surprised
EXPECTED = 3  # likeliest tokens that it knows for each place
C = TypeVar("C", SampleConfig, BeamConfig)


class Generator:
    """Generates and scores text with a trained model.

    Attributes:
        config: the architecture.
        tokenizer: text <-> ids.
        training: how the model was trained and what it reached (plain JSON).
        reading: how the text of the training was read. A model of separate documents ends each text
            at `reading.separator`.
    """

    def __init__(
        self,
        model: Model,
        *,
        weights: str = "float32",
        threads: int | None = None,
        device: str = "cpu",
        notify: Write | None = None,
    ) -> None:
        """Prepare a model for use; its engine is made when it is first needed.

        Args:
            model: the trained model.
            weights: what matrices are stored as: float32, bfloat16 or int8.
            threads: CPU threads; None: as many as are worthwhile.
            device: cpu, cuda or cuda:N.
            notify: gets a sentence when code is compiled, when an engine is replaced by a slower
                one, when unknown characters of a prompt are, when too many texts are refused, and
                about sequences that are not one character; without it, the last three are warnings.

        Raises:
            OptionError: an option is invalid, or options contradict each other.
        """
        options = EngineOptions(weights=weights, threads=threads, device=device)
        self.config = model.config
        self.tokenizer = model.tokenizer
        self.training = model.training
        self.reading = model.reading
        self._model, self._notify = model, notify
        self._selector = EngineSelector(model.config, model.values, options, notify or ignore)
        self._constraints = ConstraintCache(model.tokenizer, notify or _warn)

    def __repr__(self) -> str:
        config, training = self.config, self.training
        words = f"{cell_name(config.cell)}, {config.num_layers} x {config.hidden_size}"
        words += f", vocabulary of {counted(config.vocab_size, 'token')}"
        words += f", {parameters.count(config):,} parameters"
        if training.get("steps"):
            words += f"; trained for {training['steps']:,} steps"
        if training.get("valid_nats") is not None:
            words += f", {training['valid_nats']:.4f} nats per character on its validation text"
        return f"<Generator {words}>"

    @cached_property
    def engine(self) -> Engine:
        """Return the engine that runs the network.

        Raises:
            OptionError: the device or the type of the weights is not available here.
        """
        return self._selector.select()

    @cached_property
    def model_hash(self) -> str:
        """Return the hash of architecture, tokenizer and weights."""
        return saved_state.model_hash(self._model)

    def knows(self, text: str) -> bool:
        """Return whether every character of a text is in the vocabulary."""
        try:
            self.tokenizer.encode(text)
        except PromptError:
            return False
        return True

    def readable(self, text: str, unknown: str) -> str:
        """Return a text in characters that the model knows; a notice says what was changed.

        Its line ends become those of the model's own text.

        Args:
            text: a prompt.
            unknown: what happens to other characters: nearest, skip or error.

        Raises:
            PromptError: there are some, and `unknown` is error.
        """
        if self.reading.newline == "lf":
            data = text.encode(errors="surrogatepass")
            text = line_ends.to_lf(data, line_ends.KINDS).decode(errors="surrogatepass")
        if unknown == "error":
            try:
                self.tokenizer.encode(text)
            except PromptError as error:
                raise PromptError(f"{error.message}, or use --unknown nearest or skip") from None
            return text
        replaced = unknown_symbols.replace(text, self.knows, nearest=unknown == "nearest")
        if replaced.changes:
            notify = self._notify or _warn
            notify(f"unknown characters: {replaced}")
        return replaced.text

    def read(
        self,
        prompt: str | Prompted,
        after: Prompted | None = None,
        progress: Callable[[int], object] = lambda tokens: None,
    ) -> Prompted:
        """Read the start token and then `prompt`, which may be empty.

        The result can be passed wherever a prompt can, any number of times. A model of separate
        documents begins anew after each separator.

        Args:
            prompt: a text, or the result of an earlier call, which is returned as it is.
            after: what was read before the prompt, instead of the start token.
            progress: called every 256 tokens with the number read so far; may raise.

        Raises:
            PromptError: the prompt has characters that are not in the vocabulary.
        """
        if isinstance(prompt, Prompted):
            return prompt
        if not isinstance(prompt, str):
            raise PromptError(
                f"`prompt` must be a str, or what `read` returned, not {type(prompt).__name__}"
            )
        ids = self.tokenizer.encode(prompt).astype(np.int64)
        begins = self._last_document(prompt, after)
        if begins is not None:
            ids, after = self.tokenizer.encode(prompt[begins:]).astype(np.int64), self._anew(after)
        return read_ids(self.engine, ids, after or self._anew(), progress)

    def _last_document(self, text: str, after: Prompted | None) -> int | None:
        """Return where the last document that begins in `text` begins; None if none does."""
        separator = self.reading.separator
        if not separator:
            return None
        read = np.zeros(0, np.int64) if after is None else after.ids
        size = len(separator)
        before = self.tokenizer.decode(read[-size:])[-size:]  # in which the separator may begin
        found = (before + text).rfind(separator)
        return None if found < 0 else max(0, found + size - len(before))

    def _anew(self, before: Prompted | None = None) -> Prompted:
        """Return the state after the start token, with the random numbers of an earlier state."""
        start = read_start(self.engine, self.config.start_token)
        return replace(start, seed=before.seed, drawn=before.drawn) if before else start

    def after(self, prompted: Prompted, sample: Sample) -> Prompted:
        """Return the state after a prompt and the sample that was written after it.

        A stop string that ended the sample counts as read. Generation that continues from this
        state gives the same text as one that was never interrupted. After the separator of separate
        documents it is the state before the next document.
        """
        read = read_sample(self.engine, np.array(sample.ids, np.int64), sample.seed, prompted)
        ended = sample.finished_by == "stop" and self._last_document("", read) is not None
        return self._anew(read) if ended else read

    def save_state(self, path: str | Path, prompted: Prompted) -> None:
        """Save a state to a file that `load_state` reads."""
        saved_state.save(_state_file(path), prompted, self.config, self.model_hash)

    def load_state(self, path: str | Path) -> Prompted:
        """Return a state that `save_state` saved; it can be passed wherever a prompt can.

        Raises:
            StateError: the file is missing, damaged, foreign, or another model's.
        """
        return saved_state.load(_state_file(path), self.config, self.model_hash)

    @SAMPLE.document
    def sample(self, prompt: str | Prompted = "", **options: Unpack[SampleKeywords]) -> Sample:
        """Return a random text after `prompt`; ``print(model.sample())`` prints it.

        A model of separate documents ends each text before the separator, besides the stop strings
        that are given. As in all functions that write, `unknown` says what happens to characters of
        a prompt that the model does not know; `read` itself refuses them.

        Args:
            prompt: a text, or what `read` returned.
            options: see below.

        Raises:
            PromptError: the prompt or a stop string has a character that the model does not know.
            OptionError: an option is invalid, or options contradict each other.
            TypeError: an argument has another name.
        """
        return self.samples(prompt, SampleConfig(**SAMPLE.check("sample", options)))[0]

    @SAMPLES.document
    def samples(
        self,
        prompt: str | Prompted = "",
        config: SampleConfig | None = None,
        write: Write = unwatched,
        *,
        first: int = 0,
        accept: Callable[[str], bool] | None = None,
        **options: Unpack[SamplesKeywords],
    ) -> list[Sample]:
        """Return `num_samples` random texts, generated as one batch.

        Args:
            prompt: as in `sample`.
            config: all options in one object.
            write: gets the characters of the first text as they are generated.
            first: how many texts of this seed to leave out: two calls give different texts, and
                together what one call would have given.
            accept: whether a text may be returned; others are written in place of those that may
                not, as for `unique`. There are fewer texts if too many tries fail, which is said.
            options: see below.

        Raises:
            CharRNNError, TypeError: as `sample`.
        """
        made = _one_of(config, SampleConfig, SAMPLES.check("samples", options))
        read = self._read_for(prompt, made)
        if made.unique or accept is not None:
            return self._after(read, self._accepted(read, made, write, first, accept))
        batch = self._start(read, made, write, first)
        for _ in batch.steps(self.engine):
            pass
        return self._after(read, batch.finish())

    def _accepted(
        self,
        read: Prompted,
        config: SampleConfig,
        write: Write,
        first: int,
        accept: Callable[[str], bool] | None,
    ) -> list[Sample]:
        """Return only texts that are accepted, and different ones if that was asked for."""
        seed = read.seed if config.seed is None else config.seed
        alone = replace(config, seed=secrets.randbits(32) if seed is None else seed, unique=False)

        def batch(tried: int) -> list[Sample]:
            return self.samples(read, alone, first=first + tried)

        found, tried = accepted(batch, config, accept or (lambda text: True))
        write(found[0].text if found else "")
        if len(found) < config.num_samples:
            notify = self._notify or _warn
            notify(
                f"{len(found):,} of {counted(config.num_samples, 'text')} after "
                f"{counted(tried, 'try', 'tries')}: the others repeat one of these, or are not new"
            )
        return found

    @SAMPLE.document
    def stream(
        self,
        prompt: str | Prompted = "",
        config: SampleConfig | None = None,
        **options: Unpack[SampleKeywords],
    ) -> Iterator[str]:
        """Return the text of `sample` as an iterator of pieces, each as soon as it is generated.

        Args:
            prompt: as in `sample`.
            config: all options in one object, of one text.
            options: see below.
        """
        made = _one_of(config, SampleConfig, SAMPLE.check("stream", options))
        pieces: list[str] = []
        batch = self._start(prompt, made, pieces.append)
        return self._pieces(batch, pieces)

    def _pieces(self, batch: SampleBatch, pieces: list[str]) -> Iterator[str]:
        for _ in batch.steps(self.engine):
            yield from pieces
            pieces.clear()
        batch.finish()
        yield from pieces

    def prepare(self, config: SampleConfig) -> None:
        """Compile or capture what `samples` needs, so that its time is spent on generation only."""
        self._start("", config, lambda piece: None)

    def _start(
        self, prompt: str | Prompted, config: SampleConfig, write: Write, first: int = 0
    ) -> SampleBatch:
        config = replace(config, stop=self._stops(config))
        read = self._read_for(prompt, config)
        batch = SampleBatch(self.tokenizer, read, config, self._constraints, write, first)
        self.engine = self._selector.prepare(self.engine, batch.chooser, config.num_samples)
        return batch

    def _read_for(self, prompt: str | Prompted, config: SampleConfig | BeamConfig) -> Prompted:
        if isinstance(prompt, str):
            prompt = self.readable(prompt, config.unknown)
        return self.read(prompt)

    def _stops(self, config: SampleConfig | BeamConfig) -> tuple[str, ...]:
        """Return the strings that end a text: those that were asked for, and the separator."""
        separator = self.reading.separator
        known = separator != "" and separator not in config.stop and self.knows(separator)
        return (*config.stop, *((separator,) if known else ()))

    def _after(self, read: Prompted, samples: list[Sample]) -> list[Sample]:
        prompt = self.tokenizer.decode(read.ids.tolist())
        return [replace(sample, prompt=prompt) for sample in samples]

    @GREEDY.document
    def greedy(
        self,
        prompt: str | Prompted = "",
        *,
        write: Write = unwatched,
        **options: Unpack[GreedyKeywords],
    ) -> Sample:
        """Return the text of the most likely token at each step.

        Args:
            prompt: as in `sample`.
            write: gets the characters as they are generated.
            options: see below.

        Raises:
            CharRNNError, TypeError: as `sample`.
        """
        config = SampleConfig(temperature=0.0, **GREEDY.check("greedy", options))
        return self.samples(prompt, config, write)[0]

    @BEAM.document
    def beam(self, prompt: str | Prompted = "", **options: Unpack[BeamKeywords]) -> Sample:
        """Return the most probable text that beam search finds.

        Args:
            prompt: as in `sample`.
            options: see below.

        Raises:
            CharRNNError, TypeError: as `sample`.
        """
        return self.beams(prompt, BeamConfig(**BEAM.check("beam", options)))[0]

    @BEAMS.document
    def beams(
        self,
        prompt: str | Prompted = "",
        config: BeamConfig | None = None,
        write: Write = unwatched,
        **options: Unpack[BeamsKeywords],
    ) -> list[Sample]:
        """Return the `num_return` most probable texts that beam search finds, best first.

        Args:
            prompt: as in `sample`.
            config: all options in one object.
            write: gets characters of the best text as soon as no later step can change them.
            options: see below. The length of hypotheses is counted in tokens.

        Raises:
            CharRNNError, TypeError: as `sample`.
        """
        made = _one_of(config, BeamConfig, BEAMS.check("beams", options))
        made = replace(made, stop=self._stops(made))
        read = self._read_for(prompt, made)
        given = (self.engine, self.tokenizer, read, made, self._constraints, write)
        return self._after(read, search(*given))

    def score(self, text: str, *, exact: bool = False) -> scoring.Score:
        """Return how well the model predicts a text: nats, bpc, bits per byte.

        The text is read as that of the training was: with its line ends, and each document by
        itself if the model was trained so. The score of a text under 1,024 tokens, or with `exact`
        up to 20,000, knows where the text surprised, and shows that in a notebook.

        Raises:
            CorpusError: the text is empty.
            RunError: the network's numbers overflow; so does every function that reads a text.
        """
        if not isinstance(text, str):
            raise CorpusError(f"`text` must be a str, not {type(text).__name__}")
        if not text:
            raise CorpusError("the text is empty (0 characters): there is nothing to score")
        read = corpus.from_text(text, reading=self.reading.options())
        if not self.reading.documents_apart:
            ids = self.tokenizer.encode(read.text)
            if len(ids) <= (MAX_SHOWN if exact else 2 * scoring.WARM_UP - 1):  # one stream
                (found,) = self.surprisals([ids], EXPECTED)
                surprise = scoring.Surprise.of("text", found, self.tokenizer)
                return replace(found.score(self.tokenizer), surprise=surprise)
            return self.score_ids(ids, exact=exact)
        with id_file.encoded(read, self.tokenizer) as (ids, documents):
            return self.score_ids(ids, exact=exact, documents=documents)

    def score_ids(
        self, ids: Ids, *, exact: bool = False, documents: NDArray[np.integer[Any]] | None = None
    ) -> scoring.Score:
        """Return the same for a text's ids (N,), which may be memory-mapped; see `scoring.score`.

        `documents`: where documents start, if each is to be read as a text of its own.
        """
        start = self.config.start_token
        found = scoring.score(
            self.engine, ids, self.tokenizer, start, exact=exact, documents=documents
        )
        check_finite(found.total_nats)
        return found

    def surprisals(
        self,
        texts: Sequence[Ids],
        count: int = 0,
        progress: Callable[[int], object] = lambda done: None,
    ) -> list[scoring.Surprisals]:
        """Return how each text (N,) of ids is predicted, token by token; see `scoring`."""
        start = self.config.start_token
        count = min(count, self.config.vocab_size)
        found = scoring.surprisals(self.engine, texts, start, count=count, progress=progress)
        check_finite(*(text.nats for text in found))
        return found


def _one_of(config: C | None, kind: type[C], options: dict[str, Any]) -> C:
    """Return the config that was given, or one made of options."""
    if config is not None and options:
        raise TypeError(f"give a {kind.__name__} or its options by name, not both")
    return config or kind(**options)


def _warn(sentence: str) -> None:
    """Warn about the line of the program that called this package, in words for Python."""
    package, level = str(Path(__file__).parent), 1
    frame = inspect.currentframe()
    while frame and frame.f_code.co_filename.startswith(package):
        frame, level = frame.f_back, level + 1
    warnings.warn(in_python(sentence), stacklevel=level)


def _state_file(path: str | Path) -> Path:
    return Path(file_name(path, "a saved state", StateError))
