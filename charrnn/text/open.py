"""Open texts by the names that a user gives: the same for the command line and for Python.

A name is a file, a folder, a glob pattern, ``-`` (standard input), a named corpus, or the folder of
a dataset that was prepared before.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from charrnn.config import ModelReading, Reading, TextOptions, escape, flag
from charrnn.config.fields import given_flags, option_of
from charrnn.errors import CorpusError, OptionError, excerpt, file_name
from charrnn.text import corpus, dataset
from charrnn.text.corpus import Corpus
from charrnn.text.dataset import Dataset
from charrnn.text.manifest import is_dataset
from charrnn.text.named import registry
from charrnn.text.notices import Notify, ignore
from charrnn.text.reader import ReadingProgress, silent

Name = str | PathLike[str]
FILES_ONLY = ("encoding", "errors", "include", "exclude", "max_unpacked")  # of `Reading`


class Texts(NamedTuple):
    """What to train on: a corpus with optional validation and test texts, or a dataset.

    `words` name the same texts on a command line.
    """

    corpus: Corpus | Dataset
    valid: Corpus | None = None
    test: Corpus | None = None
    words: tuple[str, ...] = ()


def command_words(
    names: Sequence[Name], reading: Reading, valid: Name | None = None, test: Name | None = None
) -> tuple[str, ...]:
    """Return the words that name texts on a command line, and the flags that read them alike."""
    words = [f".{os.sep}{name}" if name[:1] == "-" != name else name for name in map(str, names)]
    for option, path in (("--valid", valid), ("--test", test)):
        words += [] if path is None else [option, str(path)]
    decided = Reading(items=reading.items, pairs=reading.pairs)  # and with them, others
    implied = replace(decided, items="", pairs=False)
    for field in fields(Reading):
        value, declared = getattr(reading, field.name), option_of(field)
        if value is True:
            words.append(flag(field.name))
        elif declared and value != getattr(implied, field.name):
            for each in value if declared.many else (value,):
                words += [flag(field.name), escape(each) if declared.parse else str(each)]
    return tuple(words)


def read_corpus(
    names: Sequence[Name],
    reading: Reading | None = None,
    *,
    notify: Notify = ignore,
    progress: ReadingProgress = silent,
    oddities: bool = True,
) -> Corpus:
    """Read files, or a named corpus, as one text.

    Args:
        names: files, folders, patterns, ``-``, or named corpora; a file wins over a corpus of the
            same name.
        reading: encoding, line ends and documents.
        notify: called with each notice about what was seen or changed in the text.
        progress: called with the number of bytes read so far.
        oddities: also notify of what is odd about the text.

    Raises:
        CorpusError: a text is missing, empty, damaged, or not in its encoding.
    """
    files = [file_name(name, "a corpus", CorpusError) for name in names]
    known = registry.entries()
    paths: list[str | Path] = []
    named = None
    unused = given_flags(reading, "include", "exclude") if reading else ""
    if unused and not any(Path(name).is_dir() for name in files):
        raise OptionError(
            f"{unused} is for files of folders, and {excerpt(', '.join(files))} is none: "
            "leave it out, or name a folder"
        )
    for name in files:
        if name in known and not Path(name).exists():
            paths += registry.paths(known[name])
            named = name
        else:
            paths.append(name)
    text = corpus.read(paths, reading, progress)
    if named and len(files) == 1:
        text = replace(text, name=named)
    for sentence in text.sentences() if oddities else text.notices:
        notify(sentence)
    return text


def read_for(
    model: ModelReading,
    names: Sequence[Name],
    given: Mapping[str, Any] | None = None,
    *,
    notify: Notify = ignore,
    progress: ReadingProgress = silent,
) -> Corpus:
    """Read a text for a model as the text of its training was read.

    Args:
        model: how that text was read.
        names: as in `read_corpus`.
        given: the options of `Reading` that the user gave, which come first.
        notify: called with each notice, also where the text does not go with the model.
        progress: as in `read_corpus`.

    Raises:
        CorpusError: as `read_corpus`.
        OptionError: a given option is invalid.
    """
    text = read_corpus(names, model.options(given), notify=notify, progress=progress)
    separator = text.reading.document_separator
    if separator and separator == model.separator and not text.holds_separator():
        notify(
            f"{text.name}: '{escape(separator)}', which ended each document of the training, does "
            "not occur: each file is read as one document (--document-separator names another)"
        )
    return text


def texts_of(
    names: Sequence[Name],
    options: TextOptions,
    valid: Name | None = None,
    test: Name | None = None,
    given: Iterable[str] = (),
    *,
    notify: Notify = ignore,
    progress: ReadingProgress = silent,
) -> Texts:
    """Read a text and its validation and test texts, or load the dataset that `names` names.

    Args:
        names: as in `read_corpus`, or the folder of one dataset.
        options: how the texts are read.
        valid: a separate validation text.
        test: a separate test text.
        given: names of the options that the user gave; a dataset refuses those that it was
            prepared with.
        notify: as in `read_corpus`.
        progress: as in `read_corpus`.

    Raises:
        OptionError: a dataset is named together with other texts or with text options.
        CorpusError: as `read_corpus`.
        ModelError: the dataset is damaged.
    """
    names = [file_name(name, "a corpus", CorpusError) for name in names]
    folders = [name for name in names if name and is_dataset(Path(name))]
    if folders and len(names) > 1:
        raise OptionError(f"{folders[0]} is a dataset: name it alone")
    if folders:
        others = {name for name, path in (("valid", valid), ("test", test)) if path is not None}
        decided = sorted({field.name for field in fields(TextOptions)} & set(given) | others)
        if decided:
            raise OptionError(
                f"{folders[0]} is a dataset: {flag(decided[0])} was decided when it was prepared: "
                "leave it out, or name the text itself"
            )
        return Texts(dataset.load(Path(folders[0])))

    _check_fractions(options, given, valid, test)
    text = read_corpus(names, options, notify=notify, progress=progress)
    held_out = _held_out(valid, test, options, notify, progress)
    return Texts(text, *held_out, command_words(names, options, valid, test))


def texts_of_string(
    text: str,
    options: TextOptions,
    valid: Name | None = None,
    test: Name | None = None,
    given: Iterable[str] = (),
    *,
    notify: Notify = ignore,
    progress: ReadingProgress = silent,
) -> Texts:
    """Make a text of a string, and read its validation and test texts.

    Args:
        text: the text itself.
        options: as in `texts_of`.
        valid: as in `texts_of`.
        test: as in `texts_of`.
        given: names of the options that the caller gave; those about files are refused.
        notify: as in `read_corpus`.
        progress: as in `read_corpus`.

    Raises:
        OptionError: an option is about files.
        CorpusError: the text is not a string, is empty, or has a lone surrogate; or as
            `read_corpus`.
    """
    if not isinstance(text, str):
        raise CorpusError(f"`text` must be a str, not {type(text).__name__}: decode bytes first")
    of_files = sorted(set(given) & set(FILES_ONLY))
    if of_files:
        raise OptionError(f"{flag(of_files[0])} is about files: leave it out with `text`")
    _check_fractions(options, given, valid, test)
    made = corpus.from_text(text, reading=options)
    for notice in made.notices:
        notify(notice)
    return Texts(made, *_held_out(valid, test, options, notify, progress))


def _check_fractions(
    options: TextOptions, given: Iterable[str], valid: Name | None, test: Name | None
) -> None:
    """Refuse options that say what to hold out of a text of which nothing is held out."""
    for name, text in (("valid", valid), ("test", test)):
        if text is not None and f"{name}_fraction" in given:
            raise OptionError(
                f"--{name} and --{name}-fraction both say what to hold out: give one of them"
            )
    if valid is not None and "split" in given and not options.test_fraction:
        raise OptionError("--split holds out a part of the text, and --valid is a text of its own")


def _held_out(
    valid: Name | None,
    test: Name | None,
    options: TextOptions,
    notify: Notify,
    progress: ReadingProgress,
) -> tuple[Corpus | None, Corpus | None]:
    """Read the separate validation and test texts that are named."""

    def read(name: Name | None) -> Corpus | None:
        if name is None:
            return None
        return read_corpus([name], options, notify=notify, progress=progress)

    return read(valid), read(test)


def dataset_of(
    names: Sequence[Name],
    options: TextOptions,
    valid: Name | None = None,
    test: Name | None = None,
    given: Iterable[str] = (),
    folder: Path | None = None,
    *,
    force: bool = False,
    notify: Notify = ignore,
    progress: ReadingProgress = silent,
) -> Dataset:
    """Return the dataset of texts, made now or found in the cache, or the dataset that is named.

    Args:
        names: as in `texts_of`.
        options: how the texts are read and split.
        valid: a separate validation text.
        test: a separate test text.
        given: as in `texts_of`.
        folder: where to write the dataset instead of in the cache.
        force: replace the dataset that `folder` holds.
        notify: as in `read_corpus`.
        progress: called with the number of bytes done.

    Raises:
        InputError: as `texts_of`.
        RunError: the dataset cannot be written.
    """
    texts = texts_of(names, options, valid, test, given, notify=notify, progress=progress)
    if isinstance(texts.corpus, Dataset):
        return texts.corpus
    held_out = texts.valid, texts.test
    return dataset.make(
        texts.corpus, options, *held_out, folder=folder, force=force, progress=progress
    )
