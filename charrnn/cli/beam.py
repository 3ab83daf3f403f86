"""``charrnn beam``: the most probable text that beam search finds."""

from __future__ import annotations

from typing import Annotated

import typer

from charrnn.cli.opening import open_text
from charrnn.cli.shell import (
    AllowOption,
    ForbidOption,
    ForceOption,
    JsonOption,
    LoadStateOption,
    MaxLinesOption,
    ModelOption,
    OutOption,
    PromptFileOption,
    PromptOption,
    RegexOption,
    SaveStateOption,
    StopOption,
    UnknownOption,
    guarded,
)
from charrnn.cli.writing import Target, show
from charrnn.config import BeamConfig


@guarded
def beam(
    model: ModelOption = None,
    prompt: PromptOption = "",
    prompt_file: PromptFileOption = None,
    unknown: UnknownOption = "error",
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
    regex: RegexOption = None,
    allow: AllowOption = None,
    forbid: ForbidOption = None,
    max_lines: MaxLinesOption = None,
    load_state: LoadStateOption = None,
    save_state: SaveStateOption = None,
    out: OutOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the most probable text that a search over WIDTH prefixes finds."""
    config = BeamConfig(
        length=length,
        width=width,
        num_return=num_return,
        length_penalty=length_penalty,
        stop=tuple(stop or ()),
        regex=regex,
        allow=allow,
        forbid=forbid,
        max_lines=max_lines,
    )
    target = Target(out, config.num_return, as_json, force)
    opening = open_text(model, prompt, prompt_file, unknown, load_state, save_state)
    samples = show(
        opening.prompt,
        target,
        lambda write: opening.generator.beam(opening.read, config, write),
    )
    if save_state is not None:
        opening.generator.save_state(save_state, opening.generator.after(opening.read, samples[0]))
