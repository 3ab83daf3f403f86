"""Files on the disk: whole or not there, read with a bound.

Everything that a training keeps is written by `write_atomically`, or file by file by `write` into a
folder that gets its name when all are there. Everything that is read back is checked first: how
large it is, that it is a plain file, that it is JSON of the expected kind.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from charrnn.errors import ModelError, RunError

Block = bytes | bytearray | memoryview
# No link is followed: one in a folder from a stranger would lead to a file of ours.
_FLAGS = os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)


def write(path: Path, data: bytes) -> None:
    """Write a file; it is on the disk when this returns.

    Raises:
        OSError: it is not, or not all of it.
    """
    with _opened(path, os.O_WRONLY | os.O_TRUNC) as file:
        write_all(file, data)
        os.fsync(file)


def append(path: Path, data: bytes, start: int) -> None:
    """Make `path` hold `data`, of which the first `start` bytes are there already.

    What is behind them, left by a write that failed, is cut off. What is missing is written anew.

    Raises:
        OSError: as `write`.
    """
    with _opened(path, os.O_WRONLY) as file:
        if os.fstat(file).st_size < start:
            start = 0
        os.ftruncate(file, start)
        os.lseek(file, start, os.SEEK_SET)
        write_all(file, data[start:])


def write_atomically(path: Path, data: bytes) -> None:
    """Write to a temporary name beside `path`, fsync, rename, fsync the folder.

    Raises:
        RunError: the disk is full, read-only or gone; `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with _removed_on_failure(temporary):
            write(temporary, data)
            temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise RunError(f"{path} could not be written: {error.strerror}") from error


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut; Windows has no such call."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    file = os.open(path, _FLAGS | flags, 0o666)
    try:
        yield file
    finally:
        os.close(file)


def write_all(file: int, data: Block) -> None:
    """Write all of `data`: a system may take less than it was given, and says so."""
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


@contextlib.contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise


def read(path: Path, most: int) -> bytes:
    """A plain file of `most` bytes at most.

    Raises:
        ModelError: it is missing, larger, a link, a folder or a device.
    """
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise ModelError(f"{path} is damaged: it is no plain file")
        if found.st_size > most:
            raise ModelError(f"{path} is damaged: it has {found.st_size:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error


def parse_json(data: bytes, where: str) -> dict[str, Any]:
    """The JSON object in `data`; `where` names its file in errors.

    Raises:
        ModelError: it is none.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{where} is damaged: it is not readable as JSON ({error})") from None
    if not isinstance(content, dict):
        raise ModelError(f"{where} is damaged: it is no JSON object")
    return content


def to_json(content: dict[str, Any]) -> bytes:
    """JSON in ASCII (a file's name may be no Unicode), with a line's end."""
    return (json.dumps(content, indent=2) + "\n").encode()
