"""``charrnn inspect cells``: what single units do while a network reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.display import activation_text, plots
from charrnn.cli.display.activation_text import Scale
from charrnn.cli.display.plots import COLOURS, literal
from charrnn.cli.inspect_shared import PictureOption, ReplaceOption, TextArgument, names_of, text_of
from charrnn.cli.shared import JsonOption, ModelOption, guarded, note, print_json
from charrnn.errors import CorpusError, OptionError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from charrnn.inspection.activations import Activations, Saturation
    from charrnn.inspection.features import Tracker
    from charrnn.model.model_file import Model

MOST_LENGTH = 100_000
TRACKERS = 3  # units shown for each feature
FEW = 200  # characters: in fewer nothing is searched for
DRAWN, NAMED = 80, 90  # symbols in a heat map, and in the one that has room for their names
ROWS = 40  # units in a heat map
ACROSS = 4  # panels of gates side by side have room
OFTEN = 0.9  # a gate that is saturated for so much of the text is always so
EXTREME = 0.995  # of the activations lie within the colours
PAGE = (".html", ".htm")


@dataclass(frozen=True)
class Unit:
    """One unit: its layer and number count from 1."""

    layer: int
    part: str
    number: int

    def __str__(self) -> str:
        return f"{self.layer}.{self.part}.{self.number}"


@dataclass(frozen=True)
class Looked:
    """A text that a model has read, and what its units did.

    Attributes:
        name: of the model, as it may be shown.
        symbols: of the text (N), as they are shown.
        found: what was recorded.
        trackers: the units that track each feature, the best first.
        absent: features of which the text has too little.
    """

    name: str
    symbols: Sequence[str]
    found: Activations
    trackers: Mapping[str, Sequence[tuple[Unit, Tracker]]]
    absent: Sequence[str]

    @cached_property
    def saturation(self) -> dict[str, Saturation]:
        """Of each gate."""
        from charrnn.inspection.activations import saturation

        return saturation(self.found)

    def values(self, unit: Unit) -> NDArray[Any]:
        """What a unit did, (N,)."""
        return self.found.parts[unit.part][unit.layer - 1, :, unit.number - 1]

    def scale(self, unit: Unit) -> Scale:
        """A gate's values are 0 .. 1; the others' are as far below 0 as above it."""
        import numpy as np

        if unit.part in self.found.gates:
            return Scale(0.0, 1.0)
        end = float(np.quantile(np.abs(self.values(unit)), EXTREME)) or 1.0
        return Scale(-end, end)


@guarded
def cells(
    file: TextArgument = None,
    model: ModelOption = None,
    prompt: Annotated[
        str | None, typer.Option(help="Look at this text instead.", show_default="none")
    ] = None,
    length: Annotated[
        int, typer.Option(help="Symbols that are read.", min=1, max=MOST_LENGTH)
    ] = 5000,
    unit: Annotated[
        str | None,
        typer.Option(
            help="Paint the text by this unit: LAYER.UNIT or LAYER.PART.UNIT, as 1.c.37.",
            show_default="none",
        ),
    ] = None,
    picture: PictureOption = None,
    html: Annotated[
        Path | None,
        typer.Option(
            help="Write a page of the text, painted by any unit that is chosen there.",
            show_default="none",
        ),
    ] = None,
    force: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Look at single units while a model reads: what they track, which gates are saturated.

    Units are searched for that track something in the text. They are chosen on its first half, and
    the score is that of the second: for questions of yes or no 2 AUC - 1 of the ROC curve, for
    numbers Spearman's rank correlation; 1 and -1 are best, 0 is chance. A gate is saturated to the
    left below 0.1 and to the right above 0.9.
    """
    from charrnn.model import model_file
    from charrnn.run_dir import find_model

    plots.check_file("--plot", picture, force)
    plots.check_file("--html", html, force, PAGE)
    if file is not None and prompt is not None:
        raise OptionError("FILE and --prompt both name a text: give one of them")
    path = find_model(model)
    loaded = model_file.load(path)
    if model is None:
        note(f"model: {path}")
    painted = _parsed(unit, loaded) if unit else None
    text = text_of(file, {path: loaded}, length) if prompt is None else prompt
    looked = _look(names_of([path])[path], loaded, text, length)
    if painted and painted.part not in looked.found.parts:
        parts = ", ".join(looked.found.parts)
        raise OptionError(f"--unit {unit}: a layer of this model has {parts}")
    if picture is not None:
        plots.save(_picture(looked, painted), picture)
        note(f"written: {picture}")
    if html is not None:
        from charrnn.cli.display import unit_page
        from charrnn.storage.files import write_atomically

        write_atomically(html, unit_page.cells(looked, painted).encode())
        length = unit_page.shown(looked)
        part = f", the first {length:,} symbols" if length < len(looked.symbols) else ""
        note(f"written: {html}{part}")
    if as_json:
        print_json(_fields(looked, painted))
        return
    if painted:
        typer.echo(f"{painted} of {looked.name}, after each symbol")
        values = looked.values(painted).tolist()
        activation_text.paint(looked.symbols, values, looked.scale(painted))
        return
    for line in _table(looked):
        typer.echo(line)


def _parsed(text: str, model: Model) -> Unit:
    """``LAYER.UNIT``, of the part of the state that is carried furthest, or ``LAYER.PART.UNIT``."""
    from charrnn.model import parameters

    config, states = model.config, parameters.cell_of(model.config).states
    found = re.fullmatch(r"(\d{1,9})\.(?:([a-z]+)\.)?(\d{1,9})", text)
    if not found:
        raise OptionError(f"--unit {text} is none: write LAYER.UNIT or LAYER.PART.UNIT, as 1.c.37")
    unit = Unit(int(found[1]), found[2] or states[-1], int(found[3]))
    if not (1 <= unit.layer <= config.num_layers and 1 <= unit.number <= config.hidden_size):
        raise OptionError(
            f"--unit {text}: layers of this model are 1 to {config.num_layers}, their units 1 to "
            f"{config.hidden_size}"
        )
    return unit


def _look(name: str, model: Model, text: str, length: int) -> Looked:
    """Let a model read a text, and search for units that track something."""
    import numpy as np

    from charrnn.inspection import features
    from charrnn.inspection.activations import activations

    tokenizer = model.tokenizer
    ids = tokenizer.encode(text)
    if not len(ids):
        raise CorpusError("the text is empty (0 characters): there is nothing to read")
    last = features.last_characters([tokenizer.symbol_bytes[index] for index in ids], text)
    ids, last = ids[:length], last[:length]
    found = activations(model, ids)
    layers, hidden = model.config.num_layers, model.config.hidden_size
    columns = np.concatenate(
        [found.parts[part][layer] for layer in range(layers) for part in found.states], 1
    )

    def unit(column: int) -> Unit:
        block, number = divmod(column, hidden)
        layer, part = divmod(block, len(found.states))
        return Unit(layer + 1, found.states[part], number + 1)

    trackers: dict[str, list[tuple[Unit, Tracker]]] = {}
    absent = []
    for feature in features.features(text):
        at_symbols = features.at_symbols(feature, last)
        if len(ids) < FEW or not features.can_be_found(at_symbols):
            absent.append(feature.name)
            continue
        best = features.trackers(columns, at_symbols, TRACKERS)
        trackers[feature.name] = [(unit(one.unit), one) for one in best]
    ordered = dict(sorted(trackers.items(), key=lambda item: -abs(item[1][0][1].score)))
    names = tokenizer.symbol_names
    return Looked(name, [names[index] for index in ids], found, ordered, absent)


def _fields(looked: Looked, painted: Unit | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "model": looked.name,
        "symbols": len(looked.symbols),
        "trackers": [
            {"feature": name, "unit": str(unit), "score": one.score, "chosen_by": one.chosen_by}
            for name, units in looked.trackers.items()
            for unit, one in units
        ],
        "too_rare": list(looked.absent),
        "gates": [
            {
                "layer": layer + 1,
                "gate": gate,
                "left_saturated": saturated.left[layer].tolist(),
                "right_saturated": saturated.right[layer].tolist(),
            }
            for gate, saturated in looked.saturation.items()
            for layer in range(len(saturated.left))
        ],
    }
    if painted:
        values = looked.values(painted).tolist()
        found |= {"unit": str(painted), "text": list(looked.symbols), "values": values}
    return found


def _table(looked: Looked) -> Iterator[str]:
    if looked.trackers:
        size = max(map(len, looked.trackers))
        yield f"{'units that track':<{size}}  the best, scored on the other half of the text"
        for name, units in looked.trackers.items():
            numbers = (f"{unit!s:>9} {one.score:+.3f}" for unit, one in units)
            yield f"{name:<{size}}{'  '.join(numbers)}"
    if looked.trackers and looked.absent:
        yield f"too rare in this text: {', '.join(looked.absent)}"
    if not looked.trackers:
        yield f"a text of {len(looked.symbols):,} symbols is too short to search for anything"
    yield ""
    if not looked.saturation:
        yield "this cell has no gates"
        return
    yield "gates: share of the text below 0.1 and above 0.9; units for which that is nearly always"
    for layer in range(len(next(iter(looked.saturation.values())).left)):
        for gate, saturated in looked.saturation.items():
            left, right = saturated.left[layer], saturated.right[layer]
            yield (
                f"{layer + 1}.{gate:<4}{left.mean():>7.1%} left{right.mean():>7.1%} right"
                f"{(left > OFTEN).sum():>6} units left{(right > OFTEN).sum():>6} right"
                f"  of {len(left)}"
            )


def _picture(looked: Looked, painted: Unit | None) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise plots.missing(error) from None

    named = [(f"{unit}", unit) for unit in ([painted] if painted else [])]
    named += [
        (literal(f"{name}: {units[0][0]}, {units[0][1].score:+.2f}"), units[0][0])
        for name, units in looked.trackers.items()
    ]
    layers = len(next(iter(looked.found.parts.values())))
    heights = [0.24 * len(named) + 0.7] if named else []
    heights += [2.6 * layers]
    heights += [2.7] if looked.saturation else []
    figure = Figure(figsize=(13, sum(heights)), layout="constrained")
    stacked: Any = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)
    places = list(stacked[:, 0])
    if named:
        _draw_named(places.pop(0).subplots(), looked, named)
    _draw_parts(places.pop(0), looked)
    if looked.saturation:
        _draw_saturation(places.pop(0), looked)
    return figure


def _colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("signed", (COLOURS[0], "#FFFFFF", COLOURS[1]))


def _draw_named(place: Axes, looked: Looked, named: Sequence[tuple[str, Unit]]) -> None:
    """A row for each unit, a column for each symbol, with its name."""
    import numpy as np

    symbols = looked.symbols[:NAMED]
    rows = []
    for _, unit in named:
        scale, values = looked.scale(unit), looked.values(unit)[: len(symbols)]
        rows.append([scale.part(value) for value in values.tolist()])
    place.imshow(np.array(rows), cmap=_colours(), vmin=0, vmax=1, aspect="auto")
    place.set_yticks(range(len(named)), [name for name, _ in named], fontsize=7)
    place.set_xticks(range(len(symbols)), [_mark(symbol) for symbol in symbols], fontsize=7)
    place.tick_params(length=0)
    place.set_title(
        "units that track something, and their score on the other half of the text; orange is "
        "high, blue is low",
        fontsize="medium", loc="left",
    )  # fmt: skip


def _mark(symbol: str) -> str:
    return {"\n": "↵", "\t": "→", " ": ""}.get(symbol, literal(plots.shown(symbol)))


def _draw_parts(figure: Any, looked: Looked) -> None:
    """All units over the first symbols, part by part and layer by layer."""
    import numpy as np

    parts = looked.found.parts
    layers = len(next(iter(parts.values())))
    grid = figure.subplots(layers, len(parts), squeeze=False, sharex=True, sharey=True)
    for layer in range(layers):
        for place, (name, values) in zip(grid[layer], parts.items(), strict=True):
            shown = values[layer, :DRAWN].T
            shown = shown[np.sort(np.argsort(-shown.std(1), kind="stable")[:ROWS])]
            shown = shown[np.argsort(-shown.mean(1), kind="stable")]
            gate = name in looked.found.gates
            end = 1.0 if gate else float(np.quantile(np.abs(shown), EXTREME)) or 1.0
            drawn = place.imshow(
                shown, cmap=_colours(), vmin=0 if gate else -end, vmax=end, aspect="auto",
                interpolation="nearest",
            )  # fmt: skip
            bar = figure.colorbar(drawn, ax=place, location="bottom", aspect=30, pad=0.02)
            bar.ax.tick_params(labelsize=6)
            place.tick_params(labelsize=6)
            place.set_title(f"{name} of layer {layer + 1}", fontsize="small", loc="left")
    for row in grid:
        row[0].set_ylabel("units that vary most,\nby their mean", fontsize="small")
    figure.supxlabel("symbols read", fontsize="small")


def _draw_saturation(figure: Any, looked: Looked) -> None:
    """A dot for each unit of each gate."""
    places = figure.subplots(1, max(ACROSS, len(looked.saturation)), sharey=True)
    for place in places[len(looked.saturation) :]:
        place.axis("off")
    for place, (gate, saturated) in zip(places, looked.saturation.items(), strict=False):
        for layer in range(len(saturated.left)):
            place.plot(
                saturated.right[layer], saturated.left[layer], ".", ms=5, alpha=0.5,
                color=COLOURS[layer % len(COLOURS)], label=f"layer {layer + 1}",
            )  # fmt: skip
        place.plot([0, 1], [1, 0], color="0.6", linewidth=0.7, linestyle=":")
        place.set_box_aspect(1)
        place.set_xlim(-0.03, 1.03)
        place.set_ylim(-0.03, 1.03)
        place.set_title(f"gate {gate}", fontsize="medium", loc="left")
        place.set_xlabel("share of the text above 0.9", fontsize="small")
        place.spines[["top", "right"]].set_visible(False)
    places[0].set_ylabel("share below 0.1", fontsize="small")
    if len(saturated.left) > 1:
        places[0].legend(fontsize="small", frameon=False, loc="upper right")
