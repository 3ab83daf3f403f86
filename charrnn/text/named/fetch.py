"""Fetch a named corpus: download it, verify it, unpack it, and give it its name.

The rename comes last, so a file with the corpus's name is complete and verified.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from charrnn.errors import CorpusError, RunError
from charrnn.storage.cache_dir import is_temporary
from charrnn.text.named import registry
from charrnn.text.named.download import FULL, DownloadError, DownloadProgress, disk_full, download
from charrnn.text.named.registry import Entry
from charrnn.text.named.unpack import UnpackError, unpack

if TYPE_CHECKING:
    from charrnn.text.notices import Notify


@dataclass(frozen=True)
class Fetched:
    """A corpus on this machine.

    Attributes:
        path: its one file.
        bytes: size of the text.
        sha256: of the text.
        downloaded: bytes that came over the network this time.
    """

    path: Path
    bytes: int
    sha256: str
    downloaded: int = 0


class _WrongFileError(RunError):
    """A download, or the text in it, with another hash than the registry's."""


def fetch(entry: Entry, progress: DownloadProgress, notify: Notify) -> Fetched:
    """Fetch a corpus with a URL, unless it is on this machine already.

    Args:
        entry: the corpus.
        progress: called with the bytes so far and, if known, the bytes of the whole.
        notify: called with sentences for the user.

    Raises:
        CorpusError: the registry has no hash of the text or its archive.
        RunError: the download failed, or its hash is not the registry's.
    """
    if not (entry.sha256 or entry.archive_sha256):
        raise CorpusError(f"{entry.name}: no SHA-256 is known for it, so it is not fetched")
    copy = registry.local_copy(entry)
    if copy:
        return _described(copy)
    folder = registry.cached_path(entry).parent
    if is_temporary(folder):
        raise RunError("there is no home folder to keep corpora in: set HOME or XDG_CACHE_HOME")
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(entry, folder, notify):
        return _fetch(entry, progress, notify)


@contextmanager
def _locked(entry: Entry, folder: Path, notify: Notify) -> Iterator[None]:
    """Lock the corpus against other processes; the system releases the lock of a killed one."""
    lock = filelock.FileLock(folder / f".{entry.name}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        notify(f"another charrnn fetches {entry.name}: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch(entry: Entry, progress: DownloadProgress, notify: Notify) -> Fetched:
    try:
        found = registry.fetched(entry)
    except CorpusError:
        notify(f"{registry.cached_path(entry)} has changed: fetching it again")
        found = None
    if found:
        return _described(found)
    archive = registry.local_archive(entry)
    if archive:
        notify(f"unpacking {archive}")
        return _accept(entry, archive, notify)
    notify(f"fetching {entry.url}")
    part = registry.cached_path(entry).with_suffix(".part")
    resumed = part.exists()
    try:
        return _download(entry, part, progress, notify)
    except _WrongFileError:
        if not resumed:
            raise
    notify("the rest of an earlier download does not match: downloading all of it again")
    return _download(entry, part, progress, notify)


def _download(entry: Entry, part: Path, progress: DownloadProgress, notify: Notify) -> Fetched:
    counted = _Counted(entry, part.parent, progress)
    limit = entry.archive_bytes or entry.bytes or 0
    download(str(entry.url), part, limit, counted, notify)
    try:
        result = _accept(entry, part, notify)
    except _WrongFileError:
        part.unlink()
        raise
    part.unlink()
    return Fetched(result.path, result.bytes, result.sha256, counted.bytes)


class _Counted:
    """Counts the bytes from the network, and refuses a download that the disk has no space for."""

    def __init__(self, entry: Entry, folder: Path, progress: DownloadProgress) -> None:
        self._entry, self._folder, self._progress = entry, folder, progress
        self._last: int | None = None
        self.bytes = 0

    def __call__(self, have: int, whole: int | None) -> None:
        if self._last is None or have < self._last:
            self._check_space((whole or have) - have)
        else:
            self.bytes += have - self._last
        self._last = have
        self._progress(have, whole)

    def _check_space(self, missing: int) -> None:
        text = self._entry.bytes if self._entry.sha256 else 0
        needed = missing + (text or 0)
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise DownloadError(
                f"{self._entry.name} needs {needed:,} bytes in {self._folder}, "
                f"where only {free:,} are free"
            )


def _accept(entry: Entry, archive: Path, notify: Notify) -> Fetched:
    """Verify and unpack a download, and give the text its name."""
    if entry.archive_sha256:
        _compare(registry.sha256_of(archive), entry.archive_sha256, f"what {entry.url} sent")
    target = registry.cached_path(entry)
    written = target.with_suffix(".unpacked")
    try:
        with written.open("wb") as text:
            left_out = unpack(archive, entry.unpack, entry.select, text, entry.bytes or 0)
            text.flush()
            os.fsync(text.fileno())
        result = _described(written)
        if entry.sha256:
            _compare(result.sha256, entry.sha256, f"the text that {entry.url} sent")
        registry.hash_path(entry).write_text(f"{result.sha256}  {target.name}\n", "ascii")
        written.replace(target)
    except UnpackError as error:
        raise _WrongFileError(f"{entry.name}: {error.message}") from None
    except OSError as error:
        if error.errno in FULL:
            raise disk_full(target.parent) from error
        raise
    finally:
        written.unlink(missing_ok=True)
    if left_out:
        notify(f"{left_out:,} of its files are not UTF-8 and were left out")
    return Fetched(target, result.bytes, result.sha256)


def _compare(found: str, expected: str, what: str) -> None:
    if found != expected:
        raise _WrongFileError(
            f"{what} is not the expected file and was deleted: its SHA-256 is {found}, "
            f"not {expected}"
        )


def _described(path: Path) -> Fetched:
    return Fetched(path, path.stat().st_size, registry.sha256_of(path))
