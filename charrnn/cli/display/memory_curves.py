"""Show for ``charrnn inspect memory``: curves over contexts or lags, as tables and charts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer

from charrnn.cli.display import plots
from charrnn.cli.display.plots import COLORS, literal
from charrnn.cli.shared import note
from charrnn.errors import OptionError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from charrnn.inspection.memory import Memory
    from charrnn.inspection.memory_tasks import Comparison


@dataclass(frozen=True)
class Curve:
    """The results of one network or cell.

    Attributes:
        name: in the legend.
        x: contexts or lags, in tokens.
        y: losses or shares.
        by_seed: the same of each training, if there are several; `y` are their means.
    """

    name: str
    x: Sequence[int]
    y: Sequence[float]
    by_seed: Mapping[int, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """Curves to compare.

    Attributes:
        title: above them.
        y_label: what is measured.
        x_label: context or lag.
        curves: all over the same x.
        without_memory: the share that a network without memory reaches, if y are shares.
    """

    title: str
    y_label: str
    x_label: str
    curves: Sequence[Curve]
    without_memory: float | None = None


def context_panel(found: Mapping[str, Memory]) -> Panel:
    """Return the losses of models over contexts."""
    scored = max(one.characters for one in found.values())
    title = f"nats per character after contexts of n tokens, on the same {scored:,} characters"
    curves = [Curve(name, one.contexts, one.nats.tolist()) for name, one in found.items()]
    return Panel(title, "nats per character", "context", curves)


def task_panels(compared: Comparison) -> list[Panel]:
    """Return the success of cells over lags, a panel for each task."""
    from charrnn.inspection.memory_tasks import EXAMPLES, TASKS

    panels = []
    for name, cells in compared.tasks.items():
        title = f"{name}: share of {EXAMPLES} new lines answered correctly, over the lag n"
        curves = [Curve(one.cell, compared.lags, one.means, one.by_seed) for one in cells]
        panels.append(Panel(title, "share correct", "lag", curves, TASKS[name].guessed))
    return panels


def show(panels: Sequence[Panel]) -> None:
    """Print a table and a chart of each panel."""
    for panel in panels:
        for line in table(panel):
            typer.echo(line)
        try:
            typer.echo(chart(panel))
        except OptionError as error:  # the table has the numbers
            note(error.message)


def table(panel: Panel) -> Iterator[str]:
    """Yield the lines of a table with a row for each context or lag."""
    from rich.cells import cell_len

    form = "{:.4f}" if panel.without_memory is None else "{:.1%}"
    columns = [[panel.x_label, *(f"{x:,}" for x in panel.curves[0].x)]]
    columns += [[curve.name, *map(form.format, curve.y)] for curve in panel.curves]
    sizes = [max(map(cell_len, column)) for column in columns]
    yield panel.title
    for row in zip(*columns, strict=True):
        yield "  ".join(
            " " * (size - cell_len(text)) + text for text, size in zip(row, sizes, strict=True)
        )
    if panel.without_memory is not None:
        trainings = len(panel.curves[0].by_seed)
        means = f"; means of {trainings} trainings" if trainings > 1 else ""
        yield f"{panel.without_memory:.1%} are correct by guessing{means}"
    yield ""


def chart(panel: Panel) -> str:
    """Return a chart in characters.

    Raises:
        OptionError: the package that draws it is missing.
    """
    import numpy as np

    return plots.chart(
        f"{panel.y_label}, over log2 of the {panel.x_label} in tokens",
        [np.log2(curve.x) for curve in panel.curves],
        [np.asarray(curve.y) for curve in panel.curves],
        [curve.name for curve in panel.curves],
        [COLORS[order % len(COLORS)] for order in range(len(panel.curves))],
    )


def picture(panels: Sequence[Panel]) -> Figure:
    """Draw panels side by side."""
    width, height = (7.5, 4.6) if len(panels) == 1 else (4.4 * len(panels), 4)
    figure = plots.new_figure(width, height)
    row: Any = figure.subplots(1, len(panels), squeeze=False, sharey=len(panels) > 1)[0]
    for axes, panel in zip(row, panels, strict=True):
        _draw(axes, panel)
    row[0].set_ylabel(panels[0].y_label)
    row[-1].legend(frameon=False, fontsize="small")
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    for order, curve in enumerate(panel.curves):
        _draw_curve(axes, curve, COLORS[order % len(COLORS)])
    if panel.without_memory is not None:
        axes.axhline(
            panel.without_memory, color="0.5", linewidth=0.9, linestyle=":", label="guessing"
        )
        axes.set_ylim(-0.03, 1.03)
    axes.set_xscale("log", base=2)
    axes.set_xticks(panel.curves[0].x)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:,.0f}"))
    axes.tick_params(axis="x", labelsize="small")
    title = panel.title.replace(", ", ",\n", 1)
    if any(len(curve.by_seed) > 1 for curve in panel.curves):
        title += "; means, and range of the trainings"
    axes.set_title(title, fontsize="medium", loc="left")
    axes.set_xlabel(f"{panel.x_label}, tokens")
    axes.grid(color="0.9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_curve(axes: Axes, curve: Curve, color: str) -> None:
    """Draw a curve, and the range between the worst and the best training behind it."""
    axes.plot(
        curve.x, curve.y, marker="o", markersize=4, label=literal(curve.name), color=color
    )  # fmt: skip
    if len(curve.by_seed) > 1:
        shares = list(zip(*curve.by_seed.values(), strict=True))
        axes.fill_between(
            curve.x, [*map(min, shares)], [*map(max, shares)], alpha=0.15, linewidth=0, color=color
        )
