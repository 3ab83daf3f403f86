"""What scoring finds: the surprisals of tokens, of characters and lines, and their sum.

A unit is the smallest part of a text with a surprisal of its own: a character, or a token of
several characters. The surprisals of a character's bytes are added up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Ids
from charrnn.errors import counted
from charrnn.scoring import surprisal_colors
from charrnn.text import line_ends
from charrnn.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Surprisals:
    """How a text was predicted, token by token.

    Attributes:
        ids: the tokens (N,).
        nats: -ln p (N,) of each token, given all before it.
        likeliest: ids (N, K) of the tokens that were most likely in its place, best first.
        likeliest_nats: -ln p (N, K) of those.
    """

    ids: Ids
    nats: NDArray[np.float64]
    likeliest: NDArray[np.int32]
    likeliest_nats: NDArray[np.float32]

    def __getitem__(self, where: slice) -> Surprisals:
        """Return the surprisals of a part of the text."""
        return Surprisals(
            self.ids[where], self.nats[where], self.likeliest[where], self.likeliest_nats[where]
        )

    def score(self, tokenizer: Tokenizer) -> Score:
        """Return the score of the whole text."""
        return Score(float(self.nats.sum(dtype=np.float64)), *tokenizer.measure(self.ids))


@dataclass(frozen=True, repr=False)
class Score:
    """The total nats of a text, and its length in characters and bytes.

    Attributes:
        surprise: the text and where it surprised, if it was read in one stream by
            `Generator.score`; a notebook shows it in colors.
    """

    total_nats: float
    characters: int
    num_bytes: int
    surprise: Surprise | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"<Score of {self.described}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the numbers, and the text in colors if it is known."""
        text = self.surprise
        if text is None:
            return surprisal_colors.fragment(self.described)
        return surprisal_colors.fragment(self.described, text.leveled(), text.title)

    @property
    def described(self) -> str:
        """The score in words."""
        return (
            f"{counted(self.characters, 'character')}: {self.nats:.4f} nats per character, "
            f"{self.bpc:.4f} bits per character, {self.bits_per_byte:.4f} bits per byte"
        )

    @property
    def nats(self) -> float:
        """Return the mean nats per character."""
        return self.total_nats / self.characters

    @property
    def bpc(self) -> float:
        """Return the bits per character."""
        return self.nats / math.log(2)

    @property
    def bits_per_byte(self) -> float:
        """Return the bits per byte of the text in UTF-8."""
        return self.total_nats / math.log(2) / self.num_bytes


def total(scores: Iterable[Score]) -> Score:
    """Return the score of all texts together."""
    each = list(scores)
    return Score(
        math.fsum(score.total_nats for score in each),
        sum(score.characters for score in each),
        sum(score.num_bytes for score in each),
    )


class Scored(Protocol):
    """A text with its score: a `Surprise`, or a `ScoredText`, which takes less memory."""

    @property
    def name(self) -> str:
        """The text's name."""
        ...

    @property
    def score(self) -> Score:
        """The score of the whole text."""
        ...


@dataclass(frozen=True)
class ScoredText:
    """What is left of a text whose score alone is wanted."""

    name: str
    score: Score


@dataclass(frozen=True, repr=False)
class Surprise:
    """A text with the surprisals of a model.

    Attributes:
        name: of the text.
        units: the text, unit by unit (U).
        nats: -ln p of each unit, (U,).
        likeliest: ids of the tokens most expected in place of each unit's first token, (U, K).
        likeliest_nats: -ln p of those tokens, (U, K).
        token_names: of all tokens, by id.
    """

    name: str
    units: Sequence[str]
    nats: NDArray[np.float64]
    likeliest: NDArray[np.int32]
    likeliest_nats: NDArray[np.float32]
    token_names: Sequence[str] = ()

    @classmethod
    def of(cls, name: str, found: Surprisals, tokenizer: Tokenizer) -> Surprise:
        """Return the text of the tokens that were scored."""
        tokens = tokenizer.token_bytes
        begins = np.array([token[0] & 0xC0 != 0x80 for token in tokens])  # not within a character
        starts = np.flatnonzero(begins[found.ids])
        if len(starts) == len(found.ids):
            texts = [token.decode("utf-8", "replace") for token in tokens]
            units: Sequence[str] = [texts[index] for index in found.ids.tolist()]
            if tokenizer.whole_characters:
                units = "".join(units)  # an eighth of the memory
        else:
            ids = found.ids.tolist()
            bounds = zip(starts.tolist(), [*starts[1:].tolist(), len(ids)], strict=True)
            units = [b"".join(tokens[i] for i in ids[a:b]).decode() for a, b in bounds]
        nats = np.add.reduceat(found.nats, starts) if len(starts) else found.nats
        likeliest = (found.likeliest[starts], found.likeliest_nats[starts])
        return cls(name, units, nats, *likeliest, tokenizer.token_names)

    def __getitem__(self, where: slice) -> Surprise:
        """Return a part of the text, by units."""
        return Surprise(
            self.name,
            self.units[where],
            self.nats[where],
            self.likeliest[where],
            self.likeliest_nats[where],
            self.token_names,
        )

    def __repr__(self) -> str:
        return f"<Surprise of {self.score.described}>"

    def leveled(self) -> list[tuple[str, int]]:
        """Return units, safe to show, with the levels of their surprise; see `markup`."""
        return surprisal_colors.leveled(self.units, self.bits)

    def expected(self, unit: int) -> str:
        """Return the likeliest tokens in place of a unit, as text."""
        return surprisal_colors.expected(
            self.likeliest[unit], self.likeliest_nats[unit], self.token_names
        )

    def title(self, unit: int) -> str:
        """Return how much a unit surprised, and what was expected if that is known."""
        nats = float(self.nats[unit])
        words = f"{nats / math.log(2):.2f} bits, {surprisal_colors.percent(math.exp(-nats))}"
        return words + (f"; expected {self.expected(unit)}" if self.likeliest.size else "")

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
        return line_ends.position("".join(self.units[:unit]), "".join(self.units[unit : unit + 1]))

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
