"""``charrnn cells``: the recurrences that can be trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from charrnn.cli.shared import JsonOption, guarded, print_json
from charrnn.config import ModelConfig


@guarded
def cells(
    hidden_size: Annotated[
        int, typer.Option(help="H, for the number of parameters.")
    ] = ModelConfig.hidden_size,
    vocab_size: Annotated[int, typer.Option(help="V, for the number of parameters.")] = 65,
    as_json: JsonOption = False,
) -> None:
    """List the recurrences with their equations and the size of a one-layer network of each."""
    from charrnn.cells import CELLS
    from charrnn.model import parameters

    config = ModelConfig(vocab_size, hidden_size=hidden_size)
    rows = [
        {
            "cell": cell.name,
            "title": cell.title,
            "equation": cell.equation,
            "parameters": parameters.count(replace(config, cell=cell.name)),
        }
        for cell in CELLS.values()
    ]
    if as_json:
        print_json({"hidden_size": hidden_size, "vocab_size": vocab_size, "cells": rows})
        return
    for row in rows:
        typer.echo(f"{row['cell']}: {row['title']}, {row['parameters']:,} parameters")
        typer.echo("".join(f"    {line}\n" for line in str(row["equation"]).splitlines()))
