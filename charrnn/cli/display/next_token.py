"""Show for ``charrnn inspect next``: the next token's probabilities, the beam search tree."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from charrnn.cli.display import plots
from charrnn.cli.display.plots import COLORS, literal
from charrnn.errors import counted
from charrnn.terminal import one_line, symbol_mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from charrnn.config import BeamConfig
    from charrnn.inspection.next_token import Choice, TreeNode

BAR = 24  # characters of the longest bar
MAX_PROMPT = 40  # characters of a prompt


def choice_lines(
    prompt: str, names: Sequence[str], found: Mapping[str, Choice], count: int
) -> Iterator[str]:
    """Yield the lines of a table: a row for each of the `count` likeliest tokens.

    Args:
        prompt: what was read.
        names: of all tokens.
        found: a column for each setting; the first is the model itself.
        count: tokens to show.
    """
    import numpy as np

    model = next(iter(found.values()))
    rows = model.likeliest(count)
    largest = max(float(model.probabilities[rows[0]]), 1e-12)
    sizes = {name: max(len(name), 7) for name in found}

    def row(head: str, cells: Mapping[str, str], end: str) -> str:
        numbers = "  ".join(f"{cell:>{sizes[name]}}" for name, cell in cells.items())
        return f"{head:<4}{numbers}  {end}".rstrip()

    yield f"after '{_excerpt(prompt)}'" if prompt else "at the start of a text"
    yield row("", {name: name for name in found}, "")
    for token in rows:
        cells = {name: _percent(choice.probabilities[token]) for name, choice in found.items()}
        bar = "█" * round(BAR * float(model.probabilities[token]) / largest)
        yield row(symbol_mark(names[token]), cells, bar)
    if len(rows) < len(names):
        rest = {
            name: _percent(np.delete(choice.probabilities, rows).sum())
            for name, choice in found.items()
        }
        yield row("…", rest, f"the other {counted(len(names) - len(rows), 'token')}")
    possible = {name: f"{choice.possible:,}" for name, choice in found.items()}
    yield row("", possible, "possible tokens")
    perplexities = {name: f"{math.exp(choice.entropy):.1f}" for name, choice in found.items()}
    yield row("", perplexities, "perplexity")


def _percent(probability: float) -> str:
    if not probability:
        return "-"
    return f"{probability:.2%}" if probability >= 0.0001 else "<0.01%"


def _excerpt(prompt: str) -> str:
    return one_line(prompt if len(prompt) <= MAX_PROMPT else f"…{prompt[1 - MAX_PROMPT :]}")


def tree_lines(tree: TreeNode, beam: BeamConfig) -> Iterator[str]:
    """Yield the lines of a beam search tree."""
    yield f"beam search of width {beam.width}: prefixes kept in {counted(beam.length, 'step')}"
    yield from _branches(tree, "")


def _branches(node: TreeNode, indent: str) -> Iterator[str]:
    """Yield a line for each run of tokens without a fork, with the run's probability."""
    for child in node.children:
        last = child is node.children[-1]
        text, end = child.symbol, child
        while len(end.children) == 1 and end.children[0].rank == child.rank:
            (end,) = end.children
            text += end.symbol
        probability = math.exp(end.log_prob - node.log_prob)
        result = ""
        if not end.children:
            result = f"  {end.rank}: {end.log_prob:.2f} nats" if end.rank else "  pruned"
        yield f"{indent}{'└─' if last else '├─'} {symbol_mark(text)}  {probability:.1%}{result}"
        yield from _branches(end, indent + ("   " if last else "│  "))


def picture(
    prompt: str, names: Sequence[str], found: Mapping[str, Choice], tree: TreeNode, count: int
) -> Figure:
    """Draw the likeliest tokens as bars, one for each setting, and the tree beside them."""
    width = max(5.0, 1.1 * tree.depth)
    figure = plots.new_figure(5 + width, max(4.0, 0.42 * tree.num_leaves + 1.5))
    bars, branches = figure.subplots(1, 2, width_ratios=(5, width))
    _draw_bars(bars, names, found, count)
    _draw_tree(branches, tree, prompt)
    return figure


def _draw_bars(axes: Axes, names: Sequence[str], found: Mapping[str, Choice], count: int) -> None:
    rows = next(iter(found.values())).likeliest(count)
    size = 0.84 / len(found)
    for number, (name, choice) in enumerate(found.items()):
        positions = [row - 0.42 + size * (number + 0.5) for row in range(len(rows))]
        values = [float(choice.probabilities[token]) for token in rows]
        axes.barh(positions, values, size, color=COLORS[number % len(COLORS)], label=name)
    axes.set_yticks(range(len(rows)), [literal(symbol_mark(names[token])) for token in rows])
    axes.invert_yaxis()
    axes.set_xlabel("probability")
    axes.set_title("the next token", fontsize="medium", loc="left")
    axes.legend(frameon=False, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_tree(axes: Axes, tree: TreeNode, prompt: str) -> None:
    """Draw nodes in columns by length, the most probable on top, forks between their branches."""
    rows = iter(range(tree.num_leaves))

    def draw(node: TreeNode, depth: int) -> float:
        heights = [draw(child, depth + 1) for child in node.children]
        height = sum(heights) / len(heights) if heights else float(next(rows))
        for child, child_height in zip(node.children, heights, strict=True):
            _draw_edge(axes, child, (depth, height), (depth + 1, child_height))
        if depth:
            _draw_node(axes, node, depth, height)
        return height

    height = draw(tree, 0)
    name = literal(f"'{_excerpt(prompt)}'") if prompt else "start"
    axes.annotate(name, (-0.05, height), ha="right", va="center", fontsize=8)
    axes.set_xlim(-0.3 - 0.09 * len(name), tree.depth + 1.2)
    axes.set_ylim(tree.num_leaves - 0.4, -0.6)
    axes.set_title("beam search: prefixes kept; gray: pruned later", fontsize="medium", loc="left")
    axes.axis("off")


def _draw_edge(
    axes: Axes, child: TreeNode, start: tuple[float, float], end: tuple[float, float]
) -> None:
    (x, y), (child_x, child_y) = start, end
    color, width = _style(child)
    axes.plot([x, child_x], [y, child_y], color=color, linewidth=width, zorder=1)
    axes.annotate(
        f"{child.probability:.0%}", (x + 0.62, y + 0.62 * (child_y - y)), fontsize=6, color=color,
        ha="center", va="center", zorder=2,
        bbox={"pad": 0.4, "facecolor": "white", "linewidth": 0},
    )  # fmt: skip


def _draw_node(axes: Axes, node: TreeNode, x: float, y: float) -> None:
    color, _ = _style(node)
    box = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": color}
    axes.annotate(
        literal(symbol_mark(node.symbol)), (x, y), color=color, ha="center", va="center",
        zorder=3, bbox=box,
    )  # fmt: skip
    if node.rank and not node.children:
        text = f"{node.rank}: {node.log_prob:.2f} nats"
        axes.annotate(text, (x + 0.3, y), fontsize=7, va="center")


def _style(node: TreeNode) -> tuple[str, float]:
    """Return the color and line width of the way to a prefix: the best text, another, none."""
    if node.rank == 1:
        return COLORS[0], 2.0
    return ("black", 1.0) if node.rank else ("0.65", 0.8)
