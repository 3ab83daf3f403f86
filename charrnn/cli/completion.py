"""Complete the values of options and arguments in a shell.

A function that returns nothing leaves it to the shell to offer files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from charrnn.errors import CharRNNError


def corpora(incomplete: str) -> list[str]:
    """Return the named corpora that start like this, unless a file or folder does."""
    from charrnn.text.named import registry

    if incomplete and any(path.name.startswith(incomplete) for path in Path().iterdir()):
        return []
    try:
        return [name for name in sorted(registry.entries()) if name.startswith(incomplete)]
    except CharRNNError:  # a registry that cannot be read has no names to offer
        return []


def runs(incomplete: str) -> list[str]:
    """Return the runs in ./runs whose names start like this."""
    from charrnn.run_dir import runs_in

    return sorted(run.path.name for run in runs_in() if run.path.name.startswith(incomplete))


def models(incomplete: str) -> list[str]:
    """Return the runs of `runs` that have a model."""
    from charrnn.run_dir import RUNS, RunDir

    return [name for name in runs(incomplete) if RunDir(RUNS / name).model.exists()]


def starts(incomplete: str) -> list[str]:
    """Return the models to start from: those of runs, and those that charrnn comes with."""
    from charrnn.model.bases import BASES

    return models(incomplete) + [name for name in BASES if name.startswith(incomplete)]


def parts(incomplete: str) -> list[str]:
    """Return the parts of a model's own text that start like this."""
    from charrnn.text.split import PARTS

    return [name for name in PARTS if name.startswith(incomplete)]


def axes(incomplete: str) -> list[str]:
    """Return the x-axes of charts that start like this."""
    from charrnn.run_dir.course import AXES

    return [name for name in AXES if name.startswith(incomplete)]


# What to offer for a field that names something that exists on this machine.
FIELDS: dict[str, Callable[[str], list[str]]] = {"init_from": starts, "config": runs}
