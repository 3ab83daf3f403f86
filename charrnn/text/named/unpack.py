"""The text inside a download: the members of an archive that are meant, one after another.

Nothing is written under a name that an archive gives: all goes into one file of ours. What comes
out is counted while it comes, whatever sizes the archive states.
"""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Protocol, cast

from charrnn.errors import RunError

CHUNK = 1 << 20
MAX_RATIO = 200  # no text packs better; enwik8.zip reaches 2.7, a kernel's tar.xz some 10
MAX_MEMBERS = 500_000
MAX_MEMBER = 1 << 26  # bytes of one of many; it is held in memory
_BOM = b"\xef\xbb\xbf"
_FAULTS = (EOFError, OSError, ValueError, NotImplementedError, RuntimeError)
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error)


class UnpackError(RunError):
    """An archive that is damaged, too large when unpacked, or without the text that is meant."""


def unpack(archive: Path, kind: str, select: Sequence[str], text: BinaryIO, limit: int) -> int:
    """Write the text that `archive` holds into `text`.

    Args:
        archive: the download.
        kind: what it is packed with: none, gzip, zip, tar.gz or tar.xz.
        select: patterns that match the end of the wanted members' paths; without any, an archive
            must hold one file alone, which may be of any encoding.
        text: where the text goes.
        limit: no more bytes than this are written.

    Returns:
        how many members were left out since they are not UTF-8.

    Raises:
        UnpackError: see there.
    """
    out = _Limited(text, limit)
    left_out = 0
    try:
        with closing(_members(archive, kind, select)) as members:
            for member in members:
                if not select:
                    while chunk := member.read(CHUNK):
                        out.write(chunk)
                    continue
                data = _whole(member)
                if _is_utf8(data):
                    out.write(data.removeprefix(_BOM))
                else:
                    left_out += 1
    except _BROKEN as error:
        raise UnpackError(f"{archive.name} is damaged: {error}") from error
    except _FAULTS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the machine, not of the archive
        raise UnpackError(f"{archive.name} is damaged: {error}") from error
    if not out.written:
        raise UnpackError(f"{archive.name} holds no {' or '.join(select) or 'text'}")
    return left_out


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Limited:
    """A file that may grow to `limit` bytes."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file, self._limit, self.written = file, limit, 0

    def write(self, data: bytes) -> None:
        self.written += len(data)
        if self.written > self._limit:
            raise UnpackError(f"the text is longer than the {self._limit:,} bytes it may have")
        self._file.write(data)


class _Unpacked:
    """A stream being unpacked; it may give `MAX_RATIO` times the bytes that are packed."""

    def __init__(self, stream: _Readable, packed: int) -> None:
        self._stream, self._left = stream, max(MAX_RATIO * packed, CHUNK)

    def read(self, size: int = CHUNK) -> bytes:
        data = self._stream.read(min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise UnpackError(f"it unpacks to more than {MAX_RATIO} times its size: no text does")
        return data


def _members(archive: Path, kind: str, select: Sequence[str]) -> Generator[_Readable, None, None]:
    """The wanted members as streams, each to be read before the next is asked for."""
    packed = archive.stat().st_size
    if kind == "zip":
        with zipfile.ZipFile(archive) as opened:
            yield from _zip_members(opened, select, packed)
    elif kind == "none":
        with archive.open("rb") as whole:
            yield whole
    else:
        with lzma.open(archive) if kind == "tar.xz" else gzip.open(archive) as stream:
            unpacked = _Unpacked(stream, packed)
            if kind == "gzip":
                yield unpacked
            else:
                yield from _tar_members(unpacked, select)


def _tar_members(stream: _Unpacked, select: Sequence[str]) -> Iterator[IO[bytes]]:
    with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|") as tar:
        for number, member in enumerate(tar):
            _check_count(number)
            tar.members = []  # type: ignore[attr-defined]  # it would keep them all
            if member.isreg() and not member.issparse() and _is_meant(member.name, select):
                _check_size(member.name, member.size)
                data = tar.extractfile(member)
                assert data
                yield data


def _zip_members(
    archive: zipfile.ZipFile, select: Sequence[str], packed: int
) -> Iterator[_Unpacked]:
    _check_count(len(archive.infolist()))
    files = [info for info in archive.infolist() if not info.is_dir()]
    if not select and len(files) != 1:
        raise UnpackError(f"{len(files)} files are in it, and none of them is named as the text")
    for info in files:
        if _is_meant(info.filename, select):
            if select:
                _check_size(info.filename, info.file_size)
            with archive.open(info) as stream:
                yield _Unpacked(stream, packed)


def _check_size(name: str, size: int) -> None:
    if size > MAX_MEMBER:
        raise UnpackError(f"{name} in it has {size:,} bytes, more than {MAX_MEMBER:,}")


def _check_count(number: int) -> None:
    if number > MAX_MEMBERS:
        raise UnpackError(f"it has more than {MAX_MEMBERS:,} members")


def _is_meant(name: str, select: Sequence[str]) -> bool:
    path = PurePosixPath(name)
    return not select or any(path.match(pattern) for pattern in select)


def _whole(member: _Readable) -> bytes:
    data = bytearray()
    while chunk := member.read(CHUNK):
        data += chunk
    return bytes(data)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
