"""The cache of datasets: where they lie, and which are removed to make room.

Also, for datasets anywhere, the temporary folders that they are made in: a process that was killed
leaves one, which the next process removes.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from charrnn.storage.cache_dir import cache_dir, writable

if sys.platform != "win32":
    import fcntl

MAX_BYTES = 2**35
_STALE = 24 * 3600  # seconds after which an unfinished dataset is abandoned


def folder() -> Path:
    """Return the folder of cached datasets, writable; ``CHARRNN_DATASETS`` names another one."""
    named = os.environ.get("CHARRNN_DATASETS")
    return writable(Path(named) if named else cache_dir("datasets"))


def remove_old(newest: Path) -> None:
    """Remove abandoned datasets, and those used longest ago while the cache is too large."""
    folders = [path for path in newest.parent.iterdir() if path.is_dir() and path != newest]
    total = size(newest)
    for path in sorted(folders, key=_last_used, reverse=True):
        unfinished = path.name.endswith(".tmp")
        total += size(path)
        if (unfinished and time.time() - _last_used(path) > _STALE) or total > MAX_BYTES:
            shutil.rmtree(path, ignore_errors=True)  # a training that maps it goes on


@contextlib.contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """Make a folder next to `folder`, to be renamed to it, and remove it if it was not.

    It is locked meanwhile: those that killed processes left are not, and are removed first.

    Raises:
        OSError: it cannot be made.
    """
    _remove_left(folder)
    while True:
        temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
        temporary.mkdir(parents=True)
        try:
            with _locked(temporary):
                if temporary.exists():  # not removed by another process before it was locked
                    yield temporary
                    return
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _remove_left(folder: Path) -> None:
    """Remove what killed processes left of a dataset that they were to write as `folder`."""
    name = re.compile(re.escape(f".{folder.name}.") + r"[0-9a-f]{8}\.(tmp|old)")
    siblings = folder.parent.iterdir() if folder.parent.is_dir() else ()
    for path in siblings:
        if name.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError), _locked(path, wait=False):
                shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Lock a folder, which may be renamed meanwhile; the system unlocks it if the process ends.

    Raises:
        OSError: `wait` is false and it is locked, or folders cannot be locked here.
    """
    if sys.platform == "win32":
        if not wait:
            raise OSError("folders cannot be locked")
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:  # some file systems have no locks
            if not wait:
                raise
        yield
    finally:
        os.close(descriptor)


def mark_used(dataset: Path) -> None:
    """Note that a dataset is used now: what was used last is removed last."""
    os.utime(dataset)


def size(folder: Path) -> int:
    """Return the bytes of a folder's files."""
    total = 0
    with contextlib.suppress(OSError):
        total = sum(path.stat().st_size for path in folder.iterdir())
    return total


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process removed it
        return 0.0
