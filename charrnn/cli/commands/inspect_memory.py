"""``charrnn inspect memory``: how far back networks remember."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.display import memory_curves, plots
from charrnn.cli.display.memory_curves import Panel
from charrnn.cli.inspect_shared import (
    MAX_HELD_OUT,
    InspectOutput,
    ModelsOption,
    TextArgument,
    load_models,
    names_of,
    text_of,
)
from charrnn.cli.options import configured
from charrnn.cli.shared import guarded, note, print_json
from charrnn.config import TaskOptions
from charrnn.errors import InputError, OptionError

if TYPE_CHECKING:
    from charrnn.inspection.memory import Memory
    from charrnn.model.model_file import Model

DEFAULT_CONTEXT, MAX_CONTEXT = 1024, 2**16
DEFAULT_LAG, MAX_LAG = 32, 512

LongestOption = Annotated[
    int | None,
    typer.Option(
        help="Longest context (or lag of a task), in tokens; all powers of two up to it are used.",
        min=1,
        show_default=f"{DEFAULT_CONTEXT:,}; for a task {DEFAULT_LAG}",
    ),
]
SymbolsOption = Annotated[
    int, typer.Option(help="Tokens to score after each context.", min=1, max=2**20)
]


@guarded
@configured
def inspect_memory(
    *,
    file: TextArgument = None,
    models: ModelsOption = None,
    longest: LongestOption = None,
    symbols: SymbolsOption = 4096,
    tasks: TaskOptions,
    output: InspectOutput,
) -> None:
    """Measure how far back networks remember.

    A model scores the same tokens of a text from the start state after 1, 2, 4 and more tokens
    before them: where the loss no longer falls, it remembers no further.

    With --task, small networks are trained on lines that ask for something n characters back, with
    all lags mixed: copy (three letters, after n blanks), adding (two marked digits among n others),
    brackets (which two are open, after n characters of closed ones). The result is the share of new
    lines that a network answers correctly. A training takes some seconds per thousand steps.
    """
    limit = MAX_LAG if tasks.task else MAX_CONTEXT
    if longest is not None and longest > limit:
        raise OptionError(f"--longest {longest} is too long: {limit:,} at most")
    if tasks.task and (models or file):
        raise OptionError("--task trains networks of its own: give no model and no text")
    if tasks.cell and not tasks.task:
        raise OptionError("--cell is for the networks that a --task trains: add --task")
    if tasks.task:
        panels, fields = _tasks(tasks, longest or DEFAULT_LAG)
    else:
        loaded = load_models(models)
        text = text_of(file, loaded, MAX_HELD_OUT)
        panels, fields = _models(loaded, text, longest or DEFAULT_CONTEXT, symbols)
    if output.plot is not None:
        plots.save(memory_curves.picture(panels), output.plot)
    if output.json:
        print_json(fields)
    else:
        _show(panels)


def _models(
    loaded: Mapping[Path, Model], text: str, longest: int, symbols: int
) -> tuple[list[Panel], dict[str, Any]]:
    """Return the loss of each model over contexts, and the same for JSON."""
    names = names_of(list(loaded))
    found = {
        names[path]: _memory(names[path], model, text, longest, symbols)
        for path, model in loaded.items()
    }
    fields = [{"name": name} | one.to_json() for name, one in found.items()]
    return [memory_curves.context_panel(found)], {"models": fields}


def _memory(name: str, model: Model, text: str, longest: int, symbols: int) -> Memory:
    from charrnn.generator import Generator
    from charrnn.inspection.memory import memory

    note(f"measuring {name}")
    engine = Generator(model, notify=note).engine
    try:
        ids = model.tokenizer.encode(text)
        return memory(engine, ids, model.tokenizer, longest=longest, symbols=symbols)
    except InputError as error:
        raise type(error)(f"{name}: {error.message}") from None


def _tasks(options: TaskOptions, longest: int) -> tuple[list[Panel], dict[str, Any]]:
    """Return the success of each cell over the lags of each task, and the same for JSON."""
    from charrnn.inspection.tasks import EXAMPLES, TASKS, compare_cells

    lags = [1 << power for power in range(longest.bit_length())]
    panels, fields = [], []
    for name in dict.fromkeys(options.task):
        found = compare_cells(name, lags, options, note)
        panels.append(memory_curves.task_panel(name, lags, found))
        by_cell = [one.to_json(lags) for one in found]
        fields.append({"task": name, "guessed": TASKS[name].guessed, "cells": by_cell})
    return panels, {
        "examples": EXAMPLES,
        "hidden_size": options.hidden_size,
        "steps": options.steps,
        "learning_rate": options.learning_rate,
        "tasks": fields,
    }


def _show(panels: Sequence[Panel]) -> None:
    for panel in panels:
        for line in memory_curves.table(panel):
            typer.echo(line)
        try:
            typer.echo(memory_curves.chart(panel))
        except OptionError as error:  # the table has the numbers
            note(error.message)
