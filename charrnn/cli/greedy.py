"""``charrnn greedy``: the most likely symbol at each step."""

from __future__ import annotations

from typing import Annotated

import typer

from charrnn.cli.penalties import (
    FrequencyPenaltyOption,
    LogitBiasOption,
    NoRepeatNgramSizeOption,
    PresencePenaltyOption,
    RepeatLastNOption,
    RepeatPenaltyOption,
    biases,
)
from charrnn.cli.shell import (
    JsonOption,
    ModelOption,
    PromptOption,
    StopOption,
    guarded,
    load_model,
)
from charrnn.cli.writing import show
from charrnn.config import BeamConfig, SampleConfig


@guarded
def greedy(
    model: ModelOption = None,
    prompt: PromptOption = "",
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
    )
    generator = load_model(model)
    read = generator.read(prompt)
    show(prompt, 1, as_json, lambda write: generator.samples(read, config, write))
