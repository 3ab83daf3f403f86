"""Where a text surprised a model: character by character, by lines, and the worst passages.

A unit is the least of a text that a model has one number for: a character, or the piece of several
that is one symbol; the bytes of a character are added up.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Ids
from charrnn.errors import CorpusError, PromptError
from charrnn.generator import Generator
from charrnn.scoring import Score, Surprisals
from charrnn.text.corpus import Corpus
from charrnn.text.tokenizer import Tokenizer
from charrnn.text.unknown_symbols import Replaced, replace


@dataclass(frozen=True)
class Surprise:
    """A text as a model met it.

    Attributes:
        name: of the text.
        units: its text, unit by unit (U).
        nats: -ln p (U,) of each.
        likeliest: what was expected most in the place of a unit's first symbol (U, K): ids.
        likeliest_nats: -ln p (U, K) of those.
    """

    name: str
    units: Sequence[str]
    nats: NDArray[np.float64]
    likeliest: NDArray[np.int32]
    likeliest_nats: NDArray[np.float32]

    @classmethod
    def of(cls, name: str, found: Surprisals, tokenizer: Tokenizer) -> Surprise:
        """The text of what was read, from its first symbol on."""
        begins = np.array([symbol[0] & 0xC0 != 0x80 for symbol in tokenizer.token_bytes])
        starts = np.flatnonzero(begins[found.ids])
        symbols = tokenizer.token_bytes
        if len(starts) == len(found.ids):
            texts = [symbol.decode("utf-8", "replace") for symbol in symbols]
            units = [texts[index] for index in found.ids.tolist()]
        else:
            ids = found.ids.tolist()
            bounds = zip(starts.tolist(), [*starts[1:].tolist(), len(ids)], strict=True)
            units = [b"".join(symbols[i] for i in ids[a:b]).decode() for a, b in bounds]
        nats = np.add.reduceat(found.nats, starts) if len(starts) else found.nats
        return cls(name, units, nats, found.likeliest[starts], found.likeliest_nats[starts])

    def __getitem__(self, where: slice) -> Surprise:
        """A part of it, by units."""
        return Surprise(
            self.name,
            self.units[where],
            self.nats[where],
            self.likeliest[where],
            self.likeliest_nats[where],
        )

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.units)

    @property
    def score(self) -> Score:
        """Of all of it."""
        text = self.text
        return Score(float(self.nats.sum()), len(text), len(text.encode()))

    @property
    def bits(self) -> NDArray[np.float64]:
        """Bits per character (U,)."""
        lengths = np.fromiter(map(len, self.units), np.int64, len(self.units))
        return self.nats / lengths / math.log(2)

    def lines(self) -> list[slice]:
        """Its lines, their ends included."""
        ends = [at + 1 for at, unit in enumerate(self.units) if unit.endswith("\n")]
        if not ends or ends[-1] < len(self.units):
            ends.append(len(self.units))
        return [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]

    def position(self, unit: int) -> tuple[int, int]:
        """Return the line and column of a unit, from 1."""
        before = "".join(self.units[:unit])
        return before.count("\n") + 1, len(before) - before.rfind("\n")

    def peak(self, part: slice) -> int:
        """Return the most surprising unit of a part."""
        return int(part.start) + int(self.nats[part].argmax())

    def worst(self, most: int) -> list[slice]:
        """The passages that surprised most, the worst first; none where all is alike.

        What a unit is above mean and standard deviation of all of them is its weight: of the
        passages that no longer or shorter one outweighs, these weigh most.
        """
        if not len(self.nats):
            return []
        weights = self.nats - (self.nats.mean() + self.nats.std())
        found = maximal_sums(weights)
        found.sort(key=lambda part: -float(weights[part].sum()))
        return found[:most]


def maximal_sums(values: NDArray[np.float64]) -> list[slice]:
    """All parts of a row of numbers with maximal sums, in order (Ruzzo and Tompa 1999).

    A part's sum is maximal if no part within it, and none that holds it, has as large a one, other
    parts of the answer left alone.
    """
    edges = np.flatnonzero(np.diff(values > 0)) + 1
    starts = np.concatenate([[0], edges])  # of runs above zero and not: each is one number
    after = np.cumsum(np.add.reduceat(values, starts))
    before = np.concatenate([[0.0], after[:-1]])
    # Of each candidate: its first and last run, sums up to its start and end, and the last one
    # before it whose start is lower.
    parts: list[tuple[int, int, float, float, int]] = []
    above = values[starts] > 0
    for run in np.flatnonzero(above).tolist():
        first, low, high = run, float(before[run]), float(after[run])
        while True:
            at = len(parts) - 1
            while at >= 0 and parts[at][2] >= low:
                at = parts[at][4]
            if at < 0 or parts[at][3] >= high:
                break
            first, low = parts[at][0], parts[at][2]
            del parts[at:]
        parts.append((first, run, low, high, at))
    ends = [*starts[1:].tolist(), len(values)]
    return [slice(int(starts[first]), ends[last]) for first, last, *_ in parts]


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
                    f"{name}: {error.message}; use --unknown nearest or --unknown skip"
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
        raise CorpusError("no symbol is left of the text: there is nothing to score")
    return documents


def total(scores: Iterable[Score]) -> Score:
    """Return the score of all texts together."""
    each = list(scores)
    return Score(
        math.fsum(score.total_nats for score in each),
        sum(score.characters for score in each),
        sum(score.num_bytes for score in each),
    )
