"""Sources of text: files that can be read any number of times, decompressed.

A source that can be read only once (standard input, a pipe) is first copied to a temporary file, so
that every source can be read again. gzip, bzip2, xz and zstandard files are recognized by their
first bytes, whatever their names. A small file that would decompress to a huge one is refused.
"""

from __future__ import annotations

import bz2
import contextlib
import filecmp
import gzip
import io
import lzma
import os
import re
import shutil
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from charrnn.errors import CorpusError, missing_package

CHUNK = 2**17  # bytes read at a time: small enough for the processor's cache
MAX_UNPACKED = 2**36
MAX_RATIO = 200  # of unpacked to packed bytes, from MIN_UNPACKED on
MIN_UNPACKED = 10**8
_ZSTD_CHUNK = 2**11  # zstandard cannot limit how much it returns for a chunk
# bzip2 files begin with letters, followed by the magic number of a block or of the end.
_PACKED = {
    "gzip": re.compile(rb"\x1f\x8b\x08"),
    "bzip2": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),
    "xz": re.compile(rb"\xfd7zXZ\x00"),
    "zstandard": re.compile(rb"\x28\xb5\x2f\xfd"),
}
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)

Advance = Callable[[int], None]


def ignore(count: int) -> None:
    """Ignore progress."""


class TemporaryFolder:
    """A new folder, which is removed when nothing refers to this object any more."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="charrnn-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


@dataclass(frozen=True)
class Source:
    """The bytes of a text, which can be read any number of times.

    Attributes:
        name: for messages.
        path: the file; None if the bytes are in memory.
        data: the bytes in memory.
        copied_to: where the copy lies of what could be read only once.
        format: ``text``, or the kind of document that the text is extracted from.
        encoding: the encoding of its text, if that was decided for this file.
        keep_mark: whether a byte order mark is a character of the text.
    """

    name: str
    path: Path | None = None
    data: bytes = b""
    copied_to: TemporaryFolder | None = None
    format: str = "text"
    encoding: str = ""
    keep_mark: bool = False

    @property
    def once(self) -> bool:
        """Whether the file is a temporary copy of what could be read only once."""
        return self.copied_to is not None

    @property
    def size(self) -> int:
        """The number of bytes, before decompression."""
        return len(self.data) if self.path is None else self.path.stat().st_size

    def copy_to(self, path: Path) -> None:
        """Write the bytes to a file."""
        if self.path is None:
            path.write_bytes(self.data)
        else:
            shutil.copyfile(self.path, path)

    def equals(self, path: Path) -> bool:
        """Return whether a file holds the same bytes."""
        if self.path is None:
            return path.stat().st_size == len(self.data) and path.read_bytes() == self.data
        return filecmp.cmp(self.path, path, shallow=False)

    def chunks(self, max_unpacked: int | None, advance: Advance = ignore) -> Iterator[bytes]:
        """Yield the decompressed bytes, at most `CHUNK` at a time.

        Args:
            max_unpacked: the limit for a compressed source; None means `MAX_RATIO` times its size.
            advance: called with the number of bytes read, before decompression.

        Raises:
            CorpusError: missing, unreadable, damaged, too large, or changed while it was read.
        """
        try:
            with self.opened() as file:
                counted = _Counted(self.name, file, _signature(file)[0], advance)
                limit = unpacked_limit(self.size, max_unpacked)
                yield from _unpacked(self.name, counted, _peek(file), self.size, limit)
        except _DAMAGED as error:
            raise CorpusError(
                f"{self.name} is damaged and cannot be decompressed: {error}"
            ) from None

    @contextlib.contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open the bytes as they are.

        Raises:
            CorpusError: missing, unreadable, or changed while it was open.
        """
        try:
            with self._open() as file:
                before = _signature(file)
                yield file
                if _signature(file) != before:
                    raise _changed(self.name)
        except OSError as error:
            why = error.strerror or str(error)
            raise CorpusError(f"{self.name} cannot be read: {why}") from error

    def head(self, max_unpacked: int | None) -> bytes:
        """Return the first decompressed bytes, at most `CHUNK`."""
        with contextlib.closing(cast("Any", self.chunks(max_unpacked))) as chunks:
            return next(chunks, b"")

    def _open(self) -> BinaryIO:
        return io.BytesIO(self.data) if self.path is None else self.path.open("rb", buffering=0)


def unpacked_limit(size: int, max_unpacked: int | None) -> int:
    """Return the limit in bytes of what a file of `size` bytes may unpack to."""
    return max_unpacked or min(MAX_UNPACKED, max(MIN_UNPACKED, MAX_RATIO * size))


def too_large(name: str, size: int, limit: int) -> CorpusError:
    """Return the error for a file that unpacks to more than its limit."""
    return CorpusError(
        f"{name} has {size:,} bytes and unpacks to more than {limit:,}: if that is right, "
        "raise --max-unpacked"
    )


def _signature(file: BinaryIO) -> tuple[int, int]:
    """Return numbers that change when a file is written."""
    if isinstance(file, io.BytesIO):
        return (0, 0)
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _peek(file: BinaryIO) -> bytes:
    start = file.read(512)
    file.seek(0)
    return start


def _changed(name: str) -> CorpusError:
    return CorpusError(f"{name} changed while it was read: try again")


class _Counted(io.RawIOBase):
    """A file that reports how much was read, and refuses to be longer than it was at first."""

    def __init__(self, name: str, file: BinaryIO, size: int, advance: Advance) -> None:
        self._name, self._file, self._left, self._advance = name, file, size, advance
        self._sized = size > 0  # files that the system generates while they are read have no size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._count(cast("Any", self._file).readinto(buffer))

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)  # io.RawIOBase.read would copy once more
        self._count(len(data))
        return data

    def _count(self, count: int) -> int:
        self._left -= count
        if (
            self._sized and self._left < 0
        ):  # a file that grows as fast as it is read would have no end
            raise _changed(self._name)
        self._advance(count)
        return count


def _unpacked(name: str, file: _Counted, start: bytes, size: int, limit: int) -> Iterator[bytes]:
    kind = next((kind for kind, magic in _PACKED.items() if magic.match(start)), None)
    if kind is None:
        yield from iter(lambda: file.read(CHUNK), b"")
        return
    total = 0
    for chunk in _UNPACKERS[kind](name, io.BufferedReader(file, CHUNK)):
        total += len(chunk)
        if total > limit:
            raise too_large(name, size, limit)
        yield chunk


def _reading(opened: Callable[[Any], Any]) -> Callable[[str, BinaryIO], Iterator[bytes]]:
    def unpack(name: str, file: BinaryIO) -> Iterator[bytes]:
        with opened(file) as unpacked:
            yield from iter(lambda: unpacked.read(CHUNK), b"")

    return unpack


def _zstandard(name: str, file: BinaryIO) -> Iterator[bytes]:
    try:
        import zstandard
    except ImportError:
        raise CorpusError(missing_package(f"reading {name}", "zstandard", "zstd")) from None
    unpacker = zstandard.ZstdDecompressor().decompressobj()
    try:
        for chunk in iter(lambda: file.read(_ZSTD_CHUNK), b""):
            rest = chunk
            while rest:
                if unpacker.eof:  # another frame follows
                    unpacker = zstandard.ZstdDecompressor().decompressobj()
                unpacked = unpacker.decompress(rest)
                for first in range(0, len(unpacked), CHUNK):
                    yield unpacked[first : first + CHUNK]
                rest = unpacker.unused_data
    except zstandard.ZstdError as error:
        raise CorpusError(f"{name} is damaged and cannot be decompressed: {error}") from None
    if not unpacker.eof:
        raise CorpusError(f"{name} is damaged: it is cut off")


_UNPACKERS: dict[str, Callable[[str, BinaryIO], Iterator[bytes]]] = {
    "gzip": _reading(lambda file: gzip.GzipFile(fileobj=file)),
    "bzip2": _reading(bz2.BZ2File),
    "xz": _reading(lzma.LZMAFile),
    "zstandard": _zstandard,
}


def copied(name: str, pipe: BinaryIO) -> Source:
    """Copy what can be read only once to a temporary file, which is removed with its `Source`."""
    folder = TemporaryFolder()
    source = Source(name, folder.path / "text", copied_to=folder)
    try:
        with cast("Path", source.path).open("wb") as file:
            for block in iter(lambda: _read_from(name, pipe), b""):
                file.write(block)
    except OSError as error:
        raise CorpusError(f"{name} cannot be copied to {folder.path}: {error.strerror}") from error
    return source


def _read_from(name: str, pipe: BinaryIO) -> bytes:
    try:
        return pipe.read(2**20)
    except OSError as error:
        raise CorpusError(f"{name} cannot be read: {error.strerror}") from error
