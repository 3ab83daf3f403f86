"""``charrnn greedy``: the most likely token at each step."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from charrnn.cli.display.samples import OutputOptions, Target, novelty_index, show
from charrnn.cli.options import Only, configured
from charrnn.cli.prompt import PromptOptions, open_text
from charrnn.cli.shared import ModelOption, guarded, load_model
from charrnn.config import EngineOptions, SampleConfig

GREEDY = Only(
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "repeat_last_n",
    "no_repeat_ngram_size",
    "logit_bias",
    "stop",
    "regex",
    "allow",
    "forbid",
    "max_lines",
    length=200,
)


@guarded
@configured
def greedy(
    *,
    model: ModelOption = None,
    start: PromptOptions,
    config: Annotated[SampleConfig, GREEDY],
    engine: EngineOptions,
    output: OutputOptions,
) -> None:
    """Write the most likely token at each step; without penalties it soon repeats itself."""
    config = replace(config, temperature=0.0)
    target = Target(output, 1)
    index = novelty_index(model) if output.novelty else None
    opening = open_text(load_model(model, engine), start)
    opening.generator.prepare(config)
    samples = show(
        opening.prompt,
        target,
        lambda write: opening.generator.samples(opening.read, config, write),
        index,
    )
    opening.save(samples[0])
