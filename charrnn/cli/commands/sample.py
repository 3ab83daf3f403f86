"""``charrnn sample``: random text."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Annotated

import typer

from charrnn.cli.display.samples import NoveltyOption, Target, novelty_index, show
from charrnn.cli.logit_options import (
    FrequencyPenaltyOption,
    LogitBiasOption,
    NoRepeatNgramSizeOption,
    PresencePenaltyOption,
    RepeatLastNOption,
    RepeatPenaltyOption,
    biases,
)
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
from charrnn.config import SampleConfig
from charrnn.errors import OptionError

_FILTERS = "Filters"


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
            "--temperature", "-t", help="Below 1 safer, above 1 wilder; 1 is neutral, 0 greedy."
        ),
    ] = SampleConfig.temperature,
    top_k: Annotated[
        int,
        typer.Option(
            help="Draw from the K most likely symbols only; 0 is neutral.",
            rich_help_panel=_FILTERS,
        ),
    ] = SampleConfig.top_k,
    typical_p: Annotated[
        float,
        typer.Option(
            help="Draw from the symbols of most typical surprisal that hold this probability; "
            "1 is neutral.",
            rich_help_panel=_FILTERS,
        ),
    ] = SampleConfig.typical_p,
    top_p: Annotated[
        float,
        typer.Option(
            help="Draw from the most likely symbols that hold this probability; 1 is neutral.",
            rich_help_panel=_FILTERS,
        ),
    ] = SampleConfig.top_p,
    min_p: Annotated[
        float,
        typer.Option(
            help="Draw from symbols with this share of the best one's probability; 0 is neutral.",
            rich_help_panel=_FILTERS,
        ),
    ] = SampleConfig.min_p,
    xtc_probability: Annotated[
        float,
        typer.Option(
            help="How often, of several likely symbols, only the least likely stays; 0 is neutral.",
            rich_help_panel=_FILTERS,
        ),
    ] = SampleConfig.xtc_probability,
    xtc_threshold: Annotated[
        float,
        typer.Option(help="The probability that makes a symbol likely.", rich_help_panel=_FILTERS),
    ] = SampleConfig.xtc_threshold,
    mirostat_ent: Annotated[
        float,
        typer.Option(
            help="Keep the surprise of symbols at so many bits, by cutting off unlikely ones as "
            "it needs; 0 is neutral.",
            rich_help_panel=_FILTERS,
        ),
    ] = SampleConfig.mirostat_ent,
    mirostat_lr: Annotated[
        float, typer.Option(help="How fast that follows.", rich_help_panel=_FILTERS)
    ] = SampleConfig.mirostat_lr,
    repeat_penalty: RepeatPenaltyOption = SampleConfig.repeat_penalty,
    presence_penalty: PresencePenaltyOption = SampleConfig.presence_penalty,
    frequency_penalty: FrequencyPenaltyOption = SampleConfig.frequency_penalty,
    repeat_last_n: RepeatLastNOption = SampleConfig.repeat_last_n,
    no_repeat_ngram_size: NoRepeatNgramSizeOption = SampleConfig.no_repeat_ngram_size,
    logit_bias: LogitBiasOption = None,
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
    weights: WeightsOption = "float32",
    threads: ThreadsOption = None,
    device: DeviceOption = "cpu",
    novelty: NoveltyOption = False,
    out: OutOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write random text with a trained model.

    In this order: logit bias, repetition, presence and frequency penalties, no repeated n-grams,
    temperature, top-k, typical, top-p, min-p, XTC, mirostat.
    """
    config = SampleConfig(
        length=length,
        temperature=temperature,
        top_k=top_k,
        typical_p=typical_p,
        top_p=top_p,
        min_p=min_p,
        xtc_probability=xtc_probability,
        xtc_threshold=xtc_threshold,
        mirostat_ent=mirostat_ent,
        mirostat_lr=mirostat_lr,
        repeat_penalty=repeat_penalty,
        presence_penalty=presence_penalty,
        frequency_penalty=frequency_penalty,
        repeat_last_n=repeat_last_n,
        no_repeat_ngram_size=no_repeat_ngram_size,
        logit_bias=biases(logit_bias),
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
    if save_state is not None and config.mirostat_ent:
        raise OptionError(
            "--save-state keeps what the network has read, and mirostat's bound is no part of "
            "that: leave out --mirostat-ent"
        )
    target = Target(out, config.num_samples, as_json, force)
    index = novelty_index(model) if novelty else None
    generator = load_model(model, weights, threads, device)
    opening = open_text(generator, prompt, prompt_file, unknown, load_state, save_state)
    given = opening.read.seed if seed is None else seed
    config = replace(config, seed=secrets.randbits(32) if given is None else given)
    note(f"seed: {config.seed}")
    opening.generator.prepare(config)
    samples = show(
        opening.prompt,
        target,
        lambda write: opening.generator.samples(opening.read, config, write),
        index,
    )
    opening.keep(samples[0])
