"""``charrnn inspect gradients``: how error flows back through networks, side by side."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from charrnn.cli.display import gradient_flow, plots
from charrnn.cli.inspect_shared import (
    MAX_HELD_OUT,
    InspectOutput,
    ModelsOption,
    TextArgument,
    by_name,
    load_models,
    read_text,
)
from charrnn.cli.options import Given, configured
from charrnn.cli.shared import guarded, note, print_json
from charrnn.cli.texts import OWN_READING
from charrnn.config import Reading
from charrnn.config.inspection import FlowOptions, UntrainedOptions


@guarded
@configured
def inspect_gradients(
    *,
    file: TextArgument = None,
    models: ModelsOption = None,
    untrained: UntrainedOptions,
    measured: FlowOptions,
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
    named = by_name(loaded)

    from charrnn.inspection.gradients import network_flows

    networks = network_flows(named, untrained, text, measured, note)
    if output.plot is not None:
        plots.save(gradient_flow.picture(networks), output.plot)
    if output.json:
        fields = [network.to_json() for network in networks]
        print_json(asdict(measured) | {"networks": fields})
        return
    gradient_flow.show(networks, measured.lags)
