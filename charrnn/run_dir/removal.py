"""Remove a run: the files that charrnn wrote, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from charrnn.errors import ModelError, RunError
from charrnn.run_dir import checkpoints, lock
from charrnn.run_dir.folder import RunDir
from charrnn.run_dir.run_text import text_files

# Curves for TensorBoard, and what a training that was killed did not finish writing.
_MORE = re.compile(r"events\.out\.tfevents\..+|\.[\w.]+\.\d+\.tmp", re.ASCII)


def check(run: RunDir) -> int:
    """Return how many bytes the removal of a run would free.

    Raises:
        ModelError: the folder is a link, or holds no run of charrnn.
        RunError: the run is still training.
    """
    if run.path.is_symlink():
        raise ModelError(f"{run.path} is a link: remove the run where it is, or the link itself")
    if not run.path.is_dir() or not run.is_ours():
        raise ModelError(f"{run.path} is not a run of charrnn: it is not removed")
    if lock.is_held(run):
        raise RunError(f"{run.path} is still training: stop it with Ctrl-C, then remove it")
    inside = [path for path in _inside(run.checkpoints) if path.parent != run.checkpoints]
    return sum(path.lstat().st_size for path in [*_files(run), *inside])


def remove(run: RunDir) -> list[Path]:
    """Remove a run, and its folder unless other files are in it, which are returned.

    Links are removed, never what they lead to.

    Raises:
        ModelError, RunError: as `check`; or a file cannot be removed.
    """
    check(run)
    try:
        with lock.held(run):
            checkpoints.clear(run)
            for path in _files(run):
                if path != run.lock:
                    path.unlink(missing_ok=True)
        run.lock.unlink(missing_ok=True)
        others = sorted(run.path.iterdir())
        if not others:
            run.path.rmdir()
    except OSError as error:
        raise RunError(f"{run.path} could not be removed: {error.strerror}") from error
    return others


def _files(run: RunDir) -> list[Path]:
    """Return the files of a run that exist, checkpoints apart."""
    known = {path.name for path in run.files()} | {run.latest.name, run.lock.name}
    for names in text_files(run).values():  # a copy is named without its folder
        known |= {name for name in names if name == Path(name).name}
    return [
        path
        for path in run.path.iterdir()
        if (path.name in known or _MORE.fullmatch(path.name))
        and (path.is_symlink() or path.is_file())
    ]


def _inside(folder: Path) -> list[Path]:
    """Return the files in a folder and below; none if it is a link."""
    return [] if folder.is_symlink() else [path for path in folder.rglob("*") if path.is_file()]
