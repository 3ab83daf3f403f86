"""``charrnn greedy``: the most likely token at each step."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from charrnn.cli.answering import answer
from charrnn.cli.display.sample_output import OutputOptions
from charrnn.cli.options import Only, configured
from charrnn.cli.prompt import PromptArgument, PromptOptions
from charrnn.cli.shared import CellOption, ModelOption, guarded
from charrnn.cli.writing import Writing
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
    if start.has_source:
        answer(model, cell, engine, text, start, output, config)
        return
    writing = Writing(model, cell, engine, text, start, output, config)
    writing.generator.prepare(config, wait=False)
    writing.run(lambda opening, _, write: writing.generator.samples(opening.read, config, write))
