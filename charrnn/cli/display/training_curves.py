"""Draw for ``charrnn plot``: the metrics of runs, as charts of characters or as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charrnn.cli.display import plots
from charrnn.cli.display.plots import COLORS, literal
from charrnn.cli.shared import csv_text
from charrnn.terminal import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from charrnn.run_dir import Course

START = 20  # the first 1/20 of the reports


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


def as_csv(courses: Sequence[Course]) -> str:
    """Return all reports as CSV: the run, and a column for each of the metrics."""
    from charrnn.run_dir import COLUMNS

    names = [course.name for course in courses]
    rows: list[dict[str, Any]] = []
    for course in courses:
        name = course.name if names.count(course.name) == 1 else str(course.run_dir)
        reports = zip(*(course.columns[column].tolist() for column in COLUMNS), strict=True)
        for report in reports:
            values = dict(zip(COLUMNS, report, strict=True))
            whole = {column: int(values[column]) for column in ("step", "characters")}
            rows.append({"run": name, **values, **whole})
    return csv_text(("run", *COLUMNS), rows)


def after_start(values: Any) -> Any:
    """Return the reports after the first ones, whose high losses would flatten all others."""
    return values[len(values) // START :]


def _known(x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the points whose y is a number: not every report has a validation loss."""
    import numpy as np

    known = np.isfinite(y)
    return x[known], y[known]


def _loss_limits(courses: Sequence[Course]) -> tuple[float, float]:
    """Return the range of the chart of losses, which `after_start` decides."""
    import numpy as np

    columns = [
        after_start(course.columns[column])
        for course in courses
        for column in ("train_nats", "valid_nats")
    ]
    losses = np.concatenate(columns)
    known = losses[np.isfinite(losses)]
    margin = 0.03 * (known.max() - known.min() + 0.01)
    return float(known.min() - margin), float(known.max() + margin)


def chart(panel: Panel, courses: Sequence[Course], axes: Sequence[Any], over: str) -> str:
    """Return a panel in characters.

    Args:
        panel: what is drawn.
        courses: the metrics of the runs.
        axes: the x axis of each run.
        over: name of the axis.

    Raises:
        OptionError: the package that draws it is missing.
    """
    import numpy as np

    xs, ys, labels, colors = [], [], [], []
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
            which = f" {column.removesuffix('_nats')}" if len(panel.columns) > 1 else ""
            labels.append(visible(course.name) + which)
            colors.append(COLORS[(2 * number + panel.columns.index(column)) % len(COLORS)])
    if not ys:
        return f"{panel.title}: no report yet"
    title = f"{panel.title}, over {over}"
    return plots.chart(
        title, xs, ys, labels, colors, logarithmic=panel.logarithmic, height=panel.height
    )


def picture(courses: Sequence[Course], axes: Sequence[Any], over: str) -> Figure:
    """Draw all panels; the arguments are those of `chart`."""
    figure = plots.new_figure(10, 7)
    grid = figure.subplots(2, 2)
    for panel, panel_axes in zip(PANELS, grid.flat, strict=True):
        _draw(panel, panel_axes, courses, axes)
        panel_axes.set_title(panel.title, fontsize="medium", loc="left")
        panel_axes.set_xlabel(over)
    losses = grid[0, 0]
    losses.set_ylim(*_loss_limits(courses))
    bits = (lambda nats: nats / math.log(2), lambda bits: bits * math.log(2))
    losses.secondary_yaxis("right", functions=bits).set_ylabel("bpc")
    for number, course in enumerate(courses):
        if course.clip_norm is not None:
            color = COLORS[number % len(COLORS)]
            grid[0, 1].axhline(course.clip_norm, color=color, linewidth=0.8, linestyle=":")
    figure.legend(
        *losses.get_legend_handles_labels(),
        title="losses: thin in training, dots in validation; gradients: dotted at the clip norm",
        loc="outside lower center", ncols=2, frameon=False,
    )  # fmt: skip
    return figure


def _draw(panel: Panel, panel_axes: Axes, courses: Sequence[Course], axes: Sequence[Any]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for number, (course, axis) in enumerate(zip(courses, axes, strict=True)):
        color = COLORS[number % len(COLORS)]
        for column in panel.columns:
            x, y = _known(axis, course.columns[column])
            if column == "valid_nats":
                panel_axes.plot(
                    x, y, color=color, label=_label(course), marker="o", markersize=3,
                    linewidth=1.8,
                )  # fmt: skip
            elif column == "train_nats":
                panel_axes.plot(x, y, color=color, linewidth=0.8, alpha=0.6)
            else:
                panel_axes.plot(x, y, color=color, linewidth=1)
    if panel.logarithmic:
        panel_axes.set_yscale("log")
        panel_axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel_axes.yaxis.set_minor_formatter(NullFormatter())
    panel_axes.yaxis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:,.6g}"))
    panel_axes.grid(color="0.9", linewidth=0.6)
    panel_axes.spines[["top", "right"]].set_visible(False)


def _label(course: Course) -> str:
    name = literal(f"{visible(course.name)} valid")
    return name if course.valid_nats is None else f"{name}, final {course.valid_nats:.4f}"
