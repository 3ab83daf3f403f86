"""One token for each character; rare characters may be encoded as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Ids, Integers
from charrnn.errors import PromptError
from charrnn.text.tokenizer.base import BYTES, Tokenizer
from charrnn.text.utf8 import code_points


@dataclass(frozen=True)
class CharTokenizer(Tokenizer):
    """One token for each code point.

    Attributes:
        alphabet: the characters, sorted; token i is ``alphabet[i]``.
        byte_fallback: whether 256 tokens for bytes follow, which encode all other characters.
    """

    alphabet: str
    byte_fallback: bool = False
    kind: ClassVar[str] = "char"

    @property
    def whole_characters(self) -> bool:
        """Whether no character is encoded as bytes."""
        return not self.byte_fallback

    @classmethod
    def from_texts(cls, *texts: str) -> CharTokenizer:
        """Return the tokenizer whose alphabet is every code point of `texts`."""
        return cls("".join(sorted(set().union(*texts))))

    @classmethod
    def from_counts(cls, points: Integers, counts: Integers, min_count: int) -> CharTokenizer:
        """Return the tokenizer of the code points that occur at least `min_count` times.

        Args:
            points: all code points of the text (N,), sorted.
            counts: how often each occurs (N,).
            min_count: rarer characters are encoded as their bytes.
        """
        frequent = points[counts >= min_count].astype("<u4")
        rest = len(frequent) < len(points)
        return cls(frequent.tobytes().decode("utf-32-le"), byte_fallback=rest)

    @property
    def _byte_ids(self) -> range:
        return range(len(self.alphabet), self.vocab_size)

    @cached_property
    def token_bytes(self) -> Sequence[bytes]:
        """The UTF-8 of each character, followed by all bytes if there is a fallback."""
        fallback = [bytes([byte]) for byte in range(BYTES)] if self.byte_fallback else []
        return [character.encode() for character in self.alphabet] + fallback

    @cached_property
    def _table(self) -> NDArray[np.unsignedinteger[Any]]:
        """The id of each code point, V for those outside the alphabet; the last entry is V."""
        points = np.frombuffer(self.alphabet.encode("utf-32-le"), "<u4")
        table = np.full(int(points.max(initial=0)) + 2, self.vocab_size, self.id_type)
        table[points] = np.arange(len(points), dtype=self.id_type)
        return table

    def encode_block(self, block: bytes) -> Ids:
        """Return the ids of a text in UTF-8, by table lookup."""
        points = code_points(block)
        ids = self._table.take(points, mode="clip")
        unknown = ids == self.vocab_size
        if not unknown.any():
            return ids
        if not self.byte_fallback:
            raise PromptError(self._unknown(points[unknown].tolist()))
        rare = points[unknown].astype("<u4").tobytes().decode("utf-32-le").encode()
        lengths = np.ones(len(points), np.int64)
        lengths[unknown] = _utf8_lengths(points[unknown])
        ids = np.repeat(ids, lengths)
        ids[np.repeat(unknown, lengths)] = np.frombuffer(rare, np.uint8) + np.array(
            len(self.alphabet), self.id_type
        )
        return ids

    def to_json(self) -> dict[str, Any]:
        """Return the alphabet, under the name that model files give it."""
        fallback = {"byte_fallback": True} if self.byte_fallback else {}
        return {"kind": self.kind, "symbols": self.alphabet, **fallback}


def _utf8_lengths(points: NDArray[np.integer[Any]]) -> Integers:
    return 1 + np.searchsorted([0x80, 0x800, 0x10000], points, side="right")
