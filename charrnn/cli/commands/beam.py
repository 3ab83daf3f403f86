"""``charrnn beam``: the most probable text that beam search finds."""

from __future__ import annotations

import secrets
from dataclasses import replace

from charrnn.cli.display.samples import OutputOptions, Target, novelty_index, show
from charrnn.cli.options import configured
from charrnn.cli.prompt import (
    PromptArgument,
    PromptOptions,
    check_prompt,
    load_state,
    open_texts,
    prompts_of,
    save_state,
)
from charrnn.cli.shared import CellOption, ModelOption, guarded, load_model, note
from charrnn.config import BeamConfig, EngineOptions


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
    if config.stochastic and config.seed is None:
        config = replace(config, seed=secrets.randbits(32))
    check_prompt(text, start)
    generator = load_model(model, engine, cell)
    texts = prompts_of(text, start, generator.reading)
    index = novelty_index(model, output)
    target = Target.of(output, len(texts) * config.num_return, config, generator.reading.separator)
    after = load_state(generator, start)
    if config.seed is not None:
        note(f"seed: {config.seed}")
    written = show(
        open_texts(generator, texts, start, config.unknown, after),
        target,
        lambda opening, number, write: generator.beams(opening.read, config, write),
        index,
        ranked=True,
    )
    save_state(generator, start, written)
