"""``charrnn beam``: the most probable text that beam search finds."""

from __future__ import annotations

from charrnn.cli.answering import answer
from charrnn.cli.display.sample_output import OutputOptions
from charrnn.cli.options import configured
from charrnn.cli.prompt import PromptArgument, PromptOptions
from charrnn.cli.shared import CellOption, ModelOption, guarded, note
from charrnn.cli.writing import Writing
from charrnn.config import BeamConfig, EngineOptions, seeded


@guarded
@configured
def beam(
    *,
    text: PromptArgument = None,
    model: ModelOption = None,
    cell: CellOption = None,
    start: PromptOptions,
    config: BeamConfig,
    engine: EngineOptions,
    output: OutputOptions,
) -> None:
    """Write the most probable text that beam search finds."""
    if start.has_source:
        answer(model, cell, engine, text, start, output, config)
        return
    if config.stochastic:
        config = seeded(config)
    writing = Writing(model, cell, engine, text, start, output, config)
    if config.seed is not None:
        note(f"seed: {config.seed}")
    generate = writing.generator.beams
    writing.run(lambda opening, _, write: generate(opening.read, config, write), ranked=True)
