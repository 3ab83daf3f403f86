"""``charrnn cells``: the recurrences that can be trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, get_args

import typer

from charrnn.cli.options import Only, configured, named_cell
from charrnn.cli.shared import JsonOption, guarded, print_json
from charrnn.config import CellName, ModelConfig, cell_name
from charrnn.terminal import visible

SIZES = Only("hidden_size", panel="", vocab_size=65)


@guarded
@configured
def cells(
    config: Annotated[ModelConfig, SIZES],
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Cells to show: names, or a file of your own, whose code is run.",
            show_default="all of charrnn's",
            metavar="CELL",
            autocompletion=lambda: get_args(CellName),
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the cells with their equations and the size of a one-layer network of each.

    A file checks your own cell before a training. Its equation may use + - * / and the functions
    sigmoid, tanh, relu, exp, abs, max and min, which equations() gets by naming them as arguments;
    W(h) is a product with the recurrent matrix. It cannot compare values or branch on them. max and
    min of equal values pass half of the gradient to each; that of abs and relu at 0 is 0.
    """
    from charrnn.cells import CELLS, find
    from charrnn.model import parameters

    configs = [replace(config, cell=named_cell(name)) for name in names or CELLS]
    rows = [
        {
            "cell": cell_name(each.cell),
            "title": find(each.cell).title,
            "equation": find(each.cell).equation,
            "parameters": parameters.count(each),
        }
        for each in configs
    ]
    if as_json:
        sizes = {"hidden_size": config.hidden_size, "vocab_size": config.vocab_size}
        print_json({**sizes, "cells": rows})
        return
    for row in rows:
        typer.echo(visible(f"{row['cell']}: {row['title']}, {row['parameters']:,} parameters"))
        typer.echo(visible("".join(f"    {line}\n" for line in str(row["equation"]).splitlines())))
