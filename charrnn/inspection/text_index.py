"""An index of a text: what other texts share with it.

For each block of 8 MiB there is a suffix array: the positions in the block in alphabetical order of
what follows them.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import OptionError
from charrnn.text.line_ends import count_in_bytes
from charrnn.text.suffix_array import Bytes, Order, extend_matches, starts_character, suffix_order

MIN_RUN = 20
BLOCK = 2**23  # bytes of text sorted together
# Sorting compares up to this many bytes beyond a block: a run that continues in the next block is
# found whole up to this length.
OVERLAP = 2**16
_MAX_THREADS = 4


@dataclass(frozen=True)
class Novelty:
    """What a text shares with the training text; lengths in characters.

    Attributes:
        longest_run: length of the longest run that also occurs in the training text.
        run: that run (the first of equally long ones).
        sample_offset: its position in the text.
        corpus_offset: one of its positions in the training text; None without a run.
        corpus_line: the line of that position, from 1; None without a run.
        min_run: the length from which a run counts as copied.
        copied_share: the share of the text's characters that copied runs cover, 0 to 1.
        entry: whether the whole text is an entry of the training list, which is the run then; None
            if the training text is not a list.
    """

    longest_run: int
    run: str
    sample_offset: int
    corpus_offset: int | None
    corpus_line: int | None
    min_run: int
    copied_share: float
    entry: bool | None = None


@dataclass(frozen=True)
class Block:
    """The suffix array of one block of the text.

    Attributes:
        start: the position of the block in the text, in bytes.
        order: positions of the block's characters, relative to `start`, in alphabetical order.
        characters: number of characters before the block.
        lines: number of line ends before the block.
    """

    start: int
    order: Order
    characters: int
    lines: int


class Index:
    """A text to compare other texts with.

    Attributes:
        separator: what separates the entries of a text that is a list; "" if it is not one.
    """

    def __init__(self, text: Bytes, blocks: Sequence[Block], block_size: int) -> None:
        self._text, self._blocks, self._block_size = text, blocks, block_size
        self.separator = ""

    @classmethod
    def of(cls, text: str, block: int = BLOCK, overlap: int = OVERLAP) -> Index:
        """Return the index of a text, in memory.

        Args:
            text: the training text.
            block: bytes sorted together.
            overlap: runs are found whole up to this many bytes, across blocks.
        """
        data = encoded(text)
        orders = list(orders_of(data, block, overlap))
        return cls(data, blocks_of(orders, counts_of(data, block), block), block)

    def compare(self, text: str, min_run: int = MIN_RUN) -> Novelty:
        """Return what `text` shares with the indexed text.

        Runs are exact up to `OVERLAP` bytes; of longer ones at least that much is reported.

        Args:
            text: for example, a sample.
            min_run: the length from which a run counts as copied, at least 1.

        Raises:
            OptionError: `min_run` is less than 1.
        """
        if min_run < 1:
            raise OptionError(f"min_run must be 1 or more, not {min_run}")
        sample = encoded(text)
        starts = np.flatnonzero(starts_character(sample))
        lengths, positions = self._matches(sample, starts)
        # A match may end inside a character: count whole characters only.
        runs = np.searchsorted(np.append(starts, len(sample)), starts + lengths, "right")
        runs -= np.arange(len(starts)) + 1
        longest = int(runs.argmax()) if len(runs) else 0
        length = int(runs[longest]) if len(runs) else 0
        entry = self._find_entry(text)
        position = int(positions[longest]) if length and entry is None else entry
        offset, line = (None, None) if position is None else self._locate(position)
        return Novelty(
            longest_run=length,
            run=text[longest : longest + length],
            sample_offset=longest,
            corpus_offset=offset,
            corpus_line=line,
            min_run=min_run,
            copied_share=_covered(runs, min_run) / max(len(runs), 1),
            entry=entry is not None if self.separator else None,
        )

    def is_new(self, text: str) -> bool:
        """Return whether a text is not in the indexed text: as an entry of a list, else anywhere.

        A separator at the end of the text does not count. Nothing is not new.
        """
        if not self.separator:
            return self._find(encoded(text)) is None
        text = text.removesuffix(self.separator)
        return bool(text) and self._find_entry(text) is None

    def _find_entry(self, text: str) -> int | None:
        """Return the first byte of an entry that is this text; None without one."""
        if not self.separator or not text:
            return None
        whole, size = encoded(self.separator + text + self.separator), len(encoded(self.separator))
        if np.array_equal(self._text[: len(whole) - size], whole[size:]):
            return 0  # the first entry has no separator before it
        if np.array_equal(self._text[size - len(whole) :], whole[:-size]):
            return len(self._text) - len(whole) + 2 * size  # the last one may have none after it
        found = self._find(whole)
        return None if found is None else found + size

    def _find(self, wanted: Bytes) -> int | None:
        """Return the first byte of one place where a text occurs; None without one."""
        lengths, positions = self._matches(wanted, np.zeros(1, np.int64))
        return int(positions[0]) if lengths[0] == len(wanted) else None

    def _matches(
        self, sample: Bytes, starts: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return length and position in the indexed text of the longest match from each start."""
        lengths, positions = np.zeros(len(starts), np.int64), np.zeros(len(starts), np.int64)
        for block in self._blocks:
            first = np.int64(block.start)
            extend_matches(self._text, block.order, first, sample, starts, lengths, positions)
        return lengths, positions

    def _locate(self, position: int) -> tuple[int, int]:
        """Return the character and the line (from 1) of a byte of the indexed text."""
        block = self._blocks[position // self._block_size]
        before = self._text[block.start : position]
        characters = block.characters + int(np.count_nonzero(starts_character(before)))
        return characters, 1 + block.lines + count_in_bytes(self._text, block.start, position)


def encoded(text: str) -> Bytes:
    """Return the bytes that an index of a text holds."""
    return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)


def _covered(runs: NDArray[np.integer[Any]], min_run: int) -> int:
    """Return how many characters runs of at least `min_run` cover, given the run from each on."""
    counted = np.where(runs >= min_run, runs, 0)
    ends = np.maximum.accumulate(np.arange(len(runs)) + counted, dtype=np.int64)
    return int((ends > np.arange(len(runs))).sum())


def counts_of(text: Bytes, block: int) -> list[tuple[int, int]]:
    """Return how many characters begin in each block, and its number of line ends."""
    return [
        (
            int(np.count_nonzero(starts_character(text[first : first + block]))),
            count_in_bytes(text, first, min(first + block, len(text))),
        )
        for first in range(0, len(text), block)
    ]


def orders_of(text: Bytes, block: int, overlap: int) -> Generator[Order, None, None]:
    """Yield each block's suffix array; several threads sort."""

    def sort(first: int) -> Order:
        part = text[first : first + block + overlap]
        order = suffix_order(part)
        inside = order < block
        return order[inside & starts_character(part)[order]]

    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MAX_THREADS)) as pool:
        try:
            yield from pool.map(sort, range(0, len(text), block))
        finally:  # an interruption waits only for the blocks that are being sorted
            pool.shutdown(cancel_futures=True)


def blocks_of(orders: Sequence[Order], counts: Sequence[tuple[int, int]], size: int) -> list[Block]:
    """Return the blocks of a text, given their suffix arrays, their counts and their size."""
    blocks, characters, lines = [], 0, 0
    for number, (order, (starting, feeds)) in enumerate(zip(orders, counts, strict=True)):
        blocks.append(Block(number * size, order, characters, lines))
        characters, lines = characters + starting, lines + feeds
    return blocks
