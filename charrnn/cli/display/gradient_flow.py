"""Show for ``charrnn inspect gradients``: a table, a chart of characters and a picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

from charrnn.cli.display import plots
from charrnn.cli.display.plots import COLORS, literal
from charrnn.cli.shared import note
from charrnn.errors import OptionError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from charrnn.inspection.gradients import Flow, NetworkFlow

MIN_DRAWN = 1e-12  # a logarithmic axis that reached further down would flatten all curves
SPECTRUM_LAG = 10  # the lag whose singular values are drawn
MAX_ACROSS = 5  # panels of eigenvalues side by side


def show(networks: Sequence[NetworkFlow], lags: int) -> None:
    """Print the table and the chart."""
    for line in table(networks, lags):
        typer.echo(line)
    try:
        typer.echo(chart(networks))
    except OptionError as error:  # the table has the numbers
        note(error.message)


def table(networks: Sequence[NetworkFlow], lags: int) -> Iterator[str]:
    """Yield the lines of a table with a row for each layer of each network."""
    from rich.cells import cell_len

    shown = sorted({0, 1, min(10, lags), lags})
    head = ["", *(f"k = {lag}" for lag in shown), "per step", "σ max", "ρ", "|λ(W)|", "Ω"]
    rows = [head]
    for network in networks:
        for layer, flow in enumerate(network.layers):
            rows.append([network.label(layer), *_cells(flow, shown)])
    sizes = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    yield f"|dL_t/ds_(t-k)|, σ max and ρ of ds_t/ds_(t-{lags}), largest |λ| of W_hh, Omega"
    for row in rows:
        name = row[0] + " " * (sizes[0] - cell_len(row[0]))
        numbers = (f"{text:>{size}}" for text, size in zip(row[1:], sizes[1:], strict=True))
        yield "  ".join((name, *numbers))
    yield ""


def _cells(flow: Flow, lags: Sequence[int]) -> list[str]:
    """Return the numbers of a row of the table, as text."""
    products = {product.lag: product for product in flow.products}
    last = products.get(lags[-1])  # missing if it overflows
    radii = [abs(values).max() for values in flow.eigenvalues.values()]
    return [
        *(f"{flow.norms[lag]:.2g}" for lag in lags),
        f"{flow.per_step:.3f}",
        f"{last.singular_values[0]:.2g}" if last else "-",
        f"{last.spectral_radius:.2g}" if last else "-",
        f"{max(radii):.3f}" if radii else "-",
        f"{flow.omega:.3g}",
    ]


def chart(networks: Sequence[NetworkFlow]) -> str:
    """Return a chart of the gradients' norms in characters.

    Raises:
        OptionError: the package that draws it is missing.
    """
    curves = [(label, *_drawn(flow.norms), color) for label, flow, color, _ in _curves(networks)]
    curves = [curve for curve in curves if len(curve[1])]
    if not curves:
        return "no gradient can be drawn: none arrives, or it overflows"
    labels, xs, ys, colors = zip(*curves, strict=True)
    title = "|dL_t/ds_(t-k)|, over the lag k in tokens"
    return plots.chart(title, xs, ys, labels, colors, logarithmic=True)


def picture(networks: Sequence[NetworkFlow]) -> Figure:
    """Draw norms, products and singular values of all networks, and the eigenvalues of each."""
    rows = math.ceil(len(networks) / MAX_ACROSS)
    across = math.ceil(len(networks) / rows)
    figure = plots.new_figure(13, 4.6 + 2.6 * rows)
    parts: Any = figure.subfigures(2, 1, height_ratios=(4.6, 2.6 * rows))
    top, bottom = parts
    norms, products, spectrum = top.subplots(1, 3)
    _draw_curves(norms, products, spectrum, networks)
    top.legend(
        *norms.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False,
        fontsize="small",
    )  # fmt: skip
    panels = list(bottom.subplots(rows, across, squeeze=False).flat)
    for axes, network in zip(panels, networks, strict=False):
        _draw_eigenvalues(axes, network)
    for axes in panels[len(networks) :]:
        axes.axis("off")
    bottom.suptitle("eigenvalues of W_hh, by block; the unit circle", fontsize="medium")
    return figure


def _curves(networks: Sequence[NetworkFlow]) -> Iterator[tuple[str, Flow, str, bool]]:
    """Yield label, flow, color and whether it is trained; training keeps a layer's color."""
    keys = [(network.name, layer) for network in networks for layer in range(len(network.layers))]
    order = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    for network in networks:
        for layer, flow in enumerate(network.layers):
            color = COLORS[order[network.name, layer] % len(COLORS)]
            yield network.label(layer), flow, color, network.when == "trained"


def _drawn(norms: Any) -> tuple[Any, Any]:
    """Return the lags and norms that a logarithmic axis has room for."""
    import numpy as np

    known = np.isfinite(norms) & (norms > MIN_DRAWN)
    return np.arange(len(norms))[known], norms[known]


def _draw_curves(
    norms: Axes, products: Axes, spectrum: Axes, networks: Sequence[NetworkFlow]
) -> None:
    spectrum_lag = min(SPECTRUM_LAG, len(networks[0].layers[0].norms) - 1)
    for label, flow, color, trained in _curves(networks):
        line: dict[str, Any] = {
            "color": color,
            "linestyle": "-" if trained else "--",
            "linewidth": 1.4,
        }
        norms.plot(*_drawn(flow.norms), label=literal(label), **line)
        _draw_products(products, flow, line, color if trained else "none")
        _draw_spectrum(spectrum, flow, line, spectrum_lag)
    titles = {
        norms: "norm of $dL_t/ds_{t-k}$, s the layer's state,\nmedian over positions in the text",
        products: "$ds_t/ds_{t-k}$: largest singular value (line),\nspectral radius (dots)",
        spectrum: f"singular values of $ds_t/ds_{{t-{spectrum_lag}}}$,\nthe largest first",
    }
    for axes, title in titles.items():
        axes.set_title(title, fontsize="medium", loc="left")
        axes.set_xlabel("share of them" if axes is spectrum else "lag k, tokens")
        axes.set_yscale("log")
        axes.grid(color="0.9", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    products.set_xscale("log")


def _draw_products(axes: Axes, flow: Flow, line: dict[str, Any], filling: str) -> None:
    """Draw the largest singular value (line) and the spectral radius (dots) over the lag."""
    import numpy as np

    lags = np.array([product.lag for product in flow.products])
    largest = np.array([product.singular_values[0] for product in flow.products])
    radius = np.array([product.spectral_radius for product in flow.products])
    axes.plot(lags[largest > MIN_DRAWN], largest[largest > MIN_DRAWN], **line)
    axes.plot(
        lags[radius > MIN_DRAWN], radius[radius > MIN_DRAWN], color=line["color"],
        markerfacecolor=filling, marker="o", markersize=4, linestyle="",
    )  # fmt: skip


def _draw_spectrum(axes: Axes, flow: Flow, line: dict[str, Any], lag: int) -> None:
    """Draw the singular values of the product over `lag` steps, in descending order."""
    import numpy as np

    for product in flow.products:
        if product.lag == lag:
            values = product.singular_values[product.singular_values > MIN_DRAWN]
            share = (np.arange(len(values)) + 0.5) / len(product.singular_values)
            axes.plot(share, values, **line)


def _draw_eigenvalues(axes: Axes, network: NetworkFlow) -> None:
    import numpy as np

    angle = np.linspace(0, 2 * math.pi, 200)
    axes.plot(np.cos(angle), np.sin(angle), color="black", linewidth=0.7, zorder=3)
    blocks = list(network.layers[0].eigenvalues)
    for order, block in enumerate(blocks):
        values = np.concatenate([flow.eigenvalues[block] for flow in network.layers])
        axes.plot(values.real, values.imag, ".", color=COLORS[order], ms=3, label=f"block {block}")
    if not blocks:
        axes.annotate("the output is fed back", (0, 0), ha="center", va="center", fontsize=7)
    if len(blocks) > 1:
        axes.legend(
            fontsize=6, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5),
            handletextpad=0.1, borderpad=0,
        )  # fmt: skip
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_title(literal(f"{network.name}, {network.when}"), fontsize="small")
    axes.set_xlabel("real", fontsize=7, labelpad=1)
    axes.set_ylabel("imaginary", fontsize=7, labelpad=1)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
