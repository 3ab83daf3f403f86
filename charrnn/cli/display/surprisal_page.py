"""The page of ``charrnn score --html``: texts colored by how much each character surprised."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from charrnn.cli.display.surprisal_text import INK, PAPER, expected, legend, leveled, percent
from charrnn.cli.display.templates import fill
from charrnn.errors import counted
from charrnn.terminal import visible

if TYPE_CHECKING:
    from charrnn.inspection.surprise import Surprise


def surprisal_page(title: str, texts: Sequence[Surprise], names: Sequence[str], notes: str) -> str:
    """Return texts as one HTML page that needs no other file.

    Args:
        title: of the page.
        texts: in their order.
        names: of the model's tokens.
        notes: a sentence about the model.
    """
    levels = "".join(
        f".l{level} {{ background: {paper}; color: {ink} }}\n"
        for level, (paper, ink) in enumerate(zip(PAPER, INK, strict=True))
    )
    keys = "".join(f'<span class="l{level}">{word.strip()}</span>' for word, level in legend())
    parts = [_ranking(texts)] if len(texts) > 1 else []
    parts += [_section(number, text, names) for number, text in enumerate(texts)]
    return fill(
        "surprisal_page.html",
        title=_escaped(title),
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


def _section(number: int, text: Surprise, names: Sequence[str]) -> str:
    score = text.score
    return (
        f'<h2 id="t{number}">{_escaped(text.name)}</h2>\n<p>{score.nats:.4f} nats per '
        f"character, {score.bpc:.4f} bits per character, {score.bits_per_byte:.4f} bits per "
        f"byte; {counted(score.characters, 'character')}, {counted(score.num_bytes, 'byte')}</p>\n"
        f"<pre>\n{''.join(_marked_up(text, names))}</pre>\n"
    )


def _marked_up(text: Surprise, names: Sequence[str]) -> Iterator[str]:
    """Yield units of little surprise joined, and each other unit with what was expected there."""
    pieces = enumerate(leveled(text))
    for level, group in groupby(pieces, key=lambda piece: piece[1][1]):
        if level == 0:
            yield _escaped("".join(piece for _, (piece, _) in group))
            continue
        for unit, (piece, _) in group:
            nats = float(text.nats[unit])
            title = f"{nats / math.log(2):.2f} bits, {percent(math.exp(-nats))}"
            title += f"; expected {expected(text, unit, names)}" if text.likeliest.size else ""
            yield f'<i class="l{level}" title="{_escaped(title)}">{_escaped(piece)}</i>'


def _escaped(text: str) -> str:
    return html.escape(visible(text))
