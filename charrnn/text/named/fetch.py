"""A named corpus from where the world keeps it to a verified local file.

Download, its hash, unpacking, the text's hash, one rename: a file under its name is whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock

from charrnn.errors import CorpusError, RunError
from charrnn.storage.cache_dir import user_cache_dir
from charrnn.text.named import registry
from charrnn.text.named.download import FULL, Arrived, DownloadError, Say, download, no_room
from charrnn.text.named.registry import Entry
from charrnn.text.named.unpack import UnpackError, unpack


@dataclass(frozen=True)
class Fetched:
    """A corpus on this machine.

    Attributes:
        path: its one file.
        bytes: size of the text.
        sha256: of the text.
        downloaded: bytes that came over the network for it now.
    """

    path: Path
    bytes: int
    sha256: str
    downloaded: int = 0


class _WrongFileError(RunError):
    """A download, or the text in it, that is not the one that the registry means."""


def fetch(wanted: Entry, arrived: Arrived, say: Say) -> Fetched:
    """Bring a corpus that is known by its address to this machine, if it is not here already.

    Args:
        wanted: what to bring.
        arrived: told the bytes that have arrived, and of how many, where that is known.
        say: told what is worth a line.

    Raises:
        CorpusError: neither its hash nor that of its archive is known.
        RunError: it cannot be had, or what came is not what is meant.
    """
    if not (wanted.sha256 or wanted.archive_sha256):
        raise CorpusError(f"{wanted.name}: no SHA-256 is known for it, so it is not fetched")
    copy = registry.local_copy(wanted)
    if copy:
        return _described(copy)
    if user_cache_dir() is None:
        raise RunError("there is no home folder to keep corpora in: set HOME or XDG_CACHE_HOME")
    folder = registry.kept_at(wanted).parent
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(wanted, folder, say):
        return _fetch(wanted, arrived, say)


@contextmanager
def _alone(wanted: Entry, folder: Path, say: Say) -> Iterator[None]:
    """While no other process fetches the same; the system ends the lock with its owner."""
    lock = filelock.FileLock(folder / f".{wanted.name}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        say(f"another charrnn fetches {wanted.name}: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch(wanted: Entry, arrived: Arrived, say: Say) -> Fetched:
    try:
        found = registry.fetched(wanted)
    except CorpusError:
        say(f"{registry.kept_at(wanted)} is no longer what was fetched: fetching it anew")
        found = None
    if found:
        return _described(found)
    archive = registry.local_archive(wanted)
    if archive:
        say(f"unpacking {archive}")
        return _accept(wanted, archive, say)
    say(f"fetching {wanted.url}")
    part = registry.kept_at(wanted).with_suffix(".part")
    kept = part.exists()
    try:
        return _download(wanted, part, arrived, say)
    except _WrongFileError:
        if not kept:
            raise
    say("what was left of an earlier attempt does not belong to it: fetching all of it anew")
    return _download(wanted, part, arrived, say)


def _download(wanted: Entry, part: Path, arrived: Arrived, say: Say) -> Fetched:
    came = _Came(wanted, part.parent, arrived)
    limit = wanted.archive_bytes or wanted.bytes or 0
    download(str(wanted.url), part, limit, came, say)
    try:
        result = _accept(wanted, part, say)
    except _WrongFileError:
        part.unlink()
        raise
    part.unlink()
    return Fetched(result.path, result.bytes, result.sha256, came.bytes)


class _Came:
    """Counts what comes over the network, and refuses what the disk has no room for."""

    def __init__(self, wanted: Entry, folder: Path, arrived: Arrived) -> None:
        self._wanted, self._folder, self._arrived = wanted, folder, arrived
        self._last: int | None = None
        self.bytes = 0

    def __call__(self, have: int, whole: int | None) -> None:
        if self._last is None or have < self._last:
            self._check_room((whole or have) - have)
        else:
            self.bytes += have - self._last
        self._last = have
        self._arrived(have, whole)

    def _check_room(self, missing: int) -> None:
        text = self._wanted.bytes if self._wanted.sha256 else 0
        needed = missing + (text or 0)
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise DownloadError(
                f"{self._wanted.name} needs {needed:,} bytes in {self._folder}, "
                f"where {free:,} are free: make room"
            )


def _accept(wanted: Entry, archive: Path, say: Say) -> Fetched:
    """Verify and unpack a download, and put the text under its name."""
    if wanted.archive_sha256:
        _compare(registry.sha256_of(archive), wanted.archive_sha256, f"what {wanted.url} sent")
    target = registry.kept_at(wanted)
    written = target.with_suffix(".unpacked")
    try:
        with written.open("wb") as text:
            left_out = unpack(archive, wanted.unpack, wanted.select, text, wanted.bytes or 0)
            text.flush()
            os.fsync(text.fileno())
        result = _described(written)
        if wanted.sha256:
            _compare(result.sha256, wanted.sha256, f"the text that {wanted.url} sent")
        registry.noted_at(wanted).write_text(f"{result.sha256}  {target.name}\n", "ascii")
        written.replace(target)
    except UnpackError as error:
        raise _WrongFileError(f"{wanted.name}: {error.message}") from None
    except OSError as error:
        if error.errno in FULL:
            raise no_room(target.parent) from error
        raise
    finally:
        written.unlink(missing_ok=True)
    if left_out:
        say(f"{left_out:,} files of it are not UTF-8 and were left out")
    return Fetched(target, result.bytes, result.sha256)


def _compare(found: str, expected: str, what: str) -> None:
    if found != expected:
        raise _WrongFileError(
            f"{what} is not what is meant and was thrown away: its SHA-256 is {found}, "
            f"not {expected}"
        )


def _described(path: Path) -> Fetched:
    return Fetched(path, path.stat().st_size, registry.sha256_of(path))
