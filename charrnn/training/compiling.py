"""Compile what a training needs in another process, while this one does other things."""

from __future__ import annotations

import torch

from charrnn.compiler import background, processor
from charrnn.compiler.cache import CFunction
from charrnn.config import TrainOptions
from charrnn.inference.compiled_engine import compiled_functions
from charrnn.model import parameters
from charrnn.network import fused_loss, panels, weight_gradients
from charrnn.training import count_model, optimizer
from charrnn.training.setup import Setup, choose_kernel, exact_kernel, layer_of


def begin(options: TrainOptions, device: torch.device) -> None:
    """Begin with the functions of a step, before the text is read."""
    background.share(step_functions(options, device))


def go_on(setup: Setup) -> None:
    """Go on with what the training needs before its first step."""
    background.share(first_functions(setup))


def step_functions(options: TrainOptions, device: torch.device) -> list[CFunction]:
    """Return the functions of a planned training's steps, in the order in which they are needed.

    Args:
        options: what the user asked for; a plan may choose another cell.
        device: where the training will run.
    """
    kernel = choose_kernel(options, device)
    if kernel.backend != "fused" or device.type != "cpu":
        return []
    found = [*kernel.functions(layer_of(options), bool(options.zone_rates(1)))]
    if kernel.bf16:
        kind = processor.product_kind(kernel.bf16)
        found += [panels.PACK, fused_loss.FUNCTIONS[kind], weight_gradients.FUNCTIONS[kind]]
    return [*found, *optimizer.functions(options.optimizer)]


def first_functions(setup: Setup) -> list[CFunction]:
    """Return the functions that count a text and score it before the first step, in this order."""
    if setup.device.type != "cpu":
        return []
    model, found = setup.plan.model, list[CFunction]()
    if count_model.wanted(setup):
        from charrnn.inference import counting  # noqa: F401 - declares what mixes counts

        found += compiled_functions(model, "float32")
    exact = exact_kernel(model, setup.device)
    found += exact.functions(parameters.layer_of(model), bool(model.zone_rates(1)))[:1]
    return found
