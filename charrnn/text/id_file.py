"""Files of ids: one after another, little endian, mapped into memory instead of read."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Ids
from charrnn.errors import ModelError
from charrnn.storage.block_worker import BlockWorker
from charrnn.storage.files import Block, write_all
from charrnn.text.corpus import Corpus
from charrnn.text.documents import Piece
from charrnn.text.tokenizer import Tokenizer
from charrnn.text.utf8 import count_characters


class IdWriter:
    """Encodes the pieces of one part and writes ``NAME.bin`` and ``NAME.documents.bin``."""

    def __init__(self, folder: Path, name: str, tokenizer: Tokenizer) -> None:
        self._encoder = tokenizer.encoder()
        self._type = np.dtype(tokenizer.id_type).newbyteorder("<")
        self._folder, self._name = folder, name
        self._file = (folder / f"{name}.bin").open("wb", buffering=0)
        self._hash = hashlib.sha256()
        self._worker = BlockWorker(self._write)
        self._starts = array("Q")
        self._ids = self._bytes = self._characters = 0

    def __enter__(self) -> IdWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._worker.close()
        self._file.close()

    def add(self, piece: Piece) -> None:
        """Encode the next piece."""
        if piece.begins or not self._bytes:
            self._put(self._encoder.finish())
            self._starts.append(self._ids)
        self._bytes += len(piece.data)
        self._characters += count_characters(piece.data)
        self._put(self._encoder.feed(piece.data))

    def _put(self, ids: Ids) -> None:
        self._worker.put(np.ascontiguousarray(ids, self._type).view(np.uint8).data)
        self._ids += len(ids)

    def _write(self, data: Block) -> None:
        write_all(self._file.fileno(), data)
        self._hash.update(data)

    def finish(self) -> dict[str, Any]:
        """Write the rest and return the part's entry in the manifest."""
        self._put(self._encoder.finish())
        self._worker.finish()
        starts = np.array(self._starts, "<u8").tobytes()
        (self._folder / f"{self._name}.documents.bin").write_bytes(starts)
        return {
            "ids": self._ids,
            "characters": self._characters,
            "bytes": self._bytes,
            "sha256": self._hash.hexdigest(),
            "documents": len(self._starts),
            "documents_sha256": hashlib.sha256(starts).hexdigest(),
        }


@contextlib.contextmanager
def encoded(corpus: Corpus, tokenizer: Tokenizer) -> Iterator[tuple[Ids, NDArray[np.uint64]]]:
    """Encode a whole text with a given tokenizer; the ids exist until the context ends.

    Returns:
        the ids (N,), and where documents start (D,).

    Raises:
        PromptError: the text has characters that the tokenizer does not know.
    """
    with tempfile.TemporaryDirectory(prefix="charrnn-", ignore_cleanup_errors=True) as name:
        with IdWriter(Path(name), "text", tokenizer) as writer:
            for piece in corpus.pieces():
                writer.add(piece)
            entry = writer.finish()
        ids = map_numbers(Path(name) / "text.bin", tokenizer.id_type, entry["ids"])
        starts = map_numbers(Path(name) / "text.documents.bin", np.uint64, entry["documents"])
        yield ids, starts


def map_numbers(path: Path, kind: type[np.unsignedinteger[Any]], length: int) -> NDArray[Any]:
    """Map the numbers (N,) of a file into memory.

    Raises:
        ModelError: the file does not have this length.
    """
    wanted = np.dtype(kind).newbyteorder("<")
    size = path.stat().st_size
    if size != length * wanted.itemsize:
        raise ModelError(
            f"{path} is damaged: it has {size:,} bytes, not {length * wanted.itemsize:,}"
        )
    # An empty file cannot be mapped; a plain array is faster to index than numpy's memmap.
    return np.asarray(np.memmap(path, wanted, "r")) if length else np.zeros(0, wanted)


def verify(path: Path, sha256: str, named_in: str) -> None:
    """Compare a file's SHA-256 with the one that the file `named_in` states.

    Raises:
        ModelError: it differs.
    """
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise ModelError(f"{path} is damaged: its hash is not the one in {named_in}")
