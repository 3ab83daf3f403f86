"""Look up named corpora in ``corpora/registry.toml`` and find their verified local files.

A corpus is included in charrnn, made from files of this machine, or known by its URL and SHA-256.
The latter are found by hash in the folder of local copies that the environment variable
``CHARRNN_CORPORA`` names, or where `charrnn.text.named.fetch` has put them. Nothing is downloaded
here.
"""

from __future__ import annotations

import hashlib
import os
import re
import sysconfig
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from charrnn.errors import CorpusError, excerpt, nearest
from charrnn.storage.cache_dir import cache_dir

C_HEADERS = "/usr/include"
MACHINE = ("python-stdlib", "c-headers")
UNPACK = ("none", "gzip", "zip", "tar.gz", "tar.xz")
_PLAIN = re.compile(r"\w[\w.-]{0,99}")  # a name that cannot lead to another folder
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """One named corpus.

    Attributes:
        name: what users type.
        title: a few words.
        description: a sentence.
        licence: the licence of the text.
        bytes: size of the text; an upper limit if `sha256` is not known.
        sha256: of the text.
        file: its name in the corpora folder, if it is included in charrnn.
        url: where to download it.
        machine: which files of this machine make it: python-stdlib or c-headers.
        unpack: the format of the download; ``none`` if it is the text itself.
        select: patterns of the members of an archive that make the text, in the archive's order.
        archive_sha256: of the download.
        archive_bytes: upper limit of the download's size.
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
        """Where it comes from, in a few words."""
        if self.file:
            return "included in charrnn"
        return "read from this machine" if self.machine else str(self.url)


def folder() -> Path:
    """Return the folder of included corpora: in an installed package, or next to a checkout's."""
    here = Path(__file__).parents[2]
    installed = here / "_corpora"
    return installed if installed.is_dir() else here.parent / "corpora"


def entries() -> dict[str, Entry]:
    """Return all named corpora.

    Raises:
        CorpusError: the registry is damaged.
    """
    path = folder() / "registry.toml"
    try:
        return parse(path.read_bytes(), str(path))
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}") from error


def parse(data: bytes, where: str) -> dict[str, Entry]:
    """Return the entries of a registry; `where` names it in errors.

    Raises:
        CorpusError: the registry is damaged.
    """
    try:
        found = tomllib.loads(data.decode())
        made = {name: Entry(name, **fields) for name, fields in found.items()}
    except (ValueError, TypeError, RecursionError) as error:
        raise CorpusError(f"{where} is damaged: it is not a registry ({error})") from None
    for name, entry in made.items():
        wrong = [field for field, valid in _valid_fields(entry).items() if not valid]
        if wrong:
            raise CorpusError(f"{where} is damaged: the {wrong[0]} of '{name}' is invalid")
    return made


def _valid_fields(entry: Entry) -> dict[str, bool]:
    """Return whether each group of an entry's fields is valid."""
    texts = (entry.title, entry.description, entry.licence, entry.url or "")
    sizes = (entry.bytes, entry.archive_bytes)
    hashes = (entry.sha256, entry.archive_sha256)
    patterns = entry.select if isinstance(entry.select, list) else [None]
    return {
        "name": _PLAIN.fullmatch(entry.name) is not None,
        "text": all(isinstance(text, str) for text in texts),
        "size": all(size is None or (type(size) is int and size >= 0) for size in sizes),
        "hash": all(h is None or (isinstance(h, str) and _SHA256.fullmatch(h)) for h in hashes),
        "file": entry.file is None
        or (isinstance(entry.file, str) and _PLAIN.fullmatch(entry.file) is not None),
        "machine": entry.machine in (None, *MACHINE),
        "unpack": entry.unpack in UNPACK,
        "select": all(isinstance(pattern, str) for pattern in patterns),
        "source": sum(s is not None for s in (entry.file, entry.url, entry.machine)) == 1,
    }


def find(name: str) -> Entry:
    """Return the entry of a name.

    Raises:
        CorpusError: there is none; the message suggests the nearest name.
    """
    known = entries()
    if name not in known:
        raise CorpusError(f"no corpus is called '{excerpt(name)}': {nearest(name, known)}")
    return known[name]


def paths(entry: Entry) -> list[Path]:
    """Return the local files of a corpus, in order.

    Raises:
        CorpusError: it is not on this machine; the message says how to get it.
    """
    if entry.file:
        return [folder() / entry.file]
    if entry.machine:
        return _machine_files(entry)
    found = local_copy(entry) or fetched(entry)
    if found is None:
        raise CorpusError(
            f"{entry.name} is not on this machine: 'charrnn corpora fetch {entry.name}' "
            f"downloads it from {entry.url}; a copy in the folder that CHARRNN_CORPORA names "
            "works, too"
        )
    return [found]


def is_here(entry: Entry) -> bool:
    """Return whether its files seem to be on this machine, without checking their hashes."""
    if entry.url:
        return cached_path(entry).is_file() or local_copy(entry) is not None
    return entry.machine != "c-headers" or Path(C_HEADERS).is_dir()


def cached_path(entry: Entry) -> Path:
    """Return where a fetched corpus is cached; an entry with another hash has another file."""
    pin = entry.sha256 or entry.archive_sha256 or ""
    return cache_dir("corpora") / f"{entry.name}-{pin[:12]}.txt"


def hash_path(entry: Entry) -> Path:
    """Return the file that holds the SHA-256 of a fetched text, as ``sha256sum`` writes it."""
    return cached_path(entry).with_suffix(".sha256")


def fetched(entry: Entry) -> Path | None:
    """Return the verified file of a fetched corpus; None if it was not fetched.

    Raises:
        CorpusError: the file was changed since.
    """
    path = cached_path(entry)
    if not path.is_file():
        return None
    try:
        expected = entry.sha256 or hash_path(entry).read_text("ascii").split()[0]
    except (OSError, ValueError, IndexError):
        return None  # the text cannot be verified without its hash
    if sha256_of(path) != expected:
        raise CorpusError(
            f"{path} has changed since it was fetched: remove it, then "
            f"'charrnn corpora fetch {entry.name}' fetches it again"
        )
    return path


def _machine_files(entry: Entry) -> list[Path]:
    if entry.machine == "python-stdlib":
        files = _readable(Path(sysconfig.get_path("stdlib")), "*.py", "site-packages")
    else:
        files = _readable(Path(C_HEADERS), "*.h")
    if not files:
        raise CorpusError(f"{entry.name}: this machine has no such files")
    return files


def _readable(root: Path, pattern: str, left_out: str = "") -> list[Path]:
    """Return the UTF-8 files below `root`, sorted (a few test files are not UTF-8, on purpose)."""
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


def local_copy(entry: Entry) -> Path | None:
    """Return the corpus in the folder of local copies, found by size and hash."""
    return _copy_of(entry.sha256, entry.bytes or 0, entry.bytes)


def local_archive(entry: Entry) -> Path | None:
    """Return the corpus's download in the folder of local copies, found by size and hash."""
    return _copy_of(entry.archive_sha256, 0, entry.archive_bytes)


def _copy_of(sha256: str | None, min_bytes: int, max_bytes: int | None) -> Path | None:
    folder = os.environ.get("CHARRNN_CORPORA")
    if not folder or sha256 is None or max_bytes is None:
        return None
    possible = (
        path
        for path in sorted(Path(folder).glob("*"))
        if path.is_file() and min_bytes <= path.stat().st_size <= max_bytes
    )
    return next((path for path in possible if sha256_of(path) == sha256), None)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
