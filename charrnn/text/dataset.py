"""A dataset: a corpus as ids on disk, in three parts for training, validation and test.

A dataset is a folder. ``train.bin``, ``valid.bin`` and ``test.bin`` hold ids one after another,
little endian, in the smallest type that holds them; ``train.documents.bin`` and so on hold where
documents start (64 bits each); ``manifest.json`` describes and hashes them all. Ids are mapped into
memory and never read as a whole. A dataset that was not asked for lies in the user's cache, under
the hash of the text and of the settings that made it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Ids
from charrnn.config import AUTO, ModelReading, TextOptions, from_json, to_json
from charrnn.errors import (
    CharRNNError,
    ModelError,
    OptionError,
    PromptError,
    RunError,
    excerpt,
)
from charrnn.storage import folders
from charrnn.text import alphabet, dataset_cache, manifest
from charrnn.text import tokenizer as tokenizers
from charrnn.text.corpus import Corpus
from charrnn.text.id_file import IdWriter, map_numbers, verify
from charrnn.text.manifest import MANIFEST
from charrnn.text.pairs import PairPart
from charrnn.text.reader import ReadingProgress, silent
from charrnn.text.split import PARTS, Leak, Splitter
from charrnn.text.tokenizer import ByteTokenizer, CharTokenizer, Size, Tokenizer
from charrnn.text.tokenizer.sentencepiece import DEFAULT_PIECES, DEFAULT_VOCAB_SIZE

# The options that decide the ids, besides the text itself.
_SETTINGS = (
    "tokenizer",
    "min_count",
    "vocab_size",
    "pieces",
    "split",
    "valid_fraction",
    "test_fraction",
)
# All that a dataset's folder holds.
_FILES = {MANIFEST, *(f"{part}{end}.bin" for part in PARTS for end in ("", ".documents"))}


@dataclass(frozen=True, eq=False)
class Dataset:
    """The ids of a corpus and how they are split.

    Attributes:
        name: the corpus's short name.
        tokenizer: knows every character of all parts.
        train: ids (N,) of the training part.
        valid: ids (M,) of the validation part; M may be 0.
        test: ids (K,) of the test part; K may be 0.
        sizes: characters and bytes of each part.
        documents: index of each document's first id, by part.
        leaks: for the other parts, what they share with the training part, if there are several
            documents.
        sha256: of each text, by use (corpus, valid, test).
        split: how the parts were made, in words.
        folder: where it lies.
        reading: how the texts were read.
        texts: the texts that it was just made of, by use; empty if it was loaded.
        rare_symbols: how many characters are written as bytes since they are rare.
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
    reading: ModelReading
    texts: Mapping[str, Corpus] = field(default_factory=dict)
    rare_symbols: int = 0

    def source_files(self, folder: Path) -> dict[str, tuple[str, ...]]:
        """Return the files to read each text from later, by use.

        Args:
            folder: for copies of what could be read only once.
        """
        if not self.texts:
            return {"corpus": (str(self.folder.resolve()),)}
        return {use: text.source_files(folder, use) for use, text in self.texts.items()}

    def pairs(self, part: str) -> PairPart:
        """Return the pairs of a part, if the text was read as pairs."""
        return PairPart(getattr(self, part), self.documents[part])

    @cached_property
    def target_only(self) -> str:
        """The characters that targets of the pairs have, and no source; no bytes of rare ones."""
        if not self.reading.pairs or not isinstance(self.tokenizer, CharTokenizer):
            return ""
        parts = [self.pairs(part) for part in PARTS]
        texts = [part.ids for part in parts], [part.targets for part in parts]
        every, written = (np.bincount(np.concatenate(ids)) for ids in texts)
        only = [int(each) for each in np.flatnonzero(written) if written[each] == every[each]]
        return b"".join(self.tokenizer.token_bytes[each] for each in only).decode(errors="ignore")

    @property
    def characters_per_token(self) -> float:
        """The mean length of a token in the training part."""
        return self.sizes["train"].characters / len(self.train)


def make(
    corpus: Corpus,
    options: TextOptions | None = None,
    valid: Corpus | None = None,
    test: Corpus | None = None,
    *,
    folder: Path | None = None,
    force: bool = False,
    progress: ReadingProgress = silent,
) -> Dataset:
    """Make the dataset of `corpus` in `folder`, or in the cache if it is not there already.

    Args:
        corpus: the text to train on, parts of which are held out.
        options: tokenizer and split.
        valid: a separate validation text; then no part of the corpus is held out for it.
        test: a separate test text; likewise.
        folder: a new folder, or an empty one.
        force: `folder` may hold a dataset, which is replaced once the new one is whole.
        progress: called with the number of bytes done.

    Raises:
        CorpusError: too little is left to train on, or no tokenizer can be made.
        RunError: the dataset cannot be written.
    """
    builder = _Builder(corpus, options or TextOptions(), valid, test, progress)
    if folder is None:
        cached = dataset_cache.folder() / builder.key()
        with contextlib.suppress(ModelError):
            found = load(cached)
            dataset_cache.mark_used(cached)
            return builder.named(found)
        builder.build(cached, in_cache=True)
        dataset_cache.remove_old(cached)
        return builder.named(load(cached, check_hashes=False))
    check_folder(folder, force=force)
    builder.build(folder, in_cache=False)
    return builder.named(load(folder, check_hashes=False))


def check_folder(folder: Path, *, force: bool = False) -> None:
    """Refuse a folder that a dataset cannot be made in; with `force` it may hold a dataset.

    Raises:
        OptionError: it is a file, or holds what would be lost.
    """
    if folder.resolve() == Path.cwd():  # another folder would get its name
        raise OptionError(f"--out {folder} is the folder you are in: name a new folder in it")
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    kind = "a dataset" if manifest.is_dataset(folder) else "something else"
    if not force or kind != "a dataset":
        advice = ", or use --force to replace it" if kind == "a dataset" else ""
        raise OptionError(f"--out {folder} already holds {kind}: choose another folder{advice}")
    others = sorted({path.name for path in folder.iterdir()} - _FILES)
    if others:
        raise OptionError(
            f"--out {folder} also holds files that charrnn did not write: move them, or choose "
            f"another folder: {excerpt(', '.join(others))}"
        )


@dataclass
class _Builder:
    """Makes one dataset."""

    corpus: Corpus
    options: TextOptions
    valid: Corpus | None
    test: Corpus | None
    progress: ReadingProgress

    def texts(self) -> dict[str, Corpus]:
        given = {"corpus": self.corpus, "valid": self.valid, "test": self.test}
        return {use: text for use, text in given.items() if text is not None}

    def reading(self) -> ModelReading:
        names = ("encoding", "errors", "newline", "document_separator", "items", "pairs", "swap")
        return ModelReading(**{name: getattr(self.corpus.reading, name) for name in names})

    def named(self, found: Dataset) -> Dataset:
        """Return the dataset, which may be of the same text in another file, as one of this one."""
        return replace(found, name=self.corpus.name, reading=self.reading(), texts=self.texts())

    def key(self) -> str:
        """Return the hash of everything that decides the dataset."""
        texts = {
            use: [text.sha256, hashlib.sha256(text.document_lengths.tobytes()).hexdigest()]
            for use, text in self.texts().items()
        }
        settings = [getattr(self.options, name) for name in _SETTINGS]
        if self.options.min_count == AUTO:
            rare = alphabet.may_be_rare(self.texts().values())
            auto = [AUTO, alphabet.LEARNED, alphabet.RARE_SHARE] if rare else 1
            settings[_SETTINGS.index("min_count")] = self.options.known_symbols or auto
        # These are split in another way.
        settings += [name for name in ("items", "pairs") if getattr(self.options, name)]
        decides = [manifest.FORMAT_VERSION, texts, settings]
        return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:32]

    def build(self, folder: Path, *, in_cache: bool) -> None:
        """Write to a temporary folder, then rename it to `folder`, in place of what is there.

        In the cache another process may have been faster: its dataset is used, or replaced if it is
        damaged.
        """
        folder = folder.resolve()
        try:
            with folders.temporary_folder(folder) as temporary:
                try:
                    self._write(temporary)
                except PromptError:  # a character that was not there when they were counted
                    raise self.corpus.changed() from None
                if in_cache:
                    _replace(temporary, folder)
                else:
                    folders.exchange(temporary, folder)
        except OSError as error:
            why = error.strerror or str(error)
            raise RunError(f"{folder} could not be written: {why}") from error

    def _write(self, folder: Path) -> None:
        splitter = Splitter(self.corpus, self.options, self.valid, self.test)
        tokenizer, rare = self._tokenizer(splitter)
        with contextlib.ExitStack() as stack:
            writers = {
                name: stack.enter_context(IdWriter(folder, name, tokenizer)) for name in PARTS
            }
            for part, piece in splitter.pieces(self.progress, "writing"):
                writers[part].add(piece)
            for part, text in (("valid", self.valid), ("test", self.test)):
                for piece in text.pieces(self.progress, "writing") if text else ():
                    writers[part].add(piece)
            parts = {name: writer.finish() for name, writer in writers.items()}
        content = {
            "name": self.corpus.name,
            "sha256": {use: text.sha256 for use, text in self.texts().items()},
            "tokenizer": tokenizer.to_json(),
            **({"rare_symbols": rare} if rare else {}),
            "split": splitter.describe(),
            "parts": parts,
            "leaks": {name: asdict(leak) for name, leak in splitter.leaks().items()},
            "reading": to_json(self.reading()),
            "notices": [
                sentence for text in self.texts().values() for sentence in text.sentences()
            ],
        }
        manifest.write(folder, content)

    def _tokenizer(self, splitter: Splitter) -> tuple[Tokenizer, int]:
        """Return the tokenizer, and how many characters it writes as bytes since they are rare."""
        options = self.options
        if options.tokenizer == ByteTokenizer.kind:
            return ByteTokenizer(), 0
        if options.tokenizer == CharTokenizer.kind:
            pieces = splitter.pieces(self.progress, "counting characters of")
            held_out = (piece for part, piece in pieces if part != "train")
            return alphabet.of([*self.texts().values()], options, held_out)
        blocks = (
            piece.data
            for part, piece in splitter.pieces(self.progress, "learning pieces of")
            if part == "train"
        )
        made = tokenizers.train_pieces(
            blocks,
            self.corpus.num_bytes,
            options.pieces or DEFAULT_PIECES,
            options.vocab_size or DEFAULT_VOCAB_SIZE,
        )
        return made, 0


def _replace(temporary: Path, folder: Path) -> None:
    """Rename a finished dataset, unless a sound one is there already."""
    for _ in range(3):
        try:
            temporary.rename(folder)
            return
        except OSError:
            with contextlib.suppress(ModelError):
                load(folder)
                return
            shutil.rmtree(folder, ignore_errors=True)  # damaged
    temporary.rename(folder)


def load(folder: Path, *, check_hashes: bool = True) -> Dataset:
    """Map the dataset of a folder into memory.

    Args:
        folder: as `make` wrote it.
        check_hashes: read all of it once to compare the hashes.

    Raises:
        ModelError: it is missing, damaged, or of a newer format.
    """
    try:
        described = manifest.read(folder)
        tokenizer = tokenizers.from_json(described["tokenizer"], str(folder))
        parts = {
            name: _part(folder, name, described["parts"][name], tokenizer, check_hashes)
            for name in PARTS
        }
        return Dataset(
            name=str(described["name"]),
            tokenizer=tokenizer,
            train=parts["train"].ids,
            valid=parts["valid"].ids,
            test=parts["test"].ids,
            sizes={name: part.size for name, part in parts.items()},
            documents={name: part.starts for name, part in parts.items()},
            leaks={name: Leak(**leak) for name, leak in described["leaks"].items()},
            sha256=dict(described["sha256"]),
            split=str(described["split"]),
            folder=folder,
            reading=_reading(described.get("reading", {}), folder),
            rare_symbols=int(described.get("rare_symbols", 0)),
        )
    except FileNotFoundError as error:
        raise ModelError(f"{folder} is not a dataset: {error.filename} is missing") from None
    except OSError as error:
        raise ModelError(f"{folder} cannot be read: {error.strerror}") from error
    except CharRNNError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{folder} is damaged: its {MANIFEST} is not readable") from error


def _reading(known: Any, folder: Path) -> ModelReading:
    """Return how the texts were read; older manifests do not say it."""
    try:
        return from_json(ModelReading, known, str(folder))
    except OptionError as error:
        raise ModelError(f"{folder} is damaged: {error.message}") from None


@dataclass(frozen=True)
class _Part:
    ids: Ids
    size: Size
    starts: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))


def _part(
    folder: Path, name: str, entry: Mapping[str, Any], tokenizer: Tokenizer, check_hashes: bool
) -> _Part:
    ids_path, starts_path = folder / f"{name}.bin", folder / f"{name}.documents.bin"
    ids = map_numbers(ids_path, tokenizer.id_type, entry["ids"])
    starts = map_numbers(starts_path, np.uint64, entry["documents"])
    if check_hashes:
        verify(ids_path, entry["sha256"], MANIFEST)
        verify(starts_path, entry["documents_sha256"], MANIFEST)
    return _Part(ids, Size(int(entry["characters"]), int(entry["bytes"])), starts)
