"""Find where a text surprised a model: by characters, by lines, and the worst passages.

A unit is the smallest part of a text with a surprisal of its own: a character, or a token of
several characters. The surprisals of a character's bytes are added up.
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
from charrnn.text import line_ends
from charrnn.text.corpus import Corpus
from charrnn.text.tokenizer import Tokenizer
from charrnn.text.unknown_symbols import Replaced, replace


@dataclass(frozen=True)
class Surprise:
    """A text with the surprisals of a model.

    Attributes:
        name: of the text.
        units: the text, unit by unit (U).
        nats: -ln p of each unit, (U,).
        likeliest: ids of the tokens most expected in place of each unit's first token, (U, K).
        likeliest_nats: -ln p of those tokens, (U, K).
    """

    name: str
    units: Sequence[str]
    nats: NDArray[np.float64]
    likeliest: NDArray[np.int32]
    likeliest_nats: NDArray[np.float32]

    @classmethod
    def of(cls, name: str, found: Surprisals, tokenizer: Tokenizer) -> Surprise:
        """Return the text of the tokens that were scored."""
        tokens = tokenizer.token_bytes
        begins = np.array([token[0] & 0xC0 != 0x80 for token in tokens])  # not within a character
        starts = np.flatnonzero(begins[found.ids])
        if len(starts) == len(found.ids):
            texts = [token.decode("utf-8", "replace") for token in tokens]
            units = [texts[index] for index in found.ids.tolist()]
        else:
            ids = found.ids.tolist()
            bounds = zip(starts.tolist(), [*starts[1:].tolist(), len(ids)], strict=True)
            units = [b"".join(tokens[i] for i in ids[a:b]).decode() for a, b in bounds]
        nats = np.add.reduceat(found.nats, starts) if len(starts) else found.nats
        return cls(name, units, nats, found.likeliest[starts], found.likeliest_nats[starts])

    def __getitem__(self, where: slice) -> Surprise:
        """Return a part of the text, by units."""
        return Surprise(
            self.name,
            self.units[where],
            self.nats[where],
            self.likeliest[where],
            self.likeliest_nats[where],
        )

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.units)

    @property
    def score(self) -> Score:
        """The score of the whole text."""
        text = self.text
        return Score(float(self.nats.sum()), len(text), len(text.encode()))

    @property
    def bits(self) -> NDArray[np.float64]:
        """Bits per character (U,)."""
        lengths = np.fromiter(map(len, self.units), np.int64, len(self.units))
        return self.nats / lengths / math.log(2)

    def lines(self) -> list[slice]:
        """Return the units of each line, with the line end."""
        following = [*self.units[1:], ""]
        pairs = enumerate(zip(self.units, following, strict=False), start=1)
        ends = [index for index, (unit, after) in pairs if line_ends.ends_line(unit, after)]
        if not ends or ends[-1] < len(self.units):
            ends.append(len(self.units))
        return [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]

    def position(self, unit: int) -> tuple[int, int]:
        """Return the line and column of a unit, from 1."""
        return line_ends.position("".join(self.units[:unit]))

    def peak(self, part: slice) -> int:
        """Return the most surprising unit of a part."""
        return int(part.start) + int(self.nats[part].argmax())

    def worst(self, count: int) -> list[slice]:
        """Return the `count` most surprising passages, worst first; fewer if there are no more.

        A unit's weight is its surprisal minus the mean and the standard deviation of all units.
        A passage is a maximal sum of weights.
        """
        if not len(self.nats):
            return []
        weights = self.nats - (self.nats.mean() + self.nats.std())
        passages = maximal_sums(weights)
        passages.sort(key=lambda part: -float(weights[part].sum()))
        return passages[:count]


def maximal_sums(values: NDArray[np.float64]) -> list[slice]:
    """Return all maximal scoring subsequences, in order (Ruzzo and Tompa 1999).

    The part with the largest sum is the first of them; the others are found in the same way in the
    numbers before and after it, as long as sums are above zero.
    """
    edges = np.flatnonzero(np.diff(values > 0)) + 1
    starts = np.concatenate([[0], edges])  # of runs above zero and runs not above
    after = np.cumsum(np.add.reduceat(values, starts))
    before = np.concatenate([[0.0], after[:-1]])
    # For each candidate: its first and last run, the sums up to its start and end, and the last
    # candidate before it whose sum at the start is lower.
    parts: list[tuple[int, int, float, float, int]] = []
    above = values[starts] > 0
    for run in np.flatnonzero(above).tolist():
        first, low, high = run, float(before[run]), float(after[run])
        while True:
            index = len(parts) - 1
            while index >= 0 and parts[index][2] >= low:
                index = parts[index][4]
            if index < 0 or parts[index][3] >= high:
                break
            first, low = parts[index][0], parts[index][2]
            del parts[index:]
        parts.append((first, run, low, high, index))
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


def total(scores: Iterable[Score]) -> Score:
    """Return the score of all texts together."""
    each = list(scores)
    return Score(
        math.fsum(score.total_nats for score in each),
        sum(score.characters for score in each),
        sum(score.num_bytes for score in each),
    )
