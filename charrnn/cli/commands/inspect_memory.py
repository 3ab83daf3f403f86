"""``charrnn inspect memory``: how far back networks remember.

The file is longer than other commands' because it declares options that no other command has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.display import memory_curves, plots
from charrnn.cli.display.memory_curves import Panel
from charrnn.cli.inspect_shared import (
    MAX_HELD_OUT,
    ModelsOption,
    PictureOption,
    ReplaceOption,
    TextArgument,
    load_models,
    names_of,
    text_of,
)
from charrnn.cli.shared import JsonOption, guarded, note, print_json
from charrnn.errors import InputError, OptionError, nearest

if TYPE_CHECKING:
    from charrnn.inspection.memory import Memory
    from charrnn.inspection.tasks import Training
    from charrnn.model.model_file import Model

DEFAULT_CONTEXT, MAX_CONTEXT = 1024, 2**16
DEFAULT_LAG, MAX_LAG = 32, 512
CELLS = ("elman", "gru", "lstm")


def _task(*flags: str, **more: Any) -> Any:
    return typer.Option(*flags, rich_help_panel="A toy task", **more)


LongestOption = Annotated[
    int | None,
    typer.Option(
        help="Longest context, or lag of a task, in symbols; all powers of two up to it are used.",
        min=1,
        show_default=f"{DEFAULT_CONTEXT:,}, of a task {DEFAULT_LAG}",
    ),
]
SymbolsOption = Annotated[
    int, typer.Option(help="Symbols to score after each context.", min=1, max=2**20)
]
TasksOption = Annotated[
    list[str] | None,
    _task(
        "--task",
        help="Train small networks on this task instead: copy, adding or brackets; may be "
        "repeated.",
        show_default="none",
    ),
]
CellsOption = Annotated[
    list[str] | None,
    _task(
        "--cell",
        help="Cell of the small networks; may be repeated.",
        show_default=", ".join(CELLS),
    ),
]
HiddenSizeOption = Annotated[int, _task(help="Units of the small networks.")]
StepsOption = Annotated[int, _task(help="Training steps.")]
LearningRateOption = Annotated[float, _task(help="Peak learning rate.")]
SeedOption = Annotated[int, _task(help="Seed of the weights and the texts.", min=0)]
SeedsOption = Annotated[
    int, _task(help="Trainings of each network, with --seed and those after it.", min=1, max=100)
]
ThreadsOption = Annotated[
    int | None, _task(help="CPU threads of the training.", show_default="all cores")
]


@guarded
def inspect_memory(
    file: TextArgument = None,
    models: ModelsOption = None,
    longest: LongestOption = None,
    symbols: SymbolsOption = 4096,
    tasks: TasksOption = None,
    cells: CellsOption = None,
    hidden_size: HiddenSizeOption = 64,
    steps: StepsOption = 1000,
    learning_rate: LearningRateOption = 0.004,
    seed: SeedOption = 1,
    seeds: SeedsOption = 1,
    threads: ThreadsOption = None,
    picture: PictureOption = None,
    force: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure how far back networks remember.

    A model scores the same symbols of a text from the start state after 1, 2, 4 and more symbols
    before them: where the loss no longer falls, it remembers no further.

    With --task, small networks are trained on lines that ask for something n symbols back, with all
    lags mixed: copy (three letters, after n blanks), adding (two marked digits among n others),
    brackets (which two are open, after n symbols of closed ones). The result is the share of new
    lines that a network answers all right. A training takes some seconds per thousand steps.
    """
    plots.check_file("--plot", picture, force)
    limit = MAX_LAG if tasks else MAX_CONTEXT
    if longest is not None and longest > limit:
        raise OptionError(f"--longest {longest} is too long: {limit:,} at most")
    if tasks:
        from charrnn.inspection.tasks import Training

        if models or file:
            raise OptionError("--task trains networks of its own: give no model and no text")
        training = Training(hidden_size, steps, learning_rate, range(seed, seed + seeds), threads)
        panels, fields = _tasks(tasks, longest or DEFAULT_LAG, cells or CELLS, training)
    elif cells:
        raise OptionError("--cell is for the networks that a --task trains: add --task")
    else:
        loaded = load_models(models)
        text = text_of(file, loaded, MAX_HELD_OUT)
        panels, fields = _models(loaded, text, longest or DEFAULT_CONTEXT, symbols)
    if picture is not None:
        plots.save(memory_curves.picture(panels), picture)
    if as_json:
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

    note(f"looking at {name}")
    engine = Generator(model, notify=note).engine
    try:
        ids = model.tokenizer.encode(text)
        return memory(engine, ids, model.tokenizer, longest=longest, symbols=symbols)
    except InputError as error:
        raise type(error)(f"{name}: {error.message}") from None


def _tasks(
    names: Sequence[str], longest: int, cells: Sequence[str], training: Training
) -> tuple[list[Panel], dict[str, Any]]:
    """Return the success of each cell over the lags of each task, and the same for JSON."""
    from charrnn.inspection.tasks import EXAMPLES, TASKS, compare_cells

    for name in names:
        if name not in TASKS:
            raise OptionError(f"--task '{name}' is not known: {nearest(name, TASKS)}")
    lags = [1 << power for power in range(longest.bit_length())]
    panels, fields = [], []
    for name in dict.fromkeys(names):
        found = compare_cells(name, lags, cells, training, note)
        panels.append(memory_curves.task_panel(name, lags, found))
        by_cell = [one.to_json(lags) for one in found]
        fields.append({"task": name, "guessed": TASKS[name].guessed, "cells": by_cell})
    return panels, {
        "examples": EXAMPLES,
        "hidden_size": training.hidden_size,
        "steps": training.steps,
        "learning_rate": training.learning_rate,
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
