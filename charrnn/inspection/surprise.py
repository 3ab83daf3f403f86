"""Score several documents one by one, and add up their scores."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from charrnn.arrays import Ids
from charrnn.errors import CorpusError, PromptError
from charrnn.generator import Generator
from charrnn.scoring import Score, Surprise
from charrnn.text.corpus import Corpus
from charrnn.text.unknown_symbols import Replaced, replace


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
    encoded, changes = [], Replaced("")
    for name, data in corpus.documents():
        text = data.decode()
        try:
            ids = generator.tokenizer.encode(text)
        except PromptError as error:
            if unknown == "error":
                raise PromptError(
                    f"{name}: {error.message}, or use --unknown nearest or skip"
                ) from None
            replaced = replace(text, generator.knows, nearest=unknown == "nearest")
            changes.changes.update(replaced.changes)
            ids = generator.tokenizer.encode(replaced.text)
        encoded.append((name, ids))
    if changes.changes:
        notify(f"unknown characters: {changes}")
    counts = Counter(name for name, _ in encoded)
    numbers: Counter[str] = Counter()
    documents = []
    for name, ids in encoded:
        numbers[name] += 1
        if len(ids):
            documents.append((f"{name}:{numbers[name]}" if counts[name] > 1 else name, ids))
    if not documents:
        raise CorpusError("no character of the text is left to score")
    return documents


def score_documents(
    documents: Sequence[tuple[str, Ids]],
    generator: Generator,
    count: int,
    progress: Callable[[int], object],
) -> list[Surprise]:
    """Return how much each document surprises the model.

    Args:
        documents: name and ids of each, as of `encode_documents`.
        generator: its model reads them, each from the start token.
        count: the number of likeliest tokens to keep for each position.
        progress: called with the number of tokens scored so far.
    """
    found = generator.scorer.surprisals([ids for _, ids in documents], count, progress)
    return [
        Surprise.of(name, one, generator.tokenizer)
        for (name, _), one in zip(documents, found, strict=True)
    ]


def total(scores: Iterable[Score]) -> Score:
    """Return the score of all texts together."""
    each = list(scores)
    return Score(
        math.fsum(score.total_nats for score in each),
        sum(score.characters for score in each),
        sum(score.num_bytes for score in each),
    )
