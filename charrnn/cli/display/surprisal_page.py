"""The page of ``charrnn score --html``: texts colored by how much each character surprised."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from charrnn.cli.display.templates import fill
from charrnn.errors import counted
from charrnn.scoring.surprisal_colors import INK, PAPER, legend, marked_up
from charrnn.terminal import visible

if TYPE_CHECKING:
    from charrnn.scoring import Surprise


def surprisal_page(texts: Sequence[Surprise], notes: str) -> str:
    """Return texts as one HTML page that needs no other file.

    Args:
        texts: in their order.
        notes: a sentence about the model.
    """
    levels = "".join(
        f".l{level} {{ background: {paper}; color: {ink} }}\n"
        for level, (paper, ink) in enumerate(zip(PAPER, INK, strict=True))
    )
    keys = "".join(f'<span class="l{level}">{word.strip()}</span>' for word, level in legend())
    parts = [_ranking(texts)] if len(texts) > 1 else []
    parts += [_section(number, text) for number, text in enumerate(texts)]
    return fill(
        "surprisal_page.html",
        title=_escaped(texts[0].name if len(texts) == 1 else counted(len(texts), "text")),
        paper=PAPER[0],
        levels=levels,
        notes=_escaped(notes),
        legend=keys,
        texts="".join(parts),
    )


def _ranking(texts: Sequence[Surprise]) -> str:
    ranked = sorted(enumerate(texts), key=lambda item: -item[1].score.bpc)
    rows = "".join(
        f"<tr><td>{text.score.bpc:.4f}</td><td>{text.score.characters:,}</td>"
        f'<td><a href="#t{number}">{_escaped(text.name)}</a></td></tr>\n'
        for number, text in ranked
    )
    head = "<tr><th>bits per character</th><th>characters</th><th>text</th></tr>"
    return f"<table>\n{head}\n{rows}</table>\n"


def _section(number: int, text: Surprise) -> str:
    score = text.score
    marked = "".join(marked_up(text.leveled(), text.title, lambda level: f'class="l{level}"'))
    return (
        f'<h2 id="t{number}">{_escaped(text.name)}</h2>\n<p>{score.nats:.4f} nats per '
        f"character, {score.bpc:.4f} bits per character, {score.bits_per_byte:.4f} bits per "
        f"byte; {counted(score.characters, 'character')}, {counted(score.num_bytes, 'byte')}</p>\n"
        f"<pre>\n{marked}</pre>\n"
    )


def _escaped(text: str) -> str:
    return html.escape(visible(text))
