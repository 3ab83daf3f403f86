"""Tokens of one or more characters: the pieces of a sentencepiece model, and all bytes."""

from __future__ import annotations

import base64
import binascii
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from charrnn.arrays import Ids
from charrnn.errors import CorpusError, ModelError
from charrnn.text.tokenizer.base import BYTES, Encoder, Tokenizer
from charrnn.text.utf8 import CODE_POINTS, code_points

DEFAULT_PIECES, DEFAULT_VOCAB_SIZE = "bpe", 1024
SPACE = "\u2581"  # stands for a space in pieces
_RESERVED = f"{SPACE}\u2585"  # sentencepiece cannot take these as text: always encoded as bytes
_SEGMENT = 1024  # characters
# A line with its end; a long line in parts. So the units of encoding and of learning depend on the
# text alone, wherever its blocks are cut.
SEGMENTS = re.compile(rf"[^\n{_RESERVED}]{{1,{_SEGMENT}}}\n?|\n|[{_RESERVED}]")
_BATCH = 4096  # segments
_TRAINED_ON = 2**24  # bytes of text that pieces are learned from: the library holds them all
_MAX_MODEL = 2**26
# A text that a model with other settings would change: tests a model that comes from elsewhere.
_PROBE = " \ta  b \r\n\n\ufeff\ufb01 \u00bd\uff21e\u0301\u00e9 <s><0x41>\x00\U0001f642 "


def segments(text: str) -> list[str]:
    """Cut a text into the units of encoding: lines with their ends, long lines in parts."""
    return SEGMENTS.findall(text)


@dataclass(frozen=True)
class SentencePieceTokenizer(Tokenizer):
    """The pieces of a sentencepiece model, and all bytes for what has no piece.

    Attributes:
        model: the model as the library writes it; made by `train_pieces`.
    """

    model: bytes
    kind: ClassVar[str] = "sentencepiece"
    unique_encoding: ClassVar[bool] = False

    @classmethod
    def from_json(cls, text: object, where: str) -> SentencePieceTokenizer:
        """Return the tokenizer of a model in base64; `where` names the file in errors.

        Raises:
            ModelError: the model is damaged, or was made with other settings.
        """
        try:
            if not isinstance(text, str) or not 0 < len(text) <= _MAX_MODEL:
                raise ValueError
            tokenizer = cls(base64.b64decode(text, validate=True))
            if tokenizer.check():
                return tokenizer
        except (ValueError, RuntimeError, IndexError, binascii.Error):
            pass
        raise ModelError(f"{where} is damaged: its sentencepiece model is not one of charrnn's")

    @cached_property
    def library(self) -> Any:
        """The library's processor for the model."""
        import sentencepiece

        return sentencepiece.SentencePieceProcessor(model_proto=self.model)

    @cached_property
    def token_bytes(self) -> Sequence[bytes]:
        """All bytes, then the pieces; the library's id 0, unknown, is never needed."""
        processor = self.library
        pieces = [processor.id_to_piece(index) for index in range(1, processor.vocab_size())]
        fallback = [bytes([byte]) for byte in range(BYTES)]
        return fallback + [piece.replace(SPACE, " ").encode() for piece in pieces[BYTES:]]

    def encoder(self) -> Encoder:
        """Return an encoder that waits for the ends of lines."""
        return _SegmentEncoder(self)

    def encode_block(self, block: bytes) -> Ids:
        """Return the ids of a whole text."""
        return self.encode_segments(segments(block.decode()))

    def encode_segments(self, parts: list[str]) -> Ids:
        """Return the ids of consecutive segments of a text."""
        encoded = self.library.encode(parts)
        for index, part in enumerate(parts):
            if part in _RESERVED:
                encoded[index] = [byte + 1 for byte in part.encode()]
        ids = np.fromiter(itertools.chain.from_iterable(encoded), np.int64)
        return (ids - 1).astype(self.id_type)

    def to_json(self) -> dict[str, Any]:
        """Return the model in base64."""
        return {"kind": self.kind, "model": base64.b64encode(self.model).decode()}

    def check(self) -> bool:
        """Return whether `train_pieces` made the model: bytes come first, no text is changed."""
        processor = self.library
        bytes_first = [f"<0x{byte:02X}>" for byte in range(BYTES)]
        return (
            processor.vocab_size() > BYTES
            and [processor.id_to_piece(1 + byte) for byte in range(BYTES)] == bytes_first
            and all(self.token_bytes)
            and self.decode(self.encode(_PROBE)) == _PROBE
        )


class _SegmentEncoder(Encoder):
    """Holds the last segment back while it may grow."""

    def __init__(self, tokenizer: SentencePieceTokenizer) -> None:
        super().__init__(tokenizer)
        self._pieces = tokenizer
        self._held = ""

    def feed(self, block: bytes) -> Ids:
        parts = segments(self._held + block.decode())
        self._held = ""
        if parts and not parts[-1].endswith(("\n", *_RESERVED)):
            self._held = parts.pop()
        return self._pieces.encode_segments(parts)

    def finish(self) -> Ids:
        held, self._held = self._held, ""
        return self._pieces.encode_segments([held] if held else [])


def train_pieces(
    blocks: Iterable[bytes], num_bytes: int, pieces: str, vocab_size: int
) -> SentencePieceTokenizer:
    """Learn the pieces of a text.

    Args:
        blocks: the text in UTF-8, cut between characters.
        num_bytes: its length; from a long text, lines are taken at equal distances.
        pieces: the algorithm: unigram, bpe or char.
        vocab_size: V; the result is smaller if the text does not have as many pieces.

    Raises:
        CorpusError: the library cannot learn from this text.
    """
    import sentencepiece

    model = io.BytesIO()
    every = -(-num_bytes // _TRAINED_ON)
    learned_from = list(itertools.islice(_segments(blocks), 0, None, every))
    # The library replaces spaces before it looks for pieces. A text without spaces would give the
    # bytes of the replacement: one segment makes the space a piece in any case.
    learned_from = [" ", *_drop_rare(learned_from, (vocab_size - BYTES) // 2)]
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(learned_from),
            model_writer=model,
            model_type=pieces,
            vocab_size=vocab_size + 1,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            byte_fallback=True,
            character_coverage=1.0,
            hard_vocab_limit=False,
            max_sentence_length=4 * _SEGMENT + 1,
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=1,
            minloglevel=3,
        )
    except (RuntimeError, ValueError) as error:
        why = " ".join(str(error).split()[-24:])
        raise CorpusError(
            f"sentencepiece cannot learn {vocab_size:,} tokens ({pieces}) from this text: use "
            f"--tokenizer char or byte, or another --vocab-size; it says: {why}"
        ) from None
    return SentencePieceTokenizer(model.getvalue())


def _drop_rare(segments: list[str], limit: int) -> list[str]:
    """Cut segments at all characters but the `limit` most frequent, which are encoded as bytes.

    The library refuses a text with more characters than its vocabulary can hold.
    """
    counts = np.zeros(CODE_POINTS, np.int64)
    for first in range(0, len(segments), _BATCH):
        text = "".join(segments[first : first + _BATCH])
        np.add.at(counts, code_points(text.encode()), 1)
    counts[ord(" ")] = 0  # always a piece
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    rare = dict.fromkeys(order[limit:].tolist(), _RESERVED[-1])
    if not rare:
        return segments
    parts = (segment.translate(rare).split(_RESERVED[-1]) for segment in segments)
    return [part for part in itertools.chain.from_iterable(parts) if part]


def _segments(blocks: Iterable[bytes]) -> Iterator[str]:
    """Yield the segments that pieces are learned from, without reserved characters."""
    held = ""
    for block in blocks:
        parts = segments(held + block.decode())
        held = parts.pop() if parts and not parts[-1].endswith("\n") else ""
        yield from (part for part in parts if part not in _RESERVED)
    if held and held not in _RESERVED:
        yield held
