"""Tokenizers: text <-> ids, lossless, of characters, bytes or sentencepiece's pieces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from charrnn.errors import ModelError
from charrnn.text.tokenizer.base import BYTES, Decoder, Encoder, Size, Tokenizer
from charrnn.text.tokenizer.byte import ByteTokenizer
from charrnn.text.tokenizer.char import CharTokenizer
from charrnn.text.tokenizer.ending import EndingTokenizer
from charrnn.text.tokenizer.sentencepiece import SentencePieceTokenizer, train_pieces

__all__ = [
    "BYTES",
    "ByteTokenizer",
    "CharTokenizer",
    "Decoder",
    "Encoder",
    "EndingTokenizer",
    "SentencePieceTokenizer",
    "Size",
    "Tokenizer",
    "from_json",
    "train_pieces",
]


def from_json(data: Mapping[str, Any], where: str) -> Tokenizer:
    """Return the tokenizer of a model file or a dataset; `where` names the file in errors.

    Raises:
        ModelError: the description is damaged, or of a kind that this version does not know.
    """
    kind = data.get("kind")
    if kind == ByteTokenizer.kind:
        return ByteTokenizer()
    if kind == SentencePieceTokenizer.kind:
        return SentencePieceTokenizer.from_json(data.get("model"), where)
    symbols, fallback = data.get("symbols"), data.get("byte_fallback", False)
    known = kind == CharTokenizer.kind and isinstance(symbols, str) and isinstance(fallback, bool)
    if not known or not (symbols or fallback):
        raise ModelError(f"{where} is damaged: its tokenizer is not one this version knows")
    assert isinstance(symbols, str)
    points = np.frombuffer(symbols.encode("utf-32-le", "surrogatepass"), "<i4")
    if (np.diff(points) <= 0).any():
        raise ModelError(f"{where} is damaged: its symbols are not sorted and distinct")
    if ((points >= 0xD800) & (points < 0xE000)).any():
        raise ModelError(f"{where} is damaged: its symbols are not all characters")
    return CharTokenizer(symbols, fallback)
