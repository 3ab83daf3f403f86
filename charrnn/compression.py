"""Compresses with a model, by arithmetic coding: in about as many bits as the text's score says.

    bytes -> tokens of the model, and literals: bytes that it has no tokens for
    tokens -> K streams, read side by side -> whole numbers in proportion to probabilities
    -> a range coder (constriction)

The decoder computes the same numbers from the same model with the compiled engine, whose sums
depend neither on threads nor on what is read side by side. An archive has a fingerprint of what the
model predicts for a fixed text, so whether results are the same here is checked before anything is
decoded. A text is cut into streams so that many tokens are coded at a time; each stream but the
first costs some 20 bits, as it does not know the text before it. If all bytes packed as literals
are smaller, the archive contains only those.

A model of separate documents begins anew after each separator, in the decoder as in the encoder. If
its text had LF line ends and all of the bytes' are CR LF, LF is coded.

The archive, all numbers little-endian:

    8   magic, the last byte is the format's version
    16  first half of the model's hash
    8   fingerprint
    32  SHA-256 of the bytes
    8   number of bytes
    8   number of tokens
    4   K, number of streams
    4   size of the literals in bytes
    1   size of the next field in bytes
    name and version of the program (UTF-8); since version 2, which only the models above need:
    1   whether CR LF was coded as LF
    1   size of the separator in bytes, and the separator
    literals, words of the range coder (4 bytes each)
    8   BLAKE2b of all before
"""

from __future__ import annotations

import hashlib
import lzma
import re
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import scoring
from charrnn.arrays import Integers
from charrnn.errors import ArchiveError, OptionError, RunError, missing_package
from charrnn.generator import Generator
from charrnn.inference.engine import check_finite
from charrnn.storage.format_version import check_format
from charrnn.text.tokenizer import Tokenizer

MAGIC, VERSION = b"charrnn", 2
PER_STREAM = 32_768  # tokens: the cost of a stream's beginning is at most a thousandth of them
MAX_STREAMS = 128
_HEAD = struct.Struct("<7sB16s8s32sQQIIB")
_DIGEST = 8
_MAX_READ_AHEAD = 128  # bits: twice what the coder holds in addition to the unread words
_PROBE = (48, 17)  # steps and rows of the fixed text: products with row groups of every size
_FILTERS: list[dict[str, Any]] = [{"id": lzma.FILTER_LZMA2, "preset": 9}]
_ESCAPED = "\udc80-\udcff"  # to what Python decodes bytes that are not UTF-8

Frequencies = NDArray[np.float32]
CodingProgress = Callable[[int, int], object]


def silent(done: int, total: int) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True)
class Compressed:
    """An archive, and what it contains.

    Attributes:
        data: the archive.
        tokens: how many tokens are coded with the model.
        literals: how many bytes the model has no tokens for; they are stored apart.
    """

    data: bytes
    tokens: int
    literals: int


def compress(
    generator: Generator, data: bytes, made_by: str, progress: CodingProgress = silent
) -> Compressed:
    """Compress any bytes losslessly with a model.

    Args:
        generator: the model.
        data: what to compress: ideally a text like those that the model was trained on.
        made_by: name and version of the program, for the error of a machine that cannot decode it.
        progress: called with the number of tokens done and that of all; may raise.

    Raises:
        OptionError: a package is missing, or the compiled engine is not available here.
    """
    form = _Form.of(generator, data)
    coder = _Coder(generator, form.separator)
    ids, literals = _split(form.coded(data), generator.tokenizer)
    streams = max(1, min(MAX_STREAMS, len(ids) // PER_STREAM))
    words = coder.encode(ids, streams, progress).astype("<u4").tobytes()
    packed = _literals_to_bytes(literals)
    if not _helps(len(words) + len(packed), data):
        form = _Form()
        ids, literals, streams, words = ids[:0], [(0, data)], 1, b""
        packed = _literals_to_bytes(literals)
    maker = made_by.encode()[:255]
    head = _HEAD.pack(
        *(MAGIC, form.version, _model(generator), coder.fingerprint()),
        hashlib.sha256(data).digest(),
        *(len(data), len(ids), streams, len(packed), len(maker)),
    )
    body = b"".join([head, maker, form.to_bytes(), packed, words])
    return Compressed(body + _digest(body), len(ids), sum(len(run) for _, run in literals))


def decompress(generator: Generator, archive: bytes, progress: CodingProgress = silent) -> bytes:
    """Return the bytes that were compressed with this model.

    Raises:
        ArchiveError: it is not an archive, damaged, another model's, or was made on a machine where
            the model's results are rounded differently.
        OptionError: a package is missing, or the compiled engine is not available here.
    """
    body, maker = _checked(archive)
    (*_, model, fingerprint, sha256, size, count, streams, packed, named) = _HEAD.unpack_from(body)
    if model != _model(generator):
        raise ArchiveError("it was made with another model: give that model with --model")
    start = _HEAD.size + named
    form = _Form.parse(body[len(MAGIC)], body[start:])
    coder = _Coder(generator, form.separator)
    if fingerprint != coder.fingerprint():
        raise ArchiveError(
            f"it was made by {maker}, where this model's results are rounded differently: "
            "decompress it with that version, on a machine of the same type"
        )
    start += len(form.to_bytes())
    coded = len(body) - start - packed  # bytes
    if count > size or not 1 <= streams <= MAX_STREAMS or coded < 0 or coded % 4:
        raise ArchiveError("it is damaged: its fields contradict each other")
    literals = _literals_from_bytes(body[start : start + packed], size)
    words = np.frombuffer(body[start + packed :], "<u4").astype(np.uint32)
    decoded = coder.decode(words, count, streams, progress)
    data = form.restored(_joined(decoded, literals, generator.tokenizer))
    if len(data) != size:
        raise ArchiveError("it is damaged: its text does not have the stated length")
    if hashlib.sha256(data).digest() != sha256:
        raise RunError(
            "the decompressed text is not the one that was compressed: nothing was written"
        )
    return data


def _checked(archive: bytes) -> tuple[bytes, str]:
    """Check an archive; return it without its checksum, and the program that made it."""
    if archive[: len(MAGIC)] != MAGIC or len(archive) <= len(MAGIC):
        raise ArchiveError("it is not an archive made by 'charrnn compress'")
    check_format(archive[len(MAGIC)], VERSION, "it", ArchiveError)
    body = archive[:-_DIGEST]
    if len(body) < _HEAD.size or archive[-_DIGEST:] != _digest(body):
        raise ArchiveError("it is damaged or truncated: its checksum does not match")
    named = body[_HEAD.size - 1]
    return body, body[_HEAD.size : _HEAD.size + named].decode("utf-8", "replace")


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()


def _model(generator: Generator) -> bytes:
    return bytes.fromhex(generator.model_hash)[:16]


@dataclass(frozen=True)
class _Form:
    """How a text is coded as the text of the model's training was read.

    Attributes:
        crlf: all line ends are CR LF, which are coded as LF.
        separator: what ends a document, after which the model begins anew; "" for none.
    """

    crlf: bool = False
    separator: str = ""

    @classmethod
    def of(cls, generator: Generator, data: bytes) -> _Form:
        """Return the form that suits the model and the bytes."""
        reading, tokenizer = generator.reading, generator.tokenizer
        pairs = data.count(b"\r\n") if reading.newline == "lf" else 0
        crlf = pairs > 0 and pairs == data.count(b"\n") == data.count(b"\r")
        separator = reading.separator
        usable = len(separator.encode()) < 256 and generator.knows(separator)
        return cls(crlf, separator if usable and tokenizer.unique_encoding else "")

    @classmethod
    def parse(cls, version: int, data: bytes) -> _Form:
        """Return the form in an archive, at whose field the data begin.

        Raises:
            ArchiveError: it is damaged.
        """
        if version == 1:
            return cls()
        try:
            return cls(bool(data[0]), data[2 : 2 + data[1]].decode())
        except (IndexError, UnicodeDecodeError):
            raise ArchiveError("it is damaged: its separator cannot be read") from None

    @property
    def version(self) -> int:
        """The version of the archive's format."""
        return VERSION if self.crlf or self.separator else 1

    def to_bytes(self) -> bytes:
        """Return the field in the archive."""
        end = self.separator.encode()
        return bytes([self.crlf, len(end)]) + end if self.version > 1 else b""

    def coded(self, data: bytes) -> bytes:
        """Return the bytes to code."""
        return data.replace(b"\r\n", b"\n") if self.crlf else data

    def restored(self, data: bytes) -> bytes:
        """Return the bytes that `coded` was given."""
        return data.replace(b"\n", b"\r\n") if self.crlf else data


class _Coder:
    """Codes tokens as words with a model's probabilities, and decodes them."""

    def __init__(self, generator: Generator, separator: str) -> None:
        try:
            import constriction
        except ImportError:
            raise OptionError(missing_package("compression", "constriction", "compress")) from None
        if not generator.engine.reproducible:
            raise OptionError(
                "compression needs the compiled engine, which is not available here: the sums of "
                "the numpy engine are not the same on every machine"
            )
        from charrnn.inference.distribution import frequencies

        self._engine, self._frequencies = generator.engine, frequencies
        self._start, self._vocab_size = generator.config.start_token, generator.config.vocab_size
        self._separator = generator.tokenizer.encode(separator).astype(np.int64)[:, None]
        self._queue = constriction.stream.queue
        self._family = constriction.stream.model.Categorical(perfect=False)

    def _frequencies_of(self, logits: NDArray[np.float32]) -> Frequencies:
        """Return whole numbers (B, V) in proportion to the probabilities of logits (B, V).

        Raises:
            RunError: the logits overflow.
        """
        check_finite(logits)
        table = self._frequencies(logits)
        if self._vocab_size == 1:  # the library needs two alternatives
            table = np.concatenate([table, np.ones_like(table)], 1)
        return table

    def fingerprint(self) -> bytes:
        """Return a hash of all that the words depend on: logits, frequencies and the library."""
        steps, rows = _PROBE
        probe = (np.arange(steps)[:, None] * 7 + np.arange(rows) * 3) % self._vocab_size
        digest = hashlib.blake2b(digest_size=8)
        encoder = self._queue.RangeEncoder()
        tokens, state = np.full(rows, self._start), self._engine.start_state(rows)
        for targets in probe:
            logits, state = self._engine.step(tokens, state)
            table = self._frequencies_of(logits)
            digest.update(logits.tobytes())
            digest.update(table.tobytes())
            encoder.encode(targets.astype(np.int32), self._family, table)
            tokens = targets
        digest.update(encoder.get_compressed().astype("<u4").tobytes())
        return digest.digest()

    def encode(self, ids: Integers, streams: int, progress: CodingProgress) -> NDArray[np.uint32]:
        """Return the words that code tokens (N,), cut into this many streams."""
        encoder = self._queue.RangeEncoder()
        length = -(-len(ids) // streams)
        padded = np.zeros(length * streams, np.int64)
        padded[: len(ids)] = ids
        columns = padded.reshape(streams, length)
        rows = np.ascontiguousarray(columns.T)
        for t, (table, active) in enumerate(self._steps(len(ids), streams, rows)):
            encoder.encode(rows[t, :active].astype(np.int32), self._family, table[:active])
            progress(min(len(ids), (t + 1) * streams), len(ids))
        words: NDArray[np.uint32] = encoder.get_compressed()
        return words

    def decode(
        self, words: NDArray[np.uint32], count: int, streams: int, progress: CodingProgress
    ) -> Integers:
        """Return the tokens (N,) that words code; memory grows only with what is decoded.

        Raises:
            ArchiveError: the words do not code this many tokens.
        """
        decoder = self._queue.RangeDecoder(words)
        rows: list[Integers] = []
        beyond = 0.0  # bits decoded after the last word was read
        for table, active in self._steps(count, streams, rows):
            row, at_end = np.zeros(streams, np.int64), decoder.maybe_exhausted()
            try:
                row[:active] = decoder.decode(self._family, table[:active])
            except AssertionError:  # raised by the library
                raise ArchiveError("it is damaged: its words code no text") from None
            if at_end:
                beyond += _bits(table[:active], row[:active])
                if beyond > _MAX_READ_AHEAD:
                    raise ArchiveError("it is damaged: its words end before its text does")
            rows.append(row)
            progress(min(count, len(rows) * streams), count)
        return np.array(rows, np.int64).T.ravel()[:count]

    def _steps(
        self, count: int, streams: int, rows: Integers | list[Integers]
    ) -> Iterator[tuple[Frequencies, int]]:
        """Yield the frequencies (K, V) of each step, and how many streams still have tokens.

        The step's tokens are read next from `rows` (T, K), where the caller has put them by then;
        coding and decoding both use this.
        """
        length = -(-count // streams)
        tokens, state = np.full(streams, self._start), self._engine.start_state(streams)
        size = len(self._separator)
        for t in range(length):
            logits, state = self._engine.step(tokens, state)
            yield self._frequencies_of(logits), -(-(count - t) // length)
            tokens = rows[t]
            if 0 < size <= t + 1:
                ended = (np.array(rows[t + 1 - size : t + 1]) == self._separator).all(0)
                scoring.reset(self._engine, state, np.flatnonzero(ended))
                tokens = np.where(ended, self._start, tokens)


def _bits(table: Frequencies, tokens: Integers) -> float:
    """Return how many bits tokens (B,) take with frequencies (B, V)."""
    chosen = table[np.arange(len(tokens)), tokens]
    return float(np.log2(table.sum(-1, dtype=np.float64) / chosen).sum())


# Bytes that the model has no tokens for: each run with the number of known bytes before it.

Literals = list[tuple[int, bytes]]


def _split(data: bytes, tokenizer: Tokenizer) -> tuple[Integers, Literals]:
    """Split bytes into tokens of the model and literals, which may be all of them."""
    text = data.decode("utf-8", "surrogateescape")
    literals, known, end = [], [], 0
    for match in _foreign(tokenizer).finditer(text):
        before = text[end : match.start()]
        known.append(before)
        literals.append((len(before.encode()), match[0].encode("utf-8", "surrogateescape")))
        end = match.end()
    if 2 * sum(len(run) for _, run in literals) > len(data):  # a text unlike the training text
        return np.empty(0, np.int64), [(0, data)]
    ids = tokenizer.encode("".join([*known, text[end:]])).astype(np.int64)
    if _joined(ids, literals, tokenizer) != data:
        raise RunError("the model's tokens do not reproduce this text exactly")
    return ids, literals


def _helps(coded: int, data: bytes) -> bool:
    """Return whether coding takes no more bytes than packing all data as literals."""
    return coded <= len(_literals_to_bytes([(0, data)]))


def _foreign(tokenizer: Tokenizer) -> re.Pattern[str]:
    """Return the pattern of runs of characters that have no token."""
    if tokenizer.whole_characters:
        known = b"".join(tokenizer.token_bytes).decode()
        return re.compile(f"[^{re.escape(known)}]+")
    return re.compile(f"[{_ESCAPED}]+")


def _joined(ids: Integers, literals: Literals, tokenizer: Tokenizer) -> bytes:
    token_bytes = tokenizer.token_bytes
    known = b"".join([token_bytes[index] for index in ids.tolist()])
    parts, position = [], 0
    for before, run in literals:
        parts += [known[position : position + before], run]
        position += before
    return b"".join([*parts, known[position:]])


def _literals_to_bytes(literals: Literals) -> bytes:
    """Pack literals: their number, the numbers of bytes before and in each, and the bytes.

    The lowest bytes of all numbers come first, then the second lowest, and so on: that packs best.
    """
    if not literals:
        return b""
    numbers = np.array([(before, len(run)) for before, run in literals], "<u8").T
    planes = np.ascontiguousarray(numbers).view(np.uint8).reshape(-1, 8).T
    data = len(literals).to_bytes(8, "little") + planes.tobytes()
    data += b"".join(run for _, run in literals)
    return lzma.compress(data, lzma.FORMAT_RAW, filters=_FILTERS)


def _literals_from_bytes(packed: bytes, size: int) -> Literals:
    """Unpack the literals of a text of `size` bytes.

    Raises:
        ArchiveError: they are damaged.
    """
    if not packed:
        return []
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS)
    try:
        data = unpacker.decompress(packed, max_length=min(8 + 17 * size, sys.maxsize))
    except lzma.LZMAError:
        data = b""
    count = int.from_bytes(data[:8], "little")
    end = 8 + 16 * count
    if not 8 < end <= len(data):
        raise ArchiveError("it is damaged: its literals cannot be read")
    planes = np.frombuffer(data[8:end], np.uint8).reshape(8, -1).T
    befores, lengths = np.ascontiguousarray(planes).view("<u8").reshape(2, -1).tolist()
    literals = []
    for before, length in zip(befores, lengths, strict=True):
        literals.append((before, data[end : end + length]))
        end += length
    return literals
