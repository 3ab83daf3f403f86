"""``charrnn greedy``: the most likely symbol at each step."""

from __future__ import annotations

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
)
from charrnn.config import BeamConfig, SampleConfig


@guarded
def greedy(
    model: ModelOption = None,
    prompt: PromptOption = "",
    prompt_file: PromptFileOption = None,
    unknown: UnknownOption = "error",
    length: Annotated[
        int, typer.Option("--length", "-n", help="Characters to write.")
    ] = BeamConfig.length,
    repeat_penalty: RepeatPenaltyOption = SampleConfig.repeat_penalty,
    presence_penalty: PresencePenaltyOption = SampleConfig.presence_penalty,
    frequency_penalty: FrequencyPenaltyOption = SampleConfig.frequency_penalty,
    repeat_last_n: RepeatLastNOption = SampleConfig.repeat_last_n,
    no_repeat_ngram_size: NoRepeatNgramSizeOption = SampleConfig.no_repeat_ngram_size,
    logit_bias: LogitBiasOption = None,
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
    """Write the most likely symbol at each step; without penalties it repeats itself soon."""
    config = SampleConfig(
        length=length,
        temperature=0.0,
        repeat_penalty=repeat_penalty,
        presence_penalty=presence_penalty,
        frequency_penalty=frequency_penalty,
        repeat_last_n=repeat_last_n,
        no_repeat_ngram_size=no_repeat_ngram_size,
        logit_bias=biases(logit_bias),
        stop=tuple(stop or ()),
        regex=regex,
        allow=allow,
        forbid=forbid,
        max_lines=max_lines,
    )
    target = Target(out, 1, as_json, force)
    index = novelty_index(model) if novelty else None
    generator = load_model(model, weights, threads, device)
    opening = open_text(generator, prompt, prompt_file, unknown, load_state, save_state)
    opening.generator.prepare(config)
    samples = show(
        opening.prompt,
        target,
        lambda write: opening.generator.samples(opening.read, config, write),
        index,
    )
    opening.keep(samples[0])
