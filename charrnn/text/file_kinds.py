"""Kinds of files: text, documents that hold text, and everything else that lies beside them.

A kind follows from the first bytes. Only markup that could be a text as well (HTML, RTF, notebooks,
SVG) is told by the file's name, and so is what programs leave behind in folders.
"""

from __future__ import annotations

import codecs
import lzma
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import PurePath

from charrnn.config import AUTO
from charrnn.errors import CorpusError
from charrnn.text.sources import Source

TEXT = "text"
# Formats whose text can be extracted, by the end of the name; and archives, by what they hold.
_BY_SUFFIX = {
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".rtf": "rtf",
    ".ipynb": "ipynb",
}
_BY_MIME_TYPE = {
    b"application/epub+zip": "epub",
    b"application/vnd.oasis.opendocument.text": "odt",
}
_BY_MEMBER = {"word/": "docx", "META-INF/container.xml": "epub"}
_MIME_TYPE = re.compile(rb"PK\x03\x04.{26}mimetype(application/[\w.+-]*\w)(?:PK|$)", re.DOTALL)
_PACKED = {".gz", ".bz2", ".xz", ".zst"}
_LITTER = {
    "Thumbs.db": "previews of Windows",
    "desktop.ini": "settings of Windows",
    ".DS_Store": "settings of macOS",
}
# What is not text, by its first bytes: what it is, and what to do about it.
_NOT_TEXT = {
    b"PK\x05\x06": ("an empty zip archive", ""),
    b"%PDF": ("a PDF document", "save it as plain text first"),
    b"7z\xbc\xaf": ("a 7z archive", "unpack it first"),
    b"Rar!": ("a RAR archive", "unpack it first"),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": (
        "an old or encrypted Office document",
        "save it as .docx, without a password",
    ),
    b"\x89PNG": ("a picture", ""),
    b"\xff\xd8\xff": ("a picture", ""),
    b"GIF8": ("a picture", ""),
    b"ID3": ("audio", ""),
    b"OggS": ("audio", ""),
    b"fLaC": ("audio", ""),
    b"GGUF": ("a model", ""),
    b"SQLite format 3\0": ("a database", ""),
}
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
# Shares of NUL in binary data, and in text of two bytes a character.
_NUL_SHARE, _WIDE_SHARE = 1e-3, 0.3
_CONTROL_SHARE = 0.02  # of control characters in binary data; chance gives 0.1
# Those that no text has: logs of terminals have BEL, BS and ESC.
_CONTROLS = bytes({*range(1, 32), 127} - set(b"\a\b\t\n\v\f\r\x1a\x1b"))


# What zipfile raises for damaged archives.
DAMAGED_ARCHIVE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, ValueError, NotImplementedError),
)


@dataclass(frozen=True)
class Kind:
    """The kind of a file.

    Attributes:
        format: ``text``, or what its text is extracted from; "" if it is not text.
        what: what it is, if it is not text, such as "a picture".
        advice: what to do about it, if anything.
        certain: whether the kind is known, not only guessed from the share of strange bytes.
    """

    format: str = TEXT
    what: str = ""
    advice: str = ""
    certain: bool = True

    def refusal(self, name: str) -> CorpusError:
        """Return the error for a file of this kind."""
        return CorpusError(f"{name} is {self.what}{self.advice and ': '}{self.advice}")


def litter(name: str) -> str:
    """Return what a file is that a program left behind, by its name; "" for others."""
    if name.startswith("~$") or (name.startswith(".~lock.") and name.endswith("#")):
        return "a lock file"
    if name.startswith("._"):
        return "settings of macOS"
    return _LITTER.get(name, "")


def kind_of(source: Source, encoding: str, max_unpacked: int | None) -> Kind:
    """Return the kind of a file.

    Args:
        source: the file.
        encoding: as in `Reading`: in an encoding that is not like ASCII, any byte may be text.
        max_unpacked: as in `Reading`.

    Raises:
        CorpusError: it cannot be read.
    """
    path = PurePath(source.name)
    if path.suffix.lower() in _PACKED:
        path = path.with_suffix("")
    head = source.head(max_unpacked)
    suffix = path.suffix.lower()
    if head.startswith(b"PK\x03\x04"):
        return _archive(source, head)
    for magic, (what, advice) in _NOT_TEXT.items():
        if head.startswith(magic):
            return Kind("", what, advice)
    if head[257:262] == b"ustar":
        packed = "" if _is_plain(source, head) else "compressed "
        return Kind("", f"a {packed}tar archive", "unpack it first")
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 2**30:
        return Kind("", "a model", "name the text that it was trained on")
    if suffix == ".svg":
        return Kind("", "a picture")
    if suffix == ".rtf" and not head.startswith(b"{\\rtf"):
        return Kind()
    if suffix in _BY_SUFFIX:
        return Kind(_BY_SUFFIX[suffix])
    return _of_bytes(head, encoding) if is_like_ascii(encoding) else Kind()


def is_like_ascii(encoding: str) -> bool:
    """Return whether ASCII text has the same bytes in an encoding; ``auto`` begins with UTF-8."""
    if encoding == AUTO:
        return True
    sample = bytes(range(32, 127))
    try:
        return sample.decode(encoding, "replace").encode() == sample
    except UnicodeError:  # a codec for names of hosts
        return False


def _archive(source: Source, head: bytes) -> Kind:
    """Return the kind of a zip archive, which many documents are."""
    declared = _MIME_TYPE.match(head)
    name = _BY_MIME_TYPE.get(declared[1], "") if declared else ""
    if not _is_plain(source, head):
        return Kind("", "a compressed zip archive", "unpack it first")
    if not declared:
        try:
            with source.opened() as file, zipfile.ZipFile(file) as archive:
                members = archive.namelist()
        except DAMAGED_ARCHIVE:
            members = []
        found = [name for start, name in _BY_MEMBER.items() if _any(members, start)]
        name = found[0] if found else ""
    if name:
        return Kind(name)
    return Kind("", "a zip archive or an office document", "unpack it, or save it as plain text")


def _any(members: list[str], start: str) -> bool:
    return any(member.startswith(start) for member in members)


def _is_plain(source: Source, head: bytes) -> bool:
    """Return whether a file begins with these bytes as it is, without decompression."""
    with source.opened() as file:
        return file.read(16) == head[:16]


def _of_bytes(head: bytes, encoding: str) -> Kind:
    """Return whether bytes are text, from the share of those that no text has."""
    if head.startswith(_MARKS):
        return Kind()
    nuls = head.count(0)
    controls = len(head) - len(head.translate(None, _CONTROLS))
    wide = nuls > _WIDE_SHARE * len(head)
    what = "binary data, or UTF-16 without a byte order mark" if wide else "binary data"
    if not _is_utf8(head):
        if max(nuls / _NUL_SHARE, controls / _CONTROL_SHARE) <= len(head):
            return Kind()
        advice = "if it is text, name its encoding with --encoding"
        return Kind("", what, advice, certain=encoding == AUTO)
    if wide or controls > _CONTROL_SHARE * len(head):  # but NUL may separate documents
        return Kind("", what, certain=False)
    return Kind()


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True
