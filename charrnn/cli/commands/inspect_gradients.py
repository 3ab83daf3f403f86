"""``charrnn inspect gradients``: how error flows back through networks, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.display import gradient_flow, plots
from charrnn.cli.inspect_shared import (
    MAX_HELD_OUT,
    InspectOutput,
    ModelsOption,
    TextArgument,
    load_models,
    model_names,
    note_documents,
    read_text,
)
from charrnn.cli.options import Given, configured
from charrnn.cli.shared import guarded, note, print_json
from charrnn.cli.texts import OWN_READING
from charrnn.config import Reading, UntrainedOptions, cell_name
from charrnn.errors import CharRNNError, OptionError

if TYPE_CHECKING:
    from charrnn.inspection.gradients import NetworkFlow
    from charrnn.model.model_file import Model


@guarded
@configured
def inspect_gradients(
    *,
    file: TextArgument = None,
    models: ModelsOption = None,
    untrained: UntrainedOptions,
    lags: Annotated[int, typer.Option(help="Tokens to look back.", min=2, max=500)] = 100,
    windows: Annotated[
        int, typer.Option(help="Positions in the text to measure at.", min=1, max=256)
    ] = 16,
    reading: Annotated[dict[str, Any], Given(Reading), OWN_READING],
    output: InspectOutput,
) -> None:
    """Measure how gradients flow back through time: where they vanish or explode.

    For each layer: the norm of the gradient of one step's loss at the state k steps before it (the
    median over positions in the text), the singular values and the spectral radius of the product
    of the Jacobians over k steps, the eigenvalues of the recurrent weights, and Omega of Pascanu
    et al. (2013). A model is shown trained and at its start. With --cell alone, no model is read.
    """
    loaded = load_models(models, newest=not untrained.cell)
    text = read_text(file, loaded, MAX_HELD_OUT, reading)
    note_documents(loaded)
    networks = [
        _flow(name, when, model, text, lags, windows)
        for name, when, model in _networks(loaded, untrained, text)
    ]
    if output.plot is not None:
        plots.save(gradient_flow.picture(networks), output.plot)
    if output.json:
        fields = [network.to_json() for network in networks]
        print_json({"lags": lags, "windows": windows, "networks": fields})
        return
    gradient_flow.show(networks, lags)


def _networks(
    loaded: Mapping[Path, Model], options: UntrainedOptions, text: str
) -> Iterator[tuple[str, str, Model]]:
    """Yield name, when, and network: untrained cells, then each model at its start and trained."""
    from charrnn.inspection.gradients import at_start, untrained

    if options.cell and not text:
        raise OptionError("the text is empty (0 characters): there is nothing to read")
    for cell, scale in options.cells:
        name = cell_name(cell)
        label = name if scale == 1 else f"{name} × {scale:g}"
        yield label, "at start", untrained(text, cell, scale, options)
    names = model_names(list(loaded))
    for path, model in loaded.items():
        yield names[path], "at start", at_start(model)
        yield names[path], "trained", model


def _flow(name: str, when: str, model: Model, text: str, lags: int, windows: int) -> NetworkFlow:
    from charrnn.inspection.gradients import NetworkFlow, flows

    note(f"measuring {name}, {when}")
    try:
        return NetworkFlow(name, when, flows(model, text, lags=lags, windows=windows))
    except CharRNNError as error:
        raise type(error)(f"{name}: {error.message}") from None
