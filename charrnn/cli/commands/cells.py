"""``charrnn cells``: the recurrences that can be trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from charrnn.cli.options import Only, configured
from charrnn.cli.shared import JsonOption, guarded, print_json
from charrnn.config import ModelConfig

SIZES = Only("hidden_size", panel="", vocab_size=65)


@guarded
@configured
def cells(config: Annotated[ModelConfig, SIZES], as_json: JsonOption = False) -> None:
    """List the cells with their equations and the size of a one-layer network of each."""
    from charrnn.cells import CELLS
    from charrnn.model import parameters

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
        sizes = {"hidden_size": config.hidden_size, "vocab_size": config.vocab_size}
        print_json({**sizes, "cells": rows})
        return
    for row in rows:
        typer.echo(f"{row['cell']}: {row['title']}, {row['parameters']:,} parameters")
        typer.echo("".join(f"    {line}\n" for line in str(row["equation"]).splitlines()))
