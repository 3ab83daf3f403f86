"""Extract the text from a download: the selected members of an archive, one after another.

Names in an archive never become names of files: everything goes into one file. Bytes are counted
while they are unpacked, whatever sizes the archive states.
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
MAX_RATIO = 200  # no text compresses better; enwik8.zip reaches 2.7
MAX_MEMBERS = 500_000
MAX_MEMBER = 1 << 26  # bytes of one selected member, which is held in memory
_BOM = b"\xef\xbb\xbf"
_FAULTS = (EOFError, OSError, ValueError, NotImplementedError, RuntimeError)
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error)


class UnpackError(RunError):
    """An archive that is damaged, too large when unpacked, or without the selected text."""


def unpack(archive: Path, kind: str, select: Sequence[str], text: BinaryIO, limit: int) -> int:
    """Write the text of `archive` into `text`.

    Args:
        archive: the download.
        kind: its format: none, gzip, zip, tar.gz or tar.xz.
        select: patterns that match the end of members' paths; without any, an archive must hold
            exactly one file, of any encoding.
        text: the output file.
        limit: the maximal number of bytes to write.

    Returns:
        the number of selected members that are not UTF-8 and were left out.

    Raises:
        UnpackError: the archive is damaged, too large, or has no selected text.
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
            raise  # an error of the machine, not of the archive
        raise UnpackError(f"{archive.name} is damaged: {error}") from error
    if not out.written:
        raise UnpackError(f"{archive.name} holds no {' or '.join(select) or 'text'}")
    return left_out


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Limited:
    """A file that refuses to grow beyond `limit` bytes."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file, self._limit, self.written = file, limit, 0

    def write(self, data: bytes) -> None:
        self.written += len(data)
        if self.written > self._limit:
            raise UnpackError(
                f"the text is longer than the {self._limit:,} bytes that the registry allows"
            )
        self._file.write(data)


class _Unpacked:
    """A decompressed stream, limited to `MAX_RATIO` times its compressed bytes."""

    def __init__(self, stream: _Readable, packed: int) -> None:
        self._stream, self._left = stream, max(MAX_RATIO * packed, CHUNK)

    def read(self, size: int = CHUNK) -> bytes:
        data = self._stream.read(min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise UnpackError(f"it unpacks to more than {MAX_RATIO} times its size: no text does")
        return data


def _members(archive: Path, kind: str, select: Sequence[str]) -> Generator[_Readable, None, None]:
    """Yield the selected members as streams; each must be read before the next is requested."""
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
            tar.members = []  # type: ignore[attr-defined]  # or tarfile would remember them all
            if member.isreg() and not member.issparse() and _is_selected(member.name, select):
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
        raise UnpackError(
            f"it has {len(files)} files, and the registry does not say which one is the text"
        )
    for info in files:
        if _is_selected(info.filename, select):
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


def _is_selected(name: str, select: Sequence[str]) -> bool:
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
