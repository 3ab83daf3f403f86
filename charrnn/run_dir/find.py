"""Find the run that a user means, and the folder of a new one."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

from charrnn.errors import ModelError, OptionError, file_name, nearest
from charrnn.model.bases import BASES
from charrnn.run_dir import checkpoints
from charrnn.run_dir.folder import CHECKPOINTS, RunDir

RUNS = Path("runs")  # new runs are created here
MODEL_VARIABLE = "CHARRNN_MODEL"  # names the model to use where none is given
# The end of the name of a run that was trained with --seeds.
_SEED = re.compile(r"-seed([0-9]{1,19})$")


def runs_in(folder: Path = RUNS) -> list[RunDir]:
    """Return the runs in a folder, the newest last: the one whose files changed last.

    Every command that takes the newest run of several means this order.
    """
    try:
        found = [RunDir(path) for path in folder.iterdir()]
    except OSError:
        return []
    runs = [run for run in found if run.path.is_dir() and run.holds_run()]
    return sorted(runs, key=lambda run: (run.last_change(), run.path))


def find_run(given: Path | None) -> RunDir:
    """Return the run named by its folder, its model or its name in ./runs; or the newest run.

    Raises:
        ModelError: no run was found.
    """
    if given is not None:
        path = named(Path(file_name(given, "a run", ModelError)))
        run = RunDir(path if path.is_dir() else path.parent)
        if not run.metrics.is_file():
            raise ModelError(f"{given} is not a run: no {run.metrics.name} in {run.path}")
        return run
    found = [run for run in runs_in() if run.metrics.exists()]
    if not found:
        raise ModelError(
            f"no run found in {RUNS.absolute()}: train one with 'charrnn train FILE', or name one"
        )
    return found[-1]


def find_model(given: Path | None) -> Path:
    """Return what ``--model`` means: a model file, or the folder of a checkpoint.

    Args:
        given: a file, the folder of a run or of a checkpoint, either's name in ./runs, or the name
            of a model that charrnn comes with; None: what the environment variable CHARRNN_MODEL
            names, or else the newest run.

    Raises:
        ModelError: there is none; says where it looked and how to make one.
    """
    variable = os.environ.get(MODEL_VARIABLE)
    if given is None and variable:
        given = Path(variable)
    if given is not None:
        return _model_of(named(Path(file_name(given, "the model", ModelError))))
    found = [run for run in runs_in() if run.model.exists()]
    if not found:
        raise ModelError(
            f"no model found in {RUNS.absolute()}: train one with 'charrnn train FILE', "
            "or name a model or a run"
        )
    return found[-1].model


def _model_of(given: Path) -> Path:
    """Return the model file of a run's folder; other files and checkpoints are what they are."""
    if given.name == checkpoints.TENSORS and (given.parent / checkpoints.MANIFEST).is_file():
        return given.parent
    if not given.is_dir() or (given / checkpoints.MANIFEST).is_file():
        return given
    if given.name == CHECKPOINTS and (steps := RunDir(given.parent).checkpoint_steps()):
        raise ModelError(f"{given} holds several models: name one, such as {given / str(steps[0])}")
    return RunDir(given).model


def named(given: Path) -> Path:
    """Return the path meant by a path, or by the name of a run in ./runs or of a base model.

    Raises:
        ModelError: neither exists; says which run has a similar name.
    """
    in_runs = RUNS / given
    if in_runs.exists() and not (given.is_file() or RunDir(given).holds_run()):
        return in_runs
    if given.exists():
        return given
    if str(given) in BASES:
        return BASES[str(given)]
    names = [run.path.name for run in runs_in()]
    advice = nearest(given.name, [*names, *BASES])
    if not advice.startswith("did you mean"):
        advice = "'charrnn runs' lists those that there are"
        if not names:
            advice = "train a model with 'charrnn train FILE'"
    missing = f"{given} does not exist" + (f", and {RUNS} has no run of that name" if names else "")
    raise ModelError(f"{missing}: {advice}")


def lasting_name(given: Path) -> str:
    """Return what still means the same model in another folder: its path, or a base model's name.

    Raises:
        ModelError: there is no such model.
    """
    found = named(given)
    return str(given) if found == BASES.get(str(given)) else str(found.resolve())


def choose_run_dir(
    corpus_name: str, out: Path | None, *, force: bool = False, resume: bool = False
) -> RunDir:
    """Return the folder for a training: `out`, or the first free ``runs/NAME-1``, ``-2``, ...

    With `resume`, the default is the newest run of that text, and `out` may be a name in ./runs.

    Raises:
        OptionError: `out` is a file, or it already holds a run and neither `force` nor
            `resume` is given.
    """
    if out is None:
        earlier = [run for run in runs_in() if _is_run_of(corpus_name, run.path.name)]
        return earlier[-1] if resume and earlier else RunDir(new_path(corpus_name))
    if resume and not out.exists() and RunDir(RUNS / out).holds_run():
        return RunDir(RUNS / out)
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


def choose_seed_base(corpus_name: str, out: Path | None, *, resume: bool = False) -> Path:
    """Return how the folders of several seeds begin: `out`, or a new name in ./runs.

    With `resume`, the default is that of the newest such run of that text, and `out` may be a name
    in ./runs, or one of the runs.

    Raises:
        OptionError: `out` has no name, as the current folder.
    """
    if out is None:
        runs = [run.path for run in runs_in() if _is_run_of(corpus_name, run.path.name)]
        earlier = [path for path in runs if resume and _SEED.search(path.name)]
        return _without_seed(earlier[-1]) if earlier else new_path(corpus_name)
    if not out.name:
        raise OptionError(f"--out {out} cannot begin the names of folders: give it a name")
    if resume and not seeds_of(out):
        out = _without_seed(out)
        in_runs = RUNS / out
        return in_runs if seeds_of(in_runs) and not seeds_of(out) else out
    return out


def seed_path(base: Path, seed: int) -> Path:
    """Return the folder of the run that several seeds have for this one."""
    return base.with_name(f"{base.name}-seed{seed}")


def seeds_of(base: Path) -> list[int]:
    """Return the seeds that have a run whose folder begins like this, in order."""
    try:
        names = [path.name for path in base.parent.iterdir()]
    except OSError:
        return []
    seeds = [int(found[1]) for name in names if (found := _SEED.search(name))]
    return sorted(seed for seed in set(seeds) if RunDir(seed_path(base, seed)).holds_run())


def _without_seed(path: Path) -> Path:
    return path.with_name(_SEED.sub("", path.name))


def new_path(corpus_name: str) -> Path:
    """Return the first of ``runs/NAME-1``, ``-2``, ... that no run, and no run per seed, has."""
    try:
        taken = {_without_seed(path).name for path in RUNS.iterdir()}
    except OSError:
        taken = set()
    numbered = (f"{corpus_name}-{number}" for number in itertools.count(1))
    return RUNS / next(name for name in numbered if name not in taken)


def _is_run_of(corpus_name: str, name: str) -> bool:
    """Return whether `new_path` names runs of that text so."""
    return re.fullmatch(rf"{re.escape(corpus_name)}-\d+", _SEED.sub("", name)) is not None
