"""Describe a run without reading its text: what it is of, how far it got, and its state.

Everything is read from small files, which may come from an older charrnn or from a stranger: what
is missing or of another type is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from charrnn.config import ModelConfig, cell_name, from_json
from charrnn.errors import CharRNNError, ModelError, counted
from charrnn.model import parameters
from charrnn.run_dir import lock
from charrnn.run_dir.find import RUNS, runs_in
from charrnn.run_dir.folder import DIVERGED, INTERRUPTED, RunDir

RunState = Literal["running", "stopped", "finished", "diverged"]
T = TypeVar("T")
TOY_STEPS = 300  # a training of fewer steps was a try
FAR = 0.1  # nats per character by which one model is far better than another
_MAX_COMPARED = 50  # of the newest runs


@dataclass(frozen=True)
class Account:
    """One run, as ``charrnn runs`` lists it.

    Attributes:
        name: the name of its folder.
        run_dir: its folder.
        state: running; stopped: interrupted or killed, can be resumed; finished; or diverged.
        date: when it was started, in ISO 8601; for an old run when its plan was written last.
        text: the name of the text.
        text_sha256: its SHA-256.
        cell: the cell's name.
        num_layers: the number of layers.
        hidden_size: units per layer, of all networks together.
        parameters: number of weights.
        seed: the seed of the training.
        steps: updates made.
        epochs: passes over the text.
        characters: characters read.
        seconds: time of training.
        train_nats: nats per character in training, at the best validation once it has ended.
        valid_nats: nats per character on the validation text, of the best model.
        stopped_by: what ended the training: a budget, interrupt or diverged.
        version: the version of charrnn.
        ensemble: the number of networks, if there are several.
    """

    name: str
    run_dir: str
    state: RunState
    date: str
    text: str | None
    text_sha256: str | None
    cell: str | None
    num_layers: int | None
    hidden_size: int | None
    parameters: int | None
    seed: int | None
    steps: int | None
    epochs: float | None
    characters: int | None
    seconds: float | None
    train_nats: float | None
    valid_nats: float | None
    stopped_by: str | None
    version: str | None
    ensemble: int | None


FIELDS = tuple(field.name for field in fields(Account))
_REACHED = {"steps", "epochs", "characters", "seconds", "train_nats", "valid_nats"}


def accounts(folder: Path = RUNS) -> list[Account]:
    """Return an account of every run in a folder, the newest last.

    Raises:
        ModelError: the folder does not exist, and is not ./runs, which the first training makes.
    """
    if folder != RUNS and not folder.is_dir():
        raise ModelError(f"{folder} is not a folder: name one that holds runs")
    return [account(run) for run in runs_in(folder) if run.is_ours()]


def account(run: RunDir) -> Account:
    """Return the account of one run."""
    config, summary = run.read_config(), run.read_summary()
    known = {name: value for name, value in summary.items() if value is not None}
    # The metrics are read only where there is no summary: they are long.
    reached = known if known.keys() >= _REACHED else _last_report(run) | known
    model = _mapping(config, "model")
    corpus = _mapping(config, "corpus")
    hashes = _mapping(corpus, "sha256")
    return Account(
        name=run.path.resolve().name,
        run_dir=str(run.path),
        state=_state(run, summary),
        date=_of_type(config, "date", str) or _written(run),
        text=_of_type(corpus, "name", str),
        text_sha256=_of_type(hashes, "corpus", str),
        cell=cell_name(_of_type(model, "cell", str) or "") or None,
        num_layers=_of_type(model, "num_layers", int),
        hidden_size=_of_type(model, "hidden_size", int),
        parameters=_parameters(model),
        seed=_of_type(_mapping(config, "train"), "seed", int),
        steps=_of_type(reached, "steps", int),
        epochs=_number(reached, "epochs"),
        characters=_of_type(reached, "characters", int),
        seconds=_number(reached, "seconds"),
        train_nats=_number(reached, "train_nats"),
        valid_nats=_number(reached, "valid_nats"),
        stopped_by=_of_type(summary, "stopped_by", str),
        version=_of_type(_mapping(config, "versions"), "charrnn", str),
        ensemble=_of_type(model, "ensemble", int),
    )


def better_than_newest() -> tuple[Account, str] | None:
    """Return a run in ./runs that the newest one should not hide, and why it is the better one.

    Its loss on the same text is far lower, or the newest one was only a try, and it was not.
    """
    runs = [run for run in runs_in() if run.model.exists()][-_MAX_COMPARED:]
    if len(runs) < 2:
        return None
    newest, *older = map(account, reversed(runs))
    if newest.valid_nats is not None:
        text = newest.text_sha256
        scored = [run for run in older if text and run.text_sha256 == text and run.valid_nats]
        best = min(scored, key=lambda run: run.valid_nats or 0.0, default=newest)
        if best.valid_nats and best.valid_nats < newest.valid_nats - FAR:
            return best, f"reached {best.valid_nats:.3f} nats per character on the same text"
    if (newest.steps or 0) < TOY_STEPS:
        for run in older:
            if run.steps is not None and run.steps >= TOY_STEPS:
                return run, f"was trained for {counted(run.steps, 'step')}"
    return None


def _state(run: RunDir, summary: Mapping[str, Any]) -> RunState:
    if lock.is_held(run):
        return "running"
    stopped_by = summary.get("stopped_by")
    if stopped_by == DIVERGED:
        return "diverged"
    return "stopped" if stopped_by in (None, INTERRUPTED) else "finished"


def _last_report(run: RunDir) -> dict[str, Any]:
    """Return how far a run is that has no summary, under the names of a summary."""
    try:
        columns = run.course().columns
    except (ModelError, OSError):
        return {}
    valid = [value for value in columns["valid_nats"].tolist() if math.isfinite(value)]
    return {
        "steps": int(columns["step"][-1]),
        "epochs": float(columns["epoch"][-1]),
        "characters": int(columns["characters"][-1]),
        "seconds": float(columns["seconds"][-1]),
        "train_nats": float(columns["train_nats"][-1]),
        "valid_nats": min(valid, default=None),
    }


def _written(run: RunDir) -> str:
    """Return when the plan of a run was written, or else any file of it."""
    try:
        seconds = run.config.stat().st_mtime
    except OSError:
        seconds = run.last_change() / 1e9
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def _parameters(model: Mapping[str, Any]) -> int | None:
    try:
        return parameters.count(from_json(ModelConfig, model, "config.json"))
    except (CharRNNError, TypeError, ValueError, KeyError):
        return None


def _mapping(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = content.get(name)
    return value if isinstance(value, dict) else {}


def _of_type(content: Mapping[str, Any], name: str, kind: type[T]) -> T | None:
    value = content.get(name)
    return value if isinstance(value, kind) and not isinstance(value, bool) else None


def _number(content: Mapping[str, Any], name: str) -> float | None:
    value = content.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)
