"""One self-contained, non-executable model file: ``model.safetensors``.

The tensors are the parameters by name (float32); the header's metadata holds one key, ``charrnn``,
with JSON: the format version, the architecture, the tokenizer, the training options, the hashes of
the texts and a summary of the training. No clock time is in it, so equal runs give equal bytes.
Nothing in a model file is ever executed. Reading needs numpy only.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from charrnn import parameters
from charrnn import tokenizer as tokenizers
from charrnn.config import ModelConfig, from_json, to_json
from charrnn.errors import CharRNNError, ModelError, RunError
from charrnn.parameters import Parameters
from charrnn.tokenizer import Tokenizer

FORMAT_VERSION = 1
MODEL_NAME = "model.safetensors"
_MAX_HEADER = 64 * 2**20
# Files that people pass by mistake, by their first bytes.
_FOREIGN = {
    b"PK\x03\x04": "a zip archive, as PyTorch's torch.save writes it",
    b"\x80\x02": "a Python pickle",
    b"\x80\x03": "a Python pickle",
    b"\x80\x04": "a Python pickle",
    b"\x80\x05": "a Python pickle",
    b"GGUF": "a GGUF model",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "a gzip archive",
}


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
    """Write a model file: whole or not at all, and on the disk when this returns."""
    header = {
        "format": FORMAT_VERSION,
        "config": to_json(model.config),
        "tokenizer": model.tokenizer.to_json(),
        "training": model.training,
    }
    order = parameters.shapes(model.config)
    values = {name: np.ascontiguousarray(model.values[name], np.float32) for name in order}
    data = safetensors.numpy.save(values, {"charrnn": json.dumps(header, sort_keys=True)})
    write_atomically(path, data)


def write_atomically(path: Path, data: bytes) -> None:
    """Write to a temporary name beside `path`, fsync, rename, fsync the folder.

    Raises:
        RunError: the disk is full, read-only or gone; `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with _removed_on_failure(temporary):
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        _fsync_folder(path.parent)
    except OSError as error:
        raise RunError(f"{path} could not be written: {error.strerror}") from error


@contextlib.contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _fsync_folder(folder: Path) -> None:
    """Make a rename last through a power cut; Windows has no such call."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load(path: Path) -> Model:
    """Read a model file, checking everything before anything is allocated.

    Raises:
        ModelError: missing, damaged, foreign, or of a newer format.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            header = _header(path, file.read(8), file, size)
            model = _described(path, header)
            _check_tensors(path, header, model.config, size)
        values = safetensors.numpy.load_file(path)
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist: train one with 'charrnn train'") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    except safetensors.SafetensorError as error:
        raise ModelError(f"{path} is damaged: {error}") from error
    if not all(np.isfinite(value).all() for value in values.values()):
        raise ModelError(f"{path} is damaged: it holds values that are not finite numbers")
    return Model(model.config, model.tokenizer, values, model.training)


def _header(path: Path, start: bytes, file: Any, size: int) -> dict[str, Any]:
    """The file's JSON header, its length checked first."""
    file.seek(0)
    beginning = file.read(32)
    is_json = beginning[8:9] == b"{"  # then the first bytes are a length, whatever they look like
    for magic, what in _FOREIGN.items():
        if beginning.startswith(magic) and not is_json:
            raise ModelError(f"{path} is {what}; charrnn reads its own {MODEL_NAME} only")
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
    if length > min(size - 8, _MAX_HEADER):
        raise ModelError(f"{path} is not a charrnn model, or is cut off ({size:,} bytes)")
    file.seek(8)
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is damaged: its header is not readable ({error})") from None
    if not isinstance(header, dict):
        raise ModelError(f"{path} is damaged: its header is not an object")
    return header


def _described(path: Path, header: dict[str, Any]) -> Model:
    """Config, tokenizer and training summary from the header; no tensors yet."""
    metadata = header.get("__metadata__")
    text = metadata.get("charrnn") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise ModelError(f"{path} is a safetensors file, but not one that charrnn wrote")
    try:
        described = json.loads(text)
        version = described["format"]
        if version > FORMAT_VERSION:
            raise ModelError(
                f"{path} has format {version}, this charrnn reads up to {FORMAT_VERSION}: "
                "upgrade charrnn"
            )
        config = from_json(ModelConfig, described["config"], str(path))
        tokenizer = tokenizers.from_json(described["tokenizer"], str(path))
        training = dict(described["training"])
    except ModelError:
        raise
    except CharRNNError as error:
        raise ModelError(f"{path} is damaged: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path} is damaged: its description is not readable") from error
    if tokenizer.vocab_size != config.vocab_size:
        raise ModelError(f"{path} is damaged: alphabet and output layer differ in size")
    return Model(config, tokenizer, {}, training)


def _check_tensors(path: Path, header: dict[str, Any], config: ModelConfig, size: int) -> None:
    """Names, shapes, types and total bytes are those of the declared architecture, exactly."""
    expected = parameters.shapes(config)
    found = {name: entry for name, entry in header.items() if name != "__metadata__"}
    if found.keys() != expected.keys():
        odd = sorted(found.keys() ^ expected.keys())[:3]
        raise ModelError(f"{path} is damaged: its tensors are not those of its config ({odd})")
    for name, shape in expected.items():
        entry = found[name]
        if not isinstance(entry, dict) or (
            (entry.get("dtype"), entry.get("shape")) != ("F32", list(shape))
        ):
            raise ModelError(f"{path} is damaged: tensor '{name}' has not the shape {shape}")
    if 4 * parameters.count(config) > size:
        raise ModelError(f"{path} is damaged: it is cut off at {size:,} bytes")


def find(given: Path | None, runs: Path = Path("runs")) -> Path:
    """The model file meant by ``--model``: a file, a run's folder, or the newest run of `runs`.

    Raises:
        ModelError: there is none; says where it looked and how to make one.
    """
    if given is not None:
        return given / MODEL_NAME if given.is_dir() else given
    models = sorted(runs.glob(f"*/{MODEL_NAME}"), key=lambda path: path.stat().st_mtime_ns)
    if not models:
        raise ModelError(
            f"no model found in {runs.absolute()}: train one with 'charrnn train FILE', "
            "or name one with --model"
        )
    return models[-1]
