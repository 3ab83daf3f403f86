"""Files that are written whole or not at all, and that are checked before they are read.

`write_atomically` writes one file. For several, `write` fills a folder that gets its name when all
of them are written, see `folders`. A device or a pipe is written into and never replaced. Reading
checks first that a path is a plain file of a bounded size.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from charrnn.errors import ModelError, RunError, excerpt

Block = bytes | bytearray | memoryview
# Never follow links: in a folder that a stranger made, one could lead to a file of the user's.
_FLAGS = os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)


def write(path: Path, data: Block | Iterable[Block]) -> None:
    """Write a file, whole or block by block; it is on disk when this returns.

    Raises:
        OSError: not all of it could be written.
    """
    with _opened(path, os.O_WRONLY | os.O_TRUNC) as file:
        _write_blocks(file, data)
        os.fsync(file)


def append(path: Path, data: bytes, start: int) -> None:
    """Make `path` hold `data`, of which it should hold the first `start` bytes already.

    Bytes after those, which a failed write left, are cut off; if bytes are missing, all are
    written.

    Raises:
        OSError: not all of it could be written.
    """
    with _opened(path, os.O_WRONLY) as file:
        if os.fstat(file).st_size < start:
            start = 0
        os.ftruncate(file, start)
        os.lseek(file, start, os.SEEK_SET)
        write_all(file, data[start:])


def write_atomically(path: Path, data: Block | Iterable[Block]) -> None:
    """Write a temporary file next to `path`, fsync it, rename it, fsync the folder.

    Data may come block by block; if making a block fails, `path` is unchanged.

    Raises:
        RunError: the disk is full, read-only or gone, and `path` is unchanged; or it is a pipe that
            nobody reads.
    """
    if is_special(path):
        _write_into(path, data)
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with _removed_on_failure(temporary):
            write(temporary, data)
            temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise RunError(f"{path} could not be written: {error.strerror}") from error


def is_special(path: Path) -> bool:
    """Return whether a path, or what it links to, is a device, a pipe or a socket.

    Everything in /dev is, but for the files in /dev/shm: /dev/stdout may lead to a file, and is
    still not to be replaced.
    """
    parts = path.absolute().parts
    if parts[:2] == ("/", "dev") and parts[2:3] != ("shm",):
        return path.exists()
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def endless(path: Path) -> str:
    """Return what a path is from which reading may never end; "" for files and pipes.

    A terminal ends at Ctrl-D, and the null device at once.
    """
    with contextlib.suppress(OSError):
        mode = path.stat().st_mode
        if stat.S_ISSOCK(mode):
            return "a socket"
        if stat.S_ISCHR(mode) and not path.samefile(os.devnull):
            with path.open("rb") as device:
                return "" if device.isatty() else "a device, which may never end"
    return ""  # what cannot be opened says why when it is read


def is_generated(path: Path) -> bool:
    """Return whether the system makes a file's content anew at each reading, and may wait."""
    return path.absolute().parts[:2] == ("/", "proc") and os.path.isfile(path)  # noqa: PTH113


def waits_for(path: Path) -> str:
    """Return a sentence about what reading a path waits for; "" if it does not wait."""
    if path.is_fifo():
        return f"reading the pipe {path}, until whatever writes to it ends"
    return f"reading {path}, until the system ends it" if is_generated(path) else ""


def would_replace(path: Path) -> bool:
    """Return whether writing to a path would replace what is there."""
    return path.exists() and not is_special(path)


def _write_into(path: Path, data: Block | Iterable[Block]) -> None:
    """Write to a device or a pipe, without waiting for a reader to come."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
        try:
            os.set_blocking(file, True)
            _write_blocks(file, data)
        finally:
            os.close(file)
    except OSError as error:
        reason = "no program reads from it" if error.errno == errno.ENXIO else error.strerror
        raise RunError(f"{path} could not be written: {reason}") from error


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power failure; Windows has no such call."""
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


def _write_blocks(file: int, data: Block | Iterable[Block]) -> None:
    for block in [data] if isinstance(data, Block) else data:
        write_all(file, block)


def write_all(file: int, data: Block) -> None:
    """Write all of `data`: one call of the system may write less than it is given."""
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


def read(path: Path, max_bytes: int) -> bytes:
    """Read a plain file.

    Raises:
        ModelError: it is missing, too large, a link, a folder or a device.
    """
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise ModelError(f"{path} is damaged: it is not a plain file")
        if found.st_size > max_bytes:
            raise ModelError(f"{path} is damaged: it has {found.st_size:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error


def load_json(text: str | bytes) -> Any:
    """Return what JSON holds; its objects must have each key once, as readers differ otherwise.

    Raises:
        ValueError: it is not such JSON, or is nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_each_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"'{excerpt(name)}' is there twice")
            seen.add(name)
    return made


def parse_json(data: bytes, where: str) -> dict[str, Any]:
    """Return the JSON object in `data`; `where` names its file in errors.

    Raises:
        ModelError: it is not a JSON object.
    """
    try:
        content = load_json(data)
    except ValueError as error:
        raise ModelError(f"{where} is damaged: it is not readable as JSON ({error})") from None
    if not isinstance(content, dict):
        raise ModelError(f"{where} is damaged: it is not a JSON object")
    return content


def to_json(content: dict[str, Any]) -> bytes:
    """Return JSON in ASCII, since file names may not be valid Unicode, with a final line feed."""
    return (json_text(content, indent=2) + "\n").encode()


def json_text(value: Any, **layout: Any) -> str:
    """Return JSON, in which a number that is not finite is null; no parser refuses it.

    Args:
        value: what `json.dumps` takes.
        layout: keywords of `json.dumps` for the layout.
    """
    try:
        return json.dumps(value, allow_nan=False, **layout)
    except ValueError:  # seldom: whoever has only finite numbers does not pay for the others
        return json.dumps(finite(value), allow_nan=False, **layout)


def finite(value: Any) -> Any:
    """Return a value with None in place of each number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(part) for name, part in value.items()}
    return [finite(part) for part in value] if isinstance(value, list | tuple) else value
