"""Named corpora: ``corpora/registry.toml`` -> a verified local file.

An entry is carried with charrnn, made from what the machine holds, or known by its address and
SHA-256. A folder of local copies (the environment variable ``CHARRNN_CORPORA``) is looked at for
those, by hash. Nothing is downloaded here.
"""

from __future__ import annotations

import hashlib
import os
import sysconfig
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from charrnn.errors import CorpusError, nearest

C_HEADERS = "/usr/include"


@dataclass(frozen=True)
class Entry:
    """One named corpus.

    Attributes:
        name: what users type.
        title: what it is, in a few words.
        description: in a sentence.
        licence: under which it may be used.
        bytes: size of the text, where known.
        sha256: of the text, where known.
        file: its name in the corpora folder, if it is carried with charrnn.
        url: where the world keeps it.
        machine: how it is made from what this machine holds (python-stdlib, c-headers).
        unpack: what the download is packed with.
        select: which members of an archive are meant.
        archive_sha256: of the download.
        archive_bytes: size of the download.
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
    here = Path(__file__).parent
    installed = here / "_corpora"
    return installed if installed.is_dir() else here.parent / "corpora"


def registry() -> dict[str, Entry]:
    """All named corpora."""
    with (folder() / "registry.toml").open("rb") as file:
        return {name: Entry(name, **fields) for name, fields in tomllib.load(file).items()}


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
    found = _local_copy(wanted)
    if found is None:
        advice = f"{wanted.name} is not on this machine: download {wanted.url} and name its file"
        if wanted.sha256:  # else nothing would tell the right file from another
            advice += ", or put it into a folder and set CHARRNN_CORPORA to that"
        raise CorpusError(advice)
    return [found]


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


def _local_copy(wanted: Entry) -> Path | None:
    """A file of the right size and hash in the folder of local copies."""
    if wanted.sha256 is None or "CHARRNN_CORPORA" not in os.environ:
        return None
    return next(_matching(Path(os.environ["CHARRNN_CORPORA"]), wanted), None)


def _matching(root: Path, wanted: Entry) -> Iterator[Path]:
    for path in sorted(root.glob("*")):
        if path.is_file() and wanted.bytes in (None, path.stat().st_size):
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == wanted.sha256:
                    yield path
