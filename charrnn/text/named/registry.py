"""Named corpora: ``corpora/registry.toml`` -> a verified local file.

An entry is carried with charrnn, made from what the machine holds, or known by its address and
SHA-256. Those are found in a folder of local copies (the environment variable ``CHARRNN_CORPORA``),
by hash, or where `charrnn.text.named.fetch` has put them. Nothing is downloaded here.
"""

from __future__ import annotations

import hashlib
import os
import re
import sysconfig
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from charrnn.errors import CorpusError, nearest
from charrnn.storage.cache_dir import cache_dir

C_HEADERS = "/usr/include"
MACHINE = ("python-stdlib", "c-headers")
UNPACK = ("none", "gzip", "zip", "tar.gz", "tar.xz")
_PLAIN = re.compile(r"\w[\w.-]{0,99}")  # a name that leads to no other folder
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """One named corpus.

    Attributes:
        name: what users type.
        title: what it is, in a few words.
        description: in a sentence.
        licence: under which it may be used.
        bytes: size of the text; an upper limit where `sha256` is not known.
        sha256: of the text.
        file: its name in the corpora folder, if it is carried with charrnn.
        url: where the world keeps it.
        machine: how it is made from what this machine holds (python-stdlib, c-headers).
        unpack: what the download is packed with; ``none`` where it is the text itself.
        select: which members of an archive are meant, in the archive's order.
        archive_sha256: of the download.
        archive_bytes: upper limit of the size of the download.
    """

    name: str
    title: str
    description: str
    licence: str
    bytes: int | None = None
    sha256: str | None = None
    file: str | None = None
    url: str | None = None
    machine: str | None = None
    unpack: str = "none"
    select: list[str] = field(default_factory=list)
    archive_sha256: str | None = None
    archive_bytes: int | None = None

    @property
    def source(self) -> str:
        """Where it comes from, in a word or two."""
        if self.file:
            return "carried with charrnn"
        return "made from this machine" if self.machine else str(self.url)


def folder() -> Path:
    """The corpora carried with charrnn: inside an installed package, or beside it in a checkout."""
    here = Path(__file__).parents[2]
    installed = here / "_corpora"
    return installed if installed.is_dir() else here.parent / "corpora"


def registry() -> dict[str, Entry]:
    """All named corpora.

    Raises:
        CorpusError: the registry is damaged.
    """
    path = folder() / "registry.toml"
    try:
        return parse(path.read_bytes(), str(path))
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}") from error


def parse(data: bytes, where: str) -> dict[str, Entry]:
    """The entries of a registry; `where` names it in errors.

    Raises:
        CorpusError: it is damaged.
    """
    try:
        found = tomllib.loads(data.decode())
        entries = {name: Entry(name, **fields) for name, fields in found.items()}
    except (ValueError, TypeError, RecursionError) as error:
        raise CorpusError(f"{where} is damaged: it is no registry ({error})") from None
    for name, made in entries.items():
        wrong = [field for field, right in _right(made).items() if not right]
        if wrong:
            raise CorpusError(f"{where} is damaged: '{name}' has no such {wrong[0]}")
    return entries


def _right(entry: Entry) -> dict[str, bool]:
    """Whether what an entry says can be, by what it says."""
    texts = (entry.title, entry.description, entry.licence, entry.url or "")
    sizes = (entry.bytes, entry.archive_bytes)
    hashes = (entry.sha256, entry.archive_sha256)
    patterns = entry.select if isinstance(entry.select, list) else [None]
    return {
        "name": _PLAIN.fullmatch(entry.name) is not None,
        "words": all(isinstance(text, str) for text in texts),
        "size": all(size is None or (type(size) is int and size >= 0) for size in sizes),
        "hash": all(h is None or (isinstance(h, str) and _SHA256.fullmatch(h)) for h in hashes),
        "file": entry.file is None
        or (isinstance(entry.file, str) and _PLAIN.fullmatch(entry.file) is not None),
        "machine": entry.machine in (None, *MACHINE),
        "unpack": entry.unpack in UNPACK,
        "select": all(isinstance(pattern, str) for pattern in patterns),
        "source": sum(s is not None for s in (entry.file, entry.url, entry.machine)) == 1,
    }


def entry(name: str) -> Entry:
    """The entry called `name`.

    Raises:
        CorpusError: there is none; suggests the nearest.
    """
    known = registry()
    if name not in known:
        raise CorpusError(f"no corpus is called '{name}': {nearest(name, known)}")
    return known[name]


def paths(wanted: Entry) -> list[Path]:
    """The local files of a corpus, in order.

    Raises:
        CorpusError: it is not on this machine; says what would bring it here.
    """
    if wanted.file:
        return [folder() / wanted.file]
    if wanted.machine:
        return _machine_files(wanted)
    found = local_copy(wanted) or fetched(wanted)
    if found is None:
        raise CorpusError(
            f"{wanted.name} is not on this machine: 'charrnn corpora fetch {wanted.name}' brings "
            f"it from {wanted.url}; a copy in the folder CHARRNN_CORPORA would do as well"
        )
    return [found]


def is_here(wanted: Entry) -> bool:
    """Whether its files seem to be on this machine; their hashes are not looked at."""
    if wanted.url:
        return kept_at(wanted).is_file() or local_copy(wanted) is not None
    return wanted.machine != "c-headers" or Path(C_HEADERS).is_dir()


def kept_at(wanted: Entry) -> Path:
    """Where a fetched corpus is kept; a registry with other hashes means another file."""
    pin = wanted.sha256 or wanted.archive_sha256 or ""
    return cache_dir("corpora") / f"{wanted.name}-{pin[:12]}.txt"


def noted_at(wanted: Entry) -> Path:
    """Where the SHA-256 of a fetched text is noted, in the form of ``sha256sum``."""
    return kept_at(wanted).with_suffix(".sha256")


def fetched(wanted: Entry) -> Path | None:
    """The file of a corpus that was fetched, verified; None if it was not.

    Raises:
        CorpusError: the file is no longer what was fetched.
    """
    path = kept_at(wanted)
    if not path.is_file():
        return None
    try:
        expected = wanted.sha256 or noted_at(wanted).read_text("ascii").split()[0]
    except (OSError, ValueError, IndexError):
        return None  # without its hash the text is worth nothing
    if sha256_of(path) != expected:
        raise CorpusError(
            f"{path} is no longer what was fetched: remove it, then "
            f"'charrnn corpora fetch {wanted.name}' brings {wanted.name} anew"
        )
    return path


def _machine_files(wanted: Entry) -> list[Path]:
    if wanted.machine == "python-stdlib":
        files = _readable(Path(sysconfig.get_path("stdlib")), "*.py", "site-packages")
    else:
        files = _readable(Path(C_HEADERS), "*.h")
    if not files:
        raise CorpusError(f"{wanted.name}: this machine holds no such files")
    return files


def _readable(root: Path, pattern: str, left_out: str = "") -> list[Path]:
    """Files below `root`, sorted, that are UTF-8 (a few test files are not, on purpose)."""
    return [
        path
        for path in sorted(root.rglob(pattern))
        if path.is_file() and left_out not in path.parts[len(root.parts) :] and _is_text(path)
    ]


def _is_text(path: Path) -> bool:
    try:
        path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return True


def local_copy(wanted: Entry) -> Path | None:
    """A file of the right size and hash in the folder of local copies."""
    return _copy_of(wanted.sha256, wanted.bytes or 0, wanted.bytes)


def local_archive(wanted: Entry) -> Path | None:
    """The download that holds the text, in the folder of local copies."""
    return _copy_of(wanted.archive_sha256, 0, wanted.archive_bytes)


def _copy_of(sha256: str | None, least: int, most: int | None) -> Path | None:
    folder = os.environ.get("CHARRNN_CORPORA")
    if not folder or sha256 is None or most is None:
        return None
    possible = (
        path
        for path in sorted(Path(folder).glob("*"))
        if path.is_file() and least <= path.stat().st_size <= most
    )
    return next((path for path in possible if sha256_of(path) == sha256), None)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
