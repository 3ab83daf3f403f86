"""Models in words and in full: that of a file, or of a checkpoint.

A checkpoint holds weights only; what else belongs to a model is in the model file of its run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charrnn.config import ModelConfig, from_json
from charrnn.errors import CharRNNError, ModelError, counted
from charrnn.model import model_file
from charrnn.model.model_file import MODEL_NAME, CellGiven, Model
from charrnn.run_dir import checkpoints
from charrnn.run_dir.folder import RunDir
from charrnn.storage.files import load_json
from charrnn.text.tokenizer import Tokenizer

_REACHED = ("epochs", "characters", "train_nats", "valid_nats")  # what a model says it reached


def read_model(path: Path, cell: CellGiven = None, *, described_only: bool = False) -> Model:
    """Read what `find_model` found: a model file, or the folder of a checkpoint.

    A checkpoint's model has the weights of that step, not the best ones so far, and no counts.

    Args:
        path: the file or folder.
        cell: the model's cell, if it is one of the user's own; see `model_file.load`.
        described_only: for its description alone, for which its cell need not be known.

    Raises:
        ModelError: it is missing, damaged, foreign, of a newer format, or needs another cell.
        OptionError: the cell has a mistake.
    """
    if not path.is_dir():
        return model_file.load(path, cell, described_only=described_only)
    found = checkpoints.verify(path)
    run_dir = RunDir.of_model(path)
    if not run_dir.model.is_file():
        raise ModelError(
            f"{path} cannot be used yet: {run_dir.model}, which comes with the first validation, "
            "holds the tokens of its model"
        )
    model = model_file.load(run_dir.model, cell, described_only=described_only)
    try:
        run = found.state["run"]
        config = from_json(ModelConfig, run["model"], str(path))
        batch_size, tokenizer = int(run["train"]["batch_size"]), found.state["tokenizer"]
    except (CharRNNError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is damaged: its state is not readable") from error
    if config != model.config or tokenizer != digest(model.tokenizer):
        raise ModelError(f"{path} is of another training than {run_dir.model}")
    training = {**model.training, **_reached(found)}
    training.pop("counts", None)  # they were fitted to the final weights
    if described_only:
        return Model(config, model.tokenizer, model.values, training)
    arrays = found.arrays(config, batch_size)
    values = {name: arrays[f"weights.{name}"] for name in model.values}
    return Model(config, model.tokenizer, values, training)


def in_words(path: Path, training: Mapping[str, Any]) -> str:
    """Return which model this is: its run, its text, its steps and its loss."""
    folder = RunDir.of_model(path).path
    name = path if path.name != MODEL_NAME else folder
    corpus, loss, steps = training.get("corpus"), training.get("valid_nats"), training.get("steps")
    text = corpus.get("name") if isinstance(corpus, dict) else None
    parts = [
        f"trained on {text}" if text else "",
        counted(steps, "step") if isinstance(steps, int) else "",
        f"{loss:.3f} nats per character" if isinstance(loss, float) else "",
    ]
    known = ", ".join(filter(None, parts))
    return f"{name} ({known})" if known else str(name)


def _reached(found: checkpoints.Found) -> dict[str, Any]:
    """Return how far a training had come at its checkpoint, by its last report."""
    last: Mapping[str, Any] = {}
    lines = found.metrics.decode("utf-8", "replace").splitlines()
    if lines:
        try:
            last = load_json(lines[-1])
            reached = {name: last["epoch" if name == "epochs" else name] for name in _REACHED}
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{found.folder} is damaged: its metrics are not readable") from error
    else:
        reached = dict.fromkeys(_REACHED)
    return {"steps": int(found.folder.name), **reached, "valid_window256_nats": None}


def digest(tokenizer: Tokenizer) -> str:
    """Return the SHA-256 of a tokenizer as the model file stores it."""
    return hashlib.sha256(json.dumps(tokenizer.to_json(), sort_keys=True).encode()).hexdigest()
