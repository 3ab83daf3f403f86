"""``charrnn inspect gradients``: how error flows back through networks, side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.display import plots
from charrnn.cli.display.plots import COLOURS, literal
from charrnn.cli.inspect_shared import (
    PictureOption,
    ReplaceOption,
    names_of,
    number,
    numbers,
    text_of,
)
from charrnn.cli.shared import JsonOption, guarded, note, print_json
from charrnn.errors import CharRNNError, OptionError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from charrnn.inspection.gradients import Flow
    from charrnn.model.model_file import Model

MOST_LAGS, MOST_WINDOWS = 500, 256
SMALLEST = 1e-12  # of what is drawn: below it the others would be pressed flat
SPECTRUM = 10  # the lag whose singular values are drawn
MOST = 2**20  # symbols of a held-out text: windows are spread over them
ACROSS = 5  # panels of eigenvalues side by side


@dataclass(frozen=True)
class _Looked:
    """A network that was looked at.

    Attributes:
        name: of the model, or the cell.
        when: at start or trained.
        flows: of its layers, from below.
    """

    name: str
    when: str
    flows: Sequence[Flow]

    def label(self, layer: int) -> str:
        """For a curve."""
        which = f" layer {layer + 1}" if len(self.flows) > 1 else ""
        return f"{self.name}{which}, {self.when}"


@guarded
def inspect_gradients(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="The text that is read; - is standard input.",
            show_default="the first model's own validation text",
        ),
    ] = None,
    models: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            "-m",
            help="A model file or a run's folder; may be repeated.",
            show_default="the newest run in ./runs, where no --cell is given",
        ),
    ] = None,
    cells: Annotated[
        list[str] | None,
        typer.Option(
            "--cell",
            help="Add an untrained network of this cell; irnn:1.1 has its recurrent weights times "
            "1.1. May be repeated.",
            show_default="none",
        ),
    ] = None,
    hidden_size: Annotated[int, typer.Option(help="Units of the untrained networks.")] = 64,
    num_layers: Annotated[int, typer.Option(help="Their layers.")] = 1,
    seed: Annotated[int, typer.Option(help="Of their random weights.", min=0)] = 1,
    lags: Annotated[
        int, typer.Option(help="Look back so many characters.", min=2, max=MOST_LAGS)
    ] = 100,
    windows: Annotated[
        int,
        typer.Option(help="Places of the text that are looked at.", min=1, max=MOST_WINDOWS),
    ] = 16,
    picture: PictureOption = None,
    force: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure how error flows back: what vanishes, what explodes, and what carries it.

    For each layer: the norm of the gradient of one step's loss at the state k steps before it (the
    median over places of the text), the singular values and the spectral radius of the Jacobians'
    product over k steps, the eigenvalues of the recurrent weights, and Omega of Pascanu et al.
    A model is shown trained and as it was at its start.
    """
    from charrnn.model import model_file
    from charrnn.run_dir import find_model

    wanted = [_parsed(cell) for cell in cells or []]
    plots.check_file("--plot", picture, force)
    given: Sequence[Path | None] = models or ([] if wanted else [None])
    paths = [find_model(model) for model in given]
    if paths and not models:
        note(f"model: {paths[0]}")
    loaded = {path: model_file.load(path) for path in paths}
    text = text_of(file, loaded, MOST)
    looked = []
    for name, when, model in _networks(loaded, wanted, text, hidden_size, num_layers, seed):
        note(f"looking at {name}, {when}")
        looked.append(_Looked(name, when, _flows(name, model, text, lags, windows)))
    if picture is not None:
        plots.save(_picture(looked), picture)
    if as_json:
        print_json({"lags": lags, "windows": windows, "networks": list(map(_fields, looked))})
        return
    for line in _table(looked, lags):
        typer.echo(line)
    try:
        typer.echo(_chart(looked))
    except OptionError as error:  # the numbers are there
        note(str(error))


def _parsed(cell: str) -> tuple[str, float]:
    """``NAME[:SCALE]`` as a cell's name and what its recurrent weights are multiplied by."""
    from charrnn.config import ModelConfig

    name, colon, scale = cell.partition(":")
    ModelConfig(vocab_size=1, cell=name)
    try:
        factor = float(scale) if colon else 1.0
    except ValueError:
        factor = math.nan
    if not 0 <= factor <= 100:
        raise OptionError(f"--cell {cell}: {scale} is no number from 0 to 100, as in irnn:1.1")
    return name, factor


def _networks(
    loaded: Mapping[Path, Model],
    cells: Sequence[tuple[str, float]],
    text: str,
    hidden_size: int,
    num_layers: int,
    seed: int,
) -> Iterator[tuple[str, str, Model]]:
    """Name, when, and the network: untrained cells, then each model at start and trained."""
    from charrnn.config import ModelConfig
    from charrnn.inspection.gradients import at_start
    from charrnn.model import parameters
    from charrnn.model.model_file import Model
    from charrnn.text.tokenizer import CharTokenizer

    if cells and not text:
        raise OptionError("the text is empty (0 characters): there is nothing to read")
    for cell, scale in cells:
        tokenizer = CharTokenizer.from_texts(text)
        config = ModelConfig(
            tokenizer.vocab_size, cell, hidden_size=hidden_size, num_layers=num_layers
        )
        values = parameters.initial(config, seed)
        for name in values:
            if name.endswith(".weight_hh"):
                values[name] = values[name] * values[name].dtype.type(scale)
        label = cell if scale == 1 else f"{cell} × {scale:g}"
        yield label, "at start", Model(config, tokenizer, values)
    names = names_of(list(loaded))
    for path, model in loaded.items():
        yield names[path], "at start", at_start(model)
        yield names[path], "trained", model


def _flows(name: str, model: Model, text: str, lags: int, windows: int) -> list[Flow]:
    from charrnn.inspection.gradients import flows

    try:
        return flows(model, text, lags=lags, windows=windows)
    except CharRNNError as error:
        raise type(error)(f"{name}: {error}") from None


def _fields(looked: _Looked) -> dict[str, Any]:
    layers = [
        {
            "norms": numbers(flow.norms),
            "parts": {name: numbers(values) for name, values in flow.parts.items()},
            "per_step": number(flow.per_step),
            "products": [
                {
                    "lag": product.lag,
                    "spectral_radius": product.spectral_radius,
                    "singular_values": numbers(product.singular_values),
                }
                for product in flow.products
            ],
            "eigenvalues": {
                name: [[value.real, value.imag] for value in values.tolist()]
                for name, values in flow.eigenvalues.items()
            },
            "omega": number(flow.omega),
        }
        for flow in looked.flows
    ]
    return {"name": looked.name, "when": looked.when, "layers": layers}


def _table(looked: Sequence[_Looked], lags: int) -> Iterator[str]:
    from rich.cells import cell_len

    shown = sorted({0, 1, min(10, lags), lags})
    head = ["", *(f"k = {lag}" for lag in shown), "per step", "σ max", "ρ", "|λ(W)|", "Ω"]
    rows = [head]
    for one in looked:
        for layer, flow in enumerate(one.flows):
            products = {product.lag: product for product in flow.products}
            last = products.get(lags)  # not there where it overflows
            radii = [abs(values).max() for values in flow.eigenvalues.values()]
            rows.append(
                [
                    one.label(layer),
                    *(f"{flow.norms[lag]:.2g}" for lag in shown),
                    f"{flow.per_step:.3f}",
                    f"{last.singular_values[0]:.2g}" if last else "-",
                    f"{last.spectral_radius:.2g}" if last else "-",
                    f"{max(radii):.3f}" if radii else "-",
                    f"{flow.omega:.3g}",
                ]
            )
    sizes = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    yield f"|dL_t/ds_(t-k)|, σ max and ρ of ds_t/ds_(t-{lags}), largest |λ| of W_hh, Omega"
    for row in rows:
        name = row[0] + " " * (sizes[0] - cell_len(row[0]))
        numbers = (f"{text:>{size}}" for text, size in zip(row[1:], sizes[1:], strict=True))
        yield "  ".join((name, *numbers))
    yield ""


def _curves(looked: Sequence[_Looked]) -> Iterator[tuple[str, Flow, str, bool]]:
    """Label, flow, colour and whether it is trained; a layer keeps its colour in training."""
    order = {
        key: number
        for number, key in enumerate(
            dict.fromkeys((one.name, layer) for one in looked for layer in range(len(one.flows)))
        )
    }
    for one in looked:
        for layer, flow in enumerate(one.flows):
            colour = COLOURS[order[one.name, layer] % len(COLOURS)]
            yield one.label(layer), flow, colour, one.when == "trained"


def _drawn(norms: Any) -> tuple[Any, Any]:
    """Lags and norms that a logarithmic axis has room for."""
    import numpy as np

    known = np.isfinite(norms) & (norms > SMALLEST)
    return np.arange(len(norms))[known], norms[known]


def _chart(looked: Sequence[_Looked]) -> str:
    curves = [(label, *_drawn(flow.norms), colour) for label, flow, colour, _ in _curves(looked)]
    curves = [curve for curve in curves if len(curve[1])]
    if not curves:
        return "no gradient can be drawn: none arrives, or it overflows"
    labels, xs, ys, colours = zip(*curves, strict=True)
    title = "|dL_t/ds_(t-k)|, over the lag k in symbols"
    return plots.chart(title, xs, ys, labels, colours, logarithmic=True)


def _picture(looked: Sequence[_Looked]) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise plots.missing(error) from None

    rows = math.ceil(len(looked) / ACROSS)
    across = math.ceil(len(looked) / rows)
    figure = Figure(figsize=(13, 4.6 + 2.6 * rows), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=(4.6, 2.6 * rows))
    top, bottom = halves
    norms, products, spectrum = top.subplots(1, 3)
    _draw_curves(norms, products, spectrum, looked)
    top.legend(
        *norms.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize="small",
    )
    grid = list(bottom.subplots(rows, across, squeeze=False).flat)
    for place, one in zip(grid, looked, strict=False):
        _draw_eigenvalues(place, one)
    for place in grid[len(looked) :]:
        place.axis("off")
    bottom.suptitle("eigenvalues of W_hh, by block; the unit circle", fontsize="medium")
    return figure


def _draw_curves(norms: Axes, products: Axes, spectrum: Axes, looked: Sequence[_Looked]) -> None:
    import numpy as np

    spectrum_lag = min(SPECTRUM, len(looked[0].flows[0].norms) - 1)
    for label, flow, colour, trained in _curves(looked):
        line: dict[str, Any] = {
            "color": colour, "linestyle": "-" if trained else "--", "linewidth": 1.4
        }  # fmt: skip
        norms.plot(*_drawn(flow.norms), label=literal(label), **line)
        lags = np.array([product.lag for product in flow.products])
        largest = np.array([product.singular_values[0] for product in flow.products])
        radius = np.array([product.spectral_radius for product in flow.products])
        products.plot(lags[largest > SMALLEST], largest[largest > SMALLEST], **line)
        dots: dict[str, Any] = {"marker": "o", "markersize": 4, "linestyle": ""}
        filling = colour if trained else "none"
        products.plot(
            lags[radius > SMALLEST], radius[radius > SMALLEST], color=colour,
            markerfacecolor=filling, **dots,
        )  # fmt: skip
        for product in flow.products:
            if product.lag == spectrum_lag:
                values = product.singular_values[product.singular_values > SMALLEST]
                part = (np.arange(len(values)) + 0.5) / len(product.singular_values)
                spectrum.plot(part, values, **line)
    norms.set_title(
        "norm of $dL_t/ds_{t-k}$, s the layer's state,\nmedian of places in the text",
        fontsize="medium",
        loc="left",
    )
    products.set_title(
        "$ds_t/ds_{t-k}$: largest singular value (line),\nspectral radius (dots)",
        fontsize="medium", loc="left",
    )  # fmt: skip
    spectrum.set_title(
        f"singular values of $ds_t/ds_{{t-{spectrum_lag}}}$,\nthe largest first", fontsize="medium",
        loc="left",
    )  # fmt: skip
    for place, name in (
        (norms, "lag k, symbols"),
        (products, "lag k, symbols"),
        (spectrum, "part of them"),
    ):
        place.set_yscale("log")
        place.set_xlabel(name)
        place.grid(color="0.9", linewidth=0.6)
        place.spines[["top", "right"]].set_visible(False)
    products.set_xscale("log")


def _draw_eigenvalues(place: Axes, one: _Looked) -> None:
    import numpy as np

    angle = np.linspace(0, 2 * math.pi, 200)
    place.plot(np.cos(angle), np.sin(angle), color="black", linewidth=0.7, zorder=3)
    blocks = list(one.flows[0].eigenvalues)
    for order, block in enumerate(blocks):
        values = np.concatenate([flow.eigenvalues[block] for flow in one.flows])
        place.plot(
            values.real, values.imag, ".", color=COLOURS[order], ms=3, label=f"block {block}"
        )
    if not blocks:
        place.annotate("the output is fed back", (0, 0), ha="center", va="center", fontsize=7)
    if len(blocks) > 1:
        place.legend(
            fontsize=6,
            frameon=False,
            loc="center left",
            bbox_to_anchor=(1, 0.5),
            handletextpad=0.1,
            borderpad=0,
        )
    place.set_aspect("equal", adjustable="datalim")
    place.set_title(literal(f"{one.name}, {one.when}"), fontsize="small")
    place.set_xlabel("real", fontsize=7, labelpad=1)
    place.set_ylabel("imaginary", fontsize=7, labelpad=1)
    place.tick_params(labelsize=7)
    place.spines[["top", "right"]].set_visible(False)
