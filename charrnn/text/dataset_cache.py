"""The cache of datasets: where they lie, and which are removed to make room."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

from charrnn.storage.cache_dir import cache_dir, writable

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
