"""``charrnn plot``: how trainings went, in the terminal or as a picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli import completion
from charrnn.cli.display import plots, training_curves
from charrnn.cli.shared import JsonOption, guarded, note, print_json
from charrnn.config.fields import check_force

if TYPE_CHECKING:
    from charrnn.run_dir import Course


@guarded
def plot(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Runs: their folders, or their names in ./runs.",
            show_default="the newest run in ./runs",
            autocompletion=completion.runs,
        ),
    ] = None,
    over: Annotated[
        str,
        typer.Option(
            help="X axis of the charts: step, epoch, characters or minutes.",
            autocompletion=completion.axes,
        ),
    ] = "step",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write a .png, .svg or .pdf file, or all reports as .csv.",
            show_default="the terminal",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the file if it exists.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Draw the loss, gradient norm, learning rate and speed of one run, or of several to compare.

    A run can be drawn while it trains. Drawing needs the packages of the extra 'plot'; CSV does
    not.
    """
    from charrnn.run_dir import find_run

    check_force(force, out=out)
    plots.check_file("--out", out, force, (*plots.FORMATS, ".csv"))
    folders = [find_run(run) for run in runs] if runs else [find_run(None)]
    courses = [folder.course() for folder in folders]
    if not runs:
        note(f"run: {courses[0].run_dir}")
    axes = [course.axis(over) for course in courses]
    if as_json:
        print_json({"runs": [_fields(course) for course in courses]})
    if out is not None and out.suffix.lower() == ".csv":
        plots.write(out, training_curves.as_csv(courses).encode())
    elif out is not None:
        plots.save(training_curves.picture(courses, axes, over), out)
    elif not as_json:
        for panel in training_curves.PANELS:
            typer.echo(training_curves.chart(panel, courses, axes, over))


def _fields(course: Course) -> dict[str, Any]:
    columns = {
        name: [None if math.isnan(value) else value for value in column.tolist()]
        for name, column in course.columns.items()
    }
    return {"run_dir": str(course.run_dir), "final_valid_nats": course.valid_nats, **columns}
