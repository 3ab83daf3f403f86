"""``charrnn beam``: the most probable text that beam search finds."""

from __future__ import annotations

import secrets
from typing import Annotated

import typer

from charrnn.cli.display.samples import NoveltyOption, Target, novelty_index, show
from charrnn.cli.prompt import open_text
from charrnn.cli.shared import (
    AllowOption,
    DeviceOption,
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
    ThreadsOption,
    UnknownOption,
    WeightsOption,
    guarded,
    load_model,
    note,
)
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
    min_length: Annotated[
        int, typer.Option(help="Characters that come before a --stop may end a text.")
    ] = BeamConfig.min_length,
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
    groups: Annotated[
        int, typer.Option(help="Equal parts of the beam that are kept apart by --diversity.")
    ] = BeamConfig.groups,
    diversity: Annotated[
        float,
        typer.Option(
            help="Nats that a symbol loses for each beam of the groups before that takes it; "
            "0 is neutral."
        ),
    ] = BeamConfig.diversity,
    stochastic: Annotated[
        bool,
        typer.Option("--stochastic", help="Draw different texts at random, as sample would."),
    ] = BeamConfig.stochastic,
    temperature: Annotated[
        float,
        typer.Option("--temperature", "-t", help="Of --stochastic; 1 is neutral."),
    ] = BeamConfig.temperature,
    seed: Annotated[
        int | None,
        typer.Option(help="Repeats --stochastic exactly.", show_default="a new one, printed"),
    ] = None,
    stop: StopOption = None,
    regex: RegexOption = None,
    allow: AllowOption = None,
    forbid: ForbidOption = None,
    max_lines: MaxLinesOption = None,
    load_state: LoadStateOption = None,
    save_state: SaveStateOption = None,
    weights: WeightsOption = "float32",
    threads: ThreadsOption = None,
    device: DeviceOption = "cpu",
    novelty: NoveltyOption = False,
    out: OutOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the most probable text that a search over WIDTH prefixes finds."""
    config = BeamConfig(
        length=length,
        min_length=min_length,
        width=width,
        num_return=num_return,
        length_penalty=length_penalty,
        groups=groups,
        diversity=diversity,
        stochastic=stochastic,
        temperature=temperature,
        seed=secrets.randbits(32) if stochastic and seed is None else seed,
        stop=tuple(stop or ()),
        regex=regex,
        allow=allow,
        forbid=forbid,
        max_lines=max_lines,
    )
    target = Target(out, config.num_return, as_json, force)
    index = novelty_index(model) if novelty else None
    generator = load_model(model, weights, threads, device)
    opening = open_text(generator, prompt, prompt_file, unknown, load_state, save_state)
    if config.seed is not None:
        note(f"seed: {config.seed}")
    samples = show(
        opening.prompt,
        target,
        lambda write: opening.generator.beam(opening.read, config, write),
        index,
    )
    opening.keep(samples[0])
