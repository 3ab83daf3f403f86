"""Score several documents one by one, and add up their scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

from charrnn.arrays import Ids
from charrnn.errors import CorpusError, PromptError
from charrnn.generator import Generator
from charrnn.inference.pair_engine import PairEngine
from charrnn.scoring import Scored, ScoredText, Surprisals, Surprise
from charrnn.scoring.answers import target_surprisals
from charrnn.scoring.text_scorer import check_reads_texts
from charrnn.text.corpus import Corpus
from charrnn.text.pairs import PairPart
from charrnn.text.unknown_symbols import Replaced

PORTION = 2**20  # tokens of documents that are scored at a time, at least


class Reader(Protocol):
    """Reads texts and finds how much they surprise."""

    def surprisals(
        self, texts: Sequence[Ids], count: int, progress: Callable[[int], object]
    ) -> list[Surprisals]:
        """Return the surprisals of each text, with its `count` likeliest tokens everywhere."""
        ...


def encode_documents(
    corpus: Corpus, generator: Generator, unknown: str, notify: Callable[[str], object]
) -> list[tuple[str, Ids]]:
    """Return name and ids of each document that is not empty; those of one file are numbered.

    Args:
        corpus: its files may hold several documents each.
        generator: its model reads them.
        unknown: what to do with characters that the model does not know: error, skip or nearest.
        notify: called with what was changed.

    Raises:
        PromptError: there are unknown characters, and `unknown` is error.
        CorpusError: nothing is left to score.
    """
    check_reads_texts(generator.reading)
    encoded, changes = [], Counter[tuple[str, str]]()
    for name, data in corpus.documents():
        try:
            ids = generator.scorer.encode(data.decode(), unknown, changes)
        except PromptError as error:
            raise PromptError(f"{name}: {error.message}") from None
        encoded.append((name, ids))
    if changes:
        notify(f"unknown characters: {Replaced('', changes)}")
    counts = Counter(name for name, _ in encoded)
    numbers: Counter[str] = Counter()
    documents = []
    for name, ids in encoded:
        numbers[name] += 1
        if len(ids) or generator.config.encoder:  # one empty side would shift all pairs
            documents.append((f"{name}:{numbers[name]}" if counts[name] > 1 else name, ids))
    empty = not all(len(ids) for _, ids in documents)
    if not documents or empty:
        what = "some side of the pairs" if empty else "the text"
        raise CorpusError(f"no character of {what} is left to score")
    return documents


def score_documents(
    documents: Sequence[tuple[str, Ids]],
    generator: Generator,
    count: int | None,
    progress: Callable[[int], object],
    reader: Reader | None = None,
) -> Sequence[Scored]:
    """Return how much each document surprises the model, each a `Surprise`.

    Args:
        documents: name and ids of each, as of `encode_documents`.
        generator: its model reads them, each from the start token.
        count: the number of likeliest tokens to keep for each position; None: keep the scores
            alone.
        progress: called with the number of tokens scored so far.
        reader: reads the documents, such as a predictor that learns; by default the model does.

    Of a model of pairs the documents are sources and targets in turn: it is the targets that are
    scored, and each is named by its source.
    """
    if count is not None:
        return _surprises(documents, generator, count, progress, reader)
    scored, done = list[ScoredText](), 0
    for some in _portions(documents):
        further = partial(_further, progress, done)
        found = _surprises(some, generator, 0, further, reader)
        scored += [ScoredText(text.name, text.score) for text in found]
        done += sum(len(ids) for _, ids in some)
    return scored


def _surprises(
    documents: Sequence[tuple[str, Ids]],
    generator: Generator,
    count: int,
    progress: Callable[[int], object],
    reader: Reader | None,
) -> list[Surprise]:
    if generator.config.encoder:
        return _score_targets(documents, generator, count)
    texts = [ids for _, ids in documents]
    found = (reader or generator.scorer).surprisals(texts, count, progress)
    return [
        Surprise.of(name, one, generator.tokenizer)
        for (name, _), one in zip(documents, found, strict=True)
    ]


def _further(progress: Callable[[int], object], before: int, done: int) -> None:
    progress(before + done)


def _portions(documents: Sequence[tuple[str, Ids]]) -> Iterator[Sequence[tuple[str, Ids]]]:
    """Yield documents in portions of at least `PORTION` tokens; no pair is divided."""
    first = size = 0
    for index, (_, ids) in enumerate(documents):
        size += len(ids)
        if size >= PORTION and index % 2:
            yield documents[first : index + 1]
            first, size = index + 1, 0
    if first < len(documents):
        yield documents[first:]


def _score_targets(
    documents: Sequence[tuple[str, Ids]], generator: Generator, count: int
) -> list[Surprise]:
    assert isinstance(generator.engine, PairEngine)
    texts = [ids.tolist() for _, ids in documents]
    pairs = PairPart.of(zip(texts[::2], texts[1::2], strict=True))
    found = target_surprisals(generator.engine, pairs, count)
    names = [generator.tokenizer.decode(source) for source in texts[::2]]
    return [
        Surprise.of(name, one, generator.tokenizer) for name, one in zip(names, found, strict=True)
    ]
