"""A text colored by how much each character surprised, or marked where there are no colors."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from charrnn.scoring.surprisal_colors import BOUNDS, INK, PAPER, legend

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

MARKS = " ▁▂▄▆█"  # of the levels, where there are no colors

Pieces = Iterable[tuple[str, int]]  # text with its level


class Printer:
    """Prints text with levels to stdout, in color if it has 256 colors, else with marks below."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console: Console = Console(file=sys.stdout, highlight=False, markup=False)
        self.colors = self._console.color_system in ("256", "truecolor")
        self.colors &= not self._console.no_color

    def show(self, pieces: Pieces, indent: str = "") -> None:
        """Print text as whole lines, each after `indent`."""
        for line in _lines(pieces):
            if self.colors:
                self._console.print(_colored(line, indent), soft_wrap=True)
            else:
                self._mark(line, indent)

    def row(self, head: str, pieces: Pieces) -> None:
        """Print a row of a table that ends with text on one line, without marks."""
        text = [(piece.replace("\n", ""), level) for piece, level in pieces]
        if text and self.colors:
            self._console.print(_colored(text, f"{head}  "), soft_wrap=True)
        else:
            plain = "".join(piece for piece, _ in text)
            sys.stdout.write(f"{head}  {plain}".rstrip() + "\n")

    def _mark(self, line: list[tuple[str, int]], indent: str) -> None:
        """Print a line in parts as wide as the screen, each with its marks below."""
        from rich.cells import cell_len

        available = max(20, self._console.width - len(indent))
        above, below, used = "", "", 0
        for piece, level in line:
            for character in piece.expandtabs(1):
                width = cell_len(character)
                if used + width > available:
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
        if self.colors:
            self._console.print(_colored(legend(), head), soft_wrap=True)
            return
        marked = [f"{MARKS[level]}{word.rstrip()}" for word, level in legend()[1:]]
        sys.stdout.write(f"{head}{', '.join(marked)}; no mark: under {BOUNDS[0]}\n")


def _lines(pieces: Pieces) -> Iterator[list[tuple[str, int]]]:
    """Yield lines without their ends."""
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


def _colored(line: Pieces, indent: str) -> Text:
    from rich.text import Text

    text = Text(indent)
    for level, group in groupby(line, key=lambda piece: piece[1]):
        words = "".join(piece for piece, _ in group)
        text.append(words.expandtabs(4), f"{INK[level]} on {PAPER[level]}")
    return text
