"""``charrnn sample``: random text."""

from __future__ import annotations

import secrets
from typing import Annotated

import typer

from charrnn.cli.shell import (
    JsonOption,
    ModelOption,
    PromptOption,
    StopOption,
    guarded,
    load_model,
    note,
)
from charrnn.cli.writing import NoveltyOption, novelty_index, show
from charrnn.config import SampleConfig


@guarded
def sample(
    model: ModelOption = None,
    prompt: PromptOption = "",
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
    novelty: NoveltyOption = False,
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
        seed=secrets.randbits(32) if seed is None else seed,
    )
    generator = load_model(model)
    index = novelty_index(model) if novelty else None
    read = generator.read(prompt)
    note(f"seed: {config.seed}")
    show(
        prompt,
        config.num_samples,
        as_json,
        lambda write: generator.samples(read, config, write),
        index,
    )
