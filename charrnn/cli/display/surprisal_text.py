"""A text painted by how much each character surprised: on a terminal, without colour, as a page."""

from __future__ import annotations

import html
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import numpy as np

from charrnn.terminal import LINE_END, TAB, symbol_mark, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from charrnn.inspection.surprise import Surprise

# Bits per character from which the next level begins, its mark where there are no colours, and its
# colours: each darker than the one before, for every eye, and exact among a terminal's 256.
BOUNDS = (1, 2, 4, 6, 8)
MARKS = " ▁▂▄▆█"
PAPER = ("#ffffd7", "#ffd787", "#ffaf00", "#ff8700", "#d75f00", "#5f0000")
INK = ("#000000", "#000000", "#000000", "#000000", "#000000", "#ffffff")

Painted = Iterable[tuple[str, int]]  # pieces of text, each with its level


def levels(bits: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[int]:
    """Of bits per character (U,); what is not a number surprises most."""
    return [int(level) for level in np.searchsorted(BOUNDS, bits, side="right")]


def painted(text: Surprise) -> list[tuple[str, int]]:
    """Its units, safe to show, with their levels; line ends and tabs that surprise are seen."""
    found = []
    for unit, level in zip(text.units, levels(text.bits), strict=True):
        mark = {"\n": f"{LINE_END}\n", "\t": f"{TAB}\t"}.get(unit) if level > 1 else None
        found.append((mark or visible(unit), level))
    return found


def legend() -> list[tuple[str, int]]:
    """What the levels mean."""
    words = [f" under {BOUNDS[0]} "]
    words += [f" {a} to {b} " for a, b in pairwise(BOUNDS)]
    return [(word, level) for level, word in enumerate([*words, f" {BOUNDS[-1]} and more "])]


class Painter:
    """Prints painted text to stdout: with colours if it has enough of them, else with marks."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console: Console = Console(file=sys.stdout, highlight=False, markup=False)
        self.colours = self._console.color_system in ("256", "truecolor")
        self.colours &= not self._console.no_color

    def show(self, pieces: Painted, indent: str = "") -> None:
        """Print text, and a line's end if it has none; every line begins with `indent`."""
        for line in _lines(pieces):
            if self.colours:
                self._console.print(_coloured(line, indent), soft_wrap=True)
            else:
                self._mark(line, indent)

    def row(self, head: str, pieces: Painted) -> None:
        """Print a line of a table, which ends with text in one line: with colours or without."""
        text = [(piece.replace("\n", ""), level) for piece, level in pieces]
        if text and self.colours:
            self._console.print(_coloured(text, f"{head}  "), soft_wrap=True)
        else:
            plain = "".join(piece for piece, _ in text)
            sys.stdout.write(f"{head}  {plain}".rstrip() + "\n")

    def _mark(self, line: list[tuple[str, int]], indent: str) -> None:
        """A line as wide as the screen, and below it marks: then the rest of it."""
        from rich.cells import cell_len

        room = max(20, self._console.width - len(indent))
        above, below, used = "", "", 0
        for piece, level in line:
            for character in piece.expandtabs(1):
                width = cell_len(character)
                if used + width > room:
                    self._write(indent, above, below)
                    above, below, used = "", "", 0
                above, below, used = above + character, below + MARKS[level] * width, used + width
        self._write(indent, above, below)

    def _write(self, indent: str, above: str, below: str) -> None:
        sys.stdout.write(f"{indent}{above}\n")
        if below.strip():
            sys.stdout.write(f"{indent}{below}".rstrip() + "\n")

    def legend(self) -> None:
        """Print what the levels mean."""
        head = "bits per character: "
        if self.colours:
            self._console.print(_coloured(legend(), head), soft_wrap=True)
            return
        marked = [f"{MARKS[level]}{word.rstrip()}" for word, level in legend()[1:]]
        sys.stdout.write(f"{head}{', '.join(marked)}; nothing: under {BOUNDS[0]}\n")


def _lines(pieces: Painted) -> Iterator[list[tuple[str, int]]]:
    """Lines without their ends."""
    line: list[tuple[str, int]] = []
    for piece, level in pieces:
        *whole, rest = piece.split("\n")
        for part in whole:
            yield [*line, (part, level)]
            line = []
        if rest:
            line.append((rest, level))
    if line:
        yield line


def _coloured(line: Painted, indent: str) -> Text:
    from rich.text import Text

    text = Text(indent)
    for level, group in groupby(line, key=lambda piece: piece[1]):
        words = "".join(piece for piece, _ in group)
        text.append(words.expandtabs(4), f"{INK[level]} on {PAPER[level]}")
    return text


def expected(text: Surprise, unit: int, names: Sequence[str]) -> str:
    """What the model expected in a unit's place, in words: with `names` of its symbols."""
    return ", ".join(
        f"'{symbol_mark(names[symbol])}' {percent(math.exp(-nats))}"
        for symbol, nats in zip(
            text.likeliest[unit].tolist(), text.likeliest_nats[unit].tolist(), strict=True
        )
    )


def percent(probability: float) -> str:
    """A probability in as many digits as it needs."""
    if not probability >= 1e-6:
        return "under 0.0001%"
    digits = max(0, min(4, 1 - math.floor(math.log10(probability * 100))))
    return f"{probability:.{digits}%}"


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 60em; padding: 0 1em;
  color: #222; background: #fff }
pre { font: 15px/1.6 ui-monospace, Consolas, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; background: PAPER0; padding: 1em; border-radius: 4px }
pre i { font-style: normal }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .15em .8em; text-align: right; border-bottom: 1px solid #ddd }
td:last-child, th:last-child { text-align: left; overflow-wrap: anywhere }
.legend span { padding: .1em .6em; margin-right: .2em; white-space: nowrap }
"""


def page(title: str, texts: Sequence[Surprise], names: Sequence[str], notes: str) -> str:
    """Texts as one HTML page that needs nothing else.

    Args:
        title: of the page.
        texts: in their order.
        names: of the model's symbols.
        notes: a sentence about the model.
    """
    style = _STYLE.replace("PAPER0", PAPER[0]) + "".join(
        f".l{level} {{ background: {paper}; color: {ink} }}\n"
        for level, (paper, ink) in enumerate(zip(PAPER, INK, strict=True))
    )
    keys = "".join(f'<span class="l{level}">{word.strip()}</span>' for word, level in legend())
    parts = [
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_escaped(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"<h1>{_escaped(title)}</h1>\n<p>{_escaped(notes)}</p>\n"
        f'<p class="legend">bits per character: {keys}</p>\n'
        "<p>Point at a character of one bit and more to see what the model expected there.</p>\n"
    ]
    if len(texts) > 1:
        parts.append(_ranking(texts))
    for number, text in enumerate(texts):
        score = text.score
        parts.append(
            f'<h2 id="t{number}">{_escaped(text.name)}</h2>\n<p>{score.nats:.4f} nats per '
            f"character, {score.bpc:.4f} bits per character, {score.bits_per_byte:.4f} bits per "
            f"byte; {score.characters:,} characters, {score.num_bytes:,} bytes</p>\n"
            f"<pre>\n{''.join(_marked_up(text, names))}</pre>\n"
        )
    return "".join([*parts, "</body>\n</html>\n"])


def _ranking(texts: Sequence[Surprise]) -> str:
    ranked = sorted(enumerate(texts), key=lambda item: -item[1].score.bpc)
    rows = "".join(
        f"<tr><td>{text.score.bpc:.4f}</td><td>{text.score.characters:,}</td>"
        f'<td><a href="#t{number}">{_escaped(text.name)}</a></td></tr>\n'
        for number, text in ranked
    )
    return (
        f"<table>\n<tr><th>bits per character</th><th>characters</th><th>text</th></tr>\n"
        f"{rows}</table>\n"
    )


def _marked_up(text: Surprise, names: Sequence[str]) -> Iterator[str]:
    """Units of little surprise run together; each of the others says what was expected."""
    pieces = enumerate(painted(text))
    for level, group in groupby(pieces, key=lambda piece: piece[1][1]):
        if level == 0:
            yield _escaped("".join(piece for _, (piece, _) in group))
            continue
        for unit, (piece, _) in group:
            nats = float(text.nats[unit])
            told = f"{nats / math.log(2):.2f} bits, {percent(math.exp(-nats))}"
            told += f"; expected {expected(text, unit, names)}" if text.likeliest.size else ""
            yield f'<i class="l{level}" title="{_escaped(told)}">{_escaped(piece)}</i>'


def _escaped(text: str) -> str:
    return html.escape(visible(text))
