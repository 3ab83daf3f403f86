"""``charrnn runs``: the runs that there are."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.shared import JsonOption, csv_text, guarded, note, print_json
from charrnn.errors import OptionError
from charrnn.terminal import TextWriter


@guarded
def runs(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(help="A folder that holds runs.", show_default="./runs")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the list as CSV.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the runs, the newest last: network, loss on the validation text, time and state.

    Commands that take a model find a run in ./runs by its name: 'charrnn sample --model NAME'.
    """
    if context.invoked_subcommand:
        return
    from charrnn.cli.display import run_table
    from charrnn.run_dir import RUNS
    from charrnn.run_dir.account import FIELDS, accounts

    if as_csv and as_json:
        raise OptionError("--csv and --json both say how to print the list: give one of them")
    found = accounts(folder or RUNS)
    if not found:
        where = (folder or RUNS).absolute()
        note(f"no runs in {where}: train one with 'charrnn train FILE'")
    if as_json:
        print_json({"runs": [asdict(run) for run in found]})
    elif as_csv:
        out = TextWriter(sys.stdout)
        out.write(csv_text(FIELDS, [asdict(run) for run in found]))
        out.finish()
    elif found:
        sys.stdout.write(run_table.table(found))
