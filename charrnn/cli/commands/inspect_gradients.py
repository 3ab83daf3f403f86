"""``charrnn inspect gradients``: how error flows back through networks, side by side.

The file is longer than other commands' because it declares options that no other command has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.cli.display import gradient_flow, plots
from charrnn.cli.inspect_shared import (
    MAX_HELD_OUT,
    PictureOption,
    ReplaceOption,
    load_models,
    names_of,
    text_of,
)
from charrnn.cli.shared import JsonOption, guarded, note, print_json
from charrnn.errors import CharRNNError, OptionError

if TYPE_CHECKING:
    from charrnn.inspection.gradients import NetworkFlow
    from charrnn.model.model_file import Model

MAX_LAGS, MAX_WINDOWS = 500, 256

TextArgument = Annotated[
    Path | None,
    typer.Argument(
        help="Text to read; - is standard input.",
        show_default="the first model's own validation text",
    ),
]
ModelsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--model",
        "-m",
        help="A model file or a run's folder; may be repeated.",
        show_default="the newest run in ./runs, if no --cell is given",
    ),
]
CellsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--cell",
        help="Add an untrained network of this cell; may be repeated. irnn:1.1 multiplies its "
        "recurrent weights by 1.1.",
        show_default="none",
    ),
]
HiddenSizeOption = Annotated[int, typer.Option(help="Units of an untrained network's layers.")]
NumLayersOption = Annotated[int, typer.Option(help="Layers of an untrained network.")]
SeedOption = Annotated[int, typer.Option(help="Seed of the untrained networks' weights.", min=0)]
LagsOption = Annotated[int, typer.Option(help="Symbols to look back.", min=2, max=MAX_LAGS)]
WindowsOption = Annotated[
    int, typer.Option(help="Positions in the text to measure at.", min=1, max=MAX_WINDOWS)
]


@guarded
def inspect_gradients(
    file: TextArgument = None,
    models: ModelsOption = None,
    cells: CellsOption = None,
    hidden_size: HiddenSizeOption = 64,
    num_layers: NumLayersOption = 1,
    seed: SeedOption = 1,
    lags: LagsOption = 100,
    windows: WindowsOption = 16,
    picture: PictureOption = None,
    force: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure how error flows back: what vanishes, what explodes, and what carries it.

    For each layer: the norm of the gradient of one step's loss at the state k steps before it (the
    median over positions in the text), the singular values and the spectral radius of the product
    of the Jacobians over k steps, the eigenvalues of the recurrent weights, and Omega of Pascanu
    et al. (2013). A model is shown trained and at its start.
    """
    untrained = [_parse_cell(cell) for cell in cells or []]
    plots.check_file("--plot", picture, force)
    loaded = load_models(models, newest=not untrained)
    text = text_of(file, loaded, MAX_HELD_OUT)
    if untrained and not text:
        raise OptionError("the text is empty (0 characters): there is nothing to read")
    shape = {"hidden_size": hidden_size, "num_layers": num_layers, "seed": seed}
    networks = [
        _flow(name, when, model, text, lags, windows)
        for name, when, model in _networks(loaded, untrained, text, shape)
    ]
    if picture is not None:
        plots.save(gradient_flow.picture(networks), picture)
    if as_json:
        fields = [network.to_json() for network in networks]
        print_json({"lags": lags, "windows": windows, "networks": fields})
        return
    for line in gradient_flow.table(networks, lags):
        typer.echo(line)
    try:
        typer.echo(gradient_flow.chart(networks))
    except OptionError as error:  # the table has the numbers
        note(error.message)


def _parse_cell(cell: str) -> tuple[str, float]:
    """Return name and scale of the recurrent weights from ``NAME[:SCALE]``."""
    from charrnn.config import ModelConfig

    name, colon, scale = cell.partition(":")
    ModelConfig(vocab_size=1, cell=name)
    try:
        factor = float(scale) if colon else 1.0
    except ValueError:
        factor = math.nan
    if not 0 <= factor <= 100:
        raise OptionError(f"--cell {cell}: {scale} is not a number from 0 to 100, as in irnn:1.1")
    return name, factor


def _networks(
    loaded: Mapping[Path, Model],
    cells: Sequence[tuple[str, float]],
    text: str,
    shape: Mapping[str, int],
) -> Iterator[tuple[str, str, Model]]:
    """Yield name, when, and network: untrained cells, then each model at its start and trained."""
    from charrnn.inspection.gradients import at_start, untrained

    for cell, scale in cells:
        label = cell if scale == 1 else f"{cell} × {scale:g}"
        yield label, "at start", untrained(text, cell, scale, **shape)
    names = names_of(list(loaded))
    for path, model in loaded.items():
        yield names[path], "at start", at_start(model)
        yield names[path], "trained", model


def _flow(name: str, when: str, model: Model, text: str, lags: int, windows: int) -> NetworkFlow:
    from charrnn.inspection.gradients import NetworkFlow, flows

    note(f"looking at {name}, {when}")
    try:
        return NetworkFlow(name, when, flows(model, text, lags=lags, windows=windows))
    except CharRNNError as error:
        raise type(error)(f"{name}: {error.message}") from None
