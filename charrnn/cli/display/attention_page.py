"""The page of ``charrnn inspect attention --html``: a map of weights as a table."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from charrnn.cli.display.attention_map import mark
from charrnn.cli.display.templates import fill

if TYPE_CHECKING:
    from charrnn.inspection.attention import Alignment

COLOR = (0, 114, 178)  # of weight 1, on white


def attention_page(found: Alignment, model: str) -> str:
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
