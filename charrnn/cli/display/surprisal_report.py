"""Show for ``charrnn score``: colored texts and their worst passages, or a ranking."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer

from charrnn.cli.display.scores import score_lines
from charrnn.cli.display.surprisal_tables import WORST, lines, surprises
from charrnn.cli.display.surprisal_text import Printer
from charrnn.scoring.surprisal_colors import percent
from charrnn.terminal import symbol_mark, visible

if TYPE_CHECKING:
    from charrnn.scoring import Score, Scored, Surprise

CONTEXT = 30  # characters around a passage
MAX_SHOWN = 20_000  # characters of a text that is colored on a terminal
MAX_NAME = 40  # characters of a column of names


def show(texts: Sequence[Scored], by: str) -> None:
    """Print the texts with their worst passages, or a ranking, worst first.

    Args:
        texts: in their order.
        by: character, line or document.
    """
    printer = Printer()
    if by == "character":
        for text in surprises(texts):
            _show_text(printer, text, with_name=len(texts) > 1)
        return
    rows: Iterable[tuple[str, Score, Surprise | None]]
    if by == "line":
        found = lines(surprises(texts))
        rows = ((f"{where['file']}:{where['line']}", line.score, line) for where, line in found)
    else:
        rows = ((text.name, text.score, None) for text in texts)
    ranked = [(visible(name), score, line) for name, score, line in rows]
    ranked.sort(key=lambda row: -row[1].bpc)
    width = max(10, *(len(f"{text.score.characters:,}") for text in texts))
    typer.echo(f"{'bpc':>7}  {'characters':>{width}}  {by}")
    longest = min(MAX_NAME, max(len(name) for name, _, _ in ranked))
    for name, score, line in ranked:
        head = f"{score.bpc:7.3f}  {score.characters:>{width},}  {name:<{longest}}"
        printer.row(head, line.leveled() if line is not None else [])


def show_score(score: Score) -> None:
    """Print the score of a text."""
    for line in score_lines(score):
        typer.echo(line)


def _show_text(printer: Printer, text: Surprise, *, with_name: bool) -> None:
    if with_name:
        typer.echo(f"== {visible(text.name)}")
    if text.score.characters <= MAX_SHOWN:
        printer.show(text.leveled())
    else:
        typer.echo(
            f"{text.score.characters:,} characters are too many to show here: use --html for a "
            "page with all of them, or --by line to rank the lines"
        )
    typer.echo()
    printer.legend()
    worst = text.worst(WORST)
    if worst:
        typer.echo()
        typer.echo("most surprising:")
    for part in worst:
        _show_passage(printer, text, part)
    typer.echo()
    if with_name:
        show_score(text.score)
        typer.echo()


def _show_passage(printer: Printer, text: Surprise, part: slice) -> None:
    """Print a passage in its context, and what was expected where it surprised most."""
    around = text[max(0, part.start - CONTEXT) : part.stop + CONTEXT]
    peak = text.peak(part)
    line, column = text.position(part.start)
    actual = f"'{symbol_mark(text.units[peak])}' {percent(math.exp(-float(text.nats[peak])))}"
    typer.echo(f"  line {line:,}, column {column:,}: {actual}; expected {text.expected(peak)}")
    one_line = [(piece.replace("\n", " "), level) for piece, level in around.leveled()]
    printer.show(one_line, "    ")
