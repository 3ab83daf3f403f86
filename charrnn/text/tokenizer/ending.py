"""The tokens of targets: those of another tokenizer, and one that ends a target."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from charrnn.arrays import Ids
from charrnn.config import END
from charrnn.text.tokenizer.base import Tokenizer


class EndingTokenizer(Tokenizer):
    """Another tokenizer's V tokens, and token V, which is written as `END`."""

    end = END

    def __init__(self, alphabet: Tokenizer) -> None:
        self._alphabet = alphabet
        self.unique_encoding = alphabet.unique_encoding  # type: ignore[misc]
        self.kind = alphabet.kind  # type: ignore[misc]

    @property
    def whole_characters(self) -> bool:
        """Whether every token is one or more whole characters."""
        return self._alphabet.whole_characters

    @cached_property
    def token_bytes(self) -> Sequence[bytes]:
        """The bytes of each token (V + 1)."""
        return [*self._alphabet.token_bytes, END.encode()]

    @cached_property
    def token_names(self) -> list[str]:
        """The text of each token (V + 1); the last one is ``<end>``."""
        return [*self._alphabet.token_names, "<end>"]

    @property
    def _byte_ids(self) -> range:
        return self._alphabet._byte_ids

    def encode_block(self, block: bytes) -> Ids:
        """Return the ids (N,) of texts in UTF-8, each but the last followed by `END`.

        Raises:
            PromptError: characters outside the vocabulary, listed with their code points.
        """
        end = np.array([self._alphabet.vocab_size], self.id_type)
        first, *others = [self._encoded(text) for text in block.split(END.encode())]
        return np.concatenate([first, *(ids for text in others for ids in (end, text))])

    def _encoded(self, text: bytes) -> Ids:
        encoder = self._alphabet.encoder()
        return np.concatenate([encoder.feed(text), encoder.finish()]).astype(self.id_type)

    def to_json(self) -> dict[str, Any]:
        """Return the description of the other tokenizer, which model files hold."""
        return self._alphabet.to_json()
