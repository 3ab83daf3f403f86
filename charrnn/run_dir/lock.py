"""One training per run folder: a lock that the system drops when its process ends."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import filelock

from charrnn.errors import RunError
from charrnn.run_dir.folder import RunDir
from charrnn.storage.files import json_text, load_json

PROBE_SECONDS = 0.2  # `is_held` holds a lock for much less: a training waits for it


def is_held(run_dir: RunDir) -> bool:
    """Return whether a process is training in the folder."""
    if not run_dir.lock.is_file() or run_dir.lock.is_symlink():
        return False
    lock = filelock.FileLock(run_dir.lock, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        return True
    except OSError:  # the folder is not writable for this user
        return False
    lock.release()
    return False


@contextlib.contextmanager
def held(run_dir: RunDir) -> Iterator[None]:
    """Hold the folder; the system drops the lock of a training that was killed.

    Raises:
        RunError: another process holds it (the message says which), or the folder is not
            writable.
    """
    path = run_dir.lock
    lock = filelock.FileLock(path, timeout=PROBE_SECONDS)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise RunError(
            f"{run_dir.path} is in use by another training{_owner(path)}: wait for its end, "
            "stop it, or choose another folder with --out"
        ) from None
    except OSError as error:
        raise RunError(f"{run_dir.path} cannot be locked: {error.strerror}") from error
    try:
        with contextlib.suppress(OSError):  # information for others; the lock does not depend on it
            path.write_text(json_text({"pid": os.getpid(), "host": platform.node()}) + "\n")
        yield
    finally:
        lock.release()


def _owner(path: Path) -> str:
    """Return who holds the lock, if that can be read."""
    try:
        owner = load_json(path.read_bytes()[:1000])
        return f" (process {int(owner['pid'])} on {str(owner['host'])[:100]})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
