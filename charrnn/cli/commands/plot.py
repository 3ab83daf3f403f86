"""``charrnn plot``: how trainings went, in the terminal or as a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.display import plots
from charrnn.cli.display.plots import COLOURS
from charrnn.cli.shared import JsonOption, guarded, note, print_json
from charrnn.terminal import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from charrnn.run_dir import Course

START = 20  # the first part of a run, one in so many reports, may leave the picture at its top


@dataclass(frozen=True)
class Panel:
    """One chart: columns of the metrics over one axis."""

    title: str
    columns: tuple[str, ...]
    logarithmic: bool = False
    height: int = 8  # lines in the terminal


PANELS = (
    Panel("loss, nats per character", ("train_nats", "valid_nats"), height=16),
    Panel("gradient norm, largest since the last report", ("grad_norm",), True),
    Panel("learning rate", ("learning_rate",)),
    Panel("characters per second, median so far", ("chars_per_second",)),
)


@guarded
def plot(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of runs.", show_default="the newest run in ./runs"),
    ] = None,
    over: Annotated[
        str, typer.Option(help="What the charts run over: step, epoch, characters or minutes.")
    ] = "step",
    out: Annotated[
        Path | None,
        typer.Option(help="A .png, .svg or .pdf file.", show_default="the terminal"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Draw how trainings went: loss, gradient norm, learning rate, speed; several runs compared.

    A run can be drawn while it trains. Drawing needs the extra packages of 'charrnn[plot]'.
    """
    from charrnn.run_dir import RunDir

    plots.check_file("--out", out, force)
    folders = [RunDir.find(run) for run in runs] if runs else [RunDir.find(None)]
    courses = [folder.course() for folder in folders]
    if not runs:
        note(f"run: {courses[0].run_dir}")
    axes = [course.axis(over) for course in courses]
    if as_json:
        print_json({"runs": [_fields(course) for course in courses]})
    if out is not None:
        plots.save(_picture(courses, axes, over), out)
    elif not as_json:
        for panel in PANELS:
            typer.echo(_chart(panel, courses, axes, over))


def _fields(course: Course) -> dict[str, Any]:
    columns = {
        name: [None if math.isnan(value) else value for value in column.tolist()]
        for name, column in course.columns.items()
    }
    return {"run_dir": str(course.run_dir), "final_valid_nats": course.valid_nats, **columns}


def _label(course: Course) -> str:
    name = plots.literal(f"{visible(course.name)} valid")
    return name if course.valid_nats is None else f"{name}, in the end {course.valid_nats:.4f}"


def _known(x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The points that are numbers: a loss is scored only now and then."""
    import numpy as np

    known = np.isfinite(y)
    return x[known], y[known]


def _loss_limits(courses: Sequence[Course]) -> tuple[float, float]:
    """Where the chart of losses may end: the first steps would press all others flat."""
    import numpy as np

    kept = []
    for course in courses:
        for column in ("train_nats", "valid_nats"):
            losses = course.columns[column]
            kept.append(losses[len(losses) // START :])
    losses = np.concatenate(kept)
    known = losses[np.isfinite(losses)]
    room = 0.03 * (known.max() - known.min() + 0.01)
    return float(known.min() - room), float(known.max() + room)


def _chart(panel: Panel, courses: Sequence[Course], axes: Sequence[Any], over: str) -> str:
    """A panel in characters: colours on a terminal, letters where there are none."""
    import numpy as np

    xs, ys, labels, colours = [], [], [], []
    for number, (course, axis) in enumerate(zip(courses, axes, strict=True)):
        for column in panel.columns:
            x, y = _known(axis, course.columns[column])
            if panel.logarithmic:
                x, y = x[y > 0], y[y > 0]
            if column == "train_nats":
                y = np.minimum(y, _loss_limits(courses)[1])
            if not len(y):
                continue
            xs.append(x)
            ys.append(y)
            of_what = f" {column.removesuffix('_nats')}" if len(panel.columns) > 1 else ""
            labels.append(visible(course.name) + of_what)
            colours.append(COLOURS[(2 * number + panel.columns.index(column)) % 7])
    if not ys:
        return f"{panel.title}: nothing yet"
    return plots.chart(
        f"{panel.title}, over {over}",
        xs,
        ys,
        labels,
        colours,
        logarithmic=panel.logarithmic,
        height=panel.height,
    )


def _picture(courses: Sequence[Course], axes: Sequence[Any], over: str) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise plots.missing(error) from None

    figure = Figure(figsize=(10, 7), layout="constrained")
    grid = figure.subplots(2, 2)
    for panel, place in zip(PANELS, grid.flat, strict=True):
        _draw(panel, place, courses, axes)
        place.set_title(panel.title, fontsize="medium", loc="left")
        place.set_xlabel(over)
    losses = grid[0, 0]
    losses.set_ylim(*_loss_limits(courses))
    bits = (lambda nats: nats / math.log(2), lambda bits: bits * math.log(2))
    losses.secondary_yaxis("right", functions=bits).set_ylabel("bpc")
    for number, course in enumerate(courses):
        if course.clip_norm is not None:
            grid[0, 1].axhline(
                course.clip_norm, color=COLOURS[number % 7], linewidth=0.8, linestyle=":"
            )
    figure.legend(
        *losses.get_legend_handles_labels(),
        title="losses: thin in training, dots on held-out text; gradients: dotted where clipped",
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )
    return figure


def _draw(panel: Panel, place: Axes, courses: Sequence[Course], axes: Sequence[Any]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for number, (course, axis) in enumerate(zip(courses, axes, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        for column in panel.columns:
            x, y = _known(axis, course.columns[column])
            if column == "valid_nats":
                marks: dict[str, Any] = {"marker": "o", "markersize": 3, "linewidth": 1.8}
                place.plot(x, y, color=colour, label=_label(course), **marks)
            elif column == "train_nats":
                place.plot(x, y, color=colour, linewidth=0.8, alpha=0.6)
            else:
                place.plot(x, y, color=colour, linewidth=1)
    if panel.logarithmic:
        place.set_yscale("log")
        place.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        place.yaxis.set_minor_formatter(NullFormatter())
    place.yaxis.set_major_formatter(FuncFormatter(lambda value, at: f"{value:,.6g}"))
    place.grid(color="0.9", linewidth=0.6)
    place.spines[["top", "right"]].set_visible(False)
