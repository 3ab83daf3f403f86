"""Choose the folders where charrnn caches what it can make again: one for each kind of file.

They lie in the user's cache folder, in ``charrnn/KIND``: ``corpora``, ``datasets``, ``kernels`` and
``novelty``. A user without a home folder, or who cannot write there, gets ``charrnn-USERID`` in the
folder for temporary files, and a warning that names it. Other users must not be able to write into
that folder, because the kernels in it are executed: where its name is taken, a folder for this
process alone serves instead, which is removed when the process ends.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import stat
import tempfile
import warnings
from pathlib import Path

import platformdirs

from charrnn.errors import RunError

_SYSTEM = (0, 65534)  # root, also where a container has no number for it
ROOM = 2**22  # bytes that must be left on the disk of a cache


class CacheWarning(UserWarning):
    """The caches are not where they should be."""


def cache_dir(kind: str) -> Path:
    """Return the folder for one kind of file, which may not exist or may not be writable.

    Raises:
        RunError: no folder can be written.
    """
    folder = _user_cache_dir()
    if folder is None or not _exists_or_can_be_made(folder):
        return _substitute(folder) / kind
    return folder / kind


def writable(folder: Path) -> Path:
    """Make `folder` and return it; where it cannot be written, return a substitute of that name.

    Raises:
        RunError: no folder can be written.
    """
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK) and not _is_full(folder):
            return folder
    users = _user_cache_dir()
    unusable = users if users and folder.is_relative_to(users) else folder
    substitute = _substitute(unusable) / folder.name
    substitute.mkdir(parents=True, exist_ok=True)
    return substitute


def trusted(folder: Path) -> Path:
    """Make `folder`, whose files are executed, and return it, or a substitute as `writable` does.

    Another user who owns it, or a folder that it lies in, could change those files: as where root
    has the home folder of a user.
    """
    owners = {*_SYSTEM, os.getuid()} if os.name == "posix" else set()
    substituted = _private_dir.cache_info().currsize and folder.is_relative_to(_private_dir())
    if owners and not substituted:
        path = folder.resolve()
        for each in (path, *path.parents):
            with contextlib.suppress(OSError):  # it does not exist yet
                if each.stat().st_uid not in owners:
                    return writable(_substitute(each, "belongs to another user") / folder.name)
    return writable(folder)


def is_temporary(path: Path) -> bool:
    """Return whether a path lies in a cache that is removed when this process ends."""
    return _process_dir.cache_info().currsize > 0 and path.is_relative_to(_process_dir())


def _user_cache_dir() -> Path | None:
    """Return charrnn's folder in the user's cache, which may not exist; None without a home."""
    try:
        path = platformdirs.user_cache_path("charrnn")
    except RuntimeError:  # the system knows neither HOME nor the user id
        return None
    # Older versions leave the ~ in the path: a folder of that name in the working directory.
    return path if path.is_absolute() else None


def _exists_or_can_be_made(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        return nearest == folder or (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK))
    return False


def _is_full(folder: Path) -> bool:
    """Return whether the disk of a folder has no room for compiled code."""
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free < ROOM
    return False


@functools.cache
def _substitute(unusable: Path | None, why: str = "cannot be written") -> Path:
    """Return the folder of the caches that cannot lie in `unusable`; warn once about each.

    Args:
        unusable: None if there is no home folder.
        why: what is wrong with it.
    """
    try:
        found = _private_dir()
    except OSError as error:
        raise RunError(
            "no folder for caches or temporary files can be written: set XDG_CACHE_HOME or TMPDIR "
            f"to a folder of yours ({error.strerror})"
        ) from error
    why = f"{unusable} {why}" if unusable else "there is no home folder"
    why += " (its disk is full)" if unusable and _is_full(unusable) else ""
    ends = ", until this command ends" if is_temporary(found) else ""
    warnings.warn(
        f"{why}: what charrnn caches is in {found}{ends}; XDG_CACHE_HOME can name another folder",
        CacheWarning,
        stacklevel=2,
    )
    return found


@functools.cache
def _private_dir() -> Path:
    """Make the user's own folder among the temporary files, or one for this process alone."""
    if os.name == "posix":
        folder = Path(tempfile.gettempdir()) / f"charrnn-{os.getuid()}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()  # of a link itself
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o77:
            return folder
    return _process_dir()


@functools.cache
def _process_dir() -> Path:
    """Make a folder that is removed when the process ends, and return the same one every time."""
    folder = tempfile.mkdtemp(prefix="charrnn-cache-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
