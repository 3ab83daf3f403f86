"""A text in which a color, or a digit below, shows a number for each token."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charrnn.cli.display import plots
from charrnn.terminal import with_line_ends

if TYPE_CHECKING:
    from rich.text import Text

# Two colors of Okabe and Ito with white between them; black text is readable on all shades.
ENDS = ("#56B4E9", "#FFFFFF", "#E69F00")
DIGITS = 10  # of a scale without colors
MAX_WIDTH = 100  # of a line


@dataclass(frozen=True)
class Scale:
    """The range of colors: `lowest` is blue, `highest` is orange, the middle is white."""

    lowest: float
    highest: float

    def part(self, value: float) -> float:
        """Return the position of a value in the range as 0 .. 1; values outside are clipped."""
        part = (value - self.lowest) / (self.highest - self.lowest)
        return min(max(part, 0.0), 1.0)


def color(part: float) -> str:
    """Return the color at a position 0 .. 1 of the scale, as ``#RRGGBB``."""
    first, share = (0, 2 * part) if part < 0.5 else (1, 2 * part - 1)
    ends = [plots.rgb(end) for end in ENDS[first : first + 2]]
    mixed = (round(a + share * (b - a)) for a, b in zip(*ends, strict=True))
    return "#" + "".join(f"{value:02X}" for value in mixed)


def print_text(tokens: Sequence[str], values: Sequence[float], scale: Scale) -> None:
    """Print a text to stdout with a legend.

    Without 256 colors, each line is followed by a line of digits, where 9 is highest.
    """
    from rich.console import Console

    width = min(MAX_WIDTH, shutil.get_terminal_size().columns)
    parts = [scale.part(value) for value in values]
    console = Console(
        file=sys.stdout, width=width + 1, highlight=False, markup=False, soft_wrap=True
    )
    colorful = console.color_system in ("256", "truecolor") and not console.no_color
    console.print(_legend(scale, colorful))
    for line in _lines(tokens, parts, width):
        if colorful:
            console.print(_colored(line))
        else:
            console.print("".join(shown for shown, _ in line))
            console.print("".join(_digit(shown, part) for shown, part in line), end="\n\n")


def _legend(scale: Scale, colorful: bool) -> Text:
    from rich.text import Text

    steps = [number / (DIGITS - 1) for number in range(DIGITS)]
    legend = Text(f"{scale.lowest:.3g} ")
    for number, part in enumerate(steps):
        legend.append(
            "  " if colorful else str(number), f"black on {color(part)}" if colorful else ""
        )
    return legend.append(f" {scale.highest:.3g}\n")


def _colored(line: Sequence[tuple[str, float]]) -> Text:
    from rich.text import Text

    text = Text()
    for shown, part in line:
        text.append(shown, f"black on {color(part)}")
    return text


def _digit(shown: str, part: float) -> str:
    from rich.cells import cell_len

    return str(min(DIGITS - 1, int(part * DIGITS))) * cell_len(shown)


def _lines(
    tokens: Sequence[str], parts: Sequence[float], width: int
) -> Iterator[list[tuple[str, float]]]:
    """Yield lines no wider than `width`, of pieces with their position on the scale."""
    from rich.cells import cell_len

    line: list[tuple[str, float]] = []
    used = 0
    for token, part in zip(tokens, parts, strict=True):
        first, *others = with_line_ends(token).split("\n")
        if used + cell_len(first) > width:
            yield line
            line, used = [], 0
        line.append((first, part))
        used += cell_len(first)
        for piece in others:
            yield line
            line, used = ([(piece, part)] if piece else []), cell_len(piece)
    if line:
        yield line
