"""Show for ``charrnn inspect cells``: the units of a network, as a table and a picture."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from charrnn.cli.display import plots
from charrnn.cli.display.activation_text import Scale
from charrnn.cli.display.plots import COLORS, literal
from charrnn.errors import counted
from charrnn.terminal import symbol_mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from charrnn.inspection.units import TrackedUnits, Unit

HEAT_MAP_TOKENS, LABELED_TOKENS = 80, 90  # the latter where each has its name below
HEAT_MAP_UNITS = 40
MIN_GATE_PANELS = 4  # panels side by side, some of them empty, so that they stay small
OFTEN = 0.9  # share of the text above which a unit counts as saturated


def table(found: TrackedUnits) -> Iterator[str]:
    """Yield the lines of a table: the units that track each feature, then the gates."""
    if found.networks > 1:
        each = len(found.activations.parts[found.activations.states[0]]) // found.networks
        firsts = range(1, found.networks * each + 1, each)
        ranges = (f"{first}-{first + each - 1}" if each > 1 else f"{first}" for first in firsts)
        whose = ", ".join(f"{layers} of network {k}" for k, layers in enumerate(ranges, 1))
        yield from textwrap.wrap(f"an ensemble of {found.networks}: layers {whose}", 79)
    if found.trackers:
        size = max(map(len, found.trackers))
        yield f"{'feature':<{size}}  best units, scored on the second half of the text"
        for name, units in found.trackers.items():
            numbers = (f"{unit!s:>9} {tracker.score:+.3f}" for unit, tracker in units)
            yield f"{name:<{size}}{'  '.join(numbers)}"
        if found.too_rare:
            too_rare = f"too rare in this text: {', '.join(found.too_rare)}"
            yield from textwrap.wrap(too_rare, 79, break_on_hyphens=False)
    else:
        yield f"a text of {counted(len(found.tokens), 'token')} is too short to search for features"
    yield ""
    if not found.saturation:
        yield "this cell has no gates"
        return
    yield "gates saturated left (below 0.1) and right (above 0.9): share of all activations,"
    yield "and number of units that are saturated in over 90% of the text"
    for layer in range(len(next(iter(found.saturation.values())).left)):
        for gate, saturated in found.saturation.items():
            left, right = saturated.left[layer], saturated.right[layer]
            yield (
                f"{layer + 1}.{gate:<4}{left.mean():>7.1%} left{right.mean():>7.1%} right"
                f"{(left > OFTEN).sum():>6} units left{(right > OFTEN).sum():>6} right"
                f"  of {len(left)}"
            )


def picture(found: TrackedUnits, unit: Unit | None) -> Figure:
    """Draw the best trackers and `unit` over the text, all units, and the saturation of gates."""
    named = [(str(unit), unit)] if unit else []
    named += [
        (literal(f"{name}: {units[0][0]}, {units[0][1].score:+.2f}"), units[0][0])
        for name, units in found.trackers.items()
    ]
    layers = len(next(iter(found.activations.parts.values())))
    heights = [0.24 * len(named) + 0.7] if named else []
    heights += [2.6 * layers]
    heights += [2.7] if found.saturation else []
    figure = plots.new_figure(13, sum(heights))
    stacked: Any = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)
    rows = list(stacked[:, 0])
    if named:
        _draw_named_units(rows.pop(0).subplots(), found, named)
    _draw_parts(rows.pop(0), found)
    if found.saturation:
        _draw_saturation(rows.pop(0), found)
    return figure


def _colors() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("signed", (COLORS[0], "#FFFFFF", COLORS[1]))


def _draw_named_units(axes: Axes, found: TrackedUnits, named: Sequence[tuple[str, Unit]]) -> None:
    """Draw a row for each unit and a column for each token, with its name."""
    import numpy as np

    tokens = found.tokens[:LABELED_TOKENS]
    rows = []
    for _, unit in named:
        scale, values = Scale(*found.limits(unit)), found.values(unit)[: len(tokens)]
        rows.append([scale.part(value) for value in values.tolist()])
    axes.imshow(np.array(rows), cmap=_colors(), vmin=0, vmax=1, aspect="auto")
    axes.set_yticks(range(len(named)), [name for name, _ in named], fontsize=7)
    marks = [literal(symbol_mark(token)) for token in tokens]
    axes.set_xticks(range(len(tokens)), marks, fontsize=7)
    axes.tick_params(length=0)
    axes.set_title(
        "units that track a feature, scored on the second half of the text; orange is high, "
        "blue is low",
        fontsize="medium", loc="left",
    )  # fmt: skip


def _draw_parts(figure: Any, found: TrackedUnits) -> None:
    """Draw the units that vary most over the first tokens, part by part and layer by layer."""
    import numpy as np

    from charrnn.inspection.units import absolute_limit

    parts = found.activations.parts
    layers = len(next(iter(parts.values())))
    grid = figure.subplots(layers, len(parts), squeeze=False, sharex=True, sharey=True)
    for layer in range(layers):
        for axes, (name, values) in zip(grid[layer], parts.items(), strict=True):
            shown = values[layer, :HEAT_MAP_TOKENS].T
            shown = shown[np.sort(np.argsort(-shown.std(1), kind="stable")[:HEAT_MAP_UNITS])]
            shown = shown[np.argsort(-shown.mean(1), kind="stable")]
            gate = name in found.activations.gates
            limit = 1.0 if gate else float(absolute_limit(shown))
            image = axes.imshow(
                shown, cmap=_colors(), vmin=0 if gate else -limit, vmax=limit, aspect="auto",
                interpolation="nearest",
            )  # fmt: skip
            bar = figure.colorbar(image, ax=axes, location="bottom", aspect=30, pad=0.02)
            bar.ax.tick_params(labelsize=6)
            axes.tick_params(labelsize=6)
            axes.set_title(f"{name} of layer {layer + 1}", fontsize="small", loc="left")
    for row in grid:
        row[0].set_ylabel("units that vary most,\nsorted by mean", fontsize="small")
    figure.supxlabel("tokens read", fontsize="small")


def _draw_saturation(figure: Any, found: TrackedUnits) -> None:
    """Draw a dot for each unit of each gate."""
    panels = figure.subplots(1, max(MIN_GATE_PANELS, len(found.saturation)), sharey=True)
    for axes in panels[len(found.saturation) :]:
        axes.axis("off")
    for axes, (gate, saturated) in zip(panels, found.saturation.items(), strict=False):
        for layer in range(len(saturated.left)):
            axes.plot(
                saturated.right[layer], saturated.left[layer], ".", ms=5, alpha=0.5,
                color=COLORS[layer % len(COLORS)], label=f"layer {layer + 1}",
            )  # fmt: skip
        axes.plot([0, 1], [1, 0], color="0.6", linewidth=0.7, linestyle=":")
        axes.set_box_aspect(1)
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        axes.set_title(f"gate {gate}", fontsize="medium", loc="left")
        axes.set_xlabel("share of the text above 0.9", fontsize="small")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("share below 0.1", fontsize="small")
    if len(saturated.left) > 1:
        panels[0].legend(fontsize="small", frameon=False, loc="upper right")
