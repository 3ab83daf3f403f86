"""Choose the folders where charrnn caches what it can make again: one for each kind of file.

They lie in the user's cache folder, in ``charrnn/KIND``: ``corpora``, ``datasets``, ``kernels`` and
``novelty``. A user without a home folder, or without write access to the cache, gets a folder for
this process alone, which is removed when the process ends. Never share it with other users: the
kernels in it are executed.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import tempfile
from pathlib import Path

import platformdirs


def user_cache_dir() -> Path | None:
    """Return charrnn's folder in the user's cache, which may not exist; None without a home."""
    path = platformdirs.user_cache_path("charrnn")
    # An unknown user id leaves the ~ in the path: a folder of that name in the working directory.
    return None if path.parts[0].startswith("~") else path


def cache_dir(kind: str) -> Path:
    """Return the folder for one kind of file, which may not exist or may not be writable."""
    return (user_cache_dir() or temporary_dir()) / kind


def writable(folder: Path) -> Path:
    """Make `folder` and return it, or a temporary folder of the same name if it is not writable."""
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    substitute = temporary_dir() / folder.name
    substitute.mkdir(parents=True, exist_ok=True)
    return substitute


@functools.cache
def temporary_dir() -> Path:
    """Make a folder that is removed when the process ends, and return the same one every time."""
    folder = tempfile.mkdtemp(prefix="charrnn-cache-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
