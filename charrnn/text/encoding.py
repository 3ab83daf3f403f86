"""Decode files to UTF-8; say what is wrong with bytes that are not in their encoding."""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from charrnn.text.utf8 import complete_length, small_blocks


@dataclass
class UndecodableError(Exception):
    """Bytes that are invalid in their encoding.

    Attributes:
        data: the bytes around the error.
        start: index in `data` of the first invalid byte.
        end: index in `data` after the last invalid byte.
        offset: index in the file of the first invalid byte.
        encoding: the encoding that was used.
        reason: what is wrong, in the decoder's words.
    """

    data: bytes
    start: int
    end: int
    offset: int
    encoding: str
    reason: str

    def sentence(self, name: str, chunks: Iterator[bytes], advice: str) -> str:
        """Say what is wrong, where, and what would help.

        Args:
            name: the file, for the message.
            chunks: the file's bytes from its start, to find the line.
            advice: what would help, besides replacing what cannot be decoded.
        """
        line, left = 1, self.offset
        for chunk in chunks:
            line += chunk.count(b"\n", 0, left)
            left -= len(chunk)
            if left <= 0:
                break
        shown = self.data[self.start : max(self.end, self.start + 1)][:4].hex(" ")
        return (
            f"{name} is not {self.encoding}: byte {shown} at offset {self.offset}, line {line} "
            f"({self.reason}): {advice}; --errors replace turns invalid bytes into U+FFFD"
        )


def decode(chunks: Iterator[bytes], encoding: str, errors: str) -> Iterator[bytes]:
    """Yield the text of `chunks` as valid UTF-8, cut between characters.

    Args:
        chunks: a file's bytes.
        encoding: a Python codec name.
        errors: ``strict``, or ``replace``: what cannot be decoded becomes U+FFFD.

    Raises:
        UndecodableError: the bytes are not in this encoding, and `errors` is ``strict``.
    """
    codec = codecs.lookup(encoding).name
    if codec in ("utf-8", "utf-8-sig") and errors == "strict":
        return _checked_utf8(chunks)
    return _transcoded(chunks, codec, errors)


def _checked_utf8(chunks: Iterator[bytes]) -> Iterator[bytes]:
    done, held = 0, b""
    for chunk in small_blocks(chunks):
        text = held + chunk if held else chunk
        cut = complete_length(text)
        block, held = text[:cut], text[cut:]
        _check_utf8(block, done)
        yield block
        done += len(block)
    _check_utf8(held, done)


def _check_utf8(block: bytes, done: int) -> None:
    if block.isascii():
        return
    try:
        block.decode()
    except UnicodeDecodeError as error:
        raise UndecodableError(
            block, error.start, error.end, done + error.start, "UTF-8", error.reason
        ) from None


def _transcoded(chunks: Iterator[bytes], codec: str, errors: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(codec)(errors)
    done = 0
    for chunk in itertools.chain(chunks, [b""]):
        try:
            yield decoder.decode(chunk, not chunk).encode()
        except UnicodeDecodeError as error:
            data = error.object  # begins with what the decoder held back
            where = done + len(chunk) - len(data) + error.start
            raise UndecodableError(
                data, error.start, error.end, where, codec, error.reason
            ) from None
        except UnicodeError as error:  # a missing byte order mark, or half a surrogate pair
            raise UndecodableError(chunk, 0, 1, done, codec, str(error)) from None
        done += len(chunk)
