"""One token for each byte of UTF-8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from charrnn.arrays import Ids
from charrnn.text.tokenizer.base import BYTES, Tokenizer


@dataclass(frozen=True)
class ByteTokenizer(Tokenizer):
    """One token for each byte of UTF-8: 256, whatever the text."""

    kind: ClassVar[str] = "byte"

    @cached_property
    def token_bytes(self) -> Sequence[bytes]:
        """All bytes."""
        return [bytes([byte]) for byte in range(BYTES)]

    @property
    def id_type(self) -> type[np.unsignedinteger[Any]]:
        """A byte: the ids of a text are the text (which never holds the start token)."""
        return np.uint8

    def encode_block(self, block: bytes) -> Ids:
        """Return the bytes themselves."""
        return np.frombuffer(block, np.uint8)

    def to_json(self) -> dict[str, Any]:
        """Return the kind; there is nothing else to describe."""
        return {"kind": self.kind}
