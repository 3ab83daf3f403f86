"""Scores many texts, each by itself, in order, on every core, a batch at a time.

A score depends on its text alone, so it is the same whatever the number of processes.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from charrnn.arrays import Ids
from charrnn.config import EngineOptions
from charrnn.decoding import workers
from charrnn.errors import PromptError
from charrnn.inference.pair_engine import PairEngine
from charrnn.inference.select import EngineSelector
from charrnn.model.model_file import Model
from charrnn.scoring.answers import target_surprisals
from charrnn.scoring.results import Score, Surprisals
from charrnn.scoring.text_scorer import TextScorer, check_reads_texts
from charrnn.text.notices import Notify
from charrnn.text.pairs import PairPart
from charrnn.text.unknown_symbols import Replaced

Text = str | tuple[str, str]  # of a model of pairs: a source and its target
BATCH = 1024  # texts


class Batch(NamedTuple):
    """Some texts, and the number of the first."""

    first: int
    texts: Sequence[Text]


@dataclass
class _Scored:
    """The scores of a batch, up to a text that cannot be scored.

    Attributes:
        scores: of the texts before that one; one of an empty text has no characters.
        changes: how often each unknown character was replaced, and by what.
        error: why the next text cannot be scored; None if there is none.
    """

    scores: list[Score] = field(default_factory=list)
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    error: PromptError | None = None


@dataclass(frozen=True)
class ManyScores:
    """Scores many texts with a model, in one process or in several.

    Attributes:
        model: the model, as it scores.
        options: what runs it.
        own: scores in this process.
        notices: gets a sentence about unknown characters.
    """

    model: Model
    options: EngineOptions
    own: TextScorer
    notices: Notify

    def scores(
        self,
        batches: Iterable[Batch | None],
        unknown: str,
        name: str = "text",
        processes: int | None = None,
    ) -> Iterator[list[Score]]:
        """Yield the scores of each batch; those before a text that cannot be scored come, too.

        Args:
            batches: some at a time are in memory. None: see `workers.in_order`.
            unknown: what to do with characters that the model does not know: error, skip or
                nearest.
            name: what a message calls a text, before its number.
            processes: how many score; None: one for each core, once this process has had enough to
                do that starting others is worthwhile.

        Raises:
            PromptError: a text has unknown characters and `unknown` is error, or is not of the
                model's kind.
            RunError: the network's numbers overflow, or a process was killed.
        """
        check_reads_texts(self.model.reading)
        work = _Work(self.model, self.options, unknown, name)
        changes: Counter[tuple[str, str]] = Counter()
        for scored in self._scored(work, iter(batches), processes):
            changes.update(scored.changes)
            yield scored.scores
            if scored.error:
                raise scored.error
        if changes:
            self.notices(f"unknown characters: {Replaced('', changes)}")

    def _scored(
        self, work: _Work, batches: Iterator[Batch | None], processes: int | None
    ) -> Iterator[_Scored]:
        alone = workers.WORTHWHILE if processes is None else 0
        if processes is None:
            processes = workers.limit(self.model.config, self.options)
        cost = workers.cost(self.model.config)
        while processes == 1 or alone > 0:
            try:
                batch = next(batches)
            except StopIteration:
                return
            if batch is not None:
                yield work.score(self.own, batch)
                alone -= cost * sum(map(_length, batch.texts))
        yield from workers.in_order(work, batches, processes)


@dataclass(frozen=True)
class _Work:
    """Scores a batch, in a process of its own on one thread, or with a scorer that is given."""

    model: Model
    options: EngineOptions
    unknown: str
    name: str

    def __call__(self, batch: Batch) -> _Scored:
        return self.score(self._scorer, batch)

    @cached_property
    def _scorer(self) -> TextScorer:
        model = self.model
        options = EngineOptions(weights=self.options.weights, threads=1)
        given = (model.config, model.values, options, lambda sentence: None, model.counts)
        selector = EngineSelector(*given)
        return TextScorer(selector, model.written, model.reading, model.config.start_token)

    def score(self, scorer: TextScorer, batch: Batch) -> _Scored:
        """Score the texts of a batch side by side."""
        scored = _Scored()
        read: list[tuple[Ids, ...]] = []
        for number, text in enumerate(batch.texts, start=batch.first):
            try:
                read.append(self._encoded(scorer, text, scored.changes))
            except PromptError as error:
                scored.error = PromptError(f"{self.name} {number:,}: {error.message}")
                break
        found = _surprisals(scorer, [sides for sides in read if sides])
        scores = (each.score(scorer.tokenizer) for each in found)
        scored.scores = [next(scores) if sides else Score(0.0, 0, 0) for sides in read]
        return scored

    def _encoded(
        self, scorer: TextScorer, text: Text, changes: Counter[tuple[str, str]]
    ) -> tuple[Ids, ...]:
        """Return the ids of a text, or of both sides of a pair; nothing of an empty text."""
        if not text:
            return ()
        of_pairs = self.model.reading.pairs
        if not isinstance(text, tuple if of_pairs else str):
            kind = "tuple of a source and its target" if of_pairs else "str"
            raise PromptError(f"this model scores a {kind}, not a {type(text).__name__}")
        sides = [text] if isinstance(text, str) else text
        ids = tuple(scorer.encode(side, self.unknown, changes) for side in sides)
        if len(ids) == 1:
            return ids if len(ids[0]) else ()
        if not all(map(len, ids)):
            raise PromptError("no character is left of one side of the pair")
        return ids


def _surprisals(scorer: TextScorer, read: Sequence[tuple[Ids, ...]]) -> list[Surprisals]:
    """Return how each text, or the target of each pair, surprises."""
    if not isinstance(scorer.engine, PairEngine):
        return scorer.surprisals([ids for (ids,) in read])
    pairs = PairPart.of((source, target) for source, target in read)
    return target_surprisals(scorer.engine, pairs, 0)


def _length(text: Text) -> int:
    return len(text) if isinstance(text, str) else sum(map(len, text))


def in_batches(texts: Iterable[Text]) -> Iterator[Batch]:
    """Yield texts, numbered from 1, some at a time."""
    given, first = iter(texts), 1
    while some := list(itertools.islice(given, BATCH)):
        yield Batch(first, some)
        first += len(some)
