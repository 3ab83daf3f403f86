"""Split a corpus into training, validation and test parts; find documents in several parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Integers
from charrnn.config import TextOptions, escape
from charrnn.errors import CorpusError, counted
from charrnn.text import labels
from charrnn.text.corpus import Corpus
from charrnn.text.documents import Piece
from charrnn.text.reader import ReadingProgress
from charrnn.text.utf8 import count_characters

PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class Leak:
    """How many documents of a part there are, and how many of them the training part repeats."""

    documents: int
    repeated: int


def split_positions(length: int, valid_fraction: float, test_fraction: float) -> tuple[int, int]:
    """Return where the validation part and the test part start, in characters.

    A part whose fraction is not 0 has at least one character.
    """
    test = length
    if test_fraction:
        test = min(int(length * (1 - test_fraction)), length - 1)
    if not valid_fraction:
        return test, test
    return max(0, min(int(length * (1 - valid_fraction - test_fraction)), test - 1)), test


class Splitter:
    """Decides which part each piece of a corpus goes to."""

    def __init__(
        self, corpus: Corpus, options: TextOptions, valid: Corpus | None, test: Corpus | None
    ) -> None:
        """Plan the split; nothing of the corpus is read.

        Args:
            corpus: the text to split.
            options: how, and the fractions.
            valid: a separate validation text; then no part of the corpus is held out for it.
            test: a separate test text; likewise.

        Raises:
            CorpusError: too little is left to train on, or there are too few documents.
        """
        self._corpus, self._options = corpus, options
        self._separate = {"valid": valid, "test": test}
        self._valid_fraction = options.valid_fraction if valid is None else 0.0
        self._test_fraction = options.test_fraction if test is None else 0.0
        self._cuts: tuple[int, int] | None = None  # in characters
        lengths = corpus.document_lengths.astype(np.int64)
        self._ends: Integers = np.cumsum(lengths)
        self._starts = self._ends - lengths
        if options.split == "position" or not (self._valid_fraction or self._test_fraction):
            self._cuts = self._positions()
            self._part_of = self._by_position(self._cuts)
            left = self._cuts[0]
        else:
            self._part_of = self._by_hash() if options.split == "hash" else self._by_document()
            left = int(lengths[self._part_of == 0].sum())
        if left < 2:
            raise CorpusError(
                f"{corpus.name} leaves {left} character(s) to train on: "
                "at least 2 are needed; use a longer text"
            )

    def _positions(self) -> tuple[int, int]:
        return split_positions(self._corpus.characters, self._valid_fraction, self._test_fraction)

    def _by_position(self, cuts: tuple[int, int]) -> Integers:
        """Return the part (D,) that holds all of each document; -1 for documents that are cut."""
        first = np.searchsorted(cuts, self._starts, side="right")
        last = np.searchsorted(cuts, self._ends, side="left")
        return np.where(first == last, first, -1)

    def _by_document(self) -> Integers:
        """Hold out the last documents, with about as many characters as asked; parts (D,)."""
        count = len(self._starts)
        self._require(1 + bool(self._valid_fraction) + bool(self._test_fraction))
        cuts = self._positions()
        test = int(np.searchsorted(self._starts, cuts[1])) if self._test_fraction else count
        test = min(test, count - bool(self._test_fraction))
        valid = int(np.searchsorted(self._starts, cuts[0])) if self._valid_fraction else test
        valid = min(valid, test - bool(self._valid_fraction))
        order = np.arange(count)
        return np.asarray((order >= max(1, valid)).astype(np.int64) + (order >= max(1, test)))

    def _by_hash(self) -> Integers:
        """Choose by each document's hash, so that equal documents share a part; parts (D,).

        All pairs of one source share one (see `_side`). Of pairs, and of the items of a list, those
        with the smallest hashes are held out, as many as asked, and at least one; how many other
        documents are is left to chance.
        """
        self._require(2)
        digests = self._deciding(self._corpus)
        number = digests / 2.0**64
        if self._options.items or self._options.pairs:
            unique, which = np.unique(digests, return_inverse=True)
            number = (np.arange(len(unique)) / len(unique))[which]
        held_out = self._valid_fraction + self._test_fraction
        parts = np.where(number < self._test_fraction, 2, np.where(number < held_out, 1, 0))
        return np.repeat(parts, 2) if self._options.pairs else parts

    def _deciding(self, corpus: Corpus) -> NDArray[np.uint64]:
        """Return the hashes that decide the parts: of the documents (D,), or of one side (D/2,)."""
        digests = corpus.document_digests
        return digests[_side(self._corpus) :: 2] if self._options.pairs else digests

    def _require(self, needed: int) -> None:
        count = len(self._starts)
        if self._options.pairs and len(np.unique(self._deciding(self._corpus))) < needed:
            raise CorpusError(
                f"{self._corpus.name} has pairs of one source, and {needed} sources are needed to "
                "hold some out: add pairs, or use --valid-fraction 0"
            )
        if count < needed and self._options.items:
            end = escape(self._options.document_separator)
            raise CorpusError(
                f"{self._corpus.name} has {counted(count, 'item')} ending at '{end}', and "
                f"{needed} are needed: is --items right?"
            )
        if count < needed:
            raise CorpusError(
                f"{self._corpus.name} has {counted(count, 'document')}: --split "
                f"{self._options.split} needs {needed}; name several files or a "
                "--document-separator, or split by position"
            )

    def pieces(self, progress: ReadingProgress, what: str) -> Iterator[tuple[str, Piece]]:
        """Yield all pieces of the corpus, each with its part."""
        pieces = self._corpus.pieces(progress, what)
        if self._cuts is not None:
            yield from _cut(pieces, self._cuts)
            return
        document = -1
        for piece in pieces:
            document += piece.begins
            if document >= len(self._part_of):
                raise self._corpus.changed()
            yield PARTS[self._part_of[document]], piece

    def leaks(self) -> dict[str, Leak]:
        """Count the documents (of pairs, the sides that decide) that the training part repeats."""
        digests, part_of = self._deciding(self._corpus), self._part_of
        part_of = part_of[::2] if self._options.pairs else part_of
        known = digests[part_of == 0]
        result = {}
        for index, name in enumerate(PARTS[1:], start=1):
            separate = self._separate[name]
            held_out: NDArray[np.uint64] = (
                digests[part_of == index] if separate is None else self._deciding(separate)
            )
            if len(held_out) and len(known):
                result[name] = Leak(len(held_out), int(np.isin(held_out, known).sum()))
        return result

    def describe(self) -> str:
        """Say how the parts were made."""
        held_out = self._valid_fraction or self._test_fraction
        how = [f"by {self._options.split}"] if held_out else []
        if how and self._options.pairs:
            how = [f"by hash of the {('source', 'target')[_side(self._corpus)]}"]
        separate = [name for name, text in self._separate.items() if text is not None]
        how += [f"{name} is a text of its own" for name in separate]
        return "; ".join(how) or "all of it trains"


def _side(corpus: Corpus) -> int:
    """Return which side of pairs decides their part: 0 for the source, 1 for the target.

    Few sources with many targets are labels: held out as a whole, they would never be learned.
    """
    sources, targets = (len(np.unique(corpus.document_digests[side::2])) for side in (0, 1))
    return 1 if sources < min(labels.MOST, targets) else 0


def _cut(pieces: Iterator[Piece], cuts: tuple[int, int]) -> Iterator[tuple[str, Piece]]:
    """Yield pieces with their part, where the parts start at these characters."""
    part, position = 0, 0
    for piece in pieces:
        length = count_characters(piece.data)
        while part < 2 and position + length > cuts[part]:
            before = cuts[part] - position
            index = len(piece.data.decode()[:before].encode())
            if index:
                yield PARTS[part], Piece(piece.begins, piece.data[:index])
                piece = Piece(False, piece.data[index:])
            part, position, length = part + 1, position + before, length - before
        position += length
        if piece.data:
            yield PARTS[part], piece
