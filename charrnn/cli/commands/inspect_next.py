"""``charrnn inspect``: looking inside a model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.commands.inspect_cells import cells
from charrnn.cli.commands.inspect_gradients import gradients
from charrnn.cli.commands.inspect_memory import memory
from charrnn.cli.display import plots
from charrnn.cli.display.plots import COLOURS, literal, shown
from charrnn.cli.inspect_shared import PictureOption, ReplaceOption
from charrnn.cli.shared import (
    JsonOption,
    ModelOption,
    PromptOption,
    guarded,
    load_model,
    note,
    print_json,
)
from charrnn.config import BeamConfig, SampleConfig
from charrnn.errors import OptionError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from charrnn.inspection.choices import Choice, Node

app = typer.Typer(no_args_is_help=True, help="Look inside a model.")

MODEL = "model"  # the column of what the model believes
BAR = 24  # characters of the longest bar
MOST_WIDTH, MOST_LENGTH = 20, 100  # a tree that can still be looked at
# Shown where no setting is asked for: what each does by itself.
DEFAULTS: Mapping[str, dict[str, float]] = {
    "temperature 0.5": {"temperature": 0.5},
    "temperature 2": {"temperature": 2.0},
    "top-k 5": {"top_k": 5},
    "top-p 0.9": {"top_p": 0.9},
}


@app.callback()
def _inspect() -> None:
    """Look inside a model."""


app.command("cells")(cells)
app.command("gradients")(gradients)
app.command("memory")(memory)


@app.command("next")
@guarded
def next_symbol(
    model: ModelOption = None,
    prompt: PromptOption = "",
    symbols: Annotated[int, typer.Option(help="Show so many of the likeliest.", min=1)] = 12,
    temperature: Annotated[
        float | None, typer.Option(help="What it would do.", show_default="0.5 and 2 are shown")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="What it would do.", show_default="5 is shown")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="What it would do.", show_default="0.9 is shown")
    ] = None,
    typical_p: Annotated[
        float | None, typer.Option(help="What it would do.", show_default="not shown")
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(help="What it would do.", show_default="not shown")
    ] = None,
    width: Annotated[
        int, typer.Option("--width", "-w", help="Prefixes that beam search keeps.")
    ] = BeamConfig.width,
    length: Annotated[
        int, typer.Option("--length", "-n", help="Characters that beam search writes.")
    ] = 8,
    picture: PictureOption = None,
    force: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show what may follow a prompt, what sampling's settings do to it, and the beam tree.

    A setting that is given is shown alone and, where there are several, all of them together. The
    tree has every prefix that beam search kept on its way; the marked ones lead to a text that it
    found, the best of which is number 1.
    """
    from charrnn.inspection import choices

    asked = {
        "temperature": temperature,
        "top_k": top_k,
        "typical_p": typical_p,
        "top_p": top_p,
        "min_p": min_p,
    }
    configs = _settings({name: value for name, value in asked.items() if value is not None})
    _check_tree(width, length)
    beam = BeamConfig(length=length, width=width, num_return=width)
    plots.check_file("--plot", picture, force)
    generator = load_model(model)
    read = generator.read(prompt)
    found = choices.choices(read, configs)
    tree = choices.beam_tree(generator, read, beam)
    alphabet = generator.tokenizer.symbol_names
    if picture is not None:
        plots.save(_picture(prompt, alphabet, found, tree, symbols), picture)
        note(f"written: {picture}")
    if as_json:
        fields = {name: _fields(alphabet, choice) for name, choice in found.items()}
        print_json({"prompt": prompt, "choices": fields, "beam": tree.to_json()})
        return
    for line in (*_choice_lines(prompt, alphabet, found, symbols), "", *_tree_lines(tree, beam)):
        typer.echo(line)


def _settings(asked: Mapping[str, float]) -> dict[str, SampleConfig]:
    """The columns: the model as it is, at temperature 1, each setting alone, all together."""
    alone = {f"{name.replace('_', '-')} {value:g}": {name: value} for name, value in asked.items()}
    columns: dict[str, dict[str, Any]] = {MODEL: {}, **(alone or DEFAULTS)}
    if len(asked) > 1:
        columns["together"] = dict(asked)
    return {name: SampleConfig(**{"temperature": 1.0} | values) for name, values in columns.items()}


def _check_tree(width: int, length: int) -> None:
    if width > MOST_WIDTH or length > MOST_LENGTH:
        raise OptionError(
            f"--width {width}, --length {length}: a tree of more than {MOST_WIDTH} prefixes, or "
            f"{MOST_LENGTH} characters, cannot be looked at; 'charrnn beam' writes such texts"
        )


def _fields(alphabet: Sequence[str], choice: Choice) -> dict[str, Any]:
    possible = {
        symbol: p
        for symbol, p in zip(alphabet, choice.probabilities.tolist(), strict=True)
        if p > 0
    }
    ordered = dict(sorted(possible.items(), key=lambda item: -item[1]))
    return {"entropy": choice.entropy, "possible": choice.possible, "probabilities": ordered}


def _likeliest(found: Mapping[str, Choice], most: int) -> list[int]:
    """The symbols to be shown, most likely first."""
    import numpy as np

    order = np.argsort(-found[MODEL].probabilities, kind="stable")
    return [int(symbol) for symbol in order[:most]]


def _choice_lines(
    prompt: str, alphabet: Sequence[str], found: Mapping[str, Choice], most: int
) -> Iterator[str]:
    import numpy as np

    where = f"after '{_excerpt(prompt)}'" if prompt else "at the beginning of a text"
    rows = _likeliest(found, most)
    largest = max(float(found[MODEL].probabilities[rows[0]]), 1e-12)
    names = {name: max(len(name), 7) for name in found}
    yield where
    yield " " * 4 + "  ".join(f"{name:>{size}}" for name, size in names.items())
    for symbol in rows:
        numbers = (
            f"{_percent(choice.probabilities[symbol]):>{names[name]}}"
            for name, choice in found.items()
        )
        bar = "█" * round(BAR * float(found[MODEL].probabilities[symbol]) / largest)
        yield f"{shown(alphabet[symbol]):<4}{'  '.join(numbers)}  {bar}".rstrip()
    if len(rows) < len(alphabet):
        rest = (
            f"{_percent(np.delete(choice.probabilities, rows).sum()):>{names[name]}}"
            for name, choice in found.items()
        )
        yield f"{'…':<4}{'  '.join(rest)}  the other {len(alphabet) - len(rows):,} symbols"
    possible = (f"{choice.possible:>{names[name]},}" for name, choice in found.items())
    yield f"{'':<4}{'  '.join(possible)}  symbols are possible"
    alike = (f"{math.exp(choice.entropy):>{names[name]}.1f}" for name, choice in found.items())
    yield f"{'':<4}{'  '.join(alike)}  equally likely ones would be as hard to guess"


def _percent(probability: float) -> str:
    if not probability:
        return "-"
    return f"{probability:.2%}" if probability >= 0.0001 else "<0.01%"


def _excerpt(prompt: str) -> str:
    return shown(prompt).replace("␣", " ") if len(prompt) <= 40 else f"…{_excerpt(prompt[-39:])}"


def _tree_lines(tree: Node, beam: BeamConfig) -> Iterator[str]:
    yield f"beam search, {beam.width} wide: what it kept in {beam.length} steps"
    yield from _branches(tree, "")


def _branches(node: Node, indent: str) -> Iterator[str]:
    """A line for each run of symbols without a fork, with the probability of the whole run."""
    for child in node.children:
        last = child is node.children[-1]
        text, end = child.symbol, child
        while len(end.children) == 1 and end.children[0].rank == child.rank:
            (end,) = end.children
            text += end.symbol
        probability = math.exp(end.log_prob - node.log_prob)
        ends = ""
        if not end.children:
            ends = f"  {end.rank}: {end.log_prob:.2f} nats" if end.rank else "  given up"
        yield f"{indent}{'└─' if last else '├─'} {shown(text)}  {probability:.1%}{ends}"
        yield from _branches(end, indent + ("   " if last else "│  "))


def _picture(
    prompt: str, alphabet: Sequence[str], found: Mapping[str, Choice], tree: Node, most: int
) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise plots.missing(error) from None

    depth, leaves = _depth(tree), _leaves(tree)
    height = max(4.0, 0.42 * leaves + 1.5)
    figure = Figure(figsize=(5 + max(5.0, 1.1 * depth), height), layout="constrained")
    bars, branches = figure.subplots(1, 2, width_ratios=(5, max(5.0, 1.1 * depth)))
    _draw_bars(bars, alphabet, found, _likeliest(found, most))
    _draw_tree(branches, tree, prompt)
    return figure


def _draw_bars(
    place: Axes, alphabet: Sequence[str], found: Mapping[str, Choice], rows: list[int]
) -> None:
    size = 0.84 / len(found)
    for number, (name, choice) in enumerate(found.items()):
        at = [row - 0.42 + size * (number + 0.5) for row in range(len(rows))]
        values = [float(choice.probabilities[symbol]) for symbol in rows]
        place.barh(at, values, size, color=COLOURS[number % len(COLOURS)], label=name)
    place.set_yticks(range(len(rows)), [_mark(alphabet[symbol]) for symbol in rows])
    place.invert_yaxis()
    place.set_xlabel("probability")
    place.set_title("the next symbol", fontsize="medium", loc="left")
    place.legend(frameon=False, fontsize="small")
    place.spines[["top", "right"]].set_visible(False)


def _draw_tree(place: Axes, tree: Node, prompt: str) -> None:
    """Nodes in columns by length, the most probable on top; forks between their branches."""
    rows = iter(range(_leaves(tree)))

    def draw(node: Node, depth: int) -> float:
        heights = [draw(child, depth + 1) for child in node.children]
        height = sum(heights) / len(heights) if heights else float(next(rows))
        for child, at in zip(node.children, heights, strict=True):
            colour, line = _style(child)
            place.plot([depth, depth + 1], [height, at], color=colour, linewidth=line, zorder=1)
            middle = (depth + 0.62, height + 0.62 * (at - height))
            place.annotate(
                f"{child.probability:.0%}", middle, fontsize=6, color=colour, ha="center",
                va="center", zorder=2, bbox={"pad": 0.4, "facecolor": "white", "linewidth": 0},
            )  # fmt: skip
        if depth:
            colour, _ = _style(node)
            box = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": colour}
            place.annotate(
                _mark(node.symbol), (depth, height), color=colour, ha="center", va="center",
                zorder=3, bbox=box,
            )  # fmt: skip
        if node.rank and not node.children:
            text = f"{node.rank}: {node.log_prob:.2f} nats"
            place.annotate(text, (depth + 0.3, height), fontsize=7, va="center")
        return height

    height = draw(tree, 0)
    name = literal(f"'{_excerpt(prompt)}'") if prompt else "start"
    place.annotate(name, (-0.05, height), ha="right", va="center", fontsize=8)
    place.set_xlim(-0.3 - 0.09 * len(name), _depth(tree) + 1.2)
    place.set_ylim(_leaves(tree) - 0.4, -0.6)
    place.set_title(
        "beam search: what was kept, grey what was given up", fontsize="medium", loc="left"
    )
    place.axis("off")


def _mark(symbol: str) -> str:
    """A symbol in a picture, whose font has no signs for control characters."""
    return {"\n": "↵", "\t": "→", "\r": "CR"}.get(symbol, literal(shown(symbol)))


def _style(node: Node) -> tuple[str, float]:
    """Colour and line of the way to a prefix: the best text's, another's, none's."""
    if node.rank == 1:
        return COLOURS[0], 2.0
    return ("black", 1.0) if node.rank else ("0.65", 0.8)


def _depth(node: Node) -> int:
    return 1 + max(map(_depth, node.children)) if node.children else 0


def _leaves(node: Node) -> int:
    return sum(map(_leaves, node.children)) if node.children else 1
