"""Decode files to UTF-8; say what is wrong with bytes that are not in their encoding."""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from charrnn.text.utf8 import complete_length, small_blocks

# Files that people pass by mistake, by their first bytes, and what to do about each.
_NOT_TEXT = {
    b"PK\x03\x04": "a zip archive (or an office document): unpack it, or save it as plain text",
    b"%PDF": "a PDF document: save it as plain text first",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"Rar!": "a RAR archive: unpack it first",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\xff\xfe\x00\x00": "UTF-32 text: read it with --encoding utf-32",
    b"\x00\x00\xfe\xff": "UTF-32 text: read it with --encoding utf-32",
    b"\xff\xfe": "UTF-16 text: read it with --encoding utf-16",
    b"\xfe\xff": "UTF-16 text: read it with --encoding utf-16",
}


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

    def sentence(self, name: str, chunks: Iterator[bytes]) -> str:
        """Say what is wrong, where, and what would help.

        Args:
            name: the file, for the message.
            chunks: the file's bytes from its start, to find the line.
        """
        first, line, left = b"", 1, self.offset
        for chunk in chunks:
            first = first or chunk[:64]
            line += chunk.count(b"\n", 0, left)
            left -= len(chunk)
            if left <= 0:
                break
        if self.encoding == "UTF-8":
            for magic, what in _NOT_TEXT.items():
                if first.startswith(magic):
                    return f"{name} is {what}"
        shown = self.data[self.start : max(self.end, self.start + 1)][:4].hex(" ")
        return (
            f"{name} is not {self.encoding}: byte {shown} at offset {self.offset}, line {line} "
            f"({self.reason}): {self._advice()}; --errors replace turns invalid bytes into U+FFFD"
        )

    def _advice(self) -> str:
        if self.reason == "unexpected end of data":
            return "it ends inside a character, and may be cut off"
        guess = _guess_encoding(self.data, self.start)
        if guess:
            return f"it looks like {guess}: read it with --encoding {guess}"
        return "name its encoding with --encoding"


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


def _guess_encoding(data: bytes, start: int) -> str | None:
    """Guess the encoding of the text around index `start`; None if it looks like UTF-8 or none."""
    from charset_normalizer import from_bytes

    sample = data[max(0, start - 2**13) : start + 2**13]
    best = from_bytes(sample).best()
    return best.encoding.replace("_", "-") if best and best.encoding != "utf_8" else None
