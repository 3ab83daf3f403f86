"""The archive that compression writes, all numbers little-endian.

8   magic, the last byte is the format's version
16  first half of the model's hash
8   fingerprint
32  SHA-256 of the bytes
8   number of bytes
8   number of tokens
4   K, number of streams
4   size of the literals in bytes
1   size of the next field in bytes
name and version of the program (UTF-8)
since version 3, which only models that learned from the text need:
1   size of the next field in bytes
hash of the tokens that were counted before the text, or nothing
since version 2, which only models of documents need:
1   whether CR LF was coded as LF
1   size of the separator in bytes, and the separator
literals, words of the range coder (4 bytes each)
8   BLAKE2b of all before
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from charrnn.errors import ArchiveError
from charrnn.storage.format_version import check_format

MAGIC, VERSION = b"charrnn", 3
MAX_STREAMS = 128
HEADER = struct.Struct("<7sB16s8s32sQQIIB")
CHECKSUM_SIZE = 8


@dataclass(frozen=True)
class TextForm:
    """How a text is coded as the text of the model's training was read.

    Attributes:
        crlf: all line ends are CR LF, which are coded as LF.
        separator: what ends a document, after which the model begins anew; "" for none.
    """

    crlf: bool = False
    separator: str = ""

    @classmethod
    def parse(cls, version: int, data: bytes) -> TextForm:
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
    def plain(self) -> bool:
        """Whether the text is coded as it is."""
        return not self.crlf and not self.separator

    def to_bytes(self, version: int) -> bytes:
        """Return the field in an archive of this version."""
        end = self.separator.encode()
        return bytes([self.crlf, len(end)]) + end if version > 1 else b""

    def coded(self, data: bytes) -> bytes:
        """Return the bytes to code."""
        return data.replace(b"\r\n", b"\n") if self.crlf else data

    def restored(self, data: bytes) -> bytes:
        """Return the bytes that `coded` was given."""
        return data.replace(b"\n", b"\r\n") if self.crlf else data


@dataclass(frozen=True)
class Archive:
    """The fields of an archive.

    Attributes:
        model: the first half of the model's hash.
        fingerprint: of what the model predicts, see `charrnn.compression.coder`.
        sha256: of the bytes that were compressed.
        size: the number of those bytes.
        tokens: how many tokens are coded.
        streams: K.
        made_by: name and version of the program.
        form: how the text is coded.
        counted: where the model learned from the text, the hash of what it counted before, which
            may be empty; None where it did not learn.
        literals: packed, see `charrnn.compression.literals`.
        words: of the range coder.
    """

    model: bytes
    fingerprint: bytes
    sha256: bytes
    size: int
    tokens: int
    streams: int
    made_by: str
    form: TextForm
    counted: bytes | None
    literals: bytes
    words: bytes

    @property
    def version(self) -> int:
        """The version of the archive's format: the first that can hold it."""
        return 3 if self.counted is not None else 1 if self.form.plain else 2

    def to_bytes(self) -> bytes:
        """Return the archive."""
        maker, version = self.made_by.encode()[:255], self.version
        header = HEADER.pack(
            *(MAGIC, version, self.model, self.fingerprint, self.sha256),
            *(self.size, self.tokens, self.streams, len(self.literals), len(maker)),
        )
        learned = b"" if self.counted is None else bytes([len(self.counted)]) + self.counted
        form = self.form.to_bytes(version)
        body = b"".join([header, maker, learned, form, self.literals, self.words])
        return body + checksum(body)

    @classmethod
    def parse(cls, data: bytes) -> Archive:
        """Return the fields of an archive.

        Raises:
            ArchiveError: it is not an archive, damaged, or of a later version of charrnn.
        """
        body = _checked(data)
        header = HEADER.unpack_from(body)
        _, version, model, fingerprint, sha256, size, tokens, streams, packed, named = header
        start = HEADER.size + named
        made_by = body[HEADER.size : start].decode("utf-8", "replace")
        counted = None
        if version > 2:
            begin = start + 1
            start = begin + sum(body[start:begin])
            counted = body[begin:start]
        form = TextForm.parse(version, body[start:])
        start += len(form.to_bytes(version))
        coded = len(body) - start - packed  # bytes
        if tokens > size or not 1 <= streams <= MAX_STREAMS or coded < 0 or coded % 4:
            raise ArchiveError("it is damaged: its fields contradict each other")
        literals, words = body[start : start + packed], body[start + packed :]
        found = (model, fingerprint, sha256, size, tokens, streams, made_by, form, counted)
        return cls(*found, literals, words)


def checksum(data: bytes) -> bytes:
    """Return the checksum that follows these bytes of an archive."""
    return hashlib.blake2b(data, digest_size=CHECKSUM_SIZE).digest()


def _checked(archive: bytes) -> bytes:
    """Return an archive without its checksum, which is right."""
    if archive[: len(MAGIC)] != MAGIC or len(archive) <= len(MAGIC):
        raise ArchiveError("it is not an archive made by 'charrnn compress'")
    check_format(archive[len(MAGIC)], VERSION, "it", ArchiveError)
    body = archive[:-CHECKSUM_SIZE]
    if len(body) < HEADER.size or archive[-CHECKSUM_SIZE:] != checksum(body):
        raise ArchiveError("it is damaged or truncated: its checksum does not match")
    return body
