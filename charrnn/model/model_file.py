"""One self-contained, non-executable model file: ``model.safetensors``.

The tensors are the parameters by name (float32); the header's metadata holds one key, ``charrnn``,
with JSON: the format version, the architecture, the tokenizer, the training options, the hashes of
the texts and a summary of the training, and a SHA-256 over all that and the tensors. No clock time
is in it, so equal runs give equal bytes. Nothing in a model file is ever executed. Reading needs
numpy only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.config import ModelConfig, from_json, to_json
from charrnn.errors import CharRNNError, ModelError, RunError
from charrnn.model import parameters
from charrnn.model.parameters import Parameters
from charrnn.storage import tensors
from charrnn.storage.files import write_atomically
from charrnn.storage.format_version import check_format
from charrnn.storage.tensors import Header, Spec
from charrnn.text import tokenizer as tokenizers
from charrnn.text.tokenizer import Tokenizer

FORMAT_VERSION = 1
MODEL_NAME = "model.safetensors"
MAX_PARAMETERS = 2**31
_KEYS = {"format", "config", "tokenizer", "training", "sha256"}


@dataclass(frozen=True)
class Model:
    """Everything a model file holds.

    Attributes:
        config: the architecture.
        tokenizer: text <-> ids.
        values: parameters by name.
        training: how it was trained and what it reached (plain JSON).
    """

    config: ModelConfig
    tokenizer: Tokenizer
    values: Parameters
    training: Mapping[str, Any] = field(default_factory=dict)


def save(path: Path, model: Model) -> None:
    """Write a model file: whole or not at all, and on the disk when this returns.

    Raises:
        RunError: the disk takes no file, or the values are not all finite; `path` is as it was.
    """
    order = parameters.shapes(model.config)
    values = {name: np.asarray(model.values[name], np.float32) for name in order}
    if not all(np.isfinite(value).all() for value in values.values()):
        raise RunError(f"{path} is not written: the weights are not all finite numbers")
    described = {
        "format": FORMAT_VERSION,
        "config": to_json(model.config),
        "tokenizer": model.tokenizer.to_json(),
        "training": model.training,
    }
    described["sha256"] = _digest(described, values)
    write_atomically(path, tensors.write(values, {"charrnn": _text(described)}))


def _text(described: Mapping[str, Any]) -> str:
    return json.dumps(described, sort_keys=True)


def _digest(described: Mapping[str, Any], values: Parameters) -> str:
    """SHA-256 over the description, without its own hash, and the values in the order of names."""
    rest = {name: value for name, value in described.items() if name != "sha256"}
    digest = hashlib.sha256(_text(rest).encode())
    for name in sorted(values):
        digest.update(values[name].tobytes())
    return digest.hexdigest()


def load(path: Path) -> Model:
    """Read a model file, checking everything before anything is allocated.

    Raises:
        ModelError: missing, damaged, foreign, or of a newer format.
    """

    def check(header: Header) -> None:
        config = _described(path, header)[0].config
        shapes = parameters.shapes(config)
        tensors.expect(path, header, {name: Spec("F32", shape) for name, shape in shapes.items()})
        if parameters.count(config) > MAX_PARAMETERS:
            raise ModelError(
                f"{path} has {parameters.count(config):,} parameters: charrnn reads models of "
                f"{MAX_PARAMETERS:,} at most"
            )

    try:
        header, values = tensors.read(path, check)
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist: train one with 'charrnn train'") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    model, described = _described(path, header)
    # A file of the first charrnn has no hash.
    if "sha256" in described and described["sha256"] != _digest(described, values):
        raise ModelError(f"{path} is damaged: its SHA-256 is not the one it was written with")
    if not all(np.isfinite(value).all() for value in values.values()):
        raise ModelError(f"{path} is damaged: it holds values that are not finite numbers")
    return Model(model.config, model.tokenizer, values, model.training)


def _described(path: Path, header: Header) -> tuple[Model, dict[str, Any]]:
    """Config, tokenizer and training summary from the header, without tensors; and as read."""
    text = header.metadata.get("charrnn")
    if not isinstance(text, str):
        raise ModelError(f"{path} is a safetensors file, but not one that charrnn wrote")
    try:
        described = json.loads(text)
        check_format(described["format"], FORMAT_VERSION, path)
        if described.keys() - _KEYS:
            raise ModelError(f"{path} is damaged: its description has unknown parts")
        config = from_json(ModelConfig, described["config"], str(path))
        tokenizer = tokenizers.from_json(described["tokenizer"], str(path))
        training = dict(described["training"])
    except ModelError:
        raise
    except CharRNNError as error:
        raise ModelError(f"{path} is damaged: {error.message}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path} is damaged: its description is not readable") from error
    if tokenizer.vocab_size != config.vocab_size:
        raise ModelError(f"{path} is damaged: alphabet and output layer differ in size")
    return Model(config, tokenizer, {}, training), described
