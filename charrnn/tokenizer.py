"""Text <-> ids, lossless: every code point of the corpus is a symbol, sorted by code point.

The tokenizer is saved inside the model file, so a model always knows its alphabet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ModelError, PromptError
from charrnn.terminal import symbol_name

Ids = NDArray[np.integer[Any]]
_UNKNOWN = np.uint32(0xFFFFFFFF)


def code_points(text: str) -> NDArray[np.uint32]:
    """The code points of `text` (N,); lone surrogates, as in undecodable arguments, included."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


@dataclass(frozen=True)
class CharTokenizer:
    """One symbol per code point.

    Attributes:
        symbols: the alphabet as a string, sorted; symbol i is ``symbols[i]``.
    """

    symbols: str
    kind: ClassVar[str] = "char"

    @classmethod
    def from_texts(cls, *texts: str) -> CharTokenizer:
        """The tokenizer whose alphabet is every code point of `texts`."""
        points = np.unique(np.concatenate([np.unique(code_points(text)) for text in texts]))
        return cls("".join(map(chr, points.tolist())))

    @property
    def vocab_size(self) -> int:
        """V, the number of symbols."""
        return len(self.symbols)

    @property
    def id_type(self) -> type[np.unsignedinteger[Any]]:
        """The smallest unsigned type that holds every id and the start symbol."""
        if self.vocab_size < 2**8:
            return np.uint8
        return np.uint16 if self.vocab_size < 2**16 else np.uint32

    @cached_property
    def _table(self) -> NDArray[np.uint32]:
        points = code_points(self.symbols)
        table = np.full(int(points.max()) + 2, _UNKNOWN)  # the last entry stays unknown
        table[points] = np.arange(len(points), dtype=np.uint32)
        return table

    def encode(self, text: str) -> Ids:
        """Ids of `text` (N,).

        Raises:
            PromptError: symbols outside the alphabet, listed with their code points.
        """
        points = code_points(text)
        ids = self._table[np.minimum(points, len(self._table) - 1)]
        if (ids == _UNKNOWN).any():
            raise PromptError(self._unknown_message(points[ids == _UNKNOWN]))
        return ids.astype(self.id_type)

    def _unknown_message(self, points: NDArray[np.uint32]) -> str:
        unknown = [chr(point) for point in dict.fromkeys(points.tolist())]
        listed = ", ".join(symbol_name(symbol) for symbol in unknown[:8])
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        return (
            f"the model has never seen {listed}{more}: "
            f"leave {'it' if len(unknown) == 1 else 'them'} out; "
            f"'charrnn info' lists the {self.vocab_size} symbols it knows"
        )

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`."""
        return "".join(map(self.symbols.__getitem__, ids))

    def to_json(self) -> dict[str, Any]:
        """What the model file keeps of it."""
        return {"kind": self.kind, "symbols": self.symbols}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: str) -> CharTokenizer:
        """The tokenizer of a model file; `where` names the file in errors."""
        symbols = data.get("symbols")
        if data.get("kind") != cls.kind or not isinstance(symbols, str) or not symbols:
            raise ModelError(f"{where} is damaged: its tokenizer is not one this version knows")
        if list(symbols) != sorted(set(symbols)):
            raise ModelError(f"{where} is damaged: its symbols are not sorted and distinct")
        return cls(symbols)
