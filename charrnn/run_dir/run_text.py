"""The text of a run: what its config.json says of it, and how it is read again."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Ids
from charrnn.config import AUTO, TextOptions, from_json
from charrnn.errors import CharRNNError, CorpusError, OptionError, RunError
from charrnn.run_dir.folder import RunDir
from charrnn.storage import files
from charrnn.text import alphabet, corpus
from charrnn.text import dataset as datasets
from charrnn.text.dataset import Dataset
from charrnn.text.manifest import is_dataset
from charrnn.text.reader import ReadingProgress, silent
from charrnn.text.tokenizer import Tokenizer

Starts = NDArray[np.uint64]  # positions at which documents start
_FILES = {"corpus": "files", "valid": "valid_files", "test": "test_files"}  # keys of config.json


def describe(run: RunDir, data: Dataset, options: TextOptions) -> dict[str, Any]:
    """Return what config.json says of a text, from which `read_dataset` reads it again.

    Args:
        run: the run; what could be read only once is copied into its folder.
        data: the text.
        options: how it was read and split.

    Raises:
        RunError: a copy cannot be written.
    """
    try:
        texts = data.source_files(run.path)
    except OSError as error:
        raise RunError(f"{run.path} cannot be written: {error.strerror}") from error
    return {
        **{key: texts.get(use, ()) for use, key in _FILES.items()},
        "text": {item.name: getattr(options, item.name) for item in fields(TextOptions)},
    }


def text_files(run: RunDir) -> dict[str, list[str]]:
    """Return the files of each text, by use, in the order in which the run read them."""
    config = run.read_config()
    named = {use: config.get(key) for use, key in _FILES.items()}
    return {
        use: [str(file) for file in found] if isinstance(found, list) else []
        for use, found in named.items()
    }


def read_dataset(
    run: RunDir,
    options: TextOptions | None = None,
    progress: ReadingProgress = silent,
    tokenizer: Tokenizer | None = None,
) -> Dataset:
    """Return the dataset that a run was trained on, made again from its files.

    Args:
        run: the run.
        options: how to read and split the text; by default as the run did.
        progress: called with the number of bytes done.
        tokenizer: the model's, which decides what is rare if an older version planned it.

    Raises:
        CorpusError: the text is not available or has changed; says why.
    """
    try:
        config = files.load_json(run.config.read_bytes())
        named = (config["files"], config["valid_files"], config.get("test_files", ()))
        names = [[_path(run, str(file)) for file in each] for each in named]
        sha256 = config["corpus"]["sha256"]
        options = options or from_json(TextOptions, text_options(config), str(run.config))
        first = Path(names[0][0])
    except OSError:
        raise CorpusError(f"there is no {run.config.name} beside the model") from None
    except (ValueError, KeyError, TypeError, IndexError, CharRNNError):
        raise CorpusError(f"{run.config} is damaged") from None
    if is_dataset(first):
        data = datasets.load(first)
    else:
        if "-" in itertools.chain.from_iterable(names):
            raise CorpusError("it came from standard input")
        text, valid, test = (
            corpus.read(each, options, progress) if each else None for each in names
        )
        assert text
        data = datasets.make(text, options, valid, test, progress=progress)
        if tokenizer and data.tokenizer != tokenizer and options.min_count == AUTO:
            options = replace(options, **alphabet.options_of(tokenizer))
            data = datasets.make(text, options, valid, test, progress=progress)
    if data.sha256 != sha256:
        changed = ", ".join(itertools.chain.from_iterable(names))
        raise CorpusError(f"{changed} changed since the training")
    return data


def _path(run: RunDir, file: str) -> str:
    """Return the path of a file that config.json names; copies lie in the run's folder."""
    return file if file == "-" else str(run.path / file)


def held_out(model: Path, tokenizer: Tokenizer, part: str) -> tuple[Ids, Starts]:
    """Return a part of the text of the run that `model` lies in, made again from its files.

    Args:
        model: a model file in the folder of its run, or one of its checkpoints.
        tokenizer: the model's.
        part: train, valid or test.

    Returns:
        the ids (N,), and the positions at which documents start.

    Raises:
        OptionError: the text is not available or has changed, or the run had no such part.
    """
    try:
        data = read_dataset(RunDir.of_model(model), tokenizer=tokenizer)
        if data.tokenizer != tokenizer:
            raise CorpusError("its alphabet is not that of the training")
    except CharRNNError as error:
        reason = error.message.partition(": name a text file")[0]  # which is not what is missing
        raise OptionError(f"name a text: that of {model} is not available: {reason}") from None
    ids: Ids = getattr(data, part)
    if not len(ids):
        what = {"valid": "validation", "test": "test"}.get(part, part)
        raise OptionError(f"name a text: {model} was trained without a {what} text")
    return ids, data.documents[part]


def text_options(run: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how a run read and split its text; runs of the first version say it differently."""
    if "text" in run:
        return dict(run["text"])
    newline, sizes = run["newline"], run["corpus"]
    valid = sizes["valid_characters"]
    total = sizes["train_characters"] + valid
    valid_fraction = (valid - 0.5) / total if valid else 0.0
    return {"encoding": "utf-8", "newline": newline, "valid_fraction": valid_fraction}
