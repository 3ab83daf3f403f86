"""The interface and the code that all tokenizers share.

Every token stands for some bytes of UTF-8, and a text is the concatenation of its tokens' bytes. So
one decoder serves all tokenizers, and so does one way to count the characters and bytes of ids. The
tokenizer is saved inside the model file: a model always knows its vocabulary.
"""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from charrnn.arrays import Ids, Integers
from charrnn.errors import PromptError, counted
from charrnn.terminal import character_name

BYTES = 256
_COUNTED = 2**20  # ids counted at a time


class Size(NamedTuple):
    """The length of a text: in characters, and in bytes of UTF-8."""

    characters: int
    num_bytes: int


class Encoder:
    """Encodes a text that comes in blocks of UTF-8, cut between characters anywhere."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def feed(self, block: bytes) -> Ids:
        """Return the ids that no later block can change."""
        return self._tokenizer.encode_block(block)

    def finish(self) -> Ids:
        """Return the remaining ids; a new text may begin afterwards."""
        return np.empty(0, self._tokenizer.id_type)


class Decoder:
    """Decodes ids that come one after another; the bytes of an unfinished character wait.

    Bytes that form no character become U+FFFD, so the text is valid whatever a network generates.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokens = tokenizer.token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, ids: Iterable[int]) -> str:
        """Return the characters that `ids` complete."""
        return self._decoder.decode(b"".join([self._tokens[index] for index in ids]))

    def finish(self) -> str:
        """Return U+FFFD if a character is unfinished."""
        return self._decoder.decode(b"", final=True)


class Tokenizer(ABC):
    """Text <-> ids 0 .. V - 1."""

    kind: ClassVar[str]
    unique_encoding: ClassVar[bool] = True  # no text has two sequences of ids
    end: ClassVar[str] = ""  # what stands for the end of a text, if a token does

    @property
    def whole_characters(self) -> bool:
        """Whether every token is one or more whole characters."""
        return False

    @property
    @abstractmethod
    def token_bytes(self) -> Sequence[bytes]:
        """The bytes of each token (V); none is empty."""

    @abstractmethod
    def encode_block(self, block: bytes) -> Ids:
        """Return the ids (N,) of a text in valid UTF-8.

        Raises:
            PromptError: characters outside the vocabulary, listed with their code points.
        """

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return the description that model files and datasets hold."""

    @property
    def vocab_size(self) -> int:
        """V, the number of tokens."""
        return len(self.token_bytes)

    @property
    def id_type(self) -> type[np.unsignedinteger[Any]]:
        """The smallest unsigned type that holds every id and the start token."""
        if self.vocab_size < 2**8:
            return np.uint8
        return np.uint16 if self.vocab_size < 2**16 else np.uint32

    def encoder(self) -> Encoder:
        """Return an encoder for a text that comes in blocks."""
        return Encoder(self)

    def encode(self, text: str) -> Ids:
        """Return the ids of `text` (N,).

        Raises:
            PromptError: characters outside the vocabulary, listed with their code points.
        """
        try:
            block = text.encode()
        except UnicodeEncodeError:  # lone surrogates, as in arguments that cannot be decoded
            points = [ord(character) for character in text if "\ud800" <= character <= "\udfff"]
            raise PromptError(self._unknown(points)) from None
        encoder = self.encoder()
        return np.concatenate([encoder.feed(block), encoder.finish()])

    def knows(self, text: str) -> bool:
        """Return whether every character of a text is in the vocabulary."""
        try:
            self.encode(text)
        except PromptError:
            return False
        return True

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`."""
        decoder = Decoder(self)
        return decoder.feed(ids) + decoder.finish()

    def measure(self, ids: Ids) -> Size:
        """Return the size of the text of `ids`; the first byte of a character counts it."""
        counts = np.zeros(self.vocab_size, np.int64)
        for first in range(0, len(ids), _COUNTED):
            counts += np.bincount(ids[first : first + _COUNTED], minlength=self.vocab_size)
        return Size(int(counts @ self.token_characters), int(counts @ self._num_bytes))

    @cached_property
    def token_names(self) -> list[str]:
        """The text of each token (V), all different: a byte next to characters is ``<0x41>``."""
        several = Counter(self.token_bytes)
        names = []
        for index, token in enumerate(self.token_bytes):
            a_byte = len(token) == 1 and (token >= b"\x80" or several[token] > 1)
            if a_byte and index in self._byte_ids:
                names.append(f"<0x{token[0]:02X}>")
            else:
                names.append(token.decode("utf-8", "replace"))
        return names

    @property
    def _byte_ids(self) -> range:
        """The ids of single bytes."""
        return range(BYTES)

    @cached_property
    def token_characters(self) -> Integers:
        """How many characters begin in each token (V): none in a byte that continues one."""
        return np.array([sum(byte & 0xC0 != 0x80 for byte in s) for s in self.token_bytes])

    @cached_property
    def _num_bytes(self) -> Integers:
        return np.array([len(token) for token in self.token_bytes])

    @cached_property
    def line_ends(self) -> Integers:
        """The ids after which a line begins."""
        ends = [token.endswith(b"\n") for token in self.token_bytes]
        return np.flatnonzero(ends).astype(np.int64)

    def _unknown(self, points: Iterable[int]) -> str:
        unknown = [chr(point) for point in dict.fromkeys(points)]
        listed = ", ".join(character_name(character) for character in unknown[:8])
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        return (
            f"the model has never seen {listed}{more}: "
            f"remove {'it' if len(unknown) == 1 else 'them'} ('charrnn info' lists the "
            f"{counted(self.vocab_size, 'token')} it knows)"
        )
