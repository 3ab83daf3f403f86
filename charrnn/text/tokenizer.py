"""Text <-> ids, lossless: code points, bytes, or the pieces of sentencepiece.

Every symbol stands for some bytes of UTF-8, and a text is the bytes of its symbols in order: so
there is one way back for all tokenizers, and one way to count the characters and bytes that ids
stand for. The tokenizer is saved inside the model file, so a model always knows its alphabet.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import io
import itertools
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Ids
from charrnn.errors import CorpusError, ModelError, PromptError
from charrnn.terminal import symbol_name
from charrnn.text.corpus import CODE_POINTS, code_points

BYTES = 256
_COUNTED = 2**20  # ids counted at a time


class Size(NamedTuple):
    """How long the text of some ids is: in characters, and in bytes of UTF-8."""

    characters: int
    num_bytes: int


class Encoder:
    """Ids of a text that comes in blocks of UTF-8, cut between characters anywhere."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def feed(self, block: bytes) -> Ids:
        """Ids of what is settled so far."""
        return self._tokenizer.encode_block(block)

    def finish(self) -> Ids:
        """Ids of what was still open; then a new text may begin."""
        return np.empty(0, self._tokenizer.id_type)


class Decoder:
    """Text of ids that come one after the other: what is not yet a whole character waits.

    What can be no character becomes U+FFFD, so the text is valid whatever a network writes.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._symbols = tokenizer.symbol_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, ids: Iterable[int]) -> str:
        """The characters that `ids` complete."""
        return self._decoder.decode(b"".join([self._symbols[index] for index in ids]))

    def finish(self) -> str:
        """What is left: U+FFFD where a character was cut off."""
        return self._decoder.decode(b"", final=True)


class Tokenizer(ABC):
    """Text <-> ids 0 .. V - 1."""

    kind: ClassVar[str]
    one_spelling: ClassVar[bool] = True  # a text has one sequence of ids only

    @property
    def whole_characters(self) -> bool:
        """Whether no symbol is only a part of a character."""
        return False

    @property
    @abstractmethod
    def symbol_bytes(self) -> Sequence[bytes]:
        """What each symbol stands for (V); never nothing."""

    @abstractmethod
    def encode_block(self, block: bytes) -> Ids:
        """Ids (N,) of a text in valid UTF-8.

        Raises:
            PromptError: symbols outside the alphabet, listed with their code points.
        """

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """What the model file keeps of it."""

    @property
    def vocab_size(self) -> int:
        """V, the number of symbols."""
        return len(self.symbol_bytes)

    @property
    def id_type(self) -> type[np.unsignedinteger[Any]]:
        """The smallest unsigned type that holds every id and the start symbol."""
        if self.vocab_size < 2**8:
            return np.uint8
        return np.uint16 if self.vocab_size < 2**16 else np.uint32

    def encoder(self) -> Encoder:
        """What encodes a text that comes in blocks."""
        return Encoder(self)

    def encode(self, text: str) -> Ids:
        """Ids of `text` (N,).

        Raises:
            PromptError: symbols outside the alphabet, listed with their code points.
        """
        try:
            block = text.encode()
        except UnicodeEncodeError:  # lone surrogates, as in undecodable arguments
            points = [ord(character) for character in text if "\ud800" <= character <= "\udfff"]
            raise PromptError(self._unknown(points)) from None
        encoder = self.encoder()
        return np.concatenate([encoder.feed(block), encoder.finish()])

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`."""
        decoder = Decoder(self)
        return decoder.feed(ids) + decoder.finish()

    def measure(self, ids: Ids) -> Size:
        """The size of the text of `ids`: of a character's bytes, the first one counts it."""
        counts = np.zeros(self.vocab_size, np.int64)
        for first in range(0, len(ids), _COUNTED):
            counts += np.bincount(ids[first : first + _COUNTED], minlength=self.vocab_size)
        return Size(int(counts @ self._characters), int(counts @ self._num_bytes))

    @cached_property
    def symbol_names(self) -> list[str]:
        """What each symbol writes (V), told apart: bytes beside characters as <0x41>."""
        several = Counter(self.symbol_bytes)
        names = []
        for index, symbol in enumerate(self.symbol_bytes):
            a_byte = len(symbol) == 1 and (symbol >= b"\x80" or several[symbol] > 1)
            if a_byte and index in self._byte_ids:
                names.append(f"<0x{symbol[0]:02X}>")
            else:
                names.append(symbol.decode("utf-8", "replace"))
        return names

    @property
    def _byte_ids(self) -> range:
        """Where all bytes are."""
        return range(BYTES)

    @cached_property
    def _characters(self) -> NDArray[np.int64]:
        return np.array([sum(byte & 0xC0 != 0x80 for byte in s) for s in self.symbol_bytes])

    @cached_property
    def _num_bytes(self) -> NDArray[np.int64]:
        return np.array([len(symbol) for symbol in self.symbol_bytes])

    @cached_property
    def line_ends(self) -> NDArray[np.int64]:
        """Ids after which a line begins."""
        ends = [symbol.endswith(b"\n") for symbol in self.symbol_bytes]
        return np.flatnonzero(ends).astype(np.int64)

    def _unknown(self, points: Iterable[int]) -> str:
        unknown = [chr(point) for point in dict.fromkeys(points)]
        listed = ", ".join(symbol_name(symbol) for symbol in unknown[:8])
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        return (
            f"the model has never seen {listed}{more}: "
            f"leave {'it' if len(unknown) == 1 else 'them'} out; "
            f"'charrnn info' lists the {self.vocab_size} symbols it knows"
        )


@dataclass(frozen=True)
class CharTokenizer(Tokenizer):
    """One symbol per code point.

    Attributes:
        symbols: the alphabet as a string, sorted; symbol i is ``symbols[i]``.
        byte_fallback: behind them are 256 symbols for bytes, for all other characters.
    """

    symbols: str
    byte_fallback: bool = False
    kind: ClassVar[str] = "char"

    @property
    def whole_characters(self) -> bool:
        """Unless rare ones are written as bytes."""
        return not self.byte_fallback

    @classmethod
    def from_texts(cls, *texts: str) -> CharTokenizer:
        """The tokenizer whose alphabet is every code point of `texts`."""
        return cls("".join(sorted(set().union(*texts))))

    @classmethod
    def from_counts(
        cls, points: NDArray[np.int64], counts: NDArray[np.int64], min_count: int
    ) -> CharTokenizer:
        """The tokenizer of the code points that occur `min_count` times at least.

        Args:
            points: all code points of the text (N,), sorted.
            counts: how often each occurs (N,).
            min_count: what is rarer is written as its bytes.
        """
        kept = points[counts >= min_count].astype("<u4")
        return cls(kept.tobytes().decode("utf-32-le"), byte_fallback=len(kept) < len(points))

    @property
    def _byte_ids(self) -> range:
        return range(len(self.symbols), self.vocab_size)

    @cached_property
    def symbol_bytes(self) -> Sequence[bytes]:
        """Each code point's UTF-8, and then perhaps all bytes."""
        fallback = [bytes([byte]) for byte in range(BYTES)] if self.byte_fallback else []
        return [symbol.encode() for symbol in self.symbols] + fallback

    @cached_property
    def _table(self) -> NDArray[np.unsignedinteger[Any]]:
        """The id of every code point; V, which is none, where there is none, as in the last."""
        points = np.frombuffer(self.symbols.encode("utf-32-le"), "<u4")
        table = np.full(int(points.max(initial=0)) + 2, self.vocab_size, self.id_type)
        table[points] = np.arange(len(points), dtype=self.id_type)
        return table

    def encode_block(self, block: bytes) -> Ids:
        """Ids of a text in UTF-8: a look-up."""
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
            len(self.symbols), self.id_type
        )
        return ids

    def to_json(self) -> dict[str, Any]:
        """The alphabet."""
        fallback = {"byte_fallback": True} if self.byte_fallback else {}
        return {"kind": self.kind, "symbols": self.symbols, **fallback}


def _utf8_lengths(points: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    return 1 + np.searchsorted([0x80, 0x800, 0x10000], points, side="right")


@dataclass(frozen=True)
class ByteTokenizer(Tokenizer):
    """One symbol per byte of UTF-8: 256, whatever the text."""

    kind: ClassVar[str] = "byte"

    @cached_property
    def symbol_bytes(self) -> Sequence[bytes]:
        """All bytes."""
        return [bytes([byte]) for byte in range(BYTES)]

    @property
    def id_type(self) -> type[np.unsignedinteger[Any]]:
        """A byte: the ids of a text are the text (the start symbol is never in one)."""
        return np.uint8

    def encode_block(self, block: bytes) -> Ids:
        """The bytes themselves."""
        return np.frombuffer(block, np.uint8)

    def to_json(self) -> dict[str, Any]:
        """Its kind says all."""
        return {"kind": self.kind}


SPACE = "\u2581"  # in pieces, what stands for a space
_RESERVED = f"{SPACE}\u2585"  # what sentencepiece cannot take as text: always written as bytes
_SEGMENT = 1024  # characters
# A line, its end included; a long one in parts. So what is encoded at a time, and what a training
# learns from, depends on the text alone, wherever its blocks are cut.
_SEGMENTS = re.compile(rf"[^\n{_RESERVED}]{{1,{_SEGMENT}}}\n?|\n|[{_RESERVED}]")
_BATCH = 4096  # segments
_MAX_MODEL = 2**26
# What a model with other settings would change: a look at one that comes from elsewhere.
_PROBE = " \ta  b \r\n\n\ufeff\ufb01 \u00bd\uff21e\u0301\u00e9 <s><0x41>\x00\U0001f642 "


def segments(text: str) -> list[str]:
    """What is encoded at a time: lines with their ends, long ones in parts."""
    return _SEGMENTS.findall(text)


@dataclass(frozen=True)
class SentencePieceTokenizer(Tokenizer):
    """The pieces of a sentencepiece model, and all bytes for what has none.

    Attributes:
        model: the model as the library writes it; made by `train_pieces`.
    """

    model: bytes
    kind: ClassVar[str] = "sentencepiece"
    one_spelling: ClassVar[bool] = False

    @cached_property
    def library(self) -> Any:
        """What the library makes of the model."""
        import sentencepiece

        return sentencepiece.SentencePieceProcessor(model_proto=self.model)

    @cached_property
    def symbol_bytes(self) -> Sequence[bytes]:
        """Bytes first, then pieces; the library's id 0, unknown, is never needed and left out."""
        processor = self.library
        pieces = [processor.id_to_piece(index) for index in range(1, processor.vocab_size())]
        fallback = [bytes([byte]) for byte in range(BYTES)]
        return fallback + [piece.replace(SPACE, " ").encode() for piece in pieces[BYTES:]]

    def encoder(self) -> Encoder:
        """One that waits for the ends of lines."""
        return _SegmentEncoder(self)

    def encode_block(self, block: bytes) -> Ids:
        """Ids of a whole text."""
        return self.encode_segments(segments(block.decode()))

    def encode_segments(self, parts: list[str]) -> Ids:
        """Ids of what `segments` makes of a text, one after the other."""
        encoded = self.library.encode(parts)
        for index, part in enumerate(parts):
            if part in _RESERVED:
                encoded[index] = [byte + 1 for byte in part.encode()]
        ids = np.fromiter(itertools.chain.from_iterable(encoded), np.int64)
        return (ids - 1).astype(self.id_type)

    def to_json(self) -> dict[str, Any]:
        """The model, in letters."""
        return {"kind": self.kind, "model": base64.b64encode(self.model).decode()}

    def check(self) -> bool:
        """Whether the model is one of ours: bytes at their places, and nothing is changed."""
        processor = self.library
        bytes_first = [f"<0x{byte:02X}>" for byte in range(BYTES)]
        return (
            processor.vocab_size() > BYTES
            and [processor.id_to_piece(1 + byte) for byte in range(BYTES)] == bytes_first
            and all(self.symbol_bytes)
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


_TRAINED_ON = 2**24  # bytes of text that pieces are learnt from: the library holds them all
DEFAULT_PIECES, DEFAULT_VOCAB_SIZE = "bpe", 1024


def train_pieces(
    blocks: Iterable[bytes], num_bytes: int, pieces: str, vocab_size: int
) -> SentencePieceTokenizer:
    """Learn the pieces of a text.

    Args:
        blocks: the text in UTF-8, cut between characters.
        num_bytes: its length; of a long one, lines are taken at even distances.
        pieces: unigram, bpe or char.
        vocab_size: V; fewer where the text does not have as many.

    Raises:
        CorpusError: the library cannot learn from this text.
    """
    import sentencepiece

    model = io.BytesIO()
    every = -(-num_bytes // _TRAINED_ON)
    segments = list(itertools.islice(_segments(blocks), 0, None, every))
    # A space is a piece in any case: the library writes it in its own way before it looks for
    # pieces, and without one would give that sign's bytes.
    segments = [" ", *_frequent(segments, (vocab_size - BYTES) // 2)]
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(segments),
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
            f"sentencepiece cannot learn {vocab_size:,} symbols ({pieces}) from this text: use "
            f"--tokenizer char or byte, or another --vocab-size; it says: {why}"
        ) from None
    return SentencePieceTokenizer(model.getvalue())


def _frequent(segments: list[str], most: int) -> list[str]:
    """Segments cut at all but the `most` frequent characters, which are written as bytes.

    The library refuses a text with more characters than there are to be symbols.
    """
    counts = np.zeros(CODE_POINTS, np.int64)
    for first in range(0, len(segments), _BATCH):
        text = "".join(segments[first : first + _BATCH])
        np.add.at(counts, code_points(text.encode()), 1)
    counts[ord(" ")] = 0  # which is kept
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    rare = dict.fromkeys(order[most:].tolist(), _RESERVED[-1])
    if not rare:
        return segments
    parts = (segment.translate(rare).split(_RESERVED[-1]) for segment in segments)
    return [part for part in itertools.chain.from_iterable(parts) if part]


def _segments(blocks: Iterable[bytes]) -> Iterator[str]:
    """What pieces are learnt from: lines, without what is always written as bytes."""
    held = ""
    for block in blocks:
        parts = segments(held + block.decode())
        held = parts.pop() if parts and not parts[-1].endswith("\n") else ""
        yield from (part for part in parts if part not in _RESERVED)
    if held and held not in _RESERVED:
        yield held


def from_json(data: Mapping[str, Any], where: str) -> Tokenizer:
    """The tokenizer of a model file or a dataset; `where` names the file in errors.

    Raises:
        ModelError: it is damaged, or of a kind that this version does not know.
    """
    kind = data.get("kind")
    if kind == ByteTokenizer.kind:
        return ByteTokenizer()
    if kind == SentencePieceTokenizer.kind:
        return _pieces_from_json(data.get("model"), where)
    symbols, fallback = data.get("symbols"), data.get("byte_fallback", False)
    known = kind == CharTokenizer.kind and isinstance(symbols, str) and isinstance(fallback, bool)
    if not known or not (symbols or fallback):
        raise ModelError(f"{where} is damaged: its tokenizer is not one this version knows")
    assert isinstance(symbols, str)
    if list(symbols) != sorted(set(symbols)):
        raise ModelError(f"{where} is damaged: its symbols are not sorted and distinct")
    if re.search("[\ud800-\udfff]", symbols):
        raise ModelError(f"{where} is damaged: its symbols are not all characters")
    return CharTokenizer(symbols, fallback)


def _pieces_from_json(text: object, where: str) -> SentencePieceTokenizer:
    try:
        if not isinstance(text, str) or not 0 < len(text) <= _MAX_MODEL:
            raise ValueError
        tokenizer = SentencePieceTokenizer(base64.b64decode(text, validate=True))
        if tokenizer.check():
            return tokenizer
    except (ValueError, RuntimeError, IndexError, binascii.Error):
        pass
    raise ModelError(f"{where} is damaged: its sentencepiece model is not one of charrnn's")
