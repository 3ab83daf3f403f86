"""At which tokens the characters of a text begin, where a character may be several bytes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Ids, Integers
from charrnn.text.tokenizer import Tokenizer

_BLOCK = 2**16  # tokens that are looked at at a time: memory stays flat


class CharacterStarts:
    """Finds characters among the tokens of a text; only how many each block has is kept.

    Attributes:
        count: how many characters the text has.
    """

    def __init__(self, ids: Ids, begins: NDArray[np.bool_]) -> None:
        """Count.

        Args:
            ids: (N,) the text.
            begins: (V,) the tokens that begin a character.
        """
        self._ids, self._begins = ids, begins
        counts = [int(begins[ids[block]].sum()) for block in blocks(len(ids))]
        self._before = np.cumsum([0, *counts], dtype=np.int64)
        self.count = int(self._before[-1])

    @classmethod
    def of(cls, ids: Ids, tokenizer: Tokenizer) -> CharacterStarts | None:
        """Return the starts of a text's characters; None if every token is one."""
        begins = tokenizer.token_characters == 1
        if begins.all():
            return None
        starts = cls(ids, begins)
        return None if starts.count == len(ids) else starts

    def at(self, characters: Integers) -> Integers:
        """Return at which tokens characters begin, given their numbers (any shape) from 0.

        The text's end is that of the character `count`.
        """
        tokens = np.full(characters.shape, len(self._ids), np.int64)
        block = np.searchsorted(self._before, characters, side="right") - 1
        for each in np.unique(block[characters < self.count]).tolist():
            here = block == each
            starts = np.flatnonzero(self._in(each))
            tokens[here] = each * _BLOCK + starts[characters[here] - self._before[each]]
        return tokens

    def before(self, tokens: Integers) -> Integers:
        """Return how many characters begin before each of these tokens (D,), at most N."""
        block = tokens // _BLOCK
        characters = self._before[block]
        for each in np.unique(block[tokens % _BLOCK > 0]).tolist():
            here = block == each
            counted = np.append(0, np.cumsum(self._in(each)))
            characters[here] += counted[tokens[here] % _BLOCK]
        return characters

    def _in(self, block: int) -> NDArray[np.bool_]:
        return self._begins[self._ids[block * _BLOCK : (block + 1) * _BLOCK]]


def blocks(length: int) -> Iterator[slice]:
    """Yield the parts of a text of this length that are looked at at a time."""
    for first in range(0, length, _BLOCK):
        yield slice(first, first + _BLOCK)
