"""Saved states: the state of a network after some text, to continue from later.

A file holds the logits of the next token, every part of every layer's state (``0.h``, ``0.c`` and
so on, in float32; the layers of all networks of an ensemble are counted through), the last tokens
where counts are mixed in (``contexts``), and as JSON: the model's hash, its architecture, how much
was read, and the position of the random generator. Generation that continues from it with the same
model gives the text of one long run, bit for bit. A network that learnt from the text has other
weights than its model: all of them are in the file, too (``weights.`` and their names; format 2).
Like a model file it is safetensors; nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from charrnn.arrays import Floats, State
from charrnn.cells import find
from charrnn.config import MAX_SEED, ModelConfig, to_json
from charrnn.errors import StateError, file_name
from charrnn.model import parameters
from charrnn.model.model_file import Model
from charrnn.model.parameters import Parameters
from charrnn.storage.files import is_special, json_text, load_json, write_atomically
from charrnn.storage.format_version import check_format
from charrnn.storage.tensors import blocks

FORMAT_VERSION = 2
_WITHOUT_WEIGHTS = 1  # the format of a state of the model's own weights
_WEIGHTS = "weights."
_WHAT = "a saved state"
_KEY = "charrnn-state"
_CONTEXTS = "contexts"
_FIELDS = ("model", "config", "read", "seed", "drawn")


@dataclass(frozen=True)
class Prompted:
    """A text that a network has read: the state after it, and the logits of the next token.

    Attributes:
        logits: of the next token, (1, V).
        state: after the last token, one row.
        read: how many tokens were read, without the start token.
        seed: the seed that sampled the last part of the text; None where nothing was random.
        drawn: how many random numbers of that seed have been used.
        ids: the tokens, for penalties of repetition; those before a saved state are not known.
        weights: of a network that learnt from the text, by name; None: the model's own.
    """

    logits: Floats
    state: State
    read: int = 0
    seed: int | None = None
    drawn: int = 0
    ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    weights: Parameters | None = None


def model_hash(model: Model) -> str:
    """Return the SHA-256 of architecture, tokenizer, weights and counts."""
    described = {"config": to_json(model.config), "tokenizer": model.tokenizer.to_json()}
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name in parameters.shapes(model.config):
        digest.update(np.ascontiguousarray(model.values[name]).tobytes())
    for array in model.counts.arrays().values() if model.counts else ():
        digest.update(array.tobytes())
    return digest.hexdigest()


def save(path: str | Path, prompted: Prompted, config: ModelConfig, model: str) -> None:
    """Write a state of the model with this hash: completely or not at all.

    Raises:
        StateError: the path is a file that is not a saved state, or the model is one of pairs.
    """
    _check_kind(config)
    path = Path(file_name(path, _WHAT, StateError))
    check_target(path)
    header = {
        "format": _WITHOUT_WEIGHTS if prompted.weights is None else FORMAT_VERSION,
        "model": model,
        "config": to_json(config),
        "read": prompted.read,
        "seed": prompted.seed,
        "drawn": prompted.drawn,
    }
    tensors = {"logits": prompted.logits, **_named(prompted.state, config)}
    for name, value in (prompted.weights or {}).items():
        tensors[_WEIGHTS + name] = value
    exact = {name: np.asarray(value, np.float32) for name, value in tensors.items()}
    write_atomically(path, blocks(exact, {_KEY: json_text(header)}))


def _check_kind(config: ModelConfig) -> None:
    """Refuse a model of pairs: the source that it answers is part of its state."""
    if config.encoder:
        raise StateError("states of models of pairs are not saved: give the source again")


def _named(state: State, config: ModelConfig) -> dict[str, Floats]:
    names = find(config.cell).states
    count = len(config.state_sizes)
    layers, counted = state[:count], state[count:]
    found = {
        f"{index}.{name}": part
        for index, layer in enumerate(layers)
        for name, part in zip(names, layer, strict=True)
    }
    if counted:
        found[_CONTEXTS] = counted[0][0]
    return found


def check_target(path: Path) -> None:
    """Check that a saved state may be written to this path.

    Raises:
        StateError: the folder does not exist, or the file exists and is not a saved state.
    """
    if not path.parent.is_dir():
        raise StateError(f"{path} cannot be written: {path.parent} is not a folder")
    if path.exists():
        try:
            _described(path)
        except StateError:
            message = f"{path} exists and is not a saved state: choose another name"
            raise StateError(message) from None


def load(path: str | Path, config: ModelConfig, model: str, order: int = 0) -> Prompted:
    """Return a state that was saved by the model with this architecture and hash.

    Args:
        path: the file.
        config: the architecture.
        model: the hash.
        order: the most tokens of a context, if the model mixes counts with its predictions.

    Raises:
        StateError: the file is missing, damaged, foreign, of a newer format, or another model's;
            or the model is one of pairs.
    """
    _check_kind(config)
    path = Path(file_name(path, _WHAT, StateError))
    header, tensors = _described(path)
    if header["model"] != model:
        raise StateError(
            f"{path} is the state of another model ({_short(header['model'])}, not "
            f"{_short(model)}): name the one that wrote it with --model"
        )
    shapes: dict[str, tuple[int, ...]] = {"logits": (1, config.vocab_size)}
    names = find(config.cell).states
    for index, size in enumerate(config.state_sizes):
        shapes |= {f"{index}.{name}": (1, size) for name in names}
    learnt = parameters.shapes(config) if header["format"] > _WITHOUT_WEIGHTS else {}
    shapes |= {_WEIGHTS + name: shape for name, shape in learnt.items()}
    if order:
        shapes[_CONTEXTS] = (1, order)
    stored = {name: value.shape for name, value in tensors.items()}
    if stored != shapes or any(value.dtype != np.float32 for value in tensors.values()):
        raise StateError(f"{path} is damaged: its tensors do not fit its model")
    if not all(np.isfinite(value).all() for value in tensors.values()):
        raise StateError(f"{path} is damaged: it contains NaN or infinite values")
    state = tuple(
        tuple(tensors[f"{index}.{name}"] for name in names)
        for index in range(len(config.state_sizes))
    )
    if order:
        contexts = tensors[_CONTEXTS]
        if not (contexts == np.clip(np.rint(contexts), 0, config.vocab_size + 1)).all():
            raise StateError(f"{path} is damaged: its last tokens are none of its model")
        state = (*state, (contexts,))
    return Prompted(
        tensors["logits"],
        state,
        header["read"],
        seed=header["seed"],
        drawn=header["drawn"],
        weights={name: tensors[_WEIGHTS + name] for name in learnt} or None,
    )


def _short(digest: object) -> str:
    return str(digest)[:12]


def _described(path: Path) -> tuple[Mapping[str, Any], dict[str, Floats]]:
    """Return the header, with checked types, and the tensors."""
    if path.is_dir():
        raise StateError(f"{path} is a folder: name a file that --save-state wrote")
    if is_special(path):
        raise StateError(f"{path} is a device or a pipe: name a file that --save-state wrote")
    try:
        with safetensors.safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            text = metadata.get(_KEY)
            if text is None:
                raise StateError(
                    f"{path} is not a saved state: name a file that --save-state wrote"
                )
            header = load_json(text)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise StateError(f"{path} does not exist: create one with --save-state") from None
    except safetensors.SafetensorError as error:
        raise StateError(f"{path} is damaged, or not a saved state: {error}") from None
    except (ValueError, TypeError):
        raise StateError(f"{path} is damaged: its header is not readable") from None
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror or error}") from None
    if not isinstance(header, dict):
        raise StateError(f"{path} is damaged: its header is not readable")
    check_format(header.get("format"), FORMAT_VERSION, path, StateError)
    if not _is_sound(header):
        raise StateError(f"{path} is damaged: its header is incomplete")
    return header, tensors


def _is_sound(header: Mapping[str, Any]) -> bool:
    if any(name not in header for name in _FIELDS):
        return False
    bounds = (("read", 2**63), ("drawn", 2**63), ("seed", MAX_SEED + 1))
    return all(
        type(header[name]) is int and 0 <= header[name] < high
        for name, high in bounds
        if not (name == "seed" and header[name] is None)
    )
