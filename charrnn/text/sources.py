"""Find and read sources of text: files, folders, patterns and standard input, decompressed.

A source that can be read only once (standard input, a pipe) is first copied to a temporary file, so
that every source can be read again. gzip, bzip2, xz and zstandard files are recognized by their
first bytes, whatever their names. A small file that would decompress to a huge one is refused.
"""

from __future__ import annotations

import bz2
import difflib
import fnmatch
import glob
import gzip
import io
import lzma
import os
import re
import shutil
import stat
import sys
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from charrnn.errors import CorpusError, missing_package

STDIN = "-"
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


@dataclass(frozen=True)
class Source:
    """The bytes of a text, which can be read any number of times.

    Attributes:
        name: for messages.
        path: the file; None if the bytes are in memory.
        data: the bytes in memory.
        once: the file is a temporary copy of what could be read only once.
    """

    name: str
    path: Path | None = None
    data: bytes = b""
    once: bool = False

    @property
    def size(self) -> int:
        """The number of bytes, before decompression."""
        return len(self.data) if self.path is None else self.path.stat().st_size

    def chunks(self, max_unpacked: int | None, advance: Advance) -> Iterator[bytes]:
        """Yield the decompressed bytes, at most `CHUNK` at a time.

        Args:
            max_unpacked: the limit for a compressed source; None means `MAX_RATIO` times its size.
            advance: called with the number of bytes read, before decompression.

        Raises:
            CorpusError: missing, unreadable, damaged, too large, or changed while it was read.
        """
        try:
            with self._open() as file:
                before = _signature(file)
                counted = _Counted(self.name, file, before[0], advance)
                yield from _unpacked(self.name, counted, _peek(file), self.size, max_unpacked)
                if _signature(file) != before:
                    raise _changed(self.name)
        except _DAMAGED as error:
            raise CorpusError(
                f"{self.name} is damaged and cannot be decompressed: {error}"
            ) from None
        except OSError as error:
            why = error.strerror or str(error)
            raise CorpusError(f"{self.name} cannot be read: {why}") from error

    def _open(self) -> BinaryIO:
        return io.BytesIO(self.data) if self.path is None else self.path.open("rb", buffering=0)


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


def _unpacked(
    name: str, file: _Counted, start: bytes, size: int, max_unpacked: int | None
) -> Iterator[bytes]:
    kind = next((kind for kind, magic in _PACKED.items() if magic.match(start)), None)
    if kind is None:
        yield from iter(lambda: file.read(CHUNK), b"")
        return
    limit = max_unpacked or min(MAX_UNPACKED, max(MIN_UNPACKED, MAX_RATIO * size))
    total = 0
    for chunk in _UNPACKERS[kind](name, io.BufferedReader(file, CHUNK)):
        if total == 0 and chunk[257:262] == b"ustar":
            raise CorpusError(f"{name} is a compressed tar archive: unpack it first")
        total += len(chunk)
        if total > limit:
            raise CorpusError(
                f"{name} has {size:,} bytes and unpacks to more than {limit:,}: if that is right, "
                "raise --max-unpacked"
            )
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


def find(
    paths: Iterable[str | Path], include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> list[Source]:
    """Return all sources in order; the files of a folder or a pattern are sorted by name.

    Args:
        paths: files, folders, patterns, or ``-`` for standard input.
        include: of a folder, only files whose name, or path in the folder, matches one of these
            patterns.
        exclude: of a folder, no files that match one of these. Hidden files are always left out.

    Raises:
        CorpusError: a path does not exist (the message suggests a similar name) or has no files.
    """
    found: list[Source] = []
    for path in paths:
        if str(path) == "":
            raise CorpusError("a file's name is empty: name a text file, or a folder of them")
        if str(path) == STDIN:
            stdin = (
                sys.stdin.buffer if sys.stdin else io.BytesIO()
            )  # closed: there is nothing to read
            found.append(_copied("standard input", stdin))
        elif Path(path).is_dir():
            found += [Source(str(file), file) for file in _inside(Path(path), include, exclude)]
        elif not os.path.lexists(path) and glob.has_magic(str(path)):
            found += [Source(file, Path(file)) for file in _matching(str(path))]
        else:
            found.append(_file(Path(path)))
    return found


def _file(path: Path) -> Source:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise CorpusError(
            f"{path} does not exist (looked in {Path.cwd()}): name a text file{_near(path)}"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = getattr(error, "strerror", None) or error
        raise CorpusError(f"{path} cannot be read: {why}") from error
    if stat.S_ISREG(mode):
        return Source(str(path), path)
    try:
        with path.open("rb") as pipe:
            return _copied(str(path), pipe)
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}") from error


def _near(path: Path) -> str:
    try:
        names = [other.name for other in path.parent.iterdir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.7)
    return f"; did you mean {path.parent / close[0]}?" if close else ""


def _inside(folder: Path, include: Sequence[str], exclude: Sequence[str]) -> list[Path]:
    def wanted(path: Path) -> bool:
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        return (
            not hidden
            and (not include or _matches(inside, include))
            and not _matches(inside, exclude)
            and path.is_file()
        )

    files = sorted(path for path in folder.rglob("*") if wanted(path))
    if not files:
        reason = "has no such files" if include or exclude else "is an empty folder"
        raise CorpusError(f"{folder} {reason}: name a text file, or a folder of them")
    return files


def _matches(path: Path, patterns: Sequence[str]) -> bool:
    names = path.name, path.as_posix()
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in names)


def _matching(pattern: str) -> list[str]:
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207 - a pattern may be absolute
    files = sorted(path for path in found if Path(path).is_file())
    if not files:
        raise CorpusError(
            f"{pattern} does not exist, and as a pattern it matches no file "
            f"(looked in {Path.cwd()})"
        )
    return files


def _copied(name: str, pipe: BinaryIO) -> Source:
    """Copy what can be read only once to a temporary file, which is removed with its `Source`."""
    folder = tempfile.mkdtemp(prefix="charrnn-")
    copy = Path(folder) / "text"
    source = Source(name, copy, once=True)
    weakref.finalize(source, shutil.rmtree, folder, ignore_errors=True)
    try:
        with copy.open("wb") as file:
            shutil.copyfileobj(pipe, file, 2**20)
    except OSError as error:
        raise CorpusError(f"{name} cannot be copied to {folder}: {error.strerror}") from error
    return source
