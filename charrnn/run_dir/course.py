"""The reports of a run, as columns: metrics.jsonl."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from charrnn.arrays import Floats64
from charrnn.config.fields import check_choice
from charrnn.errors import ModelError
from charrnn.storage.files import load_json

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
AXES = ("step", "epoch", "characters", "minutes")  # what the x-axis of a chart can be


@dataclass(frozen=True)
class Course:
    """The metrics of a run.

    Attributes:
        run_dir: the run's folder.
        columns: the values (N,) of each of `COLUMNS`, one per report; NaN where a report has none.
        clip_norm: the norm to which gradients were clipped; None if they were not.
        valid_nats: the loss on the whole validation text; None until the training has ended.
    """

    run_dir: Path
    columns: dict[str, Floats64]
    clip_norm: float | None
    valid_nats: float | None

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return self.run_dir.resolve().name

    def axis(self, over: str) -> Floats64:
        """Return the values (N,) of a chart's x-axis, which is one of AXES.

        Raises:
            InputError: `over` is none of these.
        """
        if over == "minutes":
            return self.columns["seconds"] / 60
        check_choice("--over", over, AXES)
        return self.columns[over]


def read_columns(metrics: Path) -> dict[str, Floats64]:
    """Return the values (N,) of each of `COLUMNS` in metrics.jsonl, which may still be written.

    Raises:
        ModelError: there is no report yet, or a line is damaged.
    """
    rows: list[dict[str, float]] = []
    lines = metrics.read_text("utf-8", errors="replace").splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        if not line.endswith("\n"):
            break  # it is being written
        row = _row(line, f"{metrics}, line {number}")
        while rows and rows[-1]["step"] >= row["step"]:
            rows.pop()  # the run was resumed at an earlier step
        rows.append(row)
    if not rows:
        raise ModelError(f"{metrics} holds no report yet: the training has just begun")
    return {name: np.array([row[name] for row in rows], np.float64) for name in COLUMNS}


def _row(line: str, where: str) -> dict[str, float]:
    try:
        report = load_json(line)
        values = {name: report[name] for name in COLUMNS}
        return {
            name: float("nan") if value is None else float(value) for name, value in values.items()
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{where} is damaged: it is not a report of a training") from error
