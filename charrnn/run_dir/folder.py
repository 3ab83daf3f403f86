"""The folder of a run: only this module knows what each file in it is called and holds.

config.json            the plan, the texts, and how they were read
metrics.jsonl          one line per report
summary.json           the result; it exists once the training has ended
samples.txt            what the network wrote during its training, if that was asked for
model.safetensors      the best model so far; it exists from the first validation on
model.cell.py          a copy of the file with the cell, if it is the user's own; never run unasked
checkpoints/, latest   what the training resumes from (`checkpoints`)
.lock                  held by the process that trains (`lock`)
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.cells.own import CELL_NAME
from charrnn.errors import ModelError, RunError
from charrnn.model import model_file
from charrnn.model.model_file import MODEL_NAME
from charrnn.run_dir.course import Course, read_columns
from charrnn.storage import files

MAX_JSON_BYTES = 2**26  # of config.json, which names every file of a text
FORMAT_VERSION = 1  # of the files here; config.json states it
# Why a training ended, in summary.json; else it names the budget that was used up.
INTERRUPTED, DIVERGED = "interrupt", "diverged"
CHECKPOINTS = "checkpoints"
_SAMPLE_BEGINS = b"=== step "
_SAMPLE = re.compile(r"^=== step ([0-9]{1,16}) ===$", re.MULTILINE)
_NEWEST = 2**16  # bytes of the last sample, at most
_STEP = re.compile(r"0|[1-9][0-9]{0,15}")


@dataclass(frozen=True)
class RunDir:
    """The folder of one run."""

    path: Path

    @classmethod
    def of_model(cls, model: Path) -> RunDir:
        """Return the run that a model file, or the folder of a checkpoint, lies in."""
        folder = model.parent
        is_checkpoint = folder.name == CHECKPOINTS and _STEP.fullmatch(model.name)
        return cls(folder.parent if is_checkpoint else folder)

    @property
    def config(self) -> Path:
        """The plan, the texts, and how they were read."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """One line of JSON per report."""
        return self.path / "metrics.jsonl"

    @property
    def summary(self) -> Path:
        """The result of the training."""
        return self.path / "summary.json"

    @property
    def samples(self) -> Path:
        """What the network wrote during its training."""
        return self.path / "samples.txt"

    @property
    def model(self) -> Path:
        """The best model so far."""
        return self.path / MODEL_NAME

    @property
    def cell(self) -> Path:
        """A copy of the file that defines the cell, if it is one of the user's own."""
        return self.path / CELL_NAME

    @property
    def checkpoints(self) -> Path:
        """The folder with one folder for each checkpoint."""
        return self.path / CHECKPOINTS

    @property
    def latest(self) -> Path:
        """A file with the step of the newest checkpoint."""
        return self.path / "latest"

    @property
    def lock(self) -> Path:
        """The file that a training process locks."""
        return self.path / ".lock"

    def holds_run(self) -> bool:
        """Return whether the folder holds any file of a run."""
        return any(path.exists() for path in self.files()) or bool(self.checkpoint_steps())

    def is_ours(self) -> bool:
        """Return whether charrnn wrote the files: others have the same names for theirs."""
        config = self.read_config()
        if config:
            return {"corpus", "model", "train"} <= config.keys()
        try:
            _ = (
                self.course()
                if self.metrics.exists()
                else model_file.load(self.model, described_only=True)
            )
        except (ModelError, OSError):
            return bool(self.checkpoint_steps())
        return True

    def last_change(self) -> int:
        """Return when a file of the run was written last, in nanoseconds; 0 without files."""
        times = [0]
        for path in self.files():
            with contextlib.suppress(OSError):
                times.append(path.stat().st_mtime_ns)
        return max(times)

    def checkpoint_steps(self) -> list[int]:
        """Return the steps of all checkpoints, newest first; other names are ignored."""
        if self.checkpoints.is_symlink():  # it leads to files that are not ours
            return []
        try:
            entries = list(os.scandir(self.checkpoints))
        except OSError:
            return []
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        return sorted((int(name) for name in names if _STEP.fullmatch(name)), reverse=True)

    def create(self) -> None:
        """Create the folder if it does not exist.

        Raises:
            RunError: it cannot be created.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.path} cannot be written: {error.strerror}") from error

    def remove_files(self) -> None:
        """Remove the files of an earlier run, checkpoints apart, and no other file.

        Raises:
            RunError: one cannot be removed.
        """
        try:
            for path in self.files():
                path.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{self.path} cannot be written: {error.strerror}") from error

    def files(self) -> tuple[Path, ...]:
        """Return the paths of the files that a training writes, which may not exist."""
        own = self.config, self.metrics, self.summary, self.model, self.cell
        try:
            with self.samples.open("rb") as file:
                is_ours = file.read(len(_SAMPLE_BEGINS)) == _SAMPLE_BEGINS  # others have that name
        except OSError:
            is_ours = False
        return (*own, self.samples) if is_ours else own

    def write_config(self, content: Mapping[str, Any]) -> None:
        """Write config.json.

        Raises:
            RunError: the file cannot be written.
        """
        files.write_atomically(self.config, files.to_json({"format": FORMAT_VERSION, **content}))

    def read_config(self) -> dict[str, Any]:
        """Return what config.json holds; nothing if it is missing or damaged."""
        return _json(self.config)

    def read_summary(self) -> dict[str, Any]:
        """Return what summary.json holds; nothing if it is missing or damaged."""
        return _json(self.summary)

    def write_metrics(self, text: bytes, written: int) -> None:
        """Write all metrics so far, of which the first `written` bytes are in the file already.

        Raises:
            RunError: the file cannot be written.
        """
        try:
            files.append(self.metrics, text, written)
        except OSError as error:
            raise RunError(f"{self.metrics} could not be written: {error.strerror}") from error

    def write_sample(self, step: int, text: str) -> None:
        """Add what the network writes after a step; it replaces that of this and of later steps.

        Raises:
            RunError: the file cannot be written.
        """
        try:
            before = self.samples.read_text("utf-8", errors="replace")
        except OSError:
            before = ""
        later = (found for found in _SAMPLE.finditer(before) if int(found[1]) >= step)
        end = next((found.start() for found in later), len(before))
        written = f"{before[:end]}=== step {step} ===\n{text}\n\n"
        files.write_atomically(self.samples, written.encode())

    def newest_sample(self) -> tuple[int, str] | None:
        """Return what the network wrote last during its training, and after which step."""
        if self.samples not in self.files():  # there is none, or it is not ours
            return None
        try:
            size = self.samples.stat().st_size
            with self.samples.open("rb") as file:
                file.seek(max(0, size - _NEWEST))
                text = file.read(_NEWEST).decode("utf-8", "replace")
        except OSError:
            return None
        found = list(_SAMPLE.finditer(text))
        return (int(found[-1][1]), text[found[-1].end() :].strip("\n")) if found else None

    def write_summary(self, content: Mapping[str, Any]) -> None:
        """Write summary.json.

        Raises:
            RunError: the file cannot be written.
        """
        files.write_atomically(self.summary, files.to_json(dict(content)))

    def course(self) -> Course:
        """Read what the run has reported so far; it may still be training.

        Raises:
            ModelError: there is no report yet, or a line is damaged.
        """
        columns = read_columns(self.metrics)
        train, summary = self.read_config().get("train"), self.read_summary()
        clip_norm = train.get("clip_norm") if isinstance(train, dict) else None
        if not clip_norm or clip_norm == math.inf:  # as older versions wrote it
            clip_norm = None
        return Course(self.path, columns, clip_norm, summary.get("valid_nats"))


def _json(path: Path) -> dict[str, Any]:
    """Return the object in a file; an empty one if it is missing, damaged or not a plain file."""
    try:
        return files.parse_json(files.read(path, MAX_JSON_BYTES), str(path))
    except ModelError:
        return {}
