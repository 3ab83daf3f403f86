"""The runs in ./runs and how they train, for the page."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ModelError
from charrnn.run_dir import RunDir, runs_in
from charrnn.run_dir.account import account
from charrnn.server.requests import RequestError

_POINTS = 400  # of a curve at most
_COLUMNS = ("step", "seconds", "train_nats", "valid_nats", "learning_rate", "chars_per_second")
_SHOWN = (
    *("name", "state", "date", "text", "cell", "num_layers", "hidden_size", "ensemble"),
    *("parameters", "steps", "epochs", "characters", "seconds"),
    *("train_nats", "valid_nats", "stopped_by"),
)


def runs() -> list[dict[str, Any]]:
    """Return what is known about each run, the newest first."""
    return [_described(run) for run in reversed(runs_in()) if run.is_ours()]


def run(name: str) -> dict[str, Any]:
    """Return what is known about one run, its curves and its newest sample.

    Raises:
        RequestError: there is none of that name.
    """
    found = next((each for each in runs_in() if each.path.name == name and each.is_ours()), None)
    if found is None:
        raise RequestError(f"the run '{name[:80]}' is not known", 404)
    sample = found.newest_sample()
    return {
        **_described(found),
        "has_model": found.model.exists(),
        "curves": _curves(found),
        "sample": sample and {"step": sample[0], "text": sample[1]},
    }


def _described(run: RunDir) -> dict[str, Any]:
    known = account(run)
    return {name: getattr(known, name) for name in _SHOWN}


def _curves(run: RunDir) -> dict[str, list[float | None]]:
    """Return the columns of the reports, evenly thinned; the last one is always there."""
    try:
        columns = run.course().columns
    except (ModelError, OSError):
        return {name: [] for name in _COLUMNS}
    reports = np.arange(len(columns["step"]))
    validated = np.flatnonzero(np.isfinite(columns["valid_nats"]))
    chosen = np.unique(np.concatenate([_thinned(reports), _thinned(validated)]))
    return {
        name: [None if value != value else value for value in columns[name][chosen].tolist()]
        for name in _COLUMNS
    }


def _thinned(numbers: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return at most `_POINTS` of the numbers, evenly spread."""
    count = len(numbers)
    chosen = np.linspace(0, count - 1, min(count, _POINTS)).round().astype(np.intp)
    return np.asarray(numbers[chosen])
