"""Loads a model to generate and score text: prompt -> state -> text, streaming or in batches.

Torch is imported only if a CUDA device is requested.

    model = charrnn.load("runs/shakespeare-1")
    print(model.sample(prompt="ROMEO:", temperature=0.8))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from charrnn import adaptive
from charrnn.adaptive.following import WeightSelector
from charrnn.arrays import Ids
from charrnn.config import (
    BeamConfig,
    EngineOptions,
    FillConfig,
    SampleConfig,
    UnknownOption,
)
from charrnn.config.exporting import ExportOptions
from charrnn.config.signature import BEAM, BEAMS, FILL, FILLS, GREEDY, SAMPLE, SAMPLES
from charrnn.decoding.continuous import ContinuousBatch
from charrnn.decoding.filling import Filled, Filler
from charrnn.decoding.generation import Accept, SampleBatch
from charrnn.decoding.many import ManyTexts
from charrnn.decoding.output_text import Sample, Write, unwatched
from charrnn.errors import OptionError, PromptError, warn
from charrnn.inference.engine import Engine
from charrnn.inference.select import EngineSelector
from charrnn.model import saved_state
from charrnn.model.model_file import Model
from charrnn.model.saved_state import Prompted
from charrnn.scoring import Score, TextScorer, total
from charrnn.scoring.many_scores import ManyScores, Text, in_batches
from charrnn.text.notices import ignore

if TYPE_CHECKING:
    from typing import Unpack

    from charrnn.adaptive.predictor import AdaptivePredictor
    from charrnn.config.keywords import (
        BeamKeywords,
        BeamsKeywords,
        FillKeywords,
        FillsKeywords,
        GreedyKeywords,
        SampleKeywords,
        SamplesKeywords,
    )

C = TypeVar("C", SampleConfig, BeamConfig, FillConfig)
Watch = Callable[[int], object]  # called with the number of tokens read so far


class Generator:
    """Generates and scores text with a trained model.

    Attributes:
        config: the architecture.
        tokenizer: text <-> ids.
        training: how the model was trained and what it reached (plain JSON).
        reading: how the text of the training was read; `reading.separator` ends each document.
        scorer: scores texts that are tokens already.
        many_scores: scores many texts; see `scores`.
    """

    def __init__(
        self,
        model: Model,
        *,
        weights: str = "float32",
        threads: int | None = None,
        device: str = "cpu",
        with_counts: bool = False,
        notify: Write | None = None,
    ) -> None:
        """Prepare a model for use, with options as for `charrnn.load`.

        `notify` gets a sentence when code is compiled or an engine replaced by a slower one, and
        about a prompt or texts; without it, the latter are warnings.
        """
        options = EngineOptions(
            weights=weights, threads=threads, device=device, with_counts=with_counts
        )
        self.config, self.training, self.reading = model.config, model.training, model.reading
        self.tokenizer, self._model, self._options = model.written, model, options
        if with_counts and not model.counts:
            raise OptionError("--with-counts needs a model that was trained with --counts on")
        self._writing = model if with_counts else replace(model, counts=None)
        told, notices = notify or ignore, notify or warn
        given = (model.config, model.values, options, told)
        self._selector = scoring = EngineSelector(*given, self._writing.counts)
        if model.counts and not with_counts:
            scoring = EngineSelector(*given, model.counts)
        self.scorer = TextScorer(scoring, self.tokenizer, self.reading, self.config.start_token)
        self._weights = WeightSelector(self._writing, options, self._selector, told, notices)
        self._many = ManyTexts(self._writing, options, self._weights.own, notices)
        self.many_scores = ManyScores(model, options, self.scorer, notices)

    def __repr__(self) -> str:
        return f"<Generator {self._model.summary}>"

    @property
    def engine(self) -> Engine:
        """What writes; it is made when it is first needed. `scorer.engine` is what scores."""
        return self._selector.engine

    @engine.setter
    def engine(self, engine: Engine) -> None:
        self._selector.replace_engine(engine)

    def adaptive(
        self,
        length: int,
        counted: Ids | None = None,
        progress: Watch = lambda tokens: None,
        *,
        older: bool = False,
    ) -> AdaptivePredictor:
        """Return a predictor that learns from the texts that it reads, `length` tokens in all.

        It starts with what the model knows, and what follows what in `counted` tokens, such as
        those of the training text; `progress` is called with how many are counted; `older` is
        for old archives. The model does not change. Raises OptionError where that is not possible.
        """
        given = (self._model, self._options, self._selector)
        return adaptive.make(*given, length, counted, progress, older=older)

    @cached_property
    def model_hash(self) -> str:
        """The hash of what writes: architecture, tokenizer, weights, counts if they are used."""
        return saved_state.model_hash(self._writing)

    @cached_property
    def scored_hash(self) -> str:
        """The same of what scores: with the counts, if the model has any."""
        return saved_state.model_hash(self._model)

    def export(self, to: str, out: str | PathLike[str], *, force: bool = False) -> None:
        """Write the network for other programs: `to` is "onnx" or "huggingface".

        `out` names the file or the folder, and `force` replaces what was exported there before.
        Counts of the training text are left out. A model of pairs raises ModelError.
        """
        from charrnn.export import export

        export(self._model, ExportOptions(to=to, out=Path(out), force=force))

    def knows(self, text: str) -> bool:
        """Return whether every character of a text is in the vocabulary."""
        return self._weights.own.reader.knows(text)

    def readable(self, text: str, unknown: str, *, of_source: bool = False) -> str:
        """Return a prompt or a source in the line ends and characters that the model knows."""
        return self._weights.own.reader.readable(text, unknown, of_source=of_source)

    def read(
        self,
        prompt: str | Prompted,
        after: Prompted | None = None,
        progress: Watch = lambda tokens: None,
        source: str | None = None,
        *,
        adapt: bool = False,
    ) -> Prompted:
        """Read a prompt, which may be empty, after the start token or what was read before it.

        The result can be passed wherever a prompt can, any number of times; `read` returns it as it
        is. Unknown characters raise PromptError. A model of separate documents begins anew after
        each separator; a model of pairs answers `source`. `progress` is called every 256 tokens
        with the number read so far; it may raise.

        With `adapt` the weights follow the prompt first, by gradient steps, as in dynamic
        evaluation: what is written after it takes up its names and habits. They belong to the
        result; the model itself does not change.
        """
        if source is not None:
            after = self._weights.own.reader.read_sources([source], "error")
        if adapt:
            adaptive.check(self.config, self._options, "--adapt")
            if not isinstance(prompt, str):
                raise PromptError("`adapt` learns from a text, and this prompt was read already")
            after = self._weights.follow(self.scorer.texts(prompt), after, progress)
        return self._weights.after(after).reader.read(prompt, after, progress)

    def after(self, prompted: Prompted, sample: Sample) -> Prompted:
        """Return the state after a prompt and the sample that was written after it.

        A stop string that ended the sample counts as read; after the separator of documents it is
        the state before the next one. Generation that continues from it gives the same text as one
        that was never interrupted.
        """
        ids, stopped = np.array(sample.ids, np.int64), sample.finished_by == "stop"
        return self._weights.after(prompted).reader.read_sample(
            ids, sample.seed, prompted, stopped=stopped
        )

    def save_state(self, path: str | Path, prompted: Prompted) -> None:
        """Save a state to a file that `load_state` reads."""
        saved_state.save(path, self.exact(prompted), self.config, self.model_hash)

    def exact(self, prompted: Prompted) -> Prompted:
        """Return a state as `engine` computes it: other states may belong to what writes.

        Where that was not compiled before, this waits for it.
        """
        return self._weights.after(prompted).reader.exact(prompted)

    def load_state(self, path: str | Path) -> Prompted:
        """Return a state that `save_state` saved; raises StateError if it is not this model's."""
        order = self._writing.counts.order if self._writing.counts else 0
        return saved_state.load(path, self.config, self.model_hash, order)

    @SAMPLE.document
    def sample(self, prompt: str | Prompted = "", **options: Unpack[SampleKeywords]) -> Sample:
        """Return a random text after `prompt`: a text, or what `read` returned.

        A model of separate documents also ends a text before the separator. As in all functions
        that write, `unknown` says what happens to unknown characters; `read` itself refuses them.

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
        accept: Accept | None = None,
        **options: Unpack[SamplesKeywords],
    ) -> list[Sample]:
        """Return `num_samples` random texts; else as `sample`.

        `config` holds all options in one object. `write` gets the characters of the first text as
        they are generated. `first` texts of this seed are left out: two calls give different texts,
        and together what one call would have given. Texts that `accept` refuses are replaced by
        others, as for `unique`; there are fewer texts if too many tries fail, which is said.
        """
        made = _one_of(config, SampleConfig, SAMPLES.check("samples", options))
        writer, read = self._weights.read(prompt, made.unknown)
        return writer.samples(read, made, write, first, accept)

    @SAMPLES.document
    def texts(
        self,
        prompt: str | Prompted = "",
        config: SampleConfig | None = None,
        write: Write = unwatched,
        *,
        first: int = 0,
        processes: int = 1,
        **options: Unpack[SamplesKeywords],
    ) -> Iterator[Sample]:
        """Yield the texts of `samples` in order, of which some hundreds are kept at a time.

        More than one of the `processes` start the program anew: ``if __name__ == "__main__"`` must
        guard it. Close the iterator if you leave it before its end.
        """
        made = _one_of(config, SampleConfig, SAMPLES.check("texts", options))
        given = (*self._weights.read(prompt, made.unknown), made, write)
        return self._many.texts(*given, first=first, processes=processes)

    def processes(self, count: int, config: SampleConfig | BeamConfig) -> int:
        """Return how many processes write `count` texts, or answer as many sources, fastest."""
        return self._many.processes(count, config)

    @SAMPLE.document
    def stream(
        self,
        prompt: str | Prompted = "",
        config: SampleConfig | None = None,
        **options: Unpack[SampleKeywords],
    ) -> Iterator[str]:
        """Return the text of `sample` in pieces, each as soon as it is generated."""
        made = _one_of(config, SampleConfig, SAMPLE.check("stream", options))
        writer, read = self._weights.read(prompt, made.unknown)
        return writer.stream(read, made)

    def prepare(self, config: SampleConfig, *, wait: bool = True) -> None:
        """Compile or capture what `samples` needs, so that its time is spent on generation only.

        Without `wait` another process begins to compile, and `samples` writes meanwhile.
        """
        writer, read = self._weights.read("", config.unknown)
        writer.prepare(read, config, wait=wait)

    def start(
        self, prompt: str | Prompted, config: SampleConfig, writes: Sequence[Write] = ()
    ) -> SampleBatch:
        """Return the empty texts of a request, to be written beside others; see `together`.

        `writes` get the characters of the texts as they are generated. A prompt that was read with
        `adapt` raises PromptError: weights of its own write no text beside others.
        """
        writer, read = self._weights.read(prompt, config.unknown)
        if read.weights is not None:
            raise PromptError("a prompt that was read with `adapt` is continued by `samples` only")
        return writer.start(read, config, writes)

    def together(self) -> ContinuousBatch:
        """Return a batch that requests join and leave at any token; see `start`."""
        return ContinuousBatch(self._selector)

    @GREEDY.document
    def greedy(
        self,
        prompt: str | Prompted = "",
        *,
        write: Write = unwatched,
        **options: Unpack[GreedyKeywords],
    ) -> Sample:
        """Return the text of the most likely token at each step; `write` gets its characters."""
        config = SampleConfig(temperature=0.0, **GREEDY.check("greedy", options))
        return self.samples(prompt, config, write)[0]

    @BEAM.document
    def beam(self, prompt: str | Prompted = "", **options: Unpack[BeamKeywords]) -> Sample:
        """Return the most probable text that beam search finds; else as `sample`."""
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

        `write` gets characters of the best text as soon as no later step can change them.
        """
        made = _one_of(config, BeamConfig, BEAMS.check("beams", options))
        writer, read = self._weights.read(prompt, made.unknown)
        return writer.beams(read, made, write)

    @BEAM.document
    def answer(self, source: str, prompt: str = "", **options: Unpack[BeamKeywords]) -> Sample:
        """Return the answer of a model of pairs that beam search finds, beginning with `prompt`."""
        return next(self.answers([source], BeamConfig(**BEAM.check("answer", options)), prompt))[0]

    @BEAMS.document
    def answers(
        self,
        sources: Iterable[str],
        config: SampleConfig | BeamConfig | None = None,
        prompt: str = "",
        *,
        first: int = 0,
        processes: int = 1,
        **options: Unpack[BeamsKeywords],
    ) -> Iterator[list[Sample]]:
        """Return an iterator of the `num_return` answers to each source; else as `answer`.

        `first` is the number of sources that other calls with the same seed have answered; for
        `processes` see `texts`.
        """
        given = BEAMS.check("answers", options)
        made: SampleConfig | BeamConfig = (
            _one_of(config, SampleConfig, given)
            if isinstance(config, SampleConfig)
            else _one_of(config, BeamConfig, given)
        )
        return self._many.answers(sources, prompt, made, first=first, processes=processes)

    @FILL.document
    def fill(self, text: str, **options: Unpack[FillKeywords]) -> Filled:
        """Return a text whose gaps are filled by a model that was trained with `fill`.

        Raises:
            PromptError: the text has no gap, or the model was not trained on gaps.
        """
        return self.fills(text, FillConfig(**FILL.check("fill", options)))[0]

    @FILLS.document
    def fills(
        self, text: str, config: FillConfig | None = None, **options: Unpack[FillsKeywords]
    ) -> list[Filled]:
        """Return a text `num_samples` times, each time with its gaps filled; else as `fill`."""
        made = _one_of(config, FillConfig, FILLS.check("fills", options))
        if not self.reading.fill:
            raise PromptError(
                "this model fills no gaps: 'charrnn train TEXT --fill' trains one that does"
            )
        own = self._weights.own
        return Filler(own.reader, own.writer, self.tokenizer).fill(text, made)

    def score(self, text: str, *, exact: bool = False, dynamic: bool = False) -> Score:
        """Return how well the model predicts a text: nats, bpc, bits per byte.

        The text is read as that of the training was: with its line ends, and each document by
        itself if the model was trained so. The score of a text under 1,024 tokens, or with `exact`
        up to 20,000, knows where the text surprised, and shows that in a notebook. An empty text
        raises CorpusError, and a network whose numbers overflow RunError. With `dynamic` the model
        learns from the text while it reads it, in one stream; afterwards it is as it was.
        """
        if not dynamic:
            return self.scorer.score(text, exact=exact)
        texts = self.scorer.texts(text)
        found = self.adaptive(sum(map(len, texts))).surprisals(texts)
        return total(each.score(self.tokenizer) for each in found)

    def scores(
        self, texts: Iterable[Text], *, unknown: str = "error", processes: int = 1
    ) -> Iterator[Score]:
        """Yield the score of each text by itself, in order, of which some are kept at a time.

        A text is read in one stream, as it is: nothing in it ends a document. A model of pairs
        scores targets: each text is a tuple of a source and its target. For `processes` see
        `texts`; `unknown` says what happens to unknown characters.
        """
        UnknownOption(unknown=unknown)
        for some in self.many_scores.scores(in_batches(texts), unknown, processes=processes):
            yield from some


def _one_of(config: C | None, kind: type[C], options: dict[str, Any]) -> C:
    """Return the config that was given, or one made of options."""
    if config is not None and options:
        raise TypeError(f"give a {kind.__name__} or its options by name, not both")
    return config or kind(**options)
