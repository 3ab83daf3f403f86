"""The model file, ``model.safetensors``: self-contained and never executed.

The tensors are the parameters by name: in format 1 float32; in format 2, which makes files of a
quarter of the size, as `charrnn.model.int8_weights` says; in format 3 float32 beside the counts of
the training text, which `charrnn.counts.table` describes; in format 4 the same of an ensemble, with
or without counts. The header's metadata has one key,
``charrnn``, with JSON: the format version, the architecture, the tokenizer, the training options,
the hashes of the texts, a summary of the training, and a SHA-256 of all that and the tensors. It
contains no time, so equal runs give equal bytes. Reading it needs numpy only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.cells import Cell, own
from charrnn.compiler import cell_file
from charrnn.config import (
    ModelConfig,
    ModelReading,
    cell_name,
    from_json,
    is_own_cell,
    to_json,
)
from charrnn.counts import table as count_table
from charrnn.counts.table import CountTable
from charrnn.errors import CharRNNError, ModelError, RunError, counted
from charrnn.model import int8_weights, needed_cell, parameters
from charrnn.model.parameters import Parameters
from charrnn.storage import tensors
from charrnn.storage.files import finite, load_json, write_atomically
from charrnn.storage.format_version import check_format
from charrnn.storage.tensors import Header, Spec
from charrnn.text import tokenizer as tokenizers
from charrnn.text.tokenizer import EndingTokenizer, Tokenizer

FORMAT_VERSION = 1
INT8_FORMAT = 2
COUNTS_FORMAT = 3
ENSEMBLE_FORMAT = 4  # earlier ones hold an ensemble as one network
MODEL_NAME = "model.safetensors"
CellGiven = str | PathLike[str] | Cell | None  # a cell of the user's own, if a model needs one
MAX_PARAMETERS = 2**31
_KEYS = {"format", "config", "tokenizer", "training", "sha256"}
_COUNTS = "counts"


@dataclass(frozen=True)
class Model:
    """Everything a model file holds.

    Attributes:
        config: the architecture.
        tokenizer: text <-> ids.
        values: parameters by name.
        training: how the model was trained and what it reached (plain JSON).
        format: of its file; `INT8_FORMAT` rounds the matrices when it is saved, unless there are
            counts or several networks.
        counts: of the training text, to be mixed with the network's predictions; None without.
    """

    config: ModelConfig
    tokenizer: Tokenizer
    values: Parameters
    training: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT_VERSION
    counts: CountTable | None = None

    @property
    def networks(self) -> list[Model]:
        """Return each network of an ensemble as a model of its own; of one network this one."""
        if self.config.ensemble == 1:
            return [self]
        each = parameters.members(self.config, self.values)
        return [replace(self, config=self.config.member, values=values) for values in each]

    @property
    def summary(self) -> str:
        """What the model is, in one line."""
        words = f"{cell_name(self.config.cell)}, {self.config.size_words}, vocabulary of "
        words += f"{counted(self.config.alphabet_size, 'token')}, "
        words += f"{parameters.count(self.config):,} parameters"
        if self.training.get("steps"):
            words += f"; trained for {self.training['steps']:,} steps"
        if self.training.get("valid_nats") is not None:
            nats = self.training["valid_nats"]
            words += f", {nats:.4f} nats per character on its validation text"
        return words

    @property
    def written(self) -> Tokenizer:
        """Return what the outputs stand for: in a pair model, the end of a target, too."""
        return EndingTokenizer(self.tokenizer) if self.config.encoder else self.tokenizer

    @property
    def reading(self) -> ModelReading:
        """How the text of the training was read.

        Older files tell only whether documents were read apart, all of which are of texts.

        Raises:
            OptionError: a value is invalid.
        """
        known = self.training.get("reading")
        if isinstance(known, Mapping):
            return from_json(ModelReading, known, "the model's reading")
        train = self.training.get("train")
        apart = isinstance(train, Mapping) and train.get("reset_at_documents") is True
        return ModelReading(documents_apart=apart, pairs=bool(self.config.encoder))


def save(path: Path, model: Model) -> None:
    """Write a model file: completely or not at all, and flushed to disk when this returns.

    Raises:
        RunError: writing failed, or a weight is not finite; the file at `path` is unchanged.
    """
    order = parameters.shapes(model.config)
    values = {name: np.asarray(model.values[name], np.float32) for name in order}
    if not all(np.isfinite(value).all() for value in values.values()):
        raise RunError(f"{path} is not written: some weights are NaN or infinite")
    kind = _format(model)
    arrays = int8_weights.pack(values) if kind == INT8_FORMAT else values
    described: dict[str, Any] = {
        "format": kind,
        "config": to_json(model.config),
        "tokenizer": model.tokenizer.to_json(),
        "training": finite(model.training),
    }
    if model.counts:
        described[_COUNTS] = model.counts.to_json()
        arrays = values | model.counts.arrays()
    described["sha256"] = _digest(described, arrays)
    write_atomically(path, tensors.blocks(arrays, {"charrnn": _text(described)}))


def _format(model: Model) -> int:
    """Return the format of a model's file."""
    if model.config.ensemble > 1:
        return ENSEMBLE_FORMAT
    if model.counts:
        return COUNTS_FORMAT
    return INT8_FORMAT if model.format == INT8_FORMAT else FORMAT_VERSION


def _text(described: Mapping[str, Any]) -> str:
    return json.dumps(described, sort_keys=True)


def _digest(described: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of the description without its hash, and of the tensors sorted by name."""
    rest = {name: value for name, value in described.items() if name != "sha256"}
    digest = hashlib.sha256(_text(rest).encode())
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def load(path: Path, cell: CellGiven = None, *, described_only: bool = False) -> Model:
    """Read a model file; its header is checked completely before memory is allocated.

    Args:
        path: the file.
        cell: the model's cell, if it is one of the user's own: its code is run, see
            `charrnn.compiler.cell_file.use`. The model file itself holds none.
        described_only: also read a model whose cell is not known; it cannot be run.

    Raises:
        ModelError: the file is missing, damaged, foreign, or of a newer format; or it needs another
            cell than the one given.
        OptionError: the cell has a mistake.
    """
    given = None if cell is None else cell_file.use(cell)

    def check(header: Header) -> None:
        model = _described(path, header)[0]
        config = model.config
        if described_only and is_own_cell(config.cell) and not own.used(config.cell):
            known = tensors.claimed(header) | _count_specs(path, header, model)
            tensors.expect(path, header, known)
            return
        needed_cell.check(path, config.cell, given)
        specs = _specs(model, header) | _count_specs(path, header, model)
        tensors.expect(path, header, specs)
        if parameters.count(config) > MAX_PARAMETERS:
            raise ModelError(
                f"{path} has {parameters.count(config):,} parameters: the maximum is "
                f"{MAX_PARAMETERS:,}"
            )

    try:
        header, arrays = tensors.read(path, check)
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist: train one with 'charrnn train'") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    model, described = _described(path, header)
    # Files of the first version have no hash.
    if "sha256" in described and described["sha256"] != _digest(described, arrays):
        raise ModelError(f"{path} is damaged: its SHA-256 does not match")
    counts = None
    if _COUNTS in described:
        counts = count_table.of_arrays(path, arrays)
        arrays = {name: arrays[name] for name in arrays if not name.startswith(count_table.PREFIX)}
    values = parameters.as_read(model.config, int8_weights.unpack(arrays))
    if not all(np.isfinite(value).all() for value in values.values()):
        raise ModelError(f"{path} is damaged: it contains NaN or infinite values")
    return replace(model, values=values, counts=counts)


def _count_specs(path: Path, header: Header, model: Model) -> dict[str, Spec]:
    """Return the tensors of a model's counts; none if it has none."""
    described = load_json(header.metadata["charrnn"])
    if model.format != COUNTS_FORMAT and _COUNTS not in described:
        return {}
    if model.config.encoder:
        raise ModelError(f"{path} is damaged: counts are of texts, and this is a model of pairs")
    try:
        return count_table.specs(described.get(_COUNTS), model.config.vocab_size)
    except ValueError as error:
        raise ModelError(f"{path} is damaged: {error}") from None


def _specs(model: Model, header: Header) -> dict[str, Spec]:
    """Return the tensors of a model's file."""
    shapes = parameters.shapes(parameters.as_stored(model.config, header.entries))
    if model.format == INT8_FORMAT:
        return int8_weights.specs(shapes)
    return {name: Spec("F32", shape) for name, shape in shapes.items()}


def _described(path: Path, header: Header) -> tuple[Model, dict[str, Any]]:
    """Return the model in the header, without values, and the description as it was read."""
    text = header.metadata.get("charrnn")
    if not isinstance(text, str):
        raise ModelError(f"{path} is a safetensors file that charrnn did not write")
    try:
        described = load_json(text)
        check_format(described["format"], ENSEMBLE_FORMAT, path)
        known = _KEYS | ({_COUNTS} if described["format"] >= COUNTS_FORMAT else set())
        if described.keys() - known:
            raise ModelError(f"{path} is damaged: its header has unknown fields")
        config = from_json(ModelConfig, described["config"], str(path))
        tokenizer = tokenizers.from_json(described["tokenizer"], str(path))
        training = dict(described["training"])
        model = Model(config, tokenizer, {}, training, described["format"])
        _text(model.training)  # deep nesting may be readable and not writable
        reading = model.reading  # refuses what charrnn does not write
    except ModelError:
        raise
    except CharRNNError as error:
        raise ModelError(f"{path} is damaged: {error.message}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f" ({error})" if isinstance(error, ValueError) else ""
        raise ModelError(f"{path} is damaged: its header is not readable{why}") from error
    if reading.pairs + reading.fill != bool(config.encoder):
        raise ModelError(f"{path} is damaged: its network does not go with how its text was read")
    if tokenizer.vocab_size != config.alphabet_size:
        raise ModelError(f"{path} is damaged: vocabulary and output layer differ in size")
    return model, described
