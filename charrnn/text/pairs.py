"""Pairs: a source, and a target that answers it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Ids, Integers


@dataclass(frozen=True)
class PairPart:
    """The N pairs of one use (training, validation or test), as tokens.

    Attributes:
        ids: the tokens of source, target, source, target, ...; nothing marks the ends.
        starts: where each of these texts begins (2 N,).
    """

    ids: Ids
    starts: NDArray[np.integer[Any]]

    @classmethod
    def of(cls, pairs: Iterable[tuple[Sequence[int] | Ids, Sequence[int] | Ids]]) -> PairPart:
        """Return the pairs of these sources and targets."""
        texts = [np.asarray(text, np.int64) for text in chain.from_iterable(pairs)]
        ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
        return cls(np.concatenate([np.zeros(0, np.int64), *texts]), ends[:-1])

    def __len__(self) -> int:
        """Return N."""
        return len(self.starts) // 2

    def source(self, index: int) -> Ids:
        """Return the source of a pair."""
        return self._text(2 * index)

    def target(self, index: int) -> Ids:
        """Return the target of a pair, without the token that ends it."""
        return self._text(2 * index + 1)

    @property
    def targets(self) -> Ids:
        """The tokens of all targets, one after another."""
        is_target = np.arange(len(self.starts)) % 2 == 1
        targets: Ids = self.ids[np.repeat(is_target, self._lengths)]
        return targets

    @property
    def source_lengths(self) -> Integers:
        """The number of tokens of each source (N,)."""
        return self._lengths[::2]

    @property
    def target_lengths(self) -> Integers:
        """The number of tokens of each target (N,), without the one that ends it."""
        return self._lengths[1::2]

    @property
    def _lengths(self) -> Integers:
        ends = np.append(self.starts[1:].astype(np.int64), len(self.ids))[: len(self.starts)]
        return ends - self.starts.astype(np.int64)

    def _text(self, index: int) -> Ids:
        first = int(self.starts[index])
        end = self.starts[index + 1] if index + 1 < len(self.starts) else len(self.ids)
        return self.ids[first : int(end)]
