"""``charrnn greedy``: the most likely token at each step."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from charrnn.cli.display.samples import OutputOptions, Target, novelty_index, show
from charrnn.cli.options import Only, configured
from charrnn.cli.prompt import (
    PromptArgument,
    PromptOptions,
    check_prompt,
    load_state,
    open_texts,
    prompts_of,
    save_state,
)
from charrnn.cli.shared import CellOption, ModelOption, guarded, load_model
from charrnn.config import GREEDY_FIELDS, EngineOptions, SampleConfig

GREEDY = Only(*GREEDY_FIELDS, length=200)


@guarded
@configured
def greedy(
    *,
    text: PromptArgument = None,
    model: ModelOption = None,
    cell: CellOption = None,
    start: PromptOptions,
    config: Annotated[SampleConfig, GREEDY],
    engine: EngineOptions,
    output: OutputOptions,
) -> None:
    """Write the most likely token at each step; without penalties it soon repeats itself."""
    config = replace(config, temperature=0.0)
    check_prompt(text, start)
    generator = load_model(model, engine, cell)
    texts = prompts_of(text, start, generator.reading)
    index = novelty_index(model, output)
    target = Target.of(output, len(texts), config, generator.reading.separator)
    after = load_state(generator, start)
    generator.prepare(config)
    written = show(
        open_texts(generator, texts, start, config.unknown, after),
        target,
        lambda opening, number, write: generator.samples(opening.read, config, write),
        index,
    )
    save_state(generator, start, written)
