"""Scores a text with a model, read as the text of the model's training was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Ids
from charrnn.config import ModelReading
from charrnn.errors import CorpusError, PromptError
from charrnn.inference.engine import Engine, check_finite
from charrnn.inference.select import EngineSelector
from charrnn.scoring.measure import WARM_UP, apart, score, surprisals
from charrnn.scoring.results import Score, Surprisals, Surprise
from charrnn.text import corpus, id_file, unknown_symbols
from charrnn.text.corpus import Corpus
from charrnn.text.tokenizer import Tokenizer

MAX_LOCATED = 20_000  # tokens of a text whose score knows where it surprised
EXPECTED = 3  # likeliest tokens that it knows for each place


def check_reads_texts(reading: ModelReading) -> None:
    """Refuse a model that reads no text from its start.

    Raises:
        PromptError: it fills gaps.
    """
    if reading.fill:
        raise PromptError(
            "this model fills gaps in texts and reads none from its start: 'charrnn eval' scores "
            "what is missing in gaps"
        )


class TextScorer:
    """Scores texts and their ids with one model.

    Attributes:
        tokenizer: of the model.
    """

    def __init__(
        self,
        selector: EngineSelector,
        tokenizer: Tokenizer,
        reading: ModelReading,
        start_token: int,
    ) -> None:
        """Score nothing yet.

        Args:
            selector: has the engine that reads.
            tokenizer: of the model.
            reading: how the text of the training was read.
            start_token: is read before a text.
        """
        self._selector, self.tokenizer, self._reading = selector, tokenizer, reading
        self._start_token = start_token

    @property
    def engine(self) -> Engine:
        """What reads the texts."""
        return self._selector.engine

    def older_engine(self) -> Engine:
        """Return a compiled engine that rounds as archives of before 30 November 2026 need it."""
        return self._selector.older_engine()

    def score(self, text: str, *, exact: bool) -> Score:
        """Return the score of a text, which knows where a short text surprised.

        Raises:
            CorpusError: the text is empty.
            RunError: the network's numbers overflow, also in the methods below.
        """
        if self._reading.documents_apart:
            with id_file.encoded(self._read(text), self.tokenizer) as (ids, documents):
                return self.score_ids(ids, exact=exact, documents=documents)
        (ids,) = self.texts(text)
        if len(ids) > (MAX_LOCATED if exact else 2 * WARM_UP - 1):  # several streams, or too long
            return self.score_ids(ids, exact=exact)
        (found,) = self.surprisals([ids], EXPECTED)
        surprise = Surprise.of("text", found, self.tokenizer)
        return replace(found.score(self.tokenizer), surprise=surprise)

    def texts(self, text: str) -> list[Ids]:
        """Return the ids of a text: of each document where the model reads them apart.

        Raises:
            CorpusError: the text is empty.
        """
        read = self._read(text)
        if not self._reading.documents_apart:
            return [self.tokenizer.encode(read.text)]
        with id_file.encoded(read, self.tokenizer) as (ids, documents):
            return apart(np.array(ids), documents)

    def encode(self, text: str, unknown: str, changes: Counter[tuple[str, str]]) -> Ids:
        """Return the ids of a text.

        Args:
            text: the text.
            unknown: what to do with characters that the model does not know: error, skip or
                nearest.
            changes: gets how often each of them was replaced, and by what.

        Raises:
            PromptError: there are some, and `unknown` is error.
        """
        try:
            return self.tokenizer.encode(text)
        except PromptError as error:
            if unknown == "error":
                raise PromptError(f"{error.message}, or use --unknown nearest or skip") from None
        replaced = unknown_symbols.replace(text, self.tokenizer.knows, nearest=unknown == "nearest")
        changes.update(replaced.changes)
        return self.tokenizer.encode(replaced.text)

    def _read(self, text: str) -> Corpus:
        if not isinstance(text, str):
            raise CorpusError(f"`text` must be a str, not {type(text).__name__}")
        if not text:
            raise CorpusError("the text is empty (0 characters): there is nothing to score")
        return corpus.from_text(text, reading=self._reading.options())

    def score_ids(
        self, ids: Ids, *, exact: bool = False, documents: NDArray[np.integer[Any]] | None = None
    ) -> Score:
        """Return the score of ids (N,); see `charrnn.scoring.score`."""
        given = (self._selector.engine, ids, self.tokenizer, self._start_token)
        found = score(*given, exact=exact, documents=documents)
        check_finite(found.total_nats)
        return found

    def surprisals(
        self,
        texts: Sequence[Ids],
        count: int = 0,
        progress: Callable[[int], object] = lambda done: None,
    ) -> list[Surprisals]:
        """Return the surprisals of each text; see `charrnn.scoring.surprisals`."""
        count = min(count, self.tokenizer.vocab_size)
        engine, start = self._selector.engine, self._start_token
        found = surprisals(engine, texts, start, count=count, progress=progress)
        check_finite(*(text.nats for text in found))
        return found
