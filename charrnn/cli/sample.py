"""``charrnn sample``: random text."""

from __future__ import annotations

import secrets
from dataclasses import replace
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
    note,
)
from charrnn.cli.writing import Target, show
from charrnn.config import SampleConfig
from charrnn.errors import OptionError


@guarded
def sample(
    model: ModelOption = None,
    prompt: PromptOption = "",
    prompt_file: PromptFileOption = None,
    unknown: UnknownOption = "error",
    length: Annotated[
        int, typer.Option("--length", "-n", help="Characters to write.")
    ] = SampleConfig.length,
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature", "-t", help="Below 1 bolder, above 1 wilder; 1 is neutral, 0 greedy."
        ),
    ] = SampleConfig.temperature,
    top_k: Annotated[
        int, typer.Option(help="Draw from the K most likely symbols only; 0 is neutral.")
    ] = SampleConfig.top_k,
    top_p: Annotated[
        float,
        typer.Option(
            help="Draw from the most likely symbols that hold this probability; 1 is neutral."
        ),
    ] = SampleConfig.top_p,
    min_p: Annotated[
        float,
        typer.Option(
            help="Draw from symbols with this share of the best one's probability; 0 is neutral."
        ),
    ] = SampleConfig.min_p,
    num_samples: Annotated[
        int, typer.Option(help="How many texts to write, as one batch.")
    ] = SampleConfig.num_samples,
    stop: StopOption = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Repeats a text exactly.", show_default="a new one, printed"),
    ] = None,
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
    """Write random text with a trained model.

    The filters act in the order temperature, top-k, top-p, min-p.
    """
    config = SampleConfig(
        length=length,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        num_samples=num_samples,
        stop=tuple(stop or ()),
        regex=regex,
        allow=allow,
        forbid=forbid,
        max_lines=max_lines,
        seed=seed,
    )
    if save_state is not None and config.num_samples > 1:
        raise OptionError("--save-state keeps the state after one text: use --num-samples 1")
    target = Target(out, config.num_samples, as_json, force)
    opening = open_text(model, prompt, prompt_file, unknown, load_state, save_state)
    given = opening.read.seed if seed is None else seed
    config = replace(config, seed=secrets.randbits(32) if given is None else given)
    note(f"seed: {config.seed}")
    samples = show(
        opening.prompt,
        target,
        lambda write: opening.generator.samples(opening.read, config, write),
    )
    if save_state is not None:
        opening.generator.save_state(save_state, opening.generator.after(opening.read, samples[0]))
