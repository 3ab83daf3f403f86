"""Find what a text copies: the longest passage it shares with the training text, from an index.

    index = novelty.for_model("runs/shakespeare-1")
    index.compare(model.sample()).longest_run

The index holds the training text and, for each block of 8 MiB, a suffix array: the positions in the
block in alphabetical order of what follows them. It takes five bytes per byte of ASCII text, less
where characters are longer, and is memory-mapped. Building it takes about 400 MB of memory per
thread, however long the text is.

An index is built once and saved in the user's cache, named after the corpus's SHA-256. The file:
the length of a JSON header (8 bytes), that header, the blocks' positions, the text, and a CRC-32 of
everything before it (4 bytes), which is checked on opening; a damaged index is rebuilt.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
import tempfile
import time
import zlib
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CharRNNError, CorpusError, OptionError
from charrnn.run_dir import RunDir, find_model, read_model
from charrnn.storage.cache_dir import cache_dir, writable
from charrnn.storage.files import json_text
from charrnn.text.notices import Notify
from charrnn.text.suffix_array import Bytes, Order, extend_matches, starts_character, suffix_order
from charrnn.text.tokenizer import Decoder

MIN_RUN = 20
BLOCK = 2**23  # bytes of text sorted together
# Sorting compares up to this many bytes beyond a block: a run that continues in the next block is
# found whole up to this length.
OVERLAP = 2**16
FORMAT_VERSION = 1
_MAX_THREADS = 4
_CHUNK = 2**24  # bytes
_IDS = 2**18  # tokens decoded at a time
_ABANDONED = 24 * 3600  # seconds after which an unfinished index counts as abandoned


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
    """

    longest_run: int
    run: str
    sample_offset: int
    corpus_offset: int | None
    corpus_line: int | None
    min_run: int
    copied_share: float


@dataclass(frozen=True)
class _Block:
    """The suffix array of one block of the text.

    Attributes:
        start: the position of the block in the text, in bytes.
        order: positions of the block's characters, relative to `start`, in alphabetical order.
        characters: number of characters before the block.
        lines: number of line feeds before the block.
    """

    start: int
    order: Order
    characters: int
    lines: int


class Index:
    """A text to compare other texts with."""

    def __init__(self, text: Bytes, blocks: Sequence[_Block], block_size: int) -> None:
        self._text, self._blocks, self._block_size = text, blocks, block_size

    @classmethod
    def of(cls, text: str, block: int = BLOCK, overlap: int = OVERLAP) -> Index:
        """Return the index of a text, in memory.

        Args:
            text: the training text.
            block: bytes sorted together.
            overlap: runs are found whole up to this many bytes, across blocks.
        """
        data = _encoded(text)
        orders = list(_orders(data, block, overlap))
        return cls(data, _blocks(orders, _counts(data, block), block), block)

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
        sample = _encoded(text)
        starts = np.flatnonzero(starts_character(sample))
        lengths, positions = np.zeros(len(starts), np.int64), np.zeros(len(starts), np.int64)
        for block in self._blocks:
            first = np.int64(block.start)
            extend_matches(self._text, block.order, first, sample, starts, lengths, positions)
        # A match may end inside a character: count whole characters only.
        runs = np.searchsorted(np.append(starts, len(sample)), starts + lengths, "right")
        runs -= np.arange(len(starts)) + 1
        longest = int(runs.argmax()) if len(runs) else 0
        length = int(runs[longest]) if len(runs) else 0
        offset, line = self._locate(int(positions[longest])) if length else (None, None)
        return Novelty(
            longest_run=length,
            run=text[longest : longest + length],
            sample_offset=longest,
            corpus_offset=offset,
            corpus_line=line,
            min_run=min_run,
            copied_share=_covered(runs, min_run) / max(len(runs), 1),
        )

    def _locate(self, position: int) -> tuple[int, int]:
        """Return the character and the line (from 1) of a byte of the indexed text."""
        block = self._blocks[position // self._block_size]
        before = self._text[block.start : position]
        characters = block.characters + int(np.count_nonzero(starts_character(before)))
        return characters, 1 + block.lines + int(np.count_nonzero(before == ord("\n")))


def _encoded(text: str) -> Bytes:
    return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)


def _covered(runs: NDArray[np.integer[Any]], min_run: int) -> int:
    """Return how many characters runs of at least `min_run` cover, given the run from each on."""
    counted = np.where(runs >= min_run, runs, 0)
    ends = np.maximum.accumulate(np.arange(len(runs)) + counted, dtype=np.int64)
    return int((ends > np.arange(len(runs))).sum())


def _counts(text: Bytes, block: int) -> list[tuple[int, int]]:
    """Return how many characters begin in each block, and its number of line feeds."""
    parts = (text[first : first + block] for first in range(0, len(text), block))
    return [
        (int(np.count_nonzero(starts_character(part))), int(np.count_nonzero(part == ord("\n"))))
        for part in parts
    ]


def _orders(text: Bytes, block: int, overlap: int) -> Generator[Order, None, None]:
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


def _blocks(orders: Sequence[Order], counts: Sequence[tuple[int, int]], size: int) -> list[_Block]:
    blocks, characters, lines = [], 0, 0
    for number, (order, (starting, feeds)) in enumerate(zip(orders, counts, strict=True)):
        blocks.append(_Block(number * size, order, characters, lines))
        characters, lines = characters + starting, lines + feeds
    return blocks


def for_model(model: str | Path, notify: Notify = lambda sentence: None) -> Index:
    """Return the index of the text that a model was trained on; build and save it if needed.

    Args:
        model: its file, or its run's folder.
        notify: receives a sentence when an index is built.

    Raises:
        ModelError: the model does not exist or cannot be read.
        CorpusError: there is no index yet, and the training text is not available.
    """
    file = find_model(Path(model))
    described: Any = read_model(file).training.get("corpus")
    try:
        sha256, characters = described["sha256"]["corpus"], described["train_characters"]
        split = str(described.get("split", "")).startswith(("by document", "by hash"))
        which = f"-{described['split'].split(';')[0].split()[-1]}" if split else ""
        path = cache_folder() / f"{sha256:.64}-{characters:d}{which}.index"
    except (TypeError, KeyError, ValueError):
        raise CorpusError(f"{file} does not say what text it was trained on") from None
    index = _opened(path, notify)
    if index is None:
        text = _training_text(file, sha256)
        notify(f"novelty: indexing {characters:,} characters, once")
        index = _built(path, text, notify)
    return index


def cache_folder() -> Path:
    """Return the folder of the indexes, which may be deleted."""
    return writable(cache_dir("novelty"))


def _training_text(model: Path, sha256: str) -> str:
    """Return the text that `model` was trained on, read again from its files."""
    try:
        data = RunDir.of_model(model).dataset()
        if data.sha256["corpus"] != sha256:
            raise CorpusError(f"{data.name} changed since the training")
    except CharRNNError as error:
        raise CorpusError(
            f"the text that {model} was trained on is not available: {error.message}"
        ) from None
    decoder, ids = Decoder(data.tokenizer), data.train
    pieces = [decoder.feed(ids[at : at + _IDS].tolist()) for at in range(0, len(ids), _IDS)]
    return "".join([*pieces, decoder.finish()])


def _built(path: Path, text: str, notify: Notify) -> Index:
    """Return a new index, saved at `path` if possible, else in memory."""
    try:
        _write(path, _encoded(text), notify)
        index = _opened(path, notify)
        if index is not None:
            return index
    except OSError as error:
        notify(f"novelty: {path.parent}: {error.strerror}: the index will not be saved")
    return Index.of(text)


def _write(path: Path, text: Bytes, notify: Notify) -> None:
    """Write an index file atomically; other processes may be doing the same."""
    counts = _counts(text, BLOCK)
    header = json_text(
        {"format": FORMAT_VERSION, "name": path.name, "block": BLOCK, "counts": counts}
    ).encode()
    header += b" " * (-len(header) % 8)  # numbers of four bytes follow
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path.parent)
    needed = 4 * sum(starting for starting, _ in counts) + len(text)
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise OSError(0, f"{needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB free")
    descriptor, name = tempfile.mkstemp(".tmp", "index-", path.parent)
    try:
        with (
            os.fdopen(descriptor, "wb") as file,
            contextlib.closing(_orders(text, BLOCK, OVERLAP)) as orders,
        ):
            crc = 0
            for part in _parts(header, orders, len(counts), text, notify):
                file.write(part)
                crc = zlib.crc32(part, crc)
            file.write(struct.pack("<I", crc))
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _parts(
    header: bytes, orders: Iterator[Order], count: int, text: Bytes, notify: Notify
) -> Iterator[memoryview]:
    """Yield the parts of an index file, and report progress."""
    yield memoryview(struct.pack("<Q", len(header)) + header)
    for number, order in enumerate(orders, start=1):
        if count >= 10 and number % (count // 5) == 0:
            notify(f"novelty: {number / count:.0%} of the index built")
        yield order.data
    yield text.data


def _remove_abandoned(folder: Path) -> None:
    """Remove unfinished indexes of processes that were killed."""
    for left in folder.glob("index-*.tmp"):
        with contextlib.suppress(OSError):  # another process removed it
            if time.time() - left.stat().st_mtime > _ABANDONED:
                left.unlink()


def _opened(path: Path, notify: Notify) -> Index | None:
    """Return the index of a file; None if it is missing, damaged or of another version."""
    try:
        if not path.stat().st_size:
            raise ValueError("empty")
        data = np.memmap(path, np.uint8, "r")
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        index = None
    else:
        index = _read(data, path.name)
    if index is None:
        notify(f"novelty: {path} is damaged, or of another version: rebuilding it")
    return index


def _read(data: Bytes, name: str) -> Index | None:
    """Return the index that `data` holds; None unless it has this name and is intact."""
    if len(data) < 12:
        return None
    crc = 0
    for first in range(0, len(data) - 4, _CHUNK):
        crc = zlib.crc32(data[first : min(first + _CHUNK, len(data) - 4)].data, crc)
    if crc != struct.unpack("<I", data[-4:].data)[0]:
        return None
    (length,) = struct.unpack("<Q", data[:8].data)
    header = json.loads(data[8 : 8 + length].tobytes())
    if (header.get("format"), header.get("name")) != (FORMAT_VERSION, name):
        return None
    orders, at = [], 8 + length
    for starting, _ in header["counts"]:
        orders.append(data[at : at + 4 * starting].view(np.uint32))
        at += 4 * starting
    block = header["block"]
    return Index(data[at:-4], _blocks(orders, header["counts"], block), block)
