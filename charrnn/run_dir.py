"""The course of a training, as its run folder tells it: metrics.jsonl read into columns."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import InputError, ModelError

METRICS_NAME = "metrics.jsonl"
COLUMNS = (
    "step",
    "epoch",
    "characters",
    "seconds",
    "train_nats",
    "valid_nats",
    "learning_rate",
    "grad_norm",
    "clipped",
    "chars_per_second",
)


@dataclass(frozen=True)
class Course:
    """How a training went.

    Attributes:
        run_dir: its folder.
        columns: of each of `COLUMNS` the values (N,), one per report; NaN where there is none.
        clip_norm: to which norm gradients were clipped, if they were.
        valid_nats: on the whole validation text, at the end; None until then.
    """

    run_dir: Path
    columns: dict[str, NDArray[np.float64]]
    clip_norm: float | None
    valid_nats: float | None

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.run_dir.resolve().name


def find(given: Path | None, runs: Path = Path("runs")) -> Path:
    """The folder of a run: as named (or the model in it), or the newest of `runs`.

    Raises:
        ModelError: there is none.
    """
    if given is not None:
        folder = given if given.is_dir() else given.parent
        if not (folder / METRICS_NAME).is_file():
            raise ModelError(f"{given} is no run: there is no {METRICS_NAME} in {folder}")
        return folder
    found = sorted(runs.glob(f"*/{METRICS_NAME}"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise ModelError(
            f"no run found in {runs.absolute()}: train one with 'charrnn train FILE', or name one"
        )
    return found[-1].parent


def read(run_dir: Path) -> Course:
    """Read what a run has reported so far, also while it trains.

    Raises:
        ModelError: there is nothing yet, or a line is damaged.
    """
    path = run_dir / METRICS_NAME
    rows: list[dict[str, Any]] = []
    lines = path.read_text("utf-8", errors="replace").splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        if not line.endswith("\n"):
            break  # it is being written
        row = _row(line, f"{path}, line {number}")
        while rows and rows[-1]["step"] >= row["step"]:
            rows.pop()  # the run was resumed at an earlier step
        rows.append(row)
    if not rows:
        raise ModelError(f"{path} holds no report yet: the training has just begun")
    columns = {name: np.array([row[name] for row in rows], np.float64) for name in COLUMNS}
    train, summary = _json(run_dir / "config.json").get("train"), _json(run_dir / "summary.json")
    clip_norm = train.get("clip_norm") if isinstance(train, dict) else None
    return Course(run_dir, columns, clip_norm or None, summary.get("valid_nats"))


def _row(line: str, where: str) -> dict[str, float]:
    try:
        fields = json.loads(line)
        values = {name: fields[name] for name in COLUMNS}
        return {
            name: float("nan") if value is None else float(value) for name, value in values.items()
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{where} is damaged: it is no report of a training") from error


def _json(path: Path) -> dict[str, Any]:
    """What a file of the run holds; nothing where it is not there yet."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def axis(course: Course, over: str) -> NDArray[np.float64]:
    """The values (N,) along which a course is drawn: step, epoch, characters or minutes.

    Raises:
        InputError: there is no such axis.
    """
    if over == "minutes":
        return course.columns["seconds"] / 60
    if over not in ("step", "epoch", "characters"):
        raise InputError(f"--over '{over}' is not known: use step, epoch, characters or minutes")
    return course.columns[over]
