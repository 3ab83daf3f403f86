"""Profile pairs before anything is trained on them: issues, lengths, frequent targets."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.text.corpus import Corpus
from charrnn.text.oddities import Issue


@dataclass(frozen=True)
class Lengths:
    """The lengths of some texts in characters."""

    shortest: int
    median: float
    mean: float
    longest: int

    @classmethod
    def of(cls, lengths: Sequence[int]) -> Lengths:
        """Return the summary of these lengths (N,); N is at least 1."""
        numbers = np.array(lengths)
        middle, mean = float(np.median(numbers)), float(numbers.mean())
        return cls(int(numbers.min()), middle, mean, int(numbers.max()))


@dataclass(frozen=True)
class PairStatistics:
    """The profile of pairs; the fields are those of ``corpora stats --pairs --json``.

    Attributes:
        pairs: how many there are.
        repeated: how many of them are there before.
        sources: different ones.
        targets: different ones.
        source_lengths: of the pairs' sources.
        target_lengths: of their targets.
        frequent_targets: how many pairs have each target, most frequent first.
        several: how many sources have more than one target.
        most: the source with most targets, and these.
        symbols: how often each character occurs, most frequent first.
        signs: what suggests that the text is damaged.
    """

    pairs: int
    repeated: int
    sources: int
    targets: int
    source_lengths: Lengths
    target_lengths: Lengths
    frequent_targets: dict[str, int]
    several: int
    most: tuple[str, tuple[str, ...]]
    symbols: dict[str, int]
    signs: list[Issue]


def measure_pairs(text: Corpus) -> PairStatistics:
    """Profile a corpus that was read with `pairs`; all its pairs are held in memory."""
    texts = [piece.data.decode() for piece in text.pieces()]
    sources, targets = texts[::2], texts[1::2]
    known: defaultdict[str, dict[str, None]] = defaultdict(dict)  # in the order of the file
    for source, target in zip(sources, targets, strict=True):
        known[source][target] = None
    most = max(known, key=lambda source: len(known[source]))
    counts = zip(map(chr, text.points.tolist()), text.counts.tolist(), strict=True)
    return PairStatistics(
        pairs=len(sources),
        repeated=len(sources) - sum(map(len, known.values())),
        sources=len(known),
        targets=len(set(targets)),
        source_lengths=Lengths.of([len(source) for source in sources]),
        target_lengths=Lengths.of([len(target) for target in targets]),
        frequent_targets=dict(Counter(targets).most_common()),
        several=sum(len(each) > 1 for each in known.values()),
        most=(most, tuple(known[most])),
        symbols=dict(sorted(counts, key=lambda item: -item[1])),
        signs=list(text.issues),
    )
