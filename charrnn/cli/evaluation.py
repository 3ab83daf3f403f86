"""Measure for ``charrnn eval``, and show the result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli.display.progress import ProgressBar
from charrnn.cli.display.scores import score_lines
from charrnn.cli.learning import predictor
from charrnn.cli.pair_evaluation import PairEvaluation
from charrnn.cli.shared import note
from charrnn.cli.texts import read_for
from charrnn.config import DynamicOptions, EngineOptions
from charrnn.config.fields import check_choice, flag
from charrnn.errors import OptionError, PromptError, excerpt

if TYPE_CHECKING:
    from charrnn.arrays import Ids
    from charrnn.generator import Generator
    from charrnn.model.model_file import Model
    from charrnn.run_dir.run_text import Starts
    from charrnn.scoring import Score


@dataclass(frozen=True)
class Evaluation:
    """How well a model predicts a text.

    Attributes:
        score: the score.
        tokenizer: kind of the model's tokenizer.
        weights: precision of the weights.
        rounding_bpc: bits per character lost by rounding the weights; None in float32.
        window_nats: nats per character in windows that start from the zero state.
        dynamic: whether the model learned from the text as it read it.
        recall: whether the training text was counted before.
    """

    score: Score
    tokenizer: str
    weights: str
    rounding_bpc: float | None = None
    window_nats: float | None = None
    dynamic: bool = False
    recall: bool = False

    def fields(self) -> dict[str, Any]:
        """Return the JSON fields besides those of the score."""
        return {
            "window256_nats": self.window_nats,
            "dynamic": self.dynamic,
            "recall": self.recall,
            "tokenizer": self.tokenizer,
            "weights": self.weights,
            "rounding_bpc": self.rounding_bpc,
        }

    def lines(self) -> Iterator[str]:
        """Yield lines for a person."""
        nats, bpc, bits_per_byte = score_lines(self.score)
        yield nats
        yield bpc
        if self.dynamic:
            yield "with --dynamic: each token was scored before the model learnt from it"
        if self.recall:
            yield "with --recall: the training text was counted first"
        if self.rounding_bpc is not None:
            yield f"{self.rounding_bpc:+.4f} of these from rounding the weights to {self.weights}"
        yield bits_per_byte
        if self.window_nats is not None:
            yield f"{self.window_nats:.4f} nats per character in windows of 256"


def check_text(file: Path | None, part: str | None, reading: Mapping[str, Any]) -> None:
    """Refuse options for the model's own text with another text, and the other way around.

    Raises:
        OptionError: says which does not go with which; or there is no such part.
    """
    from charrnn.text.split import PARTS

    if part is not None:
        check_choice("--part", part, PARTS)
    if part is not None and file is not None:
        raise OptionError(
            f"--part is of the model's own text, not of {excerpt(file)}: give one of them"
        )
    unused = [flag(name) for name in reading] if file is None else []
    if unused:
        raise OptionError(
            f"name a text for {' and '.join(sorted(unused))}: the model's own text is read as it "
            "was for the training"
        )


@dataclass(frozen=True)
class Evaluator:
    """A model and how it scores texts.

    Attributes:
        path: the model file.
        model: the model.
        engine: weights and threads.
        exact: read in one stream.
        learning: whether to learn from the text as it is read.
    """

    path: Path
    model: Model
    engine: EngineOptions
    exact: bool
    learning: DynamicOptions

    def __post_init__(self) -> None:
        if self.learning.dynamic:
            from charrnn import adaptive  # it loads numpy, which a help text does not need

            adaptive.check(self.model.config, self.engine)
        if self.learning.dynamic and self.exact:
            raise OptionError("--dynamic always reads in one stream: leave out --exact")
        if self.model.config.encoder and self.exact:
            kind = self.model.reading.kind
            raise OptionError(f"--exact is for texts, and this is a model of {kind}: leave it out")

    @property
    def _apart(self) -> bool:
        """Whether the model was trained on documents, or pairs, apart."""
        return bool(self.model.config.encoder) or self.model.reading.documents_apart

    def file(self, file: Path, given: Mapping[str, Any]) -> Evaluation | PairEvaluation:
        """Score a file, read as the text of the training was.

        Args:
            file: the text.
            given: the options of `Reading` that the user gave. With a separator, each document is
                scored by itself.

        Raises:
            PromptError: it has characters that the model does not know.
        """
        from charrnn.text.id_file import encoded

        reading = self.model.reading
        text = read_for(reading, [str(file)], given)
        apart = self._apart or bool(text.reading.document_separator)
        try:
            with encoded(text, self.model.tokenizer) as (ids, documents):
                return self._score(ids, documents if apart else None)
        except PromptError as error:
            raise PromptError(f"{file}: {error.message}") from None

    def part(self, part: str) -> Evaluation | PairEvaluation:
        """Score a part of the text that the model was trained on: train, valid or test.

        Raises:
            OptionError: that text is not available.
        """
        from charrnn.run_dir.run_text import held_out

        ids, documents = held_out(self.path, self.model.tokenizer, part)
        return self._score(ids, documents if self._apart else None)

    def _score(self, ids: Ids, documents: Starts | None = None) -> Evaluation | PairEvaluation:
        """Score ids (N,), each document from the zero state if their starts are given.

        Of a model of pairs, the ids and documents are those of the pairs; one that fills gaps is
        scored on gaps.
        """
        from charrnn import scoring
        from charrnn.generator import Generator
        from charrnn.inference.engine import check_finite

        kind, weights, threads = self.model.tokenizer.kind, self.engine.weights, self.engine.threads
        generator = Generator(self.model, weights=weights, threads=threads, notify=note)
        if self.learning.dynamic:
            score = self._dynamic(generator, ids, documents)
            recall = self.learning.recall
            return Evaluation(score, kind, weights, dynamic=True, recall=recall)
        if self.model.config.encoder:
            from charrnn.inspection.pair_answers import evaluate_pairs
            from charrnn.text.gaps import GapText
            from charrnn.text.pairs import PairPart

            assert documents is not None
            if self.model.reading.fill:
                pairs = GapText(ids, documents, self.model.tokenizer).held_out()
            else:
                pairs = PairPart(ids, documents)
            return PairEvaluation(evaluate_pairs(generator, pairs))
        score = generator.scorer.score_ids(ids, exact=self.exact, documents=documents)
        rounding = None
        if weights != "float32":
            unrounded = Generator(self.model, threads=threads, notify=note)
            exactly = unrounded.scorer.score_ids(ids, exact=self.exact, documents=documents)
            rounding = score.bpc - exactly.bpc
        windows = scoring.window_nats(generator.scorer.engine, ids, generator.tokenizer, documents)
        check_finite(windows or 0.0)
        return Evaluation(score, kind, weights, rounding, windows)

    def _dynamic(self, generator: Generator, ids: Ids, documents: Starts | None) -> Score:
        from charrnn import scoring

        texts = scoring.apart(ids, documents)
        reader = predictor(generator, self.path, self.learning, len(ids))
        with ProgressBar(in_bytes=False) as bar:
            progress = bar.of("reading and learning", len(ids))
            found = reader.surprisals(texts, progress=progress)
        return scoring.total(text.score(generator.tokenizer) for text in found)
