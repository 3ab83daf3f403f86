"""``charrnn fill``: what stands in the gaps of a text."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from charrnn.cli.display.sample_output import OutputOptions
from charrnn.cli.filled_text import show_filled
from charrnn.cli.options import Only, configured
from charrnn.cli.prompt import PromptOptions, check_prompt, prompts_of
from charrnn.cli.shared import CellOption, ModelOption, guarded, load_model, note
from charrnn.config import EngineOptions, FillConfig, new_seed

PROMPT = Only(
    "prompt",
    "prompt_file",
    helps={
        "prompt": "A text with gaps; - is standard input.",
        "prompt_file": "Fill the exact text of this file; - is standard input.",
    },
)

OUTPUT = Only("out", "force", "json", helps={"out": "Write to this file instead of stdout."})


@guarded
@configured
def fill(
    *,
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="TEXT",
            help="A text with gaps, such as 'to ___ or not to be'; the same as --prompt.",
            show_default="the text that is piped in, if any",
        ),
    ] = None,
    model: ModelOption = None,
    cell: CellOption = None,
    start: Annotated[PromptOptions, PROMPT],
    config: FillConfig,
    engine: Annotated[EngineOptions, Only("weights", "threads", "device")],
    output: Annotated[OutputOptions, OUTPUT],
) -> None:
    """Fill the gaps of a text with a model that was trained with --fill.

    Gaps are filled one after the other, from left to right: each by what beam search finds most
    probable between the text on its left and on its right, or at random with --temperature. Text
    far from a gap is not read.
    """
    check_prompt(text, start)
    output.check_out()
    generator = load_model(model, engine, cell)
    (given,) = prompts_of(text, start, generator.reading)
    if config.temperature:
        config = replace(config, seed=new_seed() if config.seed is None else config.seed)
        note(f"seed: {config.seed}")
    show_filled(given, generator.fills(given, config), output)
