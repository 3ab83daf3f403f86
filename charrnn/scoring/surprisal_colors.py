"""Texts by how much each character surprised: levels, their colors, and a piece of HTML."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats, Ids
from charrnn.terminal import LINE_END, TAB, symbol_mark, visible

# Bits per character at which the next level begins. Colors of the levels: each is darker than the
# one before, and exact in a terminal's palette of 256.
BOUNDS = (1, 2, 4, 6, 8)
PAPER = ("#ffffd7", "#ffd787", "#ffaf00", "#ff8700", "#d75f00", "#5f0000")
INK = ("#000000", "#000000", "#000000", "#000000", "#000000", "#ffffff")


def levels(bits: NDArray[np.float64]) -> list[int]:
    """Return the level of each number of bits per character (U,); NaN gets the highest."""
    return [int(level) for level in np.searchsorted(BOUNDS, bits, side="right")]


def leveled(units: Sequence[str], bits: NDArray[np.float64]) -> list[tuple[str, int]]:
    """Return units, safe to show, with their levels; surprising line ends and tabs get marks."""
    pieces = []
    for unit, level in zip(units, levels(bits), strict=True):
        mark = {"\n": f"{LINE_END}\n", "\t": f"{TAB}\t"}.get(unit) if level > 1 else None
        pieces.append((mark or visible(unit), level))
    return pieces


def legend() -> list[tuple[str, int]]:
    """Return the meaning of each level."""
    words = [f" under {BOUNDS[0]} "]
    words += [f" {a} to {b} " for a, b in pairwise(BOUNDS)]
    return [(word, level) for level, word in enumerate([*words, f" {BOUNDS[-1]} or more "])]


def expected(tokens: Ids, nats: Floats, names: Sequence[str]) -> str:
    """Return the likeliest tokens (K,) in a place as text, with the `names` of all tokens."""
    return ", ".join(
        f"'{symbol_mark(names[token])}' {percent(math.exp(-surprisal))}"
        for token, surprisal in zip(tokens.tolist(), nats.tolist(), strict=True)
    )


def percent(probability: float) -> str:
    """Return a probability with two significant digits."""
    if not probability >= 1e-6:
        return "under 0.0001%"
    digits = max(0, min(4, 1 - math.floor(math.log10(probability * 100))))
    return f"{probability:.{digits}%}"


def marked_up(
    pieces: Sequence[tuple[str, int]], title: Callable[[int], str], color: Callable[[int], str]
) -> Iterator[str]:
    """Yield HTML: units of little surprise joined, and each other unit with its title.

    Args:
        pieces: units, safe to show, with their levels.
        title: returns what to say about a unit, by its index.
        color: returns the attribute that gives a level its color.
    """
    for level, group in groupby(enumerate(pieces), key=lambda piece: piece[1][1]):
        if level == 0:
            yield _escaped("".join(piece for _, (piece, _) in group))
            continue
        for unit, (piece, _) in group:
            yield f'<i {color(level)} title="{_escaped(title(unit))}">{_escaped(piece)}</i>'


def fragment(
    heading: str, pieces: Sequence[tuple[str, int]] = (), title: Callable[[int], str] = str
) -> str:
    """Return HTML for a notebook, which has no style sheet: a heading, and text in colors.

    Args:
        heading: one line.
        pieces: as in `marked_up`; with none, there is only the heading.
        title: as in `marked_up`.
    """
    if not pieces:
        return f"<p>{_escaped(heading)}</p>"
    text = "".join(marked_up(pieces, title, _style))
    keys = "".join(f"<span {_style(level)}>{_escaped(word)}</span>" for word, level in legend())
    plain = f'style="white-space: pre-wrap; background: {PAPER[0]}; color: {INK[0]}"'
    return (
        f"<p>{_escaped(heading)}</p>\n<pre {plain}>{text}</pre>\n<p>bits per character: {keys}</p>"
    )


def _style(level: int) -> str:
    return f'style="font-style: normal; background: {PAPER[level]}; color: {INK[level]}"'


def _escaped(text: str) -> str:
    import html  # for pages and notebooks only

    return html.escape(text)
