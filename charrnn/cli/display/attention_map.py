"""Show for ``charrnn inspect attention``: a map of weights, as text, picture and page."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import TYPE_CHECKING

from charrnn.cli.display import plots
from charrnn.cli.display.templates import fill
from charrnn.config import END
from charrnn.terminal import symbol_mark

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from charrnn.inspection.attention import Alignment

SHADES = " ░▒▓█"  # of weights from 0 to 1, in equal steps
COLOR = (0, 114, 178)  # of weight 1, on white
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


def page(found: Alignment, model: str) -> str:
    """Return the map as one HTML page that needs no other file."""
    head = "".join(f"<th>{_escaped(token)}</th>" for token in found.source)
    rows = "".join(
        f"<tr><th>{_escaped(token)}</th>"
        + "".join(_cell(float(weight)) for weight in weights)
        + "</tr>\n"
        for token, weights in zip(found.target, found.weights, strict=True)
    )
    title = html.escape("".join(map(mark, found.source)))
    target = html.escape("".join(map(mark, found.target[:-1])))
    return fill(
        "attention_page.html",
        title=f"{title} → {target}",
        notes=f"{html.escape(model)}; log-probability {found.log_prob:.2f} nats",
        head=head,
        rows=rows,
    )


def _cell(weight: float) -> str:
    red, green, blue = (round(255 + weight * (end - 255)) for end in COLOR)
    ink = "#fff" if weight > 0.6 else "#222"
    style = f"background: #{red:02x}{green:02x}{blue:02x}; color: {ink}"
    return f'<td style="{style}" title="{weight:.3f}">{round(100 * weight)}</td>'


def _escaped(token: str) -> str:
    return html.escape(mark(token))
