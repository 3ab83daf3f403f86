"""``charrnn sample``: random text."""

from __future__ import annotations

import secrets
from dataclasses import replace

from charrnn.cli.display.samples import SampleOutput, Target, novelty_index, show
from charrnn.cli.options import configured
from charrnn.cli.prompt import (
    PromptArgument,
    PromptOptions,
    check_prompt,
    load_state,
    open_texts,
    prompts_of,
    save_state,
)
from charrnn.cli.shared import CellOption, ModelOption, guarded, load_model, note
from charrnn.config import EngineOptions, SampleConfig
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
    if start.save_state is not None and config.num_samples > 1:
        raise OptionError("--save-state saves the state after one text: use --num-samples 1")
    if start.save_state is not None and config.mirostat_ent:
        raise OptionError("--save-state does not save mirostat's cutoff: leave out --mirostat-ent")
    check_prompt(text, start)
    generator = load_model(model, engine, cell)
    texts = prompts_of(text, start, generator.reading)
    index = novelty_index(model, output)
    target = Target.of(output, len(texts) * config.num_samples, config, generator.reading.separator)
    after = load_state(generator, start)
    seed = after.seed if config.seed is None and after else config.seed
    config = replace(config, seed=secrets.randbits(32) if seed is None else seed)
    accept = index.is_new if output.new and index else None
    generator.prepare(config)
    note(f"seed: {config.seed}")
    written = show(
        open_texts(generator, texts, start, config.unknown, after),
        target,
        lambda opening, number, write: generator.samples(
            opening.read, config, write, first=number * config.num_samples, accept=accept
        ),
        index if output.novelty else None,
    )
    save_state(generator, start, written)
