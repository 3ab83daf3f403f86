"""Literals: bytes that a model has no tokens for, stored beside the coded tokens."""

from __future__ import annotations

import lzma
import re
from typing import Any

import numpy as np

from charrnn.arrays import Integers
from charrnn.errors import ArchiveError, RunError
from charrnn.text.tokenizer import Tokenizer

# Each run of such bytes, with the number of known bytes between the run before and this one.
Literals = list[tuple[int, bytes]]

_FILTERS: list[dict[str, Any]] = [{"id": lzma.FILTER_LZMA2, "preset": 9}]
_ESCAPED = "\udc80-\udcff"  # to what Python decodes bytes that are not UTF-8


def split(data: bytes, tokenizer: Tokenizer) -> tuple[Integers, Literals]:
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
    if joined(ids, literals, tokenizer) != data:
        raise RunError("the model's tokens do not reproduce this text exactly")
    return ids, literals


def _foreign(tokenizer: Tokenizer) -> re.Pattern[str]:
    """Return the pattern of runs of characters that have no token."""
    if tokenizer.whole_characters:
        known = b"".join(tokenizer.token_bytes).decode()
        return re.compile(f"[^{re.escape(known)}]+")
    return re.compile(f"[{_ESCAPED}]+")


def joined(ids: Integers, literals: Literals, tokenizer: Tokenizer) -> bytes:
    """Return the bytes that `split` was given."""
    token_bytes = tokenizer.token_bytes
    known = b"".join([token_bytes[index] for index in ids.tolist()])
    parts, position = [], 0
    for before, run in literals:
        parts += [known[position : position + before], run]
        position += before
    return b"".join([*parts, known[position:]])


def num_bytes(ids: Integers, tokenizer: Tokenizer) -> int:
    """Return how many bytes tokens (N,) write."""
    lengths = np.array([len(token) for token in tokenizer.token_bytes])
    return int(np.bincount(ids, minlength=len(lengths)) @ lengths)


def pack(literals: Literals) -> bytes:
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


def unpack(packed: bytes, size: int, limit: int) -> Literals:
    """Unpack the literals of a text of `size` bytes; they have at most `limit`, with their places.

    Raises:
        ArchiveError: they are damaged, or larger.
    """
    if not packed:
        return []
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS)
    try:
        data = unpacker.decompress(packed, max_length=min(8 + 17 * size, 24 + limit))
    except lzma.LZMAError:
        data = b""
    if 24 + limit == len(data) < 8 + 17 * size and not unpacker.eof:
        raise ArchiveError(
            f"what the model has no tokens for unpacks to more than {limit:,} bytes: if that is "
            "right, raise --max-unpacked"
        )
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
