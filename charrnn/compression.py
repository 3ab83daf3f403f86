"""Arithmetic coding with a model: a text in about as many bits as its score promises.

    bytes -> text in the model's symbols, and literals: what it has never seen
    symbols -> K streams, read side by side -> whole numbers in proportion to probabilities
    -> a range coder (constriction)

The one who decodes makes the same numbers again, from the same model with the same compiled steps,
whose sums do not depend on threads or on what is read side by side. Whether they are the same here
is tried before anything is decoded: an archive has a fingerprint of what the model says to a fixed
text. A text is cut into streams so that many symbols are coded at a time; each but the first costs
what it could have known of the text before, some 20 bits. Where all of it packed as literals is
smaller, that is what is kept.

The archive, all numbers little-endian:

    8   magic, the last byte is the format's version
    16  model's hash, the first half
    8   fingerprint
    32  SHA-256 of the bytes
    8   their number
    8   number of symbols
    4   K, streams
    4   bytes of the literals
    1   bytes of what made it
    what made it (UTF-8), literals, words of the range coder (4 bytes each)
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

from charrnn.errors import ArchiveError, OptionError, RunError, missing_package
from charrnn.generator import Generator
from charrnn.storage.format_version import check_format
from charrnn.text.tokenizer import Tokenizer

MAGIC, VERSION = b"charrnn", 1
PER_STREAM = 32_768  # symbols: what its beginning costs is a thousandth of them and less
MAX_STREAMS = 128
_HEAD = struct.Struct("<7sB16s8s32sQQIIB")
_DIGEST = 8
_READ_AHEAD = 128  # bits: twice what the coder holds beside the words that it has not read
_PROBE = (48, 17)  # steps and rows of the fixed text: products of rows in groups of every size
_FILTERS: list[dict[str, Any]] = [{"id": lzma.FILTER_LZMA2, "preset": 9}]
_ESCAPED = "\udc80-\udcff"  # what Python decodes the bytes to that are not UTF-8

Symbols = NDArray[np.int64]
Frequencies = NDArray[np.float32]
Progress = Callable[[int, int], object]


def silent(done: int, total: int) -> None:
    """A progress that nobody watches."""


@dataclass(frozen=True)
class Compressed:
    """An archive, and what it is made of.

    Attributes:
        data: the archive.
        symbols: of the model, coded.
        literals: bytes that the model has never seen, kept as they are.
    """

    data: bytes
    symbols: int
    literals: int


def compress(
    generator: Generator, data: bytes, made_by: str, progress: Progress = silent
) -> Compressed:
    """Code any bytes with a model; they come back exactly.

    Args:
        generator: the model.
        data: what is coded: best a text of the model's kind.
        made_by: the program's name and version, for those who cannot read the archive.
        progress: told of symbols done, and of how many; may raise.

    Raises:
        OptionError: the extra is missing, or the model's steps cannot be compiled here.
    """
    coder = _Coder(generator)
    ids, literals = _split(data, generator.tokenizer)
    streams = max(1, min(MAX_STREAMS, len(ids) // PER_STREAM))
    words = coder.encode(ids, streams, progress).astype("<u4").tobytes()
    packed = _literals_to_bytes(literals)
    if not _helps(len(words) + len(packed), data):
        ids, literals, streams, words = ids[:0], [(0, data)], 1, b""
        packed = _literals_to_bytes(literals)
    maker = made_by.encode()[:255]
    head = _HEAD.pack(
        *(MAGIC, VERSION, _model(generator), coder.fingerprint(), hashlib.sha256(data).digest()),
        *(len(data), len(ids), streams, len(packed), len(maker)),
    )
    body = b"".join([head, maker, packed, words])
    return Compressed(body + _digest(body), len(ids), sum(len(run) for _, run in literals))


def decompress(generator: Generator, archive: bytes, progress: Progress = silent) -> bytes:
    """What was compressed with this model.

    Raises:
        ArchiveError: it is no archive, damaged, another model's, or made where the model's numbers
            are others.
        OptionError: the extra is missing, or the model's steps cannot be compiled here.
    """
    body, maker = _checked(archive)
    (*_, model, fingerprint, sha256, size, count, streams, packed, named) = _HEAD.unpack_from(body)
    if model != _model(generator):
        raise ArchiveError("it was made with another model: name that one with --model")
    coder = _Coder(generator)
    if fingerprint != coder.fingerprint():
        raise ArchiveError(
            f"it was made by {maker}, where this model's numbers are rounded otherwise than here: "
            "decompress it with that version, on such a machine"
        )
    start = _HEAD.size + named
    coded = len(body) - start - packed  # bytes
    if count > size or not 1 <= streams <= MAX_STREAMS or coded < 0 or coded % 4:
        raise ArchiveError("it is damaged: its numbers do not fit together")
    literals = _literals_from_bytes(body[start : start + packed], size)
    words = np.frombuffer(body[start + packed :], "<u4").astype(np.uint32)
    data = _joined(coder.decode(words, count, streams, progress), literals, generator.tokenizer)
    if len(data) != size:
        raise ArchiveError("it is damaged: its text is not as long as it says")
    if hashlib.sha256(data).digest() != sha256:
        raise RunError("what came out is not what was compressed: nothing was written")
    return data


def _checked(archive: bytes) -> tuple[bytes, str]:
    """The archive without its digest, which fits; and what made it."""
    if archive[: len(MAGIC)] != MAGIC or len(archive) <= len(MAGIC):
        raise ArchiveError("it is no archive of 'charrnn compress'")
    check_format(archive[len(MAGIC)], VERSION, "it", ArchiveError)
    body = archive[:-_DIGEST]
    if len(body) < _HEAD.size or archive[-_DIGEST:] != _digest(body):
        raise ArchiveError("it is damaged, or cut off: its checksum does not fit")
    named = body[_HEAD.size - 1]
    return body, body[_HEAD.size : _HEAD.size + named].decode("utf-8", "replace")


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()


def _model(generator: Generator) -> bytes:
    return bytes.fromhex(generator.model_hash)[:16]


class _Coder:
    """Symbols <-> words, with a model's probabilities."""

    def __init__(self, generator: Generator) -> None:
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
        self._start, self._symbols = generator.config.start_token, generator.config.vocab_size
        self._queue = constriction.stream.queue
        self._family = constriction.stream.model.Categorical(perfect=False)

    def _numbers(self, logits: NDArray[np.float32]) -> Frequencies:
        """What is coded with (B, V), of logits (B, V)."""
        found = self._frequencies(logits)
        if self._symbols == 1:  # the library wants a choice
            found = np.concatenate([found, np.ones_like(found)], 1)
        return found

    def fingerprint(self) -> bytes:
        """Of all that the words depend on: logits, frequencies and the library's coding."""
        steps, rows = _PROBE
        probe = (np.arange(steps)[:, None] * 7 + np.arange(rows) * 3) % self._symbols
        digest = hashlib.blake2b(digest_size=8)
        encoder = self._queue.RangeEncoder()
        symbols, state = np.full(rows, self._start), self._engine.start_state(rows)
        for wanted in probe:
            logits, state = self._engine.step(symbols, state)
            found = self._numbers(logits)
            digest.update(logits.tobytes())
            digest.update(found.tobytes())
            encoder.encode(wanted.astype(np.int32), self._family, found)
            symbols = wanted
        digest.update(encoder.get_compressed().astype("<u4").tobytes())
        return digest.digest()

    def encode(self, ids: Symbols, streams: int, progress: Progress) -> NDArray[np.uint32]:
        """The words of symbols (N,) in so many streams."""
        encoder = self._queue.RangeEncoder()
        length = -(-len(ids) // streams)
        padded = np.zeros(length * streams, np.int64)
        padded[: len(ids)] = ids
        columns = padded.reshape(streams, length)
        rows = np.ascontiguousarray(columns.T)
        for t, (found, going) in enumerate(self._steps(len(ids), streams, rows)):
            encoder.encode(rows[t, :going].astype(np.int32), self._family, found[:going])
            progress(min(len(ids), (t + 1) * streams), len(ids))
        words: NDArray[np.uint32] = encoder.get_compressed()
        return words

    def decode(
        self, words: NDArray[np.uint32], count: int, streams: int, progress: Progress
    ) -> Symbols:
        """The symbols (N,) of words; no room is taken for more of them than were decoded.

        Raises:
            ArchiveError: the words are not of so many symbols.
        """
        decoder = self._queue.RangeDecoder(words)
        rows: list[Symbols] = []
        beyond = 0.0  # bits of what came after the last word was read
        for found, going in self._steps(count, streams, rows):
            row, at_end = np.zeros(streams, np.int64), decoder.maybe_exhausted()
            try:
                row[:going] = decoder.decode(self._family, found[:going])
            except AssertionError:  # so the library says it
                raise ArchiveError("it is damaged: no text gives these words") from None
            if at_end:
                beyond += _bits(found[:going], row[:going])
                if beyond > _READ_AHEAD:
                    raise ArchiveError("it is damaged: its words end before its text does")
            rows.append(row)
            progress(min(count, len(rows) * streams), count)
        return np.array(rows, np.int64).T.ravel()[:count]

    def _steps(
        self, count: int, streams: int, rows: Symbols | list[Symbols]
    ) -> Iterator[tuple[Frequencies, int]]:
        """For each step the frequencies (K, V), and how many streams go on.

        What is in `rows` (T, K) by then is read next: both directions come by here.
        """
        length = -(-count // streams)
        symbols, state = np.full(streams, self._start), self._engine.start_state(streams)
        for t in range(length):
            logits, state = self._engine.step(symbols, state)
            yield self._numbers(logits), -(-(count - t) // length)
            symbols = rows[t]


def _bits(found: Frequencies, symbols: Symbols) -> float:
    """What symbols (B) cost under frequencies (B, V)."""
    chosen = found[np.arange(len(symbols)), symbols]
    return float(np.log2(found.sum(-1, dtype=np.float64) / chosen).sum())


# What the model has never seen: bytes, each run with the number of known bytes before it.

Literals = list[tuple[int, bytes]]


def _split(data: bytes, tokenizer: Tokenizer) -> tuple[Symbols, Literals]:
    """Bytes as a text in the model's symbols, and what else there is; that may be all of it."""
    text = data.decode("utf-8", "surrogateescape")
    literals, known, end = [], [], 0
    for found in _foreign(tokenizer).finditer(text):
        before = text[end : found.start()]
        known.append(before)
        literals.append((len(before.encode()), found[0].encode("utf-8", "surrogateescape")))
        end = found.end()
    if 2 * sum(len(run) for _, run in literals) > len(data):  # a text of another kind
        return np.empty(0, np.int64), [(0, data)]
    ids = tokenizer.encode("".join([*known, text[end:]])).astype(np.int64)
    if _joined(ids, literals, tokenizer) != data:
        raise RunError("the model's symbols do not give this text back exactly")
    return ids, literals


def _helps(coded: int, data: bytes) -> bool:
    """Whether so many bytes are fewer than without the model."""
    return coded <= len(_literals_to_bytes([(0, data)]))


def _foreign(tokenizer: Tokenizer) -> re.Pattern[str]:
    """Runs of characters that have no symbol."""
    if tokenizer.whole_characters:
        known = b"".join(tokenizer.token_bytes).decode()
        return re.compile(f"[^{re.escape(known)}]+")
    return re.compile(f"[{_ESCAPED}]+")


def _joined(ids: Symbols, literals: Literals, tokenizer: Tokenizer) -> bytes:
    symbols = tokenizer.token_bytes
    known = b"".join([symbols[index] for index in ids.tolist()])
    parts, at = [], 0
    for before, run in literals:
        parts += [known[at : at + before], run]
        at += before
    return b"".join([*parts, known[at:]])


def _literals_to_bytes(literals: Literals) -> bytes:
    """Their number, numbers of bytes before and in each, and the bytes: packed.

    The lowest bytes of all numbers come first, then the second ones: like beside like packs best.
    """
    if not literals:
        return b""
    numbers = np.array([(before, len(run)) for before, run in literals], "<u8").T
    planes = np.ascontiguousarray(numbers).view(np.uint8).reshape(-1, 8).T
    data = len(literals).to_bytes(8, "little") + planes.tobytes()
    data += b"".join(run for _, run in literals)
    return lzma.compress(data, lzma.FORMAT_RAW, filters=_FILTERS)


def _literals_from_bytes(packed: bytes, size: int) -> Literals:
    """Those of a text of so many bytes.

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
