"""Read sources as UTF-8: decode them, drop byte order marks, convert line ends if asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from charrnn.config import AUTO, Reading
from charrnn.text import extract, line_ends
from charrnn.text.documents import Piece
from charrnn.text.encoding import UndecodableError, decode
from charrnn.text.encoding_guess import UTF8, refusal
from charrnn.text.file_kinds import TEXT
from charrnn.text.notices import SeenIn, reading_notices, windows_notice
from charrnn.text.oddities import Issue, LongLines, character_issues, markup_issues, markup_kind
from charrnn.text.sources import Source

BOM = "\ufeff"


class UndecidedError(Exception):
    """A file is not UTF-8, and its encoding is to be decided: see `encoding_guess.decide`."""


# Called with what is being done, the bytes done, and the bytes in total.
ReadingProgress = Callable[[str, int, int], None]


def silent(what: str, done: int, total: int) -> None:
    """Ignore progress."""


class Reader:
    """Iterates once over the text of sources, in blocks of UTF-8; each file begins a document.

    Attributes:
        sources: what is read, in order.
        reading: how.
        current: the name of the source whose block was yielded last.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        reading: Reading,
        progress: ReadingProgress,
        what: str,
    ) -> None:
        """Prepare to read.

        With the encoding ``auto``, files whose encoding is not decided are read as UTF-8.

        Args:
            sources: what to read, in order.
            reading: encoding and line ends.
            progress: called with `what` and the bytes read.
            what: the verb for `progress`.
        """
        self.sources, self.reading = sources, reading
        self.current = ""
        self._progress, self._what = progress, what
        self._total = sum(_size(source) for source in sources)
        self._done = 0
        self._marks, self._ended, self._replaced = SeenIn(), SeenIn(), SeenIn()
        self._ends: Counter[str] = Counter()
        self._lines = LongLines()
        self._markup: dict[str, list[str]] = {}

    def notices(self, ends: Mapping[str, int]) -> Iterator[str]:
        """Yield what was changed or kept, once everything is read.

        Args:
            ends: how many line ends of each kind the text has.
        """
        converted = self._ends if self.reading.newline == "lf" else {}
        yield from reading_notices(self._marks, self._ended, converted, self._replaced)
        yield from windows_notice(self._ended, ends)

    def line_ends(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Return how many line ends of each kind the text has.

        Args:
            counts: how often each character occurs in it.
        """
        kept = self.reading.newline == "keep"
        return line_ends.count_kinds(counts, self._ends["crlf"] if kept else 0)

    def issues(self, counts: Mapping[str, int], ends: Mapping[str, int]) -> list[Issue]:
        """Return what is odd about the text, as far as it is known once everything is read.

        Args:
            counts: how often each character occurs in it.
            ends: how many line ends of each kind it has.
        """
        by_lf = not any(ends[kind] for kind in ends.keys() - {"lf", "crlf"})
        longest = self._lines.longest if by_lf else 0
        strict, converted = self.reading.errors == "strict", self.reading.newline == "lf"
        found = character_issues(counts, ends, longest, strict=strict, converted=converted)
        return [*markup_issues(self._markup), *found]

    def __iter__(self) -> Iterator[Piece]:
        for source in self.sources:
            begins, self.current = True, source.name
            for block in self._line_ends(source, self._without_mark(source)):
                if block:
                    yield Piece(begins, block)
                    begins = False

    def _advance(self, count: int) -> None:
        self._done += count
        self._progress(self._what, self._done, self._total)

    def _decoded(self, source: Source) -> Iterator[bytes]:
        """Yield the text of a source; that of a document is extracted."""
        if source.format == TEXT:
            return self._transcoded(source)
        if source.format == extract.HTML:
            return extract.html_lines(source, self._transcoded(source))
        return extract.text_of(source, self.reading, self._advance)

    def _transcoded(self, source: Source) -> Iterator[bytes]:
        limit = self.reading.max_unpacked
        encoding, errors = source.encoding or self.reading.encoding, self.reading.errors
        if encoding == AUTO:
            encoding, errors = UTF8, "strict"
        try:
            yield from decode(source.chunks(limit, self._advance), encoding, errors)
        except UndecodableError as error:
            if not source.encoding and self.reading.encoding == AUTO:
                raise UndecidedError from None
            raise refusal(source, error, limit) from None

    def _without_mark(self, source: Source) -> Iterator[bytes]:
        mark, first = BOM.encode(), b""
        for block in self._decoded(source):
            if not first:
                first = block
                if kind := markup_kind(source, first):
                    self._markup.setdefault(kind, []).append(source.name)
                if not source.keep_mark and first.startswith(mark):
                    self._marks.add(source.name)
                    block = block[len(mark) :]
            if self.reading.errors == "replace" and "\ufffd".encode() in block:
                self._replaced.add(source.name)
            yield block

    def _line_ends(self, source: Source, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Keep or convert line ends; a CR at the end of a block waits for the next block."""
        before, held = self._ends.total(), b""
        for block in blocks:
            text = held + block if held else block
            held = b"\r" if text.endswith(b"\r") else b""
            yield self._converted(text[: len(text) - len(held)])
        yield self._converted(held)
        if self._ends.total() > before:
            self._ended.add(source.name)

    def _converted(self, block: bytes) -> bytes:
        """Count the line ends of a block that are not LF, and convert them if that was asked."""
        if self.reading.newline == "lf":
            found = line_ends.count_other_than_lf(block)
            if found:
                self._ends.update(found)
                block = line_ends.to_lf(block, found)
        elif b"\r" in block:  # the other kinds are counted with all characters
            pairs = block.count(b"\r\n")
            self._ends.update(crlf=pairs, cr=block.count(b"\r") - pairs)
        self._lines.add(block)
        return block


def _size(source: Source) -> int:
    try:
        return source.size
    except OSError:  # reading it will raise the error with its sentence
        return 0
