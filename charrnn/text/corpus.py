"""Sources as one text: a stream of UTF-8 in small blocks, its encoding and line ends as asked.

A text is read twice and never held whole: `read` goes through it once, checks it and counts its
characters; `Corpus.pieces` gives it again, document by document. What is read is never changed
silently: every change, and everything odd, is a notice.
"""

from __future__ import annotations

import codecs
import hashlib
import itertools
import shutil
import unicodedata
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.config import Reading
from charrnn.errors import CorpusError
from charrnn.storage import files
from charrnn.text import sources
from charrnn.text.sources import Source

BOM = "\ufeff"
CODE_POINTS = 0x110000
_SMALL = 2**13  # bytes beyond ASCII at a time
_BINARY, _WIDE = 1e-3, 0.3  # a larger part of NULs is no text, or a wider encoding
# Files that people point a text tool at by mistake, by their first bytes, and what to do.
_NOT_TEXT = {
    b"PK\x03\x04": "a zip archive (or an office document): unpack it, or save it as plain text",
    b"%PDF": "a PDF document: save it as plain text first",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"Rar!": "a RAR archive: unpack it first",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\xff\xfe\x00\x00": "UTF-32 text: read it with --encoding utf-32",
    b"\x00\x00\xfe\xff": "UTF-32 text: read it with --encoding utf-32",
    b"\xff\xfe": "UTF-16 text: read it with --encoding utf-16",
    b"\xfe\xff": "UTF-16 text: read it with --encoding utf-16",
}

# Called with what is being done, and how many bytes of how many are done.
Progress = Callable[[str, int, int], None]


def silent(what: str, done: int, total: int) -> None:
    """A progress that nobody watches."""


class Piece(NamedTuple):
    """Some of a text: UTF-8, cut between characters; a document begins with it, or goes on."""

    begins: bool
    data: bytes


def code_points(block: bytes) -> NDArray[np.unsignedinteger[Any]]:
    """The code points of valid UTF-8, in the smallest type that Python decodes it to for nothing.

    Raises:
        UnicodeDecodeError: it is not valid.
    """
    if block.isascii():
        return np.frombuffer(block, np.uint8)
    text = block.decode()
    units = np.frombuffer(text.encode("utf-16-le"), "<u2")
    return units if len(units) == len(text) else np.frombuffer(text.encode("utf-32-le"), "<u4")


def characters(block: bytes) -> int:
    """How many characters valid UTF-8 holds."""
    if block.isascii():
        return len(block)
    signed = np.frombuffer(block, np.int8)
    return int(np.count_nonzero(signed >= -0x40))  # all bytes but 10xxxxxx begin one


class _Counts:
    """How often each code point occurs."""

    def __init__(self) -> None:
        self._points = np.zeros(CODE_POINTS, np.int64)
        self._pairs = np.zeros(2**16, np.int64)  # of ASCII: two at a time take half as long

    def add(self, block: bytes) -> None:
        points = code_points(block)
        if points.itemsize == 1:
            self._points[points[len(points) & ~1 :]] += 1
            np.add.at(self._pairs, points[: len(points) & ~1].view(np.uint16), 1)
        else:
            np.add.at(self._points, points, 1)

    def total(self) -> NDArray[np.int64]:
        """The counts of all code points; adding ends."""
        pairs = self._pairs.reshape(256, 256)
        self._points[:256] += pairs.sum(0) + pairs.sum(1)
        return self._points


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text that was read once, and can be read again.

    Attributes:
        name: a short name, from the first file's.
        sources: where it comes from.
        reading: how it is read.
        num_bytes: its length in UTF-8.
        characters: its length in code points.
        sha256: of its UTF-8 bytes.
        crc32: of the same: enough to notice when they are others once they are read again.
        points: the code points that occur, sorted.
        counts: how often each of them does.
        lengths: characters of each document.
        digests: 64 bits of each document's hash.
        notices: sentences about what was seen or changed while reading.
    """

    name: str
    sources: tuple[Source, ...]
    reading: Reading
    num_bytes: int
    characters: int
    sha256: str
    crc32: int
    points: NDArray[np.int64]
    counts: NDArray[np.int64]
    lengths: NDArray[np.uint64]
    digests: NDArray[np.uint64]
    notices: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """The files it comes from; ``-`` is what could be read only once."""
        return tuple(
            "-" if source.once or source.path is None else str(source.path.resolve())
            for source in self.sources
        )

    def kept(self, folder: Path, name: str) -> tuple[str, ...]:
        """The files it can be read from later: what could be read only once is copied there."""
        files = list(self.files)
        for index, source in enumerate(self.sources):
            if source.once and source.path is not None:
                copy = folder / (f"{name}.txt" if index == 0 else f"{name}-{index + 1}.txt")
                shutil.copyfile(source.path, copy)
                files[index] = str(copy.resolve())
        return tuple(files)

    @property
    def text(self) -> str:
        """The whole text at once, for those who have the memory."""
        return b"".join(piece.data for piece in self.pieces()).decode()

    def documents(self) -> Iterator[tuple[str, bytes]]:
        """Its documents one by one: the name of the file, and the text; none is empty."""
        separator = self.reading.document_separator.encode()
        for source in self.sources:
            held: list[bytes] = []
            for piece in _documents(_Blocks([source], self.reading, silent, ""), separator):
                if piece.begins and held:
                    yield source.name, b"".join(held)
                    held = []
                held.append(piece.data)
            if held:
                yield source.name, b"".join(held)

    def pieces(self, progress: Progress = silent, what: str = "reading") -> Iterator[Piece]:
        """The text again.

        Raises:
            CorpusError: it is not what it was.
        """
        blocks = _Blocks(self.sources, self.reading, progress, what)
        separator = self.reading.document_separator.encode()
        crc32 = 0
        for piece in _documents(blocks, separator):
            crc32 = zlib.crc32(piece.data, crc32)
            yield piece
        if crc32 != self.crc32:
            raise CorpusError(f"{self.name} changed since it was read first: try again")


def read(
    paths: Sequence[str | Path], reading: Reading | None = None, progress: Progress = silent
) -> Corpus:
    """Read files (folders, patterns, ``-`` for standard input) one after another, as one text.

    Raises:
        CorpusError: a file is missing, empty, damaged, or not in its encoding (with byte offset
            and line).
    """
    if not paths:
        raise CorpusError("no file is named: name a text file, or a folder of them")
    reading = reading or Reading()
    assert isinstance(reading.include, tuple)
    assert isinstance(reading.exclude, tuple)
    found = sources.find(paths, reading.include, reading.exclude)
    names = ", ".join("standard input" if str(path) == "-" else str(path) for path in paths)
    name = "stdin" if str(paths[0]) == "-" else Path(paths[0]).resolve().name.split(".")[0]
    return _survey(_slug(name), names, found, reading, progress)


def from_text(text: str, name: str = "text", separator: str = "") -> Corpus:
    """A text at hand as a corpus."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise CorpusError(f"{name} holds what is no character, at {error.start}") from None
    reading = Reading(document_separator=separator)
    return _survey(name, name, [Source(name, data=data)], reading, silent, as_it_is=True)


def _slug(name: str) -> str:
    """A name of a folder, from a file's or a pattern's."""
    kept = "".join("" if character in '*?[]"<>|:' else character for character in name)
    return kept.strip() or "text"


def _survey(
    name: str,
    names: str,
    found: Sequence[Source],
    reading: Reading,
    progress: Progress,
    *,
    as_it_is: bool = False,
) -> Corpus:
    """Go through a text once: check and count."""
    blocks = _Blocks(found, reading, progress, "reading", mark=not as_it_is)
    counting = _Counts()
    digest = _Digest()
    separator = reading.document_separator.encode()
    num_bytes = 0

    def counted(hashed: files.Beside) -> Iterator[Piece]:
        nonlocal num_bytes
        for piece in blocks:
            hashed.put(piece.data)
            num_bytes += len(piece.data)
            counting.add(piece.data)
            yield piece

    documents = _Documents()
    with files.Beside(digest.update) as hashed:
        if separator or len(found) > 1:
            for piece in _documents(counted(hashed), separator):
                documents.add(piece)
        else:  # one document, whose hash is the text's
            for _ in counted(hashed):
                pass
        hashed.finish()
    counts = counting.total()
    points = np.flatnonzero(counts)
    total = int(counts.sum())
    if total == 0:
        raise CorpusError(f"{names} is empty (0 characters): there is nothing to learn")
    corpus = Corpus(
        name=name,
        sources=tuple(found),
        reading=reading,
        num_bytes=num_bytes,
        characters=total,
        sha256=digest.sha256.hexdigest(),
        crc32=digest.crc32,
        points=points,
        counts=counts[points],
        lengths=documents.lengths() if documents.count else np.array([total], np.uint64),
        digests=documents.digests()
        if documents.count
        else np.frombuffer(digest.sha256.digest()[:8], "<u8"),
    )
    return replace(corpus, notices=(*blocks.notices(), *_oddities(corpus)))


class _Digest:
    """A text's hash and its sum, as its blocks pass by."""

    def __init__(self) -> None:
        self.sha256, self.crc32 = hashlib.sha256(), 0

    def update(self, block: files.Block) -> None:
        self.sha256.update(block)
        self.crc32 = zlib.crc32(block, self.crc32)


class _Documents:
    """Lengths and hashes of documents as they pass by."""

    def __init__(self) -> None:
        self.count = 0
        self._lengths, self._digests = array("Q"), array("Q")

    def add(self, piece: Piece) -> None:
        if piece.begins:
            self._end()
            self.count += 1
            self._length, self._hash = 0, hashlib.blake2b(digest_size=8)
        self._length += characters(piece.data)
        self._hash.update(piece.data)

    def _end(self) -> None:
        if self.count:
            self._lengths.append(self._length)
            self._digests.append(int.from_bytes(self._hash.digest(), "little"))

    def lengths(self) -> NDArray[np.uint64]:
        if len(self._lengths) < self.count:
            self._end()
        return np.array(self._lengths, np.uint64)

    def digests(self) -> NDArray[np.uint64]:
        return np.array(self._digests, np.uint64)


def _documents(pieces: Iterable[Piece], separator: bytes) -> Iterator[Piece]:
    """The same text, cut behind every separator: a document begins there."""
    if not separator:
        yield from pieces
        return
    held, begins = b"", False  # the end of what came, in which a separator may begin
    for piece in pieces:
        if piece.begins:
            if held:
                yield Piece(begins, held)
            held, begins = b"", True
        text = held + piece.data
        at = 0
        while (found := text.find(separator, at)) >= 0:
            end = found + len(separator)
            yield Piece(begins, text[at:end])
            at, begins = end, True
        cut = boundary(text, max(at, len(text) - len(separator) + 1))
        if cut > at:
            yield Piece(begins, text[at:cut])
            begins = False
        held = text[max(at, cut) :]
    if held:
        yield Piece(begins, held)


def boundary(text: bytes, position: int) -> int:
    """The start of the character that `position` of a text in UTF-8 is in."""
    while 0 < position < len(text) and text[position] & 0xC0 == 0x80:
        position -= 1
    return position


@dataclass
class _Seen:
    """In how many files something was seen, and in which first."""

    files: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.files) < 1:
            self.files.append(name)

    def where(self) -> str:
        others = self.count - 1
        return self.files[0] + (f" and {others:,} more file{'s'[: others > 1]}" if others else "")


class _Blocks:
    """The files' text in UTF-8; a file begins a document. Iterated once."""

    def __init__(
        self,
        found: Sequence[Source],
        reading: Reading,
        progress: Progress,
        what: str,
        *,
        mark: bool = True,
    ) -> None:
        self._sources, self._reading, self._mark = found, reading, mark
        self._progress, self._what = progress, what
        self._total = sum(_size(source) for source in found)
        self._done = 0
        self._marks, self._crlf, self._replaced = _Seen(), _Seen(), _Seen()

    def _advance(self, count: int) -> None:
        self._done += count
        self._progress(self._what, self._done, self._total)

    def __iter__(self) -> Iterator[Piece]:
        for source in self._sources:
            begins = True
            for block in self._newlines(source, self._without_mark(source)):
                if block:
                    yield Piece(begins, block)
                    begins = False

    def _without_mark(self, source: Source) -> Iterator[bytes]:
        limit = self._reading.max_unpacked
        chunks = source.chunks(limit, self._advance)
        codec = codecs.lookup(self._reading.encoding).name
        if codec in ("utf-8", "utf-8-sig") and self._reading.errors == "strict":
            blocks = _utf8(chunks)
        else:
            blocks = _decoded(chunks, codec, self._reading.errors)
        mark, first = BOM.encode(), b""
        for block in self._said(source, blocks):
            if not first:
                first = block
                if self._mark and first.startswith(mark):
                    self._marks.add(source.name)
                    block = block[len(mark) :]
            if self._reading.errors == "replace" and "\ufffd".encode() in block:
                self._replaced.add(source.name)
            yield block

    def _said(self, source: Source, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """The same blocks; what stops them is said in a sentence with its place."""
        try:
            yield from blocks
        except _UndecodableError as error:
            again = source.chunks(self._reading.max_unpacked, lambda count: None)
            raise CorpusError(error.sentence(source.name, again)) from None

    def _newlines(self, source: Source, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """CR LF as asked; a CR waits for what follows it."""
        seen, held = False, b""
        for block in blocks:
            text = held + block if held else block
            held = b"\r" if text.endswith(b"\r") else b""
            text = text[: len(text) - len(held)]
            if b"\r" in text and b"\r\n" in text:  # one byte is found much faster than two
                seen = True
                if self._reading.newline == "lf":
                    text = text.replace(b"\r\n", b"\n")
            yield text
        yield held
        if seen:
            self._crlf.add(source.name)

    def notices(self) -> Iterator[str]:
        """What was seen or changed."""
        if self._marks.count:
            many = "their starts were" if self._marks.count > 1 else "its start was"
            marks = "byte order marks at" if self._marks.count > 1 else "a byte order mark at"
            yield f"{self._marks.where()}: {marks} {many} dropped"
        if self._crlf.count:
            done = (
                "CR LF line ends were made LF"
                if self._reading.newline == "lf"
                else "lines end in CR LF and stay so (--newline lf makes them LF)"
            )
            yield f"{self._crlf.where()}: {done}"
        if self._replaced.count:
            yield f"{self._replaced.where()}: what could not be decoded became U+FFFD"


def _size(source: Source) -> int:
    try:
        return source.size
    except OSError:  # reading it will say what is wrong
        return 0


@dataclass
class _UndecodableError(Exception):
    """Bytes that are not in their encoding.

    Attributes:
        data: what was looked at.
        start: where in it the first wrong byte is.
        end: behind the last wrong one.
        offset: where that is in the file.
        encoding: the one that was named.
        reason: what is wrong.
    """

    data: bytes
    start: int
    end: int
    offset: int
    encoding: str
    reason: str

    def sentence(self, name: str, chunks: Iterator[bytes]) -> str:
        """What is wrong, where, and what would help; `chunks` are the file's, from its start."""
        first, line, left = b"", 1, self.offset
        for chunk in chunks:
            first = first or chunk[:64]
            line += chunk.count(b"\n", 0, left)
            left -= len(chunk)
            if left <= 0:
                break
        if self.encoding == "UTF-8":
            for magic, what in _NOT_TEXT.items():
                if first.startswith(magic):
                    return f"{name} is {what}"
        ends = self.reason == "unexpected end of data"
        guess = None if ends else _guess(self.data, self.start)
        advice = "--encoding names another"
        if ends:
            advice = "it ends inside a character, and may be cut off"
        elif guess:
            advice = f"it looks like {guess}: --encoding {guess} reads it"
        shown = self.data[self.start : max(self.end, self.start + 1)][:4].hex(" ")
        return (
            f"{name} is not {self.encoding}: byte {shown} at offset {self.offset}, line {line} "
            f"({self.reason}): {advice}; --errors replace reads it with U+FFFD there"
        )


def _utf8(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Bytes that are UTF-8, cut between characters."""
    done, held = 0, b""
    for chunk in _cut(chunks):
        text = held + chunk if held else chunk
        cut = _complete(text)
        block, held = text[:cut], text[cut:]
        _check(block, done)
        yield block
        done += len(block)
    _check(held, done)


def _cut(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, in small blocks where they are not ASCII.

    A decoded string is made too long and then cut. glibc keeps some hundreds of the small pieces
    that fall off, and before each a gap in its heap as large as a block.
    """
    for chunk in chunks:
        if chunk.isascii():
            yield chunk
            continue
        beyond = np.frombuffer(chunk, np.int8) < 0
        first = int(beyond.argmax()) // _SMALL * _SMALL
        last = (len(chunk) - 1 - int(beyond[::-1].argmax())) // _SMALL * _SMALL
        if first:
            yield chunk[:first]
        for start in range(first, last + _SMALL, _SMALL):
            yield chunk[start : start + _SMALL]
        if last + _SMALL < len(chunk):
            yield chunk[last + _SMALL :]


def _complete(text: bytes) -> int:
    """Where an unfinished character begins at the end, if one does."""
    for back in range(1, min(4, len(text)) + 1):
        lead = text[-back]
        if lead & 0xC0 != 0x80:
            needed = 1 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return len(text) - back if needed > back else len(text)
    return len(text)


def _check(block: bytes, done: int) -> None:
    if block.isascii():
        return
    try:
        block.decode()
    except UnicodeDecodeError as error:
        where = done + error.start
        raise _UndecodableError(
            block, error.start, error.end, where, "UTF-8", error.reason
        ) from None


def _decoded(chunks: Iterator[bytes], codec: str, errors: str) -> Iterator[bytes]:
    """Bytes in another encoding, as UTF-8."""
    decoder = codecs.getincrementaldecoder(codec)(errors)
    done = 0
    for chunk in itertools.chain(chunks, [b""]):
        try:
            yield decoder.decode(chunk, not chunk).encode()
        except UnicodeDecodeError as error:
            data = error.object  # what was held back is part of it
            where = done + len(chunk) - len(data) + error.start
            raise _UndecodableError(
                data, error.start, error.end, where, codec, error.reason
            ) from None
        except UnicodeError as error:  # a byte order mark is missing, or half a pair is alone
            raise _UndecodableError(chunk, 0, 1, done, codec, str(error)) from None
        done += len(chunk)


def _guess(data: bytes, start: int) -> str | None:
    """The encoding that text around a place may have."""
    from charset_normalizer import from_bytes

    sample = data[max(0, start - 2**13) : start + 2**13]
    best = from_bytes(sample).best()
    return best.encoding.replace("_", "-") if best and best.encoding != "utf_8" else None


def _oddities(corpus: Corpus) -> Iterator[str]:
    """What a text should not have, or that people want to know of."""
    counts = dict(
        zip(corpus.points[: 2**12].tolist(), corpus.counts[: 2**12].tolist(), strict=True)
    )
    nuls, total = counts.get(0, 0), corpus.characters
    if nuls > _BINARY * total:
        wide = " (UTF-16 without its mark? --encoding utf-16-le)" if nuls > _WIDE * total else ""
        yield f"{corpus.name} looks binary: {nuls:,} of its characters are NUL (U+0000){wide}"
    odd = {
        point: count
        for point, count in counts.items()
        if unicodedata.category(chr(point)) == "Cc" and chr(point) not in "\0\t\n\r\f"
    }
    if odd:
        shown = ", ".join(f"U+{point:04X}" for point in list(odd)[:4])
        more = ", ..." if len(odd) > 4 else ""
        yield f"{corpus.name} has {sum(odd.values()):,} control characters ({shown}{more})"
    at = np.searchsorted(corpus.points, 0xFFFD)
    if (
        corpus.reading.errors == "strict"
        and at < len(corpus.points)
        and corpus.points[at] == 0xFFFD
    ):
        yield (
            f"{corpus.name} has U+FFFD {corpus.counts[at]:,} times: what stood there was lost when "
            "it was decoded before"
        )
    if len(corpus.points) == 1:
        yield f"{corpus.name} is one character over and over: there is little to learn"
