"""``charrnn sample``: random text."""

from __future__ import annotations

from dataclasses import replace

from charrnn.cli.answering import answer
from charrnn.cli.display.samples import SampleOutput
from charrnn.cli.options import configured
from charrnn.cli.prompt import PromptArgument, PromptOptions
from charrnn.cli.shared import CellOption, ModelOption, guarded, note
from charrnn.cli.writing import Writing
from charrnn.config import EngineOptions, SampleConfig, new_seed
from charrnn.errors import OptionError


@guarded
@configured
def sample(
    *,
    text: PromptArgument = None,
    model: ModelOption = None,
    cell: CellOption = None,
    start: PromptOptions,
    config: SampleConfig,
    engine: EngineOptions,
    output: SampleOutput,
) -> None:
    """Sample text from a trained model.

    Options are applied in this order: logit bias; repetition, presence and frequency penalties; no
    repeated n-grams; temperature, top-k, typical, top-p, min-p, XTC, mirostat.
    """
    if start.has_source:
        answer(model, cell, engine, text, start, output, config)
        return
    if start.save_state is not None and config.num_samples > 1:
        raise OptionError("--save-state saves the state after one text: use --num-samples 1")
    if start.save_state is not None and config.mirostat_ent:
        raise OptionError("--save-state does not save mirostat's cutoff: leave out --mirostat-ent")
    writing = Writing(model, cell, engine, text, start, output, config)
    given = config.seed is not None
    seed = config.seed if given else writing.seed
    config = replace(config, seed=new_seed() if seed is None else seed)
    accept = writing.index.is_new if output.new and writing.index else None
    writing.generator.prepare(config)
    if config.temperature:
        note(f"seed: {config.seed}")
    elif given:
        note("--seed has no effect at --temperature 0, where nothing is random")
    writing.run(
        lambda opening, number, write: writing.generator.samples(
            opening.read, config, write, first=number * config.num_samples, accept=accept
        )
    )
