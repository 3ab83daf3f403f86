"""``charrnn greedy``: the most likely symbol at each step."""

from __future__ import annotations

from typing import Annotated

import typer

from charrnn.cli.shell import (
    JsonOption,
    ModelOption,
    PromptOption,
    StopOption,
    guarded,
    load_model,
)
from charrnn.cli.writing import NoveltyOption, novelty_index, show
from charrnn.config import BeamConfig


@guarded
def greedy(
    model: ModelOption = None,
    prompt: PromptOption = "",
    length: Annotated[
        int, typer.Option("--length", "-n", help="Characters to write.")
    ] = BeamConfig.length,
    stop: StopOption = None,
    novelty: NoveltyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the most likely symbol at each step; it repeats itself soon."""
    config = BeamConfig(length=length, width=1, stop=tuple(stop or ()))
    generator = load_model(model)
    index = novelty_index(model) if novelty else None
    read = generator.read(prompt)
    show(
        prompt,
        1,
        as_json,
        lambda write: [generator.greedy(read, config.length, config.stop, write)],
        index,
    )
