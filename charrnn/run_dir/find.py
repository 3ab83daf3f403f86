"""Which run a user means, and the folder of a new one."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from charrnn.errors import ModelError, OptionError, file_name
from charrnn.model.model_file import MODEL_NAME
from charrnn.run_dir import checkpoints
from charrnn.run_dir.folder import CHECKPOINTS, RunDir

RUNS = Path("runs")  # new runs are created here
MODEL_VARIABLE = "CHARRNN_MODEL"  # names the model to use where none is given


def choose_run_dir(
    corpus_name: str, out: Path | None, *, force: bool = False, resume: bool = False
) -> RunDir:
    """Return the folder for a training: `out`, or the first free ``runs/NAME-1``, ``-2``, ...

    With `resume`, the default is the last run of that name instead.

    Raises:
        OptionError: `out` is a file, or it already holds a run and neither `force` nor
            `resume` is given.
    """
    if out is None:
        numbered = (RUNS / f"{corpus_name}-{number}" for number in itertools.count(1))
        existing = list(itertools.takewhile(Path.exists, numbered))
        if resume and existing:
            return RunDir(existing[-1])
        return RunDir(RUNS / f"{corpus_name}-{len(existing) + 1}")
    run = RunDir(out)
    if out.exists() and not out.is_dir():
        raise OptionError(f"--out {out} is a file: name a folder for the run")
    if run.checkpoints.is_symlink():
        raise OptionError(f"{run.checkpoints} is a link: choose another folder with --out")
    if not force and not resume and run.holds_run():
        raise OptionError(
            f"--out {out} already holds a run: choose another folder, or use "
            "--resume to continue it or --force to replace it"
        )
    return run


def check_resume(*, force: bool, init_from: bool) -> None:
    """Refuse ``--resume`` together with what starts a run.

    Raises:
        OptionError: one of them is given.
    """
    if force:
        raise OptionError("--force replaces a run, --resume continues it: give one of them")
    if init_from:
        raise OptionError("--init-from starts a run, --resume continues one: give one of them")


def find_run(given: Path | None) -> RunDir:
    """Return the run named by its folder or its model, or the newest run.

    Raises:
        ModelError: no run was found.
    """
    if given is not None:
        given = Path(file_name(given, "a run", ModelError))
        run = RunDir(given if given.is_dir() else given.parent)
        if not run.metrics.is_file():
            raise ModelError(f"{given} is not a run: no {run.metrics.name} in {run.path}")
        return run
    found = sorted(RUNS.glob("*/metrics.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise ModelError(
            f"no run found in {RUNS.absolute()}: train one with 'charrnn train FILE', or name one"
        )
    return RunDir(found[-1].parent)


def find_model(given: Path | None) -> Path:
    """Return what ``--model`` means: a model file, or the folder of a checkpoint.

    Args:
        given: a file, a run's folder or a checkpoint's; None: what the environment variable
            CHARRNN_MODEL names, or else the newest run.

    Raises:
        ModelError: there is none; says where it looked and how to make one.
    """
    named = os.environ.get(MODEL_VARIABLE)
    if given is None and named:
        given = Path(named)
    if given is not None:
        return _model_of(Path(file_name(given, "the model", ModelError)))
    models = sorted(RUNS.glob(f"*/{MODEL_NAME}"), key=lambda path: path.stat().st_mtime_ns)
    if not models:
        raise ModelError(
            f"no model found in {RUNS.absolute()}: train one with 'charrnn train FILE', "
            "or name one with --model"
        )
    return models[-1]


def _model_of(given: Path) -> Path:
    """Return the model file of a run's folder; other files and checkpoints are what they are."""
    if given.name == checkpoints.TENSORS and (given.parent / checkpoints.MANIFEST).is_file():
        return given.parent
    if not given.is_dir() or (given / checkpoints.MANIFEST).is_file():
        return given
    if given.name == CHECKPOINTS and (steps := RunDir(given.parent).checkpoint_steps()):
        raise ModelError(f"{given} holds several models: name one, such as {given / str(steps[0])}")
    return RunDir(given).model
