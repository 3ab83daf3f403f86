"""``charrnn beam``: the most probable text that beam search finds."""

from __future__ import annotations

import secrets
from dataclasses import replace

from charrnn.cli.display.samples import OutputOptions, Target, novelty_index, show
from charrnn.cli.options import configured
from charrnn.cli.prompt import PromptOptions, open_text
from charrnn.cli.shared import ModelOption, guarded, load_model, note
from charrnn.config import BeamConfig, EngineOptions


@guarded
@configured
def beam(
    *,
    model: ModelOption = None,
    start: PromptOptions,
    config: BeamConfig,
    engine: EngineOptions,
    output: OutputOptions,
) -> None:
    """Write the most probable text that beam search finds."""
    if config.stochastic and config.seed is None:
        config = replace(config, seed=secrets.randbits(32))
    target = Target(output, config.num_return)
    index = novelty_index(model) if output.novelty else None
    opening = open_text(load_model(model, engine), start)
    if config.seed is not None:
        note(f"seed: {config.seed}")
    samples = show(
        opening.prompt,
        target,
        lambda write: opening.generator.beam(opening.read, config, write),
        index,
    )
    opening.save(samples[0])
