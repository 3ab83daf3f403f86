"""The text of documents: .docx, .odt, .epub, .html, .rtf and .ipynb.

Every paragraph, heading, item of a list and row of a table is one line; the cells of a row are
separated by tabs, those of a notebook by an empty line. An empty paragraph is an empty line, except
in HTML and books. Left out are headers, footers, notes, comments, deleted text, tables of contents
and the outputs of notebooks. A book is one document, whatever its chapters.

This text is what is hashed, cached and compared when a training is resumed: a version of a library
that extracts another text makes another dataset.

Documents may come from strangers: archives are unpacked up to a limit, entities are not expanded,
and nothing is loaded from elsewhere.
"""

from __future__ import annotations

import json
import posixpath
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import unquote

from charrnn.config import Reading
from charrnn.errors import CorpusError, excerpt, missing_package
from charrnn.text import markup, rich_text
from charrnn.text.file_kinds import DAMAGED_ARCHIVE
from charrnn.text.sources import CHUNK, Advance, Source, too_large, unpacked_limit

HTML = "html"  # decoded like a text before its markup is removed
MAX_WHOLE = 2**28  # bytes of a document that is read as a whole
MAX_TREE = 2**23  # bytes of XML of which a tree is built
# Of a sound file whose structure is not that of such a document.
_STRANGE = (LookupError, TypeError, AttributeError, RecursionError, OverflowError)
_PACKAGES = {"docx": "lxml", "odt": "lxml", "epub": "lxml", HTML: "lxml", "rtf": "striprtf"}


def check_package(source: Source) -> None:
    """Refuse a document for which a package is not installed.

    Raises:
        CorpusError: says how to install it, and how to leave such files out.
    """
    package = _PACKAGES.get(source.format)
    if package is None:
        return
    try:
        __import__(package)
    except ImportError:
        sentence = missing_package(f"reading {source.name}", package, "documents")
        raise CorpusError(
            f"{sentence}, or leave such files out with --exclude '*.{source.format}'"
        ) from None


def text_of(source: Source, reading: Reading, advance: Advance) -> Iterator[bytes]:
    """Yield the text of a document, other than HTML, in blocks of UTF-8.

    Raises:
        CorpusError: it is damaged, encrypted, or larger than its limit.
    """
    try:
        for text in _EXTRACTORS[source.format](source, reading):
            yield text.encode("utf-8", "replace")
    except (*DAMAGED_ARCHIVE, *_STRANGE) as error:
        raise _damaged(source, error) from None
    advance(source.size)


def html_lines(source: Source, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the text of HTML that is given in blocks of UTF-8.

    Raises:
        CorpusError: it is damaged.
    """
    try:
        for text in markup.lines(markup.HtmlTarget(), blocks):
            yield text.encode()
    except ValueError as error:
        raise _damaged(source, error) from None


def _damaged(source: Source, error: Exception) -> CorpusError:
    why = "its structure is not known" if isinstance(error, _STRANGE) else excerpt(error)
    what = f"the text of {source.name} cannot be extracted"
    return CorpusError(f"{what} ({why}): save it as plain text")


class _Archive:
    """The members of a document that is a zip archive, unpacked up to a limit."""

    def __init__(self, source: Source, archive: zipfile.ZipFile, limit: int) -> None:
        self._source, self._archive = source, archive
        self._limit = self._left = limit

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of a member; what the archive states about its size is not trusted."""
        if self._archive.getinfo(name).flag_bits & 1:
            raise _encrypted(self._source)
        with self._archive.open(name) as member:
            while chunk := member.read(CHUNK):
                self._left -= len(chunk)
                if self._left < 0:
                    raise too_large(self._source.name, self._source.size, self._limit)
                yield chunk

    def xml(self, name: str) -> Any:
        """Return the root element of a small member."""
        from lxml import etree

        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
        data = bytearray()
        for chunk in self.chunks(name):
            data += chunk
            if len(data) > MAX_TREE:  # its tree takes many times as much memory
                raise ValueError(f"its {name} has more than {MAX_TREE:,} bytes")
        try:
            return etree.fromstring(bytes(data), parser)
        except etree.LxmlError as error:
            raise ValueError(str(error)) from None

    def has(self, name: str) -> bool:
        """Return whether there is such a member."""
        return name in self._archive.namelist()


def _encrypted(source: Source) -> CorpusError:
    return CorpusError(f"{source.name} is encrypted: save it without a password or protection")


def _with_archive(
    extract: Callable[[_Archive, Source], Iterator[str]],
) -> Callable[[Source, Reading], Iterator[str]]:
    """Return an extractor that opens a document's archive first."""

    def extracted(source: Source, reading: Reading) -> Iterator[str]:
        with source.opened() as file, zipfile.ZipFile(file) as archive:
            limit = unpacked_limit(source.size, reading.max_unpacked)
            yield from extract(_Archive(source, archive, limit), source)

    return extracted


def _docx(archive: _Archive, source: Source) -> Iterator[str]:
    parts = [
        part.get("Target")
        for part in archive.xml("_rels/.rels")
        if part.get("Type", "").endswith("/officeDocument")
    ]
    name = posixpath.normpath(parts[0].lstrip("/")) if parts else "word/document.xml"
    yield from markup.lines(markup.WordTarget(), archive.chunks(name))


def _odt(archive: _Archive, source: Source) -> Iterator[str]:
    if archive.has("META-INF/manifest.xml"):
        manifest = archive.xml("META-INF/manifest.xml")
        if manifest.find(".//{*}encryption-data") is not None:
            raise _encrypted(source)
    yield from markup.lines(markup.OpenDocumentTarget(), archive.chunks("content.xml"))


def _epub(archive: _Archive, source: Source) -> Iterator[str]:
    """Yield the chapters of a book in their order, without its table of contents."""
    package = archive.xml("META-INF/container.xml").find(".//{*}rootfile").get("full-path")
    book = archive.xml(package)
    items = {item.get("id"): item for item in book.iterfind("{*}manifest/{*}item")}
    protected = set()
    if archive.has("META-INF/encryption.xml"):
        references = archive.xml("META-INF/encryption.xml").iter("{*}CipherReference")
        protected = {unquote(reference.get("URI", "")) for reference in references}
    for place in book.iterfind("{*}spine/{*}itemref"):
        item = items[place.get("idref")]
        if "nav" in item.get("properties", "").split():
            continue
        path = posixpath.join(posixpath.dirname(package), unquote(item.get("href")))
        path = posixpath.normpath(path)
        if path in protected:
            raise _encrypted(source)
        yield from markup.lines(markup.HtmlTarget(), archive.chunks(path))


def _rtf(source: Source, reading: Reading) -> Iterator[str]:
    # Almost all of it is ASCII; characters beyond are escapes in the encoding that it names.
    text = _whole(source, reading).decode("cp1252", "replace")
    yield rich_text.plain(text, reading.errors).rstrip("\n") + "\n"


def _ipynb(source: Source, reading: Reading) -> Iterator[str]:
    """Yield the text and the code of a notebook's cells, with an empty line between cells."""
    notebook = json.loads(_whole(source, reading))
    sheets = notebook.get("worksheets", [notebook])  # of notebooks before version 4
    cells = [cell for sheet in sheets for cell in sheet["cells"]]
    for number, cell in enumerate(cells):
        lines = cell.get("source", cell.get("input", ""))
        text = "".join(lines).rstrip("\n")
        if text:
            yield ("\n" if number else "") + text + "\n"


def _whole(source: Source, reading: Reading) -> bytes:
    data = bytearray()
    for chunk in source.chunks(reading.max_unpacked):
        data += chunk
        if len(data) > MAX_WHOLE:
            raise CorpusError(
                f"{source.name} has more than {MAX_WHOLE:,} bytes: save it as plain text"
            )
    return bytes(data)


_EXTRACTORS: dict[str, Callable[[Source, Reading], Iterator[str]]] = {
    "docx": _with_archive(_docx),
    "odt": _with_archive(_odt),
    "epub": _with_archive(_epub),
    "rtf": _rtf,
    "ipynb": _ipynb,
}
