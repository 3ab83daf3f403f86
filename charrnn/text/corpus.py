"""A corpus: sources read as one text, with the counts that tokenizers and splits need.

A text is read twice and is never held in memory as a whole: `read` goes through it once, checks it
and counts its characters; `Corpus.pieces` gives it again, document by document. Reading never
changes a text silently: every change, and everything suspicious, is a notice.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Integers
from charrnn.config import AUTO, ITEM_ENDS, Reading
from charrnn.errors import CorpusError
from charrnn.storage.block_worker import BlockWorker
from charrnn.storage.files import Block
from charrnn.text.documents import DocumentSurvey, Piece, split_documents
from charrnn.text.encoding_guess import UTF8, decide
from charrnn.text.find_files import find
from charrnn.text.mojibake import MojibakeDetector
from charrnn.text.oddities import Issue
from charrnn.text.pair_lines import split_pairs
from charrnn.text.reader import Reader, ReadingProgress, UndecidedError, silent
from charrnn.text.sources import Source
from charrnn.text.utf8 import CodePointCounter, code_points

SAMPLED = 2**19  # bytes in which reading looks for mojibake


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text that was read once and can be read again.

    Attributes:
        name: a short name, from the first file's.
        sources: where it comes from.
        reading: how it is read.
        num_bytes: its length in UTF-8.
        characters: its length in code points.
        sha256: of its UTF-8 bytes.
        crc32: of the same bytes, to notice cheaply when another reading gives other bytes.
        points: the code points that occur (N,), sorted.
        counts: how often each of them occurs (N,).
        document_lengths: characters of each document (D,).
        document_digests: 64 bits of each document's hash (D,).
        notices: sentences about what was changed, left out or kept while reading.
        issues: what is odd about it, as far as reading shows it.
    """

    name: str
    sources: tuple[Source, ...]
    reading: Reading
    num_bytes: int
    characters: int
    sha256: str
    crc32: int
    points: Integers
    counts: Integers
    document_lengths: NDArray[np.uint64]
    document_digests: NDArray[np.uint64]
    notices: tuple[str, ...] = ()
    issues: tuple[Issue, ...] = ()

    def sentences(self) -> Iterator[str]:
        """Yield what a user should know about the text: the notices, and what is odd about it."""
        yield from self.notices
        for issue in self.issues:
            yield f"{self.name}: {issue.text}"

    @property
    def files(self) -> tuple[str, ...]:
        """The files it comes from; ``-`` stands for a source that could be read only once."""
        return tuple(
            "-" if source.once or source.path is None else str(source.path.resolve())
            for source in self.sources
        )

    def source_files(self, folder: Path, name: str) -> tuple[str, ...]:
        """Return the files to read it from later; `folder` gets copies of what is in no file.

        A copy is named without its folder, so that the folder can be moved.

        Args:
            folder: for the copies.
            name: the beginning of their names.
        """
        files = list(self.files)
        for index, source in enumerate(self.sources):
            if source.once or source.path is None:
                copy = _free(folder, name, source)
                source.copy_to(copy)
                files[index] = copy.name
        return tuple(files)

    @property
    def text(self) -> str:
        """The whole text at once: it must fit into memory."""
        return b"".join(piece.data for piece in self.pieces()).decode()

    def documents(self) -> Iterator[tuple[str, bytes]]:
        """Yield each document that is not empty: the name of its file, and its text."""
        for source in self.sources:
            held: list[bytes] = []
            for piece in _documents(Reader([source], self.reading, silent, "")):
                if piece.begins and held:
                    yield source.name, b"".join(held)
                    held = []
                held.append(piece.data)
            if held:
                yield source.name, b"".join(held)

    def holds_separator(self) -> bool:
        """Return whether the separator of documents occurs in the text."""
        if len(self.document_lengths) > len(self.sources):
            return True
        separator = self.reading.document_separator.encode()
        return any(separator in piece.data for piece in self.pieces())

    def pieces(self, progress: ReadingProgress = silent, what: str = "reading") -> Iterator[Piece]:
        """Read the text again.

        Raises:
            CorpusError: it is no longer the same text.
        """
        reader = Reader(self.sources, self.reading, progress, what)
        crc32 = 0
        for piece in _documents(reader):
            crc32 = zlib.crc32(piece.data, crc32)
            yield piece
        if crc32 != self.crc32:
            raise self.changed()

    def changed(self) -> CorpusError:
        """Return the error for a text that is not what it was when it was read first."""
        return CorpusError(f"{self.name} changed since it was read first: try again")


def read(
    paths: Sequence[str | Path], reading: Reading | None = None, progress: ReadingProgress = silent
) -> Corpus:
    """Read files (folders, patterns, ``-`` for standard input) one after another, as one text.

    Raises:
        CorpusError: a file is missing, empty, damaged, or not in its encoding; the message has the
            byte offset and the line.
    """
    if not paths:
        raise CorpusError("no file is named: name a text file, or a folder of them")
    reading = reading or Reading()
    found = find(paths, reading)
    names = ", ".join("standard input" if str(path) == "-" else str(path) for path in paths)
    name = "stdin" if str(paths[0]) == "-" else Path(paths[0]).resolve().name.split(".")[0]

    def survey_of(sources: Sequence[Source]) -> Corpus:
        return survey(_folder_name(name), names, Reader(sources, reading, progress, "reading"))

    notices: list[str] = []
    try:
        if reading.encoding != AUTO and codecs.lookup(reading.encoding).name != UTF8:
            raise UndecidedError
        text = survey_of(found.sources)  # almost all texts are UTF-8: they are read only once
    except UndecidedError:
        decided, notices = decide(found.sources, reading)
        text = survey_of(decided)
    return replace(text, notices=(*found.notices(), *notices, *text.notices))


def text_of(name: str, data: bytes, reading: Reading) -> tuple[str, list[str]]:
    """Return the text of bytes, and sentences about how they were read.

    Args:
        name: for messages.
        data: the bytes of a text, which may be empty.
        reading: their encoding and line ends.

    Raises:
        CorpusError: they are not in their encoding.
    """
    (source,), _ = decide([Source(name, data=data)], reading)
    reader = Reader([source], reading, silent, "reading")
    text = b"".join(piece.data for piece in reader).decode()
    other = source.encoding != UTF8
    notices = [f"{name} is read as {source.encoding.upper()}"] if other else []
    return text, [*notices, *reader.notices({})]


def in_order(text: Corpus, files: Sequence[str]) -> Corpus:
    """Return a text with its files in another order, or as it is if `files` are other files.

    Args:
        text: the text.
        files: its files; they may have been moved together.

    Raises:
        CorpusError: a file can no longer be read.
    """
    was, wanted = _relative(text.files), _relative(files)
    if was == wanted or sorted(was) != sorted(wanted):
        return text
    order = {file: index for index, file in enumerate(wanted)}
    sources = [
        source
        for _, source in sorted(
            zip(was, text.sources, strict=True), key=lambda pair: order[pair[0]]
        )
    ]
    reader = Reader(sources, text.reading, silent, "reading")
    return replace(survey(text.name, text.name, reader), notices=text.notices)


def _relative(files: Sequence[str]) -> list[str]:
    """Return files by their path in the folder that holds them all."""
    try:
        folder = os.path.commonpath(files)
    except ValueError:  # none, or standard input among them
        return list(files)
    return [Path(file).relative_to(folder).as_posix() for file in files]


def _free(folder: Path, name: str, source: Source) -> Path:
    """Return the first of NAME.txt, NAME-2.txt, ... that does not exist or is a copy already."""
    copy, number = folder / f"{name}.txt", 1
    while copy.exists() and not source.equals(copy):
        number += 1
        copy = folder / f"{name}-{number}.txt"
    return copy


def from_text(
    text: str, name: str = "text", separator: str = "", reading: Reading | None = None
) -> Corpus:
    """Make a corpus of a string, in which a byte order mark is a character like any other.

    Args:
        text: the string.
        name: the corpus's.
        separator: what ends a document in it.
        reading: its line ends and documents, instead of `separator`; its encoding is ignored.
    """
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise CorpusError(
            f"{name} has a lone surrogate, which is not a character, at index {error.start}"
        ) from None
    reading = replace(reading or Reading(document_separator=separator), encoding=AUTO)
    source = Source(name, data=data, keep_mark=True)
    return survey(name, name, Reader([source], reading, silent, "reading"))


def _folder_name(name: str) -> str:
    """Turn a file's name or a pattern into a name for a folder, on one line."""
    plain = "".join(each for each in name if each >= " " and each not in '*?[]"<>|:\x7f')
    return plain.strip() or "text"


def survey(name: str, names: str, reader: Reader) -> Corpus:
    """Go through a text once, checking and counting.

    Args:
        name: the corpus's name.
        names: its files, for the message about an empty text.
        reader: not yet iterated.

    Raises:
        CorpusError: the text is empty, or the reader raised it.
    """
    counter, digest, documents, mojibake = (
        CodePointCounter(),
        _Digest(),
        DocumentSurvey(),
        _Sampled(),
    )
    with BlockWorker(digest.update) as hashing:
        # Of pairs, what is counted is what they say, not their lines.
        read = split_pairs(reader) if reader.reading.pairs else iter(reader)
        pieces = _count(read, counter, hashing, mojibake)
        if reader.reading.document_separator or reader.reading.pairs or len(reader.sources) > 1:
            for piece in _split(pieces, reader.reading):
                documents.add(piece)
        else:  # one document, whose hash is the text's
            deque(pieces, maxlen=0)
        hashing.finish()
    points, counts = counter.occurring()
    total = int(counts.sum())
    if total == 0:
        raise CorpusError(f"{names} is empty (0 characters)")
    lengths, digests = documents.finish()
    if not documents.count:
        lengths = np.array([total], np.uint64)
        digests = np.frombuffer(digest.sha256.digest()[:8], "<u8")
    characters = dict(zip(map(chr, points.tolist()), counts.tolist(), strict=True))
    line_ends = reader.line_ends(characters)
    return Corpus(
        name=name,
        sources=tuple(reader.sources),
        reading=reader.reading,
        characters=total,
        **digest.fields(),
        points=points,
        counts=counts,
        document_lengths=lengths,
        document_digests=digests,
        notices=tuple(reader.notices(line_ends)),
        issues=(*reader.issues(characters, line_ends), *mojibake.issues()),
    )


def _documents(reader: Reader) -> Iterator[Piece]:
    """Yield the text of a reader, document by document; of pairs, each side is one."""
    return split_pairs(reader) if reader.reading.pairs else _split(reader, reader.reading)


def _split(pieces: Iterable[Piece], reading: Reading) -> Iterator[Piece]:
    separator = reading.document_separator.encode()
    return split_documents(pieces, separator, blank_lines=reading.items in ITEM_ENDS)


def _count(
    pieces: Iterable[Piece], counter: CodePointCounter, hashing: BlockWorker, mojibake: _Sampled
) -> Iterator[Piece]:
    """Pass pieces on, counting their characters and hashing them in a thread."""
    for piece in pieces:
        hashing.put(piece.data)
        counter.add(piece.data)
        mojibake.add(piece.data)
        yield piece


class _Sampled:
    """Looks for mojibake in the first blocks beyond ASCII; more would cost time."""

    def __init__(self) -> None:
        self._detector, self._left = MojibakeDetector(), SAMPLED

    def add(self, block: bytes) -> None:
        """Look at the next block, unless enough were seen."""
        if self._left > 0 and not block.isascii():
            self._detector.add(code_points(block))
            self._left -= len(block)

    def issues(self) -> list[Issue]:
        """Return the issue, if there is one."""
        self._detector.finish()
        return self._detector.issues(whole=self._left > 0)


class _Digest:
    """The hash, checksum and length of a text whose blocks pass by."""

    def __init__(self) -> None:
        self.sha256, self.crc32, self.num_bytes = hashlib.sha256(), 0, 0

    def fields(self) -> dict[str, Any]:
        """Return the fields of `Corpus` that it knows."""
        sha256 = self.sha256.hexdigest()
        return {"num_bytes": self.num_bytes, "sha256": sha256, "crc32": self.crc32}

    def update(self, block: Block) -> None:
        self.sha256.update(block)
        self.crc32 = zlib.crc32(block, self.crc32)
        self.num_bytes += len(block)
