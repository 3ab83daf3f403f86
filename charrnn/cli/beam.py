"""``charrnn beam``: the most probable text that beam search finds."""

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
def beam(
    model: ModelOption = None,
    prompt: PromptOption = "",
    length: Annotated[
        int, typer.Option("--length", "-n", help="Characters to write.")
    ] = BeamConfig.length,
    width: Annotated[
        int, typer.Option("--width", "-w", help="Prefixes kept at every step.")
    ] = BeamConfig.width,
    num_return: Annotated[
        int, typer.Option(help="Best texts to print, with their log-probabilities.")
    ] = BeamConfig.num_return,
    length_penalty: Annotated[
        float,
        typer.Option(help="Texts rank by log p / length^A: 0 favours short ones, 1 the mean."),
    ] = BeamConfig.length_penalty,
    stop: StopOption = None,
    novelty: NoveltyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the most probable text that a search over WIDTH prefixes finds."""
    config = BeamConfig(
        length=length,
        width=width,
        num_return=num_return,
        length_penalty=length_penalty,
        stop=tuple(stop or ()),
    )
    generator = load_model(model)
    index = novelty_index(model) if novelty else None
    read = generator.read(prompt)
    show(
        prompt,
        config.num_return,
        as_json,
        lambda write: generator.beam(read, config, write),
        index,
    )
