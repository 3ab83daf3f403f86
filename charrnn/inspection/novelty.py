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
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.config import TextOptions
from charrnn.errors import CharRNNError, CorpusError, counted
from charrnn.inspection.text_index import (
    BLOCK,
    OVERLAP,
    Index,
    blocks_of,
    counts_of,
    encoded,
    orders_of,
)
from charrnn.model.model_file import Model
from charrnn.run_dir import RunDir, find_model, read_model
from charrnn.run_dir.run_text import read_dataset
from charrnn.storage.cache_dir import cache_dir, writable
from charrnn.storage.files import json_text, waits_for
from charrnn.text.corpus import Corpus
from charrnn.text.notices import Notify
from charrnn.text.open import read_corpus
from charrnn.text.reader import silent
from charrnn.text.split import Splitter
from charrnn.text.suffix_array import Bytes, Order
from charrnn.text.tokenizer import Decoder

FORMAT_VERSION = 2  # 1 counted only line feeds
_CHUNK = 2**24  # bytes
_IDS = 2**18  # tokens decoded at a time
_ABANDONED = 24 * 3600  # seconds after which an unfinished index counts as abandoned


def for_model(
    model: str | Path,
    notify: Notify = lambda sentence: None,
    training_text: Sequence[str | Path] = (),
) -> Index:
    """Return the index of the text that a model was trained on; build and save it if needed.

    Args:
        model: its file, or its run's folder.
        notify: receives a sentence when an index is built.
        training_text: where the text is now, which must be that text; by default where it was when
            the training began.

    Raises:
        ModelError: the model does not exist or cannot be read.
        CorpusError: `training_text` is another text; or there is no index yet, and the training
            text is not available.
    """
    file = find_model(Path(model))
    loaded = read_model(file, described_only=True)
    described: Any = loaded.training.get("corpus")
    try:
        sha256, characters = described["sha256"]["corpus"], described["train_characters"]
        by_documents = str(described.get("split", "")).startswith(("by document", "by hash"))
        split = described["split"].split(";")[0].split()[-1] if by_documents else "position"
        which = f"-{split}" if by_documents else ""
        path = cache_folder() / f"{sha256:.64}-{characters:d}{which}.index"
    except (TypeError, KeyError, ValueError):
        raise CorpusError(f"{file} does not say what text it was trained on") from None
    moved = _moved(training_text, loaded, notify) if training_text else None
    index = _opened(path, notify)
    if index is None:
        if moved:
            text = _trained_part(moved, loaded, RunDir.of_model(file), split)
        else:
            text = _training_text(file, sha256)
        notify(f"novelty: indexing {counted(characters, 'character')}, once")
        index = _built(path, text, notify)
    index.separator = loaded.reading.separator
    return index


def cache_folder() -> Path:
    """Return the folder of the indexes, which may be deleted."""
    return writable(cache_dir("novelty"))


def _training_text(model: Path, sha256: str) -> str:
    """Return the text that `model` was trained on, read again from its files."""
    try:
        data = read_dataset(RunDir.of_model(model))
        if data.sha256["corpus"] != sha256:
            raise CorpusError(f"{data.name} changed since the training")
    except CharRNNError as error:
        raise CorpusError(
            f"the text that {model} was trained on is not available: {error.message}; "
            "if it is somewhere else now, name it with --training-text"
        ) from None
    decoder, ids = Decoder(data.tokenizer), data.train
    pieces = [decoder.feed(ids[at : at + _IDS].tolist()) for at in range(0, len(ids), _IDS)]
    return "".join([*pieces, decoder.finish()])


def _moved(names: Sequence[str | Path], model: Model, notify: Notify) -> Corpus:
    """Return the text of a training that has moved to these files, read as it was.

    Raises:
        CorpusError: it is another text.
    """
    for sentence in filter(None, map(waits_for, map(Path, names))):
        notify(sentence)
    reading = model.reading
    given = {} if reading.items else {"document_separator": reading.document_separator}
    try:
        text = read_corpus(names, reading.options(given))
    except CorpusError as error:  # advice about reading it otherwise would not help
        reason = error.message.partition(": ")[0]
        raise CorpusError(f"{reason}: it is not the text that the model was trained on") from None
    if text.sha256 != model.training["corpus"]["sha256"]["corpus"]:
        raise CorpusError(f"{text.name} is not the text that the model was trained on")
    return text


def _trained_part(text: Corpus, model: Model, run: RunDir, split: str) -> str:
    """Return the part of a text that a model was trained on.

    Raises:
        CorpusError: nothing says which part that was.
    """
    characters: int = model.training["corpus"]["train_characters"]
    if split != "hash":
        return text.text[:characters]  # what follows was held out
    known = run.read_config().get("text", {})
    parts = {name: known[name] for name in ("valid_fraction", "test_fraction") if name in known}
    options = TextOptions(**asdict(text.reading) | parts | {"split": split})
    pieces = Splitter(text, options, None, None).pieces(silent, "reading")
    trained = b"".join(piece.data for part, piece in pieces if part == "train").decode()
    if len(trained) != characters:
        raise CorpusError(
            f"{run.path} does not say which part of {text.name} the model was trained on: keep "
            f"{run.config.name} beside the model"
        )
    return trained


def _built(path: Path, text: str, notify: Notify) -> Index:
    """Return a new index, saved at `path` if possible, else in memory."""
    try:
        _write(path, encoded(text), notify)
        index = _opened(path, notify)
        if index is not None:
            return index
    except OSError as error:
        notify(f"novelty: {path.parent}: {error.strerror}: the index will not be saved")
    return Index.of(text)


def _write(path: Path, text: Bytes, notify: Notify) -> None:
    """Write an index file atomically; other processes may be doing the same."""
    counts = counts_of(text, BLOCK)
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
            contextlib.closing(orders_of(text, BLOCK, OVERLAP)) as orders,
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
    return Index(data[at:-4], blocks_of(orders, header["counts"], block), block)
