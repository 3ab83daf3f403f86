"""Collect what a training is asked for: by its caller, and by what ``--config`` names.

A run is repeated by what its config.json says: the texts, what was asked for, and what was planned
for the rest. So a repeated run has the same network on another machine, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

from charrnn.config import (
    BUDGETS,
    FORM,
    Reading,
    RunOptions,
    TextOptions,
    TrainOptions,
    is_own_cell,
    load_options,
)
from charrnn.errors import CorpusError, ModelError, OptionError
from charrnn.model import needed_cell
from charrnn.run_dir.find import named
from charrnn.run_dir.folder import RunDir
from charrnn.run_dir.run_text import read_dataset, text_options
from charrnn.storage import machine
from charrnn.text.dataset import Dataset
from charrnn.text.manifest import is_dataset
from charrnn.text.reader import ReadingProgress, silent

_NETWORK = {"cell", "num_layers", "hidden_size", "embedding_size", *FORM}
_NETWORK |= {"encoder", "context", "ensemble"}


@dataclass(frozen=True)
class Recipe:
    """A training that was asked for.

    Attributes:
        names: the names of the texts; those of `source` if the caller named none.
        run: where the run is stored and how it starts.
        options: the training options, by field name; what is missing is planned.
        source: the run whose texts are read again, if the caller named none.
        notes: sentences about how the run to repeat differs from this one.
    """

    names: Sequence[str | PathLike[str]]
    run: RunOptions
    options: dict[str, Any]
    source: RunDir | None = None
    notes: tuple[str, ...] = ()

    def dataset(self, options: TextOptions, progress: ReadingProgress = silent) -> Dataset:
        """Read the texts of `source` again.

        Raises:
            CorpusError: they are not available or have changed.
        """
        assert self.source
        try:
            data = read_dataset(self.source, options, progress)
            name = str(self.source.read_config()["corpus"]["name"])
        except CorpusError as error:
            raise CorpusError(
                f"{self.source.path} cannot be repeated: {error.message}; to train on another "
                "text, name it"
            ) from None
        return replace(data, name=name)


def recipe(
    names: Sequence[str | PathLike[str]], run: RunOptions, given: Mapping[str, Any]
) -> Recipe:
    """Return what a training is asked for; the given options override those of ``--config``.

    Args:
        names: the names of texts.
        run: where the run is stored and how it starts.
        given: the training options that the caller gave, by field name.

    Raises:
        OptionError: `run.config` cannot be read, or contradicts other options.
        ModelError: `run.config` is neither a file nor a run.
    """
    if run.config is None or _is_toml(run.config):
        options = _reading(run, given) | (load_options(run.config) if run.config else {})
        return Recipe(names, run, _overridden(options, given))
    earlier = _find(run.config)
    if run.resume:
        raise OptionError("--resume continues a run with its own options: leave out --config")
    options, config = repeated(earlier, given), earlier.read_config()
    try:
        files = [_in_folder(earlier.path, str(name)) for name in config["files"]]
        notes = tuple(_differences(earlier.path, config))
        in_dataset = is_dataset(Path(files[0]))
    except (KeyError, TypeError, AttributeError, IndexError, ValueError):
        raise _damaged(earlier) from None
    run = replace(run, init_from=run.init_from or start_model(earlier))
    if names or in_dataset:
        return Recipe(names or files, run, options, notes=notes)
    if run.valid or run.test:
        raise OptionError(
            f"{earlier.path} has its own validation text: to use another one, name the text to "
            "train on, too"
        )
    return Recipe(files, run, options, earlier, notes)


def repeated(run: RunDir, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that repeat a run, as far as the given ones do not override them.

    Raises:
        ModelError: the run's config.json is damaged.
        OptionError: the run needs a cell that is not known.
    """
    try:
        options = _options(run.read_config())
    except (KeyError, TypeError, AttributeError, ValueError):
        raise _damaged(run) from None
    cell = options.get("cell")
    if "cell" not in given and is_own_cell(cell):
        needed_cell.check_options(run.model, str(cell), None)
    return _overridden(options, given)


def start_model(run: RunDir) -> Path | None:
    """Return the model that a run started from, if it did.

    Raises:
        OptionError: an older charrnn did not note which one.
    """
    config = run.read_config()
    if not config.get("init_from"):
        return None
    if not config.get("init_from_file"):
        raise OptionError(f"{run.path} started from a model: name that with --init-from")
    return Path(config["init_from_file"])


def _damaged(run: RunDir) -> ModelError:
    return ModelError(f"{run.config} is damaged: train from the text itself")


def _in_folder(folder: Path, name: str) -> str:
    """Return the path of a text; a copy in the run's folder is named without it."""
    return str(folder / name) if (folder / name).exists() else name


def _overridden(options: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with the given ones in their place; a given budget replaces them all."""
    replaced = given.keys() | (BUDGETS if given.keys() & set(BUDGETS) else ())
    kept = {name: value for name, value in options.items() if name not in replaced}
    return {**kept, **given}


def _reading(run: RunOptions, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the run to resume read its text; nothing where that is not known."""
    if not run.resume or run.out is None:
        return {}
    names = {item.name for item in fields(Reading)}
    try:
        text = text_options(RunDir(run.out).read_config())
        known = Reading(**{name: text[name] for name in names & text.keys()})
    except (KeyError, TypeError, AttributeError, OptionError):
        return {}
    documents = {"items", "document_separator"}  # one decides the other
    names -= documents if documents & given.keys() else set()
    return {name: getattr(known, name) for name in names}


def _is_toml(path: Path) -> bool:
    if path.suffix in (".json", ".safetensors"):  # in the folder of a run
        return False
    return path.suffix == ".toml" or path.is_file()


def _find(path: Path) -> RunDir:
    """Return the run that a folder, a file in it, or a name in ./runs means.

    Raises:
        OptionError: it is not a run.
    """
    try:
        found = named(path)
    except ModelError as error:
        raise OptionError(f"--config {error.message}") from None
    run = RunDir(found if found.is_dir() else found.parent)
    if not run.config.is_file() or not run.is_ours():
        raise OptionError(f"--config {path} is neither a TOML file nor a run")
    return run


def _options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that repeat a run: what was planned, and what was asked for besides."""
    known = {item.name for item in fields(TrainOptions)}
    train, model, text = config["train"], config["model"], text_options(config)
    planned = {name: train[name] for name in known & train.keys()}
    planned |= {name: model[name] for name in _NETWORK & model.keys()}
    planned |= {name: text[name] for name in known & text.keys()}
    planned["threads"] = config.get("threads")
    if "clip_norm" in planned and planned["clip_norm"] is None:  # JSON has no infinity
        planned["clip_norm"] = math.inf
    if planned.get("minutes") is not None:  # the plan may add a maximum of epochs
        planned["epochs"] = None
    one_window = planned.get("update_every") == planned.get("seq_len")  # as by default
    if model.get("encoder"):  # pairs are read whole
        planned["seq_len"] = None
    if one_window or planned.get("state") == "reset" or planned.get("reset_at_documents"):
        planned["update_every"] = None
    asked = {name: config.get("options", {}).get(name) for name in known - planned.keys()}
    return {name: value for name, value in {**asked, **planned}.items() if value is not None}


def _differences(path: Path, config: Mapping[str, Any]) -> Iterator[str]:
    """Say what may change the last bits of a run that is repeated, and what is not repeated."""
    before, now = config.get("versions", {}), machine.versions()
    changed = [
        f"{name} {before.get(name, 'unknown')}, now {version}"
        for name, version in now.items()
        if before.get(name) != version
    ]
    if changed:
        yield f"{path} was trained with {'; '.join(changed)}: the result may differ"
    if config.get("changes"):
        yield f"{path} changed its options when it was resumed: the last ones are used throughout"
