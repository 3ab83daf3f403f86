"""How good the answers of a pair model are: nats of the right ones, and errors of its own.

nats                    mean of -ln p of a target's tokens and its end, per character
right                   share of sources whose answer is one of their targets
character error rate    edits (insert, delete, replace) that turn each answer into the nearest
                        target of its source, per character of that target
accuracy                for labels: the share of pairs that are answered with their target, of
                        which a source may have several
balanced accuracy       for labels: the mean over all labels of the accuracy on their pairs
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Integers
from charrnn.inference.engine import Expected, check_finite
from charrnn.inference.pair_engine import PairEngine, check_memory
from charrnn.scoring.results import Score, Surprisals
from charrnn.text.labels import are_labels
from charrnn.text.pair_order import PairBatch, batch, by_length
from charrnn.text.pairs import PairPart
from charrnn.text.streams import IGNORED
from charrnn.text.tokenizer import Tokenizer

_STEPS = 2**13  # of sources and targets that are read side by side, padded


@dataclass(frozen=True)
class Errors:
    """The errors of answers to N sources.

    Attributes:
        sources: N.
        right: how many answers are one of their source's targets.
        edits: how many characters of the answers are wrong, in all.
        characters: of the nearest targets, in all.
    """

    sources: int
    right: int
    edits: int
    characters: int

    @property
    def exact(self) -> float:
        """The share of answers that are right."""
        return self.right / self.sources

    @property
    def character_error_rate(self) -> float:
        """The edits per character."""
        return self.edits / self.characters


def errors(answers: Sequence[str], targets: Sequence[Sequence[str]]) -> Errors:
    """Compare each answer with the targets of its source; there is at least one for each."""
    right = edits = characters = 0
    for answer, wanted in zip(answers, targets, strict=True):
        if answer in wanted:
            right += 1
            characters += len(answer)
            continue
        distances = [(edit_distance(answer, target), len(target)) for target in wanted]
        nearest = min(distances, key=lambda found: found[0] / found[1])
        edits, characters = edits + nearest[0], characters + nearest[1]
    return Errors(len(answers), right, edits, characters)


def edit_distance(text: str, other: str) -> int:
    """Return the least number of characters to insert, delete or replace (Levenshtein 1966)."""
    before = list(range(len(other) + 1))
    for row, character in enumerate(text, start=1):
        current = [row]
        for column, wanted in enumerate(other):
            replaced = before[column] + (character != wanted)
            current.append(min(replaced, before[column + 1] + 1, current[column] + 1))
        before = current
    return before[-1]


@dataclass(frozen=True)
class Confusion:
    """How often each label was answered where another one was right.

    Attributes:
        names: the labels (K), which are all targets, the most frequent first.
        counts: pairs by target (K rows) and answer; the last of the K + 1 columns counts answers
            that are no label.
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """The share of pairs that are answered with their target."""
        return float(np.trace(self.counts) / self.counts.sum())

    @property
    def balanced_accuracy(self) -> float:
        """The mean accuracy over the labels."""
        rows = self.counts.sum(1)
        return float((np.diagonal(self.counts) / rows).mean())


def confusion(answers: Sequence[str], targets: Sequence[str]) -> Confusion | None:
    """Count the answers to pairs by their targets; None if these are too many to be labels."""
    names, sizes = np.unique(np.array(targets, dtype=object).astype(str), return_counts=True)
    if not are_labels(len(names), len(targets)):
        return None
    labels = tuple(str(names[index]) for index in np.argsort(-sizes, kind="stable"))
    index = {label: column for column, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels) + 1), np.int64)
    rows = [index[target] for target in targets]
    np.add.at(counts, (rows, [index.get(answer, len(labels)) for answer in answers]), 1)
    return Confusion(labels, counts)


def score_pairs(engine: PairEngine, pairs: PairPart, tokenizer: Tokenizer) -> Score:
    """Score the targets of pairs, each given its source; their ends have nats, but no length.

    Args:
        engine: of the model.
        pairs: at least one.
        tokenizer: of the model's alphabet.
    """
    total = 0.0
    for _, made, found in _expected(engine, pairs, 0):
        total += float(found.nats[made.targets != IGNORED].sum(dtype=np.float64))
    written = [pairs.target(index) for index in range(len(pairs))]
    return Score(total, *tokenizer.measure(np.concatenate(written)))


def target_surprisals(engine: PairEngine, pairs: PairPart, count: int) -> list[Surprisals]:
    """Return how each target is predicted, given its source, without its end.

    Args:
        engine: of the model.
        pairs: N of them.
        count: how many of the likeliest tokens to keep for each position.
    """
    texts: list[Surprisals | None] = [None] * len(pairs)
    for which, _, found in _expected(engine, pairs, count):
        for column, index in enumerate(which.tolist()):
            target = pairs.target(index)
            own = slice(len(target)), column
            likeliest = found.likeliest[own], found.likeliest_nats[own]
            texts[index] = Surprisals(target, found.nats[own].astype(np.float64), *likeliest)
    return [text for text in texts if text is not None]


def _expected(
    engine: PairEngine, pairs: PairPart, count: int
) -> Iterator[tuple[Integers, PairBatch, Expected]]:
    """Yield batches of similar lengths: their pairs' indices, the batch, what was predicted."""
    config = engine.config
    for which in by_length(pairs, np.arange(len(pairs)), _STEPS):
        made = batch(pairs, which, config.start_token, config.end_token)
        check_memory(config, made.sources)
        state = engine.encode(made.sources, made.lengths)
        targets = np.where(made.targets == IGNORED, 0, made.targets)
        found = engine.expected(made.inputs, targets, count, state)[0]
        check_finite(found.nats)
        yield which, made, found
