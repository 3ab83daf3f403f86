"""Text files as one text: UTF-8, byte order mark dropped, newlines as they are unless asked.

What is read is never changed silently: every change, and everything odd, is a notice.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from charrnn.errors import CorpusError, OptionError

BOM = "\ufeff"
# Files that people point a text tool at by mistake, by their first bytes.
_NOT_TEXT = {
    b"\x1f\x8b": "a gzip archive: unpack it first",
    b"BZh": "a bzip2 archive: unpack it first",
    b"\xfd7zXZ": "an xz archive: unpack it first",
    b"\x28\xb5\x2f\xfd": "a zstandard archive: unpack it first",
    b"PK\x03\x04": "a zip archive (or an office document): unpack it, or save it as plain text",
    b"%PDF": "a PDF document: save it as plain text first",
    b"\xff\xfe": "UTF-16 text: convert it first, with 'iconv -f UTF-16 -t UTF-8'",
    b"\xfe\xff": "UTF-16 text: convert it first, with 'iconv -f UTF-16 -t UTF-8'",
}


@dataclass(frozen=True)
class Corpus:
    """A text and where it came from.

    Attributes:
        name: a short name, from the first file's.
        text: the text, one `str` (code points).
        num_bytes: its length in UTF-8.
        sha256: of its UTF-8 bytes.
        files: where it was read from.
        newline: what was done with its line ends (keep or lf).
        notices: sentences about what was seen or changed while reading.
    """

    name: str
    text: str
    num_bytes: int
    sha256: str
    files: tuple[str, ...] = ()
    newline: str = "keep"
    notices: tuple[str, ...] = ()


def read(paths: Sequence[str | Path], newline: str = "keep") -> Corpus:
    """Read files (a folder stands for all its files, ``-`` for standard input) one after another.

    Raises:
        CorpusError: a file is missing, empty, or not UTF-8 (with byte offset and line).
    """
    if newline not in ("keep", "lf"):
        raise OptionError(f"--newline '{newline}' is not known: use keep or lf")
    notices: list[str] = []
    texts = []
    files = _sources(paths)
    for source in files:
        text = _decode(source, _load(source), notices)
        if "\r\n" in text:
            text = _newlines(source, text, newline, notices)
        texts.append(text)
    text = "".join(texts)
    encoded = text.encode()
    if not text:
        raise CorpusError(f"{_names(paths)} is empty (0 characters): there is nothing to learn")
    name = "stdin" if str(paths[0]) == "-" else Path(paths[0]).resolve().name.split(".")[0]
    digest = hashlib.sha256(encoded).hexdigest()
    return Corpus(
        name=name or "text",
        text=text,
        num_bytes=len(encoded),
        sha256=digest,
        files=tuple(str(file if str(file) == "-" else file.resolve()) for file in files),
        newline=newline,
        notices=tuple(notices),
    )


def _names(paths: Sequence[str | Path]) -> str:
    return ", ".join("standard input" if str(path) == "-" else str(path) for path in paths)


def _sources(paths: Sequence[str | Path]) -> list[Path]:
    """All files in order; those of a folder sorted by name, hidden ones left out."""
    files: list[Path] = []
    if any(str(path) == "" for path in paths):
        raise CorpusError("a file's name is empty: name a text file, or a folder of them")
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(
                p
                for p in path.rglob("*")
                if p.is_file() and not any(x.startswith(".") for x in p.relative_to(path).parts)
            )
            if not inside:
                raise CorpusError(
                    f"{path} is an empty folder: name a text file, or a folder of them"
                )
            files += inside
        else:
            files.append(path)
    return files


def _load(path: Path) -> bytes:
    try:
        if str(path) != "-":
            return path.read_bytes()
        return sys.stdin.buffer.read() if sys.stdin else b""  # closed: nothing to read
    except FileNotFoundError:
        raise CorpusError(
            f"{path} does not exist (looked in {Path.cwd()}): name a text file"
        ) from None
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}") from error


def _decode(path: Path, data: bytes, notices: list[str]) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        start = error.start
        for magic, what in _NOT_TEXT.items():
            if data.startswith(magic):
                raise CorpusError(f"{path} is {what}") from None
        line = data.count(b"\n", 0, start) + 1
        raise CorpusError(
            f"{path} is not UTF-8: byte {data[start : start + 1].hex(' ')} at offset {start}, line "
            f"{line} ({error.reason}): convert it, for instance 'iconv -f LATIN1 -t UTF-8'"
        ) from None
    if text.startswith(BOM):
        notices.append(f"{path}: a byte order mark at its start was dropped")
        text = text[len(BOM) :]
    return text


def _newlines(path: Path, text: str, newline: str, notices: list[str]) -> str:
    if newline == "lf":
        notices.append(f"{path}: CR LF line ends were made LF")
        return text.replace("\r\n", "\n")
    notices.append(f"{path}: lines end in CR LF and stay so (--newline lf makes them LF)")
    return text
