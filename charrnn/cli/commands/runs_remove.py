"""``charrnn runs remove``: remove runs that are not training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli import completion
from charrnn.cli.shared import guarded, note
from charrnn.errors import OptionError


@guarded
def remove_runs(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Runs: their names in ./runs, or their folders.",
            metavar="NAME",
            autocompletion=completion.runs,
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove runs that are not training: what charrnn wrote into their folders, and no other file.

    It asks before each one; without a terminal to ask on, give --yes.
    """
    from charrnn.cli.display import run_table
    from charrnn.run_dir import RunDir, named, removal
    from charrnn.run_dir.account import account

    chosen = dict.fromkeys(RunDir(named(Path(name))) for name in names)
    sizes = {run: removal.check(run) for run in chosen}
    if not yes and not sys.stdin.isatty():
        raise OptionError(f"nobody can be asked whether to remove {', '.join(names)}: give --yes")
    for run, num_bytes in sizes.items():
        what = f"{run_table.line(account(run))}, {run_table.size(num_bytes)}"
        if not yes:
            note(what)
            if not typer.confirm("Remove it?", err=True):
                note(f"kept: {run.path}")
                continue
        others = removal.remove(run)
        note(f"removed: {what if yes else run.path}")
        if others:
            left = ", ".join(path.name for path in others)
            note(f"left in {run.path}, because charrnn did not write it: {left}")
