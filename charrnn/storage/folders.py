"""Folders that are written whole or not at all, as `files` writes files.

One is filled under another name beside its place and then renamed. A process that was killed leaves
such a folder, which the next process removes.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl


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
        try:  # from here on: an interrupt may come as soon as the folder is there
            temporary.mkdir(parents=True)
            with _locked(temporary):
                if temporary.exists():  # not removed by another process before it was locked
                    yield temporary
                    return
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _remove_left(folder: Path) -> None:
    """Remove what killed processes left of a folder that they were to write as `folder`."""
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


def exchange(temporary: Path, folder: Path) -> None:
    """Rename a finished folder to `folder`, and remove the one that was there before."""
    if not folder.exists():
        temporary.rename(folder)
        return
    before = temporary.with_suffix(".old")
    try:
        folder.rename(before)
        temporary.rename(folder)
    finally:
        if before.exists() and not folder.exists():  # interrupted
            before.rename(folder)
    shutil.rmtree(before, ignore_errors=True)  # what others have opened stays readable
