"""A corpus as ids on disk, in three parts: to train on, to validate, to test.

A dataset is a folder: ``train.bin``, ``valid.bin`` and ``test.bin`` hold ids one after the other,
little endian, in the smallest type that holds them; ``train.documents.bin`` and so on hold where
documents start (64 bits each); ``manifest.json`` says all that must be known to read them, with
their hashes and its own. Ids are mapped into memory, and never read whole. What nobody asked to
keep lies in the user's cache, under the hash of the text and of the settings that made it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
import uuid
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Ids
from charrnn.config import TextOptions
from charrnn.errors import CharRNNError, CorpusError, ModelError, PromptError, RunError
from charrnn.storage import files
from charrnn.storage.cache_dir import cache_dir, writable
from charrnn.storage.format_version import check_format
from charrnn.text import tokenizer as tokenizers
from charrnn.text.corpus import Corpus, Piece, Progress, characters, silent
from charrnn.text.tokenizer import (
    DEFAULT_PIECES,
    DEFAULT_VOCAB_SIZE,
    ByteTokenizer,
    CharTokenizer,
    Size,
    Tokenizer,
)

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
KIND = "charrnn dataset"
PARTS = ("train", "valid", "test")
MAX_SYMBOLS = 200_000  # more code points than people write with
MAX_CACHE = 2**35  # bytes
_MAX_MANIFEST = 2**27  # bytes; a tokenizer of pieces is most of it
_STALE = 24 * 3600  # seconds after which what was not finished will not be
_KEYS = {"kind", "format", "name", "sha256", "tokenizer", "split", "parts", "leaks", "notices"}
_OWN = "manifest_sha256"
# What decides of ids, beside the text itself.
_SETTINGS = (
    "tokenizer",
    "min_count",
    "vocab_size",
    "pieces",
    "split",
    "valid_fraction",
    "test_fraction",
)


@dataclass(frozen=True)
class Leak:
    """Documents of a part that the training part holds too."""

    documents: int
    repeated: int


@dataclass(frozen=True, eq=False)
class Dataset:
    """The ids of a corpus and how they are split.

    Attributes:
        name: the corpus's short name.
        tokenizer: knows every symbol of all parts.
        train: ids (N,) of the training part.
        valid: ids (M,) of the validation part; M may be 0.
        test: ids (K,) of the test part; K may be 0.
        sizes: characters and bytes of each part.
        documents: where the documents of each part start, in ids.
        leaks: for the other parts, what they share with the training part; where there are
            several documents.
        sha256: of the texts, by name of their use.
        split: how the parts were made, in words.
        folder: where it lies.
        texts: what it was made of just now, by use (corpus, valid, test); nothing if it was loaded.
    """

    name: str
    tokenizer: Tokenizer
    train: Ids
    valid: Ids
    test: Ids
    sizes: Mapping[str, Size]
    documents: Mapping[str, NDArray[np.uint64]]
    leaks: Mapping[str, Leak]
    sha256: Mapping[str, str]
    split: str
    folder: Path
    texts: Mapping[str, Corpus] = field(default_factory=dict)

    def files(self, folder: Path) -> dict[str, tuple[str, ...]]:
        """Where each text can be read again, by use; what could be read only once is copied."""
        if not self.texts:
            return {"corpus": (str(self.folder.resolve()),)}
        return {use: text.kept(folder, use) for use, text in self.texts.items()}

    @property
    def newline(self) -> NDArray[np.int64]:
        """Ids after which a line begins."""
        return self.tokenizer.line_ends

    @property
    def characters_per_symbol(self) -> float:
        """Of the training part, in the mean."""
        return self.sizes["train"].characters / len(self.train)


def cache_folder() -> Path:
    """Where datasets are kept that nobody asked to keep; ``CHARRNN_DATASETS`` names another."""
    named = os.environ.get("CHARRNN_DATASETS")
    return Path(named) if named else cache_dir("datasets")


def make(
    corpus: Corpus,
    options: TextOptions | None = None,
    valid: Corpus | None = None,
    test: Corpus | None = None,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
) -> Dataset:
    """The dataset of `corpus`, made in `folder`, or taken from the cache if it was made before.

    Args:
        corpus: the text to train on, parts of which are held out.
        options: tokenizer and split.
        valid: a validation text of its own; then no part of the corpus is.
        test: a test text of its own; the same.
        folder: a new folder.
        progress: told how many bytes are done.

    Raises:
        CorpusError: there is nothing left to train on; no tokenizer can be made.
        RunError: it cannot be written.
    """
    making = _Making(corpus, options or TextOptions(), valid, test, progress)
    if folder is None:
        cached = writable(cache_folder()) / making.key()
        with contextlib.suppress(ModelError):
            found = load(cached)
            os.utime(cached)  # what was used last is removed last
            return replace(found, name=corpus.name, texts=making.texts())
        making.into(cached, in_cache=True)
        _forget_oldest(cached)
        made = load(cached, verify=False)
        return replace(made, name=corpus.name, texts=making.texts())
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CorpusError(f"{folder} exists: name a new folder for the dataset")
    making.into(folder, in_cache=False)
    return replace(load(folder, verify=False), texts=making.texts())


def _forget_oldest(kept: Path) -> None:
    """Keep the cache below its size, and free of what was never finished."""
    folders = [path for path in kept.parent.iterdir() if path.is_dir() and path != kept]
    total = _bytes(kept)
    for path in sorted(folders, key=_used, reverse=True):
        unfinished = path.name.endswith(".tmp")
        total += _bytes(path)
        if (unfinished and time.time() - _used(path) > _STALE) or total > MAX_CACHE:
            shutil.rmtree(path, ignore_errors=True)  # a training that maps it goes on


def _used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process removed it
        return 0.0


def _bytes(folder: Path) -> int:
    total = 0
    with contextlib.suppress(OSError):
        total = sum(path.stat().st_size for path in folder.iterdir())
    return total


def _replace(temporary: Path, folder: Path) -> None:
    for _ in range(3):
        try:
            temporary.rename(folder)
            return
        except OSError:
            with contextlib.suppress(ModelError):
                load(folder)
                return
            shutil.rmtree(folder, ignore_errors=True)  # what was there is damaged
    temporary.rename(folder)


def _changed(corpus: Corpus) -> CorpusError:
    return CorpusError(f"{corpus.name} changed since it was read first: try again")


@dataclass
class _Making:
    """A dataset in the making."""

    corpus: Corpus
    options: TextOptions
    valid: Corpus | None
    test: Corpus | None
    progress: Progress

    def texts(self) -> dict[str, Corpus]:
        given = {"corpus": self.corpus, "valid": self.valid, "test": self.test}
        return {use: text for use, text in given.items() if text is not None}

    def key(self) -> str:
        """The hash of all that decides of the dataset."""
        texts = {
            use: [text.sha256, hashlib.sha256(text.lengths.tobytes()).hexdigest()]
            for use, text in self.texts().items()
        }
        decides = [FORMAT_VERSION, texts, [getattr(self.options, name) for name in _SETTINGS]]
        return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:32]

    def into(self, folder: Path, *, in_cache: bool) -> None:
        """Make it beside `folder`, then give it its name.

        In the cache, who comes second uses what is there, and replaces it if it is damaged.
        """
        temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            temporary.mkdir(parents=True)
            try:
                self._write(temporary)
            except PromptError:  # a character that was not there when they were counted
                raise _changed(self.corpus) from None
            if in_cache:
                _replace(temporary, folder)
            else:
                temporary.rename(folder)
        except OSError as error:
            why = error.strerror or str(error)
            raise RunError(f"{folder} could not be written: {why}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _write(self, folder: Path) -> None:
        splitter = _Splitter(self.corpus, self.options, self.valid, self.test)
        tokenizer = self._tokenizer(splitter)
        with contextlib.ExitStack() as files:
            writers = {
                name: files.enter_context(_Writer(folder, name, tokenizer)) for name in PARTS
            }
            for part, piece in splitter.pieces(self.progress, "writing"):
                writers[part].add(piece)
            for part, text in (("valid", self.valid), ("test", self.test)):
                for piece in text.pieces(self.progress, "writing") if text else ():
                    writers[part].add(piece)
            parts = {name: writer.finish() for name, writer in writers.items()}
        manifest = {
            "kind": KIND,
            "format": FORMAT_VERSION,
            "name": self.corpus.name,
            "sha256": {use: text.sha256 for use, text in self.texts().items()},
            "tokenizer": tokenizer.to_json(),
            "split": splitter.words(),
            "parts": parts,
            "leaks": {name: asdict(leak) for name, leak in splitter.leaks().items()},
            "notices": [notice for text in self.texts().values() for notice in text.notices],
        }
        manifest[_OWN] = _digest(manifest)
        (folder / MANIFEST).write_text(json.dumps(manifest) + "\n", "utf-8")

    def _tokenizer(self, splitter: _Splitter) -> Tokenizer:
        options = self.options
        if options.tokenizer == ByteTokenizer.kind:
            return ByteTokenizer()
        if options.tokenizer == CharTokenizer.kind:
            return self._characters()
        blocks = (
            piece.data
            for part, piece in splitter.pieces(self.progress, "learning pieces of")
            if part == "train"
        )
        return tokenizers.train_pieces(
            blocks,
            self.corpus.num_bytes,
            options.pieces or DEFAULT_PIECES,
            options.vocab_size or DEFAULT_VOCAB_SIZE,
        )

    def _characters(self) -> CharTokenizer:
        points, where = np.unique(
            np.concatenate([text.points for text in self.texts().values()]), return_inverse=True
        )
        counts = np.zeros(len(points), np.int64)
        np.add.at(counts, where, np.concatenate([text.counts for text in self.texts().values()]))
        made = CharTokenizer.from_counts(points, counts, self.options.min_count)
        if len(made.symbols) > MAX_SYMBOLS:
            raise CorpusError(
                f"{self.corpus.name} has {len(made.symbols):,} different characters, more than "
                "people write with: is it text, and is its --encoding right? If so, use "
                "--min-count or --tokenizer byte"
            )
        return made


class _Splitter:
    """Which part each piece of the corpus goes to."""

    def __init__(
        self, corpus: Corpus, options: TextOptions, valid: Corpus | None, test: Corpus | None
    ) -> None:
        self._corpus, self._options = corpus, options
        self._others = {"valid": valid, "test": test}
        self._valid_fraction = options.valid_fraction if valid is None else 0.0
        self._test_fraction = options.test_fraction if test is None else 0.0
        self._cuts: tuple[int, int] | None = None  # in characters
        if options.split == "position" or not (self._valid_fraction or self._test_fraction):
            self._cuts = split_positions(
                corpus.characters, self._valid_fraction, self._test_fraction
            )
            self._parts = self._whole()
            left = self._cuts[0]
        else:
            self._parts = self._by_hash() if options.split == "hash" else self._by_document()
            left = int(corpus.lengths[self._parts == 0].sum())
        if left < 2:
            raise CorpusError(
                f"{corpus.name} leaves {left} character(s) to train on: "
                "at least 2 are needed; use a longer text"
            )

    def _whole(self) -> NDArray[np.int64]:
        """The part that holds each document whole; -1 where it is cut."""
        assert self._cuts
        ends = np.cumsum(self._corpus.lengths.astype(np.int64))
        starts = ends - self._corpus.lengths.astype(np.int64)
        first = np.searchsorted(self._cuts, starts, side="right")
        last = np.searchsorted(self._cuts, ends, side="left")
        return np.where(first == last, first, -1)

    def _by_document(self) -> NDArray[np.int64]:
        """The last documents, as many as have about the characters that are asked."""
        count = len(self._corpus.lengths)
        needed = 1 + bool(self._valid_fraction) + bool(self._test_fraction)
        self._need(needed, count)
        cuts = split_positions(self._corpus.characters, self._valid_fraction, self._test_fraction)
        starts = np.cumsum(self._corpus.lengths.astype(np.int64)) - self._corpus.lengths.astype(
            np.int64
        )
        test = int(np.searchsorted(starts, cuts[1])) if self._test_fraction else count
        test = min(test, count - bool(self._test_fraction))
        valid = int(np.searchsorted(starts, cuts[0])) if self._valid_fraction else test
        valid = min(valid, test - bool(self._valid_fraction))
        order = np.arange(count)
        return np.asarray((order >= max(1, valid)).astype(np.int64) + (order >= max(1, test)))

    def _by_hash(self) -> NDArray[np.int64]:
        """By each document's hash, a number from 0 to 1: the same for equal documents."""
        self._need(2, len(self._corpus.lengths))
        number = self._corpus.digests / 2.0**64
        held_out = self._valid_fraction + self._test_fraction
        return np.where(number < self._test_fraction, 2, np.where(number < held_out, 1, 0))

    def _need(self, needed: int, count: int) -> None:
        if count < needed:
            raise CorpusError(
                f"{self._corpus.name} is {count} document{'s'[: count > 1]}: --split "
                f"{self._options.split} needs {needed}; name several files or a "
                "--document-separator, or split by position"
            )

    def pieces(self, progress: Progress, what: str) -> Iterator[tuple[str, Piece]]:
        """All pieces of the corpus with the part that each goes to."""
        pieces = self._corpus.pieces(progress, what)
        if self._cuts is None:
            document = -1
            for piece in pieces:
                document += piece.begins
                if document >= len(self._parts):
                    raise _changed(self._corpus)
                yield PARTS[self._parts[document]], piece
            return
        part, position = 0, 0
        for piece in pieces:
            length = characters(piece.data)
            while part < 2 and position + length > self._cuts[part]:
                before = self._cuts[part] - position
                at = len(piece.data.decode()[:before].encode())
                if at:
                    yield PARTS[part], Piece(piece.begins, piece.data[:at])
                    piece = Piece(False, piece.data[at:])
                part, position, length = part + 1, position + before, length - before
            position += length
            if piece.data:
                yield PARTS[part], piece

    def leaks(self) -> dict[str, Leak]:
        """Documents of the other parts that the training part holds too."""
        corpus = self._corpus
        known = corpus.digests[self._parts == 0]
        found = {}
        for number, name in enumerate(PARTS[1:], start=1):
            other = self._others[name]
            digests = corpus.digests[self._parts == number] if other is None else other.digests
            if len(digests) and len(known):
                found[name] = Leak(len(digests), int(np.isin(digests, known).sum()))
        return found

    def words(self) -> str:
        """How the parts were made."""
        given = [name for name, text in self._others.items() if text is not None]
        asked = self._valid_fraction or self._test_fraction
        how = [f"by {self._options.split}"] if asked else []
        how += [f"{name} is a text of its own" for name in given]
        return "; ".join(how) or "all of it trains"


def split_positions(length: int, valid_fraction: float, test_fraction: float) -> tuple[int, int]:
    """Where validation and test start; each has a character at least if any fraction is asked."""
    test = length
    if test_fraction:
        test = min(int(length * (1 - test_fraction)), length - 1)
    if not valid_fraction:
        return test, test
    return max(0, min(int(length * (1 - valid_fraction - test_fraction)), test - 1)), test


class _Writer:
    """One part's ids on their way to the disk."""

    def __init__(self, folder: Path, name: str, tokenizer: Tokenizer) -> None:
        self._tokenizer, self._encoder = tokenizer, tokenizer.encoder()
        self._type = np.dtype(tokenizer.id_type).newbyteorder("<")
        self._folder, self._name = folder, name
        self._file = (folder / f"{name}.bin").open("wb", buffering=0)
        self._hash = hashlib.sha256()
        self._out = files.Beside(self._take)
        self._starts = array("Q")
        self._ids = self._bytes = self._characters = 0

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: object) -> None:
        self._out.leave()
        self._file.close()

    def add(self, piece: Piece) -> None:
        if piece.begins or not self._bytes:
            self._put(self._encoder.finish())
            self._starts.append(self._ids)
        self._bytes += len(piece.data)
        self._characters += characters(piece.data)
        self._put(self._encoder.feed(piece.data))

    def _put(self, ids: Ids) -> None:
        self._out.put(np.ascontiguousarray(ids, self._type).view(np.uint8).data)
        self._ids += len(ids)

    def _take(self, data: files.Block) -> None:
        files.write_all(self._file.fileno(), data)
        self._hash.update(data)

    def finish(self) -> dict[str, Any]:
        """Write what is left; the part's entry in the manifest."""
        self._put(self._encoder.finish())
        self._out.finish()
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
def encoded(corpus: Corpus, tokenizer: Tokenizer, progress: Progress = silent) -> Iterator[Ids]:
    """The ids of a whole text under a tokenizer that is there, for as long as they are needed.

    Raises:
        PromptError: the text has symbols that the tokenizer does not know.
    """
    with tempfile.TemporaryDirectory(prefix="charrnn-", ignore_cleanup_errors=True) as name:
        with _Writer(Path(name), "text", tokenizer) as writer:
            for piece in corpus.pieces(progress, "reading"):
                writer.add(piece)
            entry = writer.finish()
        yield _mapped(Path(name) / "text.bin", tokenizer.id_type, entry["ids"])


def is_dataset(path: Path) -> bool:
    """Whether a folder looks like a dataset."""
    try:
        with (path / MANIFEST).open(encoding="utf-8") as file:
            return f'"{KIND}"' in file.read(64)
    except (OSError, UnicodeDecodeError):
        return False


def _digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 over what a manifest says, its own hash apart."""
    rest = {name: value for name, value in manifest.items() if name != _OWN}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def load(folder: Path, *, verify: bool = True) -> Dataset:
    """Map the dataset of a folder.

    Args:
        folder: as `make` wrote it.
        verify: hash all of it, which reads it once.

    Raises:
        ModelError: missing, damaged, or of a newer format.
    """
    try:
        if (folder / MANIFEST).stat().st_size > _MAX_MANIFEST:
            raise ModelError(f"{folder} is damaged: its {MANIFEST} is too large")
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        check_format(manifest["format"], FORMAT_VERSION, folder)
        # A dataset of the first charrnn has a manifest without its hash.
        changed = _OWN in manifest and manifest[_OWN] != _digest(manifest)
        if changed or manifest.keys() - {*_KEYS, _OWN}:
            raise ModelError(
                f"{folder} is damaged: its {MANIFEST} is not as it was written; make the dataset "
                "again with 'charrnn prepare'"
            )
        tokenizer = tokenizers.from_json(manifest["tokenizer"], str(folder))
        parts = {name: _part(folder, name, manifest, tokenizer, verify) for name in PARTS}
        return Dataset(
            name=str(manifest["name"]),
            tokenizer=tokenizer,
            train=parts["train"].ids,
            valid=parts["valid"].ids,
            test=parts["test"].ids,
            sizes={name: part.size for name, part in parts.items()},
            documents={name: part.starts for name, part in parts.items()},
            leaks={name: Leak(**leak) for name, leak in manifest["leaks"].items()},
            sha256=dict(manifest["sha256"]),
            split=str(manifest["split"]),
            folder=folder,
        )
    except FileNotFoundError as error:
        raise ModelError(f"{folder} is no dataset: {error.filename} is missing") from None
    except OSError as error:
        raise ModelError(f"{folder} cannot be read: {error.strerror}") from error
    except CharRNNError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{folder} is damaged: its {MANIFEST} is not readable") from error


@dataclass(frozen=True)
class _Part:
    ids: Ids
    size: Size
    starts: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))


def _part(
    folder: Path, name: str, manifest: Mapping[str, Any], tokenizer: Tokenizer, verify: bool
) -> _Part:
    entry = manifest["parts"][name]
    ids = _mapped(folder / f"{name}.bin", tokenizer.id_type, entry["ids"])
    starts = _mapped(folder / f"{name}.documents.bin", np.uint64, entry["documents"])
    if verify:
        _verify(folder / f"{name}.bin", entry["sha256"])
        _verify(folder / f"{name}.documents.bin", entry["documents_sha256"])
    return _Part(ids, Size(int(entry["characters"]), int(entry["bytes"])), starts)


def _mapped(path: Path, kind: type[np.unsignedinteger[Any]], length: int) -> NDArray[Any]:
    """The numbers of a file, read where and when they are looked at."""
    wanted = np.dtype(kind).newbyteorder("<")
    size = path.stat().st_size
    if size != length * wanted.itemsize:
        raise ModelError(
            f"{path} is damaged: it has {size:,} bytes, not {length * wanted.itemsize:,}"
        )
    # Nothing cannot be mapped; a plain view is faster to index than numpy's own class.
    return np.asarray(np.memmap(path, wanted, "r")) if length else np.zeros(0, wanted)


def _verify(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise ModelError(f"{path} is damaged: its hash is not the one in {MANIFEST}")
