"""``charrnn inspect memory``: how far back networks remember."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.display import plots
from charrnn.cli.display.plots import COLOURS, literal
from charrnn.cli.inspect_shared import (
    ModelsOption,
    PictureOption,
    ReplaceOption,
    TextArgument,
    names_of,
    numbers,
    text_of,
)
from charrnn.cli.shared import JsonOption, guarded, note, print_json
from charrnn.errors import InputError, OptionError, nearest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from charrnn.config import TrainOptions
    from charrnn.inspection.memory import Memory

CONTEXT, LAG = 1024, 32  # the longest of each, if nothing else is said
MOST_CONTEXT, MOST_LAG = 2**16, 512
MOST = 2**20  # symbols of a held-out text: what is scored is spread over them
CELLS = ("elman", "gru", "lstm")
BATCH = 32
EXAMPLES = 200  # of each lag
TASK = "A toy task"


@dataclass(frozen=True)
class Curve:
    """What a network did over contexts or lags.

    Attributes:
        name: of the network.
        at: contexts or lags.
        values: what is drawn.
        each: the same of each training, by its seed; `values` are their means.
    """

    name: str
    at: Sequence[int]
    values: Sequence[float]
    each: Mapping[int, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """Curves that compare, and what is reached without any memory, where that is known."""

    title: str
    of_what: str
    over: str
    curves: Sequence[Curve]
    guessed: float | None = None


def _task(help_text: str, **more: Any) -> Any:
    return typer.Option(help=help_text, rich_help_panel=TASK, **more)


@guarded
def inspect_memory(
    file: TextArgument = None,
    models: ModelsOption = None,
    longest: Annotated[
        int | None,
        typer.Option(
            help="The longest context, or lag of a task, in symbols: powers of two up to it.",
            min=1,
            show_default=f"{CONTEXT:,}, of a task {LAG}",
        ),
    ] = None,
    symbols: Annotated[
        int, typer.Option(help="Symbols that are scored, after every context.", min=1, max=2**20)
    ] = 4096,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            help="Train small networks on copy, adding or brackets instead; may be repeated.",
            show_default="none",
            rich_help_panel=TASK,
        ),
    ] = None,
    cells: Annotated[
        list[str] | None,
        typer.Option(
            "--cell",
            help="Of the small networks; may be repeated.",
            show_default=", ".join(CELLS),
            rich_help_panel=TASK,
        ),
    ] = None,
    hidden_size: Annotated[int, _task("Their units.")] = 64,
    steps: Annotated[int, _task("Updates of their training.")] = 1000,
    learning_rate: Annotated[float, _task("The rate's peak.")] = 0.004,
    seed: Annotated[int, _task("Of their weights and their texts.", min=0)] = 1,
    seeds: Annotated[
        int, _task("Train each of them so many times, from --seed on.", min=1, max=100)
    ] = 1,
    threads: Annotated[
        int | None, _task("CPU threads of their training.", show_default="all cores")
    ] = None,
    picture: PictureOption = None,
    force: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure how far back networks remember.

    A model scores the same symbols of a text again and again, from nothing, after 1, 2, 4 and more
    symbols before them: where the loss no longer falls, it remembers no further.

    With --task small networks are trained on lines that ask for something n symbols back, all lags
    mixed: copy (three letters, after n blanks), adding (two marked digits among n others), brackets
    (which two are open, after n symbols of closed ones). What counts is the share of new lines that
    a network answers all right. Each takes some seconds for every thousand steps.
    """
    plots.check_file("--plot", picture, force)
    most = MOST_LAG if tasks else MOST_CONTEXT
    if longest is not None and longest > most:
        raise OptionError(f"--longest {longest} is too long: {most:,} at most")
    if tasks:
        if models or file:
            raise OptionError("--task trains networks of its own: give no model and no text")
        wanted = _Training(hidden_size, steps, learning_rate, range(seed, seed + seeds), threads)
        panels, fields = _tasks(tasks, longest or LAG, cells or CELLS, wanted)
    else:
        if cells:
            raise OptionError("--cell is of networks that a --task trains: give one")
        panels, fields = _models(file, models, longest or CONTEXT, symbols)
    if picture is not None:
        plots.save(_picture(panels), picture)
    if as_json:
        print_json(fields)
        return
    for panel in panels:
        for line in _table(panel):
            typer.echo(line)
        try:
            typer.echo(_chart(panel))
        except OptionError as error:  # the numbers are there
            note(str(error))


def _models(
    file: Path | None, models: Sequence[Path] | None, longest: int, symbols: int
) -> tuple[list[Panel], dict[str, Any]]:
    """The loss of each model over contexts; the text is the first one's own, if none is named."""
    from charrnn.generator import Generator
    from charrnn.inspection.memory import memory as measured
    from charrnn.model import model_file
    from charrnn.run_dir import find_model

    given: Sequence[Path | None] = models or [None]
    paths = [find_model(model) for model in given]
    if not models:
        note(f"model: {paths[0]}")
    loaded = {path: model_file.load(path) for path in paths}
    text = text_of(file, loaded, MOST)
    names = names_of(list(loaded))
    found: dict[str, Memory] = {}
    for path, model in loaded.items():
        note(f"looking at {names[path]}")
        engine = Generator(model, notify=note).engine
        try:
            ids = model.tokenizer.encode(text)
            limits = {"longest": longest, "symbols": symbols}
            found[names[path]] = measured(engine, ids, model.tokenizer, **limits)
        except InputError as error:
            raise type(error)(f"{names[path]}: {error}") from None
    scored = max(one.characters for one in found.values())
    curves = [Curve(name, one.contexts, one.nats.tolist()) for name, one in found.items()]
    title = f"nats per character after contexts of n symbols, the same {scored:,} characters"
    fields = [
        {
            "name": name,
            "characters": one.characters,
            "contexts": list(one.contexts),
            "nats": numbers(one.nats),
            "excess": numbers(one.excess),
            "standard_error": numbers(one.standard_error),
        }
        for name, one in found.items()
    ]
    return [Panel(title, "nats per character", "context", curves)], {"models": fields}


@dataclass(frozen=True)
class _Training:
    """How the networks of a task are trained."""

    hidden_size: int
    steps: int
    learning_rate: float
    seeds: Sequence[int]
    threads: int | None

    def options(self, cell: str, seed: int, longest: int) -> TrainOptions:
        """Of one network, for lags up to `longest`."""
        from charrnn.config import TrainOptions

        return TrainOptions(
            cell=cell,
            num_layers=1,
            hidden_size=self.hidden_size,
            batch_size=BATCH,
            seq_len=2 * longest + BATCH,  # a whole line in most windows
            steps=self.steps,
            learning_rate=self.learning_rate,
            seed=seed,
            threads=self.threads,
        )


def _tasks(
    names: Sequence[str], longest: int, cells: Sequence[str], wanted: _Training
) -> tuple[list[Panel], dict[str, Any]]:
    """The success of each cell over the lags of each task."""
    from charrnn.inspection import tasks

    for name in names:
        if name not in tasks.TASKS:
            raise OptionError(f"--task '{name}' is not known: {nearest(name, tasks.TASKS)}")
    lags = [1 << power for power in range(longest.bit_length())]
    trainings = {
        cell: [wanted.options(cell, seed, lags[-1]) for seed in wanted.seeds] for cell in cells
    }
    panels, fields = [], []
    for name in dict.fromkeys(names):
        task, curves = tasks.TASKS[name], []
        for cell, options in trainings.items():
            each = {}
            for option in options:
                again = f", seed {option.seed}" if len(options) > 1 else ""
                note(f"training {cell} on {name}{again}")
                model = tasks.train(task, lags, option)
                each[option.seed] = [
                    tasks.success(model, task, lag, option.seed, EXAMPLES) for lag in lags
                ]
            means = [sum(shares) / len(shares) for shares in zip(*each.values(), strict=True)]
            curves.append(Curve(cell, lags, means, each))
        title = f"{name}: share of {EXAMPLES} new lines all right, over the lag n"
        panels.append(Panel(title, "share all right", "lag", curves, task.guessed))
        found = [
            {
                "cell": one.name,
                "lags": lags,
                "success": one.values,
                "each": [{"seed": seed, "success": shares} for seed, shares in one.each.items()],
            }
            for one in curves
        ]
        fields.append({"task": name, "guessed": task.guessed, "cells": found})
    return panels, {
        "examples": EXAMPLES,
        "hidden_size": wanted.hidden_size,
        "steps": wanted.steps,
        "learning_rate": wanted.learning_rate,
        "tasks": fields,
    }


def _table(panel: Panel) -> Iterator[str]:
    from rich.cells import cell_len

    form = "{:.4f}" if panel.guessed is None else "{:.1%}"
    columns = [[panel.over, *(f"{at:,}" for at in panel.curves[0].at)]]
    columns += [[curve.name, *(form.format(value) for value in curve.values)] for curve in
                panel.curves]  # fmt: skip
    sizes = [max(map(cell_len, column)) for column in columns]
    yield panel.title
    for row in zip(*columns, strict=True):
        yield "  ".join(
            " " * (size - cell_len(text)) + text for text, size in zip(row, sizes, strict=True)
        )
    if panel.guessed is not None:
        several = len(panel.curves[0].each)
        means = f"; means of {several} trainings" if several > 1 else ""
        yield f"{panel.guessed:.1%} need no memory{means}"
    yield ""


def _chart(panel: Panel) -> str:
    import numpy as np

    return plots.chart(
        f"{panel.of_what}, over log2 of the {panel.over} in symbols",
        [np.log2(curve.at) for curve in panel.curves],
        [np.asarray(curve.values) for curve in panel.curves],
        [curve.name for curve in panel.curves],
        [COLOURS[order % len(COLOURS)] for order in range(len(panel.curves))],
    )


def _picture(panels: Sequence[Panel]) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise plots.missing(error) from None

    size = (7.5, 4.6) if len(panels) == 1 else (4.4 * len(panels), 4)
    figure = Figure(figsize=size, layout="constrained")
    places: Any = figure.subplots(1, len(panels), squeeze=False, sharey=len(panels) > 1)[0]
    for place, panel in zip(places, panels, strict=True):
        _draw(place, panel)
    places[0].set_ylabel(panels[0].of_what)
    places[-1].legend(frameon=False, fontsize="small")
    return figure


def _draw(place: Axes, panel: Panel) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    for order, curve in enumerate(panel.curves):
        place.plot(
            curve.at, curve.values, marker="o", markersize=4, label=literal(curve.name),
            color=COLOURS[order % len(COLOURS)],
        )  # fmt: skip
        if len(curve.each) > 1:
            shares = list(zip(*curve.each.values(), strict=True))
            place.fill_between(
                curve.at, [*map(min, shares)], [*map(max, shares)], alpha=0.15, linewidth=0,
                color=COLOURS[order % len(COLOURS)],
            )  # fmt: skip
    if panel.guessed is not None:
        place.axhline(panel.guessed, color="0.5", linewidth=0.9, linestyle=":", label="no memory")
        place.set_ylim(-0.03, 1.03)
    place.set_xscale("log", base=2)
    place.set_xticks(panel.curves[0].at)
    place.xaxis.set_minor_locator(NullLocator())
    place.xaxis.set_major_formatter(FuncFormatter(lambda value, at: f"{value:,.0f}"))
    place.tick_params(axis="x", labelsize="small")
    title = panel.title.replace(", ", ",\n", 1)
    if any(len(curve.each) > 1 for curve in panel.curves):
        title += "; means, from the worst to the best training"
    place.set_title(title, fontsize="medium", loc="left")
    place.set_xlabel(f"{panel.over}, symbols")
    place.grid(color="0.9", linewidth=0.6)
    place.spines[["top", "right"]].set_visible(False)
