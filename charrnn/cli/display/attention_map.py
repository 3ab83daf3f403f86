"""Show for ``charrnn inspect attention``: a map of weights, as text and as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from charrnn.cli.display import plots
from charrnn.config import END
from charrnn.terminal import symbol_mark

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from charrnn.inspection.attention import Alignment

SHADES = " ░▒▓█"  # of weights from 0 to 1, in equal steps
_NAMED = 5  # letters that the name of a token takes at most


def mark(token: str) -> str:
    """Return how a token is shown; the end of a target has a name."""
    return "end" if token == END else symbol_mark(token)


def map_lines(found: Alignment, width: int) -> Iterator[str]:
    """Yield the map: a row for each token that is written, a column for each of the source.

    A source that is wider than the screen is cut off.
    """
    each = 2 if 2 * len(found.source) + _NAMED + 1 <= width else 1
    shown = found.source[: max(1, (width - _NAMED - 1) // each)]
    marks = [mark(token) for token in shown]
    yield " " * (_NAMED + 1) + "".join(f"{name[:each]:<{each}}" for name in marks).rstrip()
    for token, weights in zip(found.target, found.weights, strict=True):
        cells = "".join(_shade(float(weight)) * each for weight in weights[: len(shown)])
        yield f"{mark(token)[:_NAMED]:>{_NAMED}} {cells}".rstrip()
    if len(shown) < len(found.source):
        yield f"and {len(found.source) - len(shown):,} more tokens of the source: see --html"


def _shade(weight: float) -> str:
    return SHADES[min(round(weight * (len(SHADES) - 1)), len(SHADES) - 1)]


def picture(found: Alignment) -> Figure:
    """Return the map as a figure."""
    rows, columns = len(found.target), len(found.source)
    figure = plots.new_figure(1.6 + 0.28 * columns, 1.2 + 0.28 * rows)
    axes = figure.add_subplot()
    axes.imshow(found.weights, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    for axis, tokens in ((axes.xaxis, found.source), (axes.yaxis, found.target)):
        names = [plots.literal(mark(token)) for token in tokens]
        axis.set_ticks(range(len(tokens)), names)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("source")
    axes.set_ylabel("written")
    return figure
