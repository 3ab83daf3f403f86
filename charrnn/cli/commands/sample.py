"""``charrnn sample``: random text."""

from __future__ import annotations

import secrets
from dataclasses import replace

from charrnn.cli.display.samples import OutputOptions, Target, novelty_index, show
from charrnn.cli.options import configured
from charrnn.cli.prompt import PromptOptions, open_text
from charrnn.cli.shared import ModelOption, guarded, load_model, note
from charrnn.config import EngineOptions, SampleConfig
from charrnn.errors import OptionError


@guarded
@configured
def sample(
    *,
    model: ModelOption = None,
    start: PromptOptions,
    config: SampleConfig,
    engine: EngineOptions,
    output: OutputOptions,
) -> None:
    """Sample text from a trained model.

    Options are applied in this order: logit bias; repetition, presence and frequency penalties; no
    repeated n-grams; temperature, top-k, typical, top-p, min-p, XTC, mirostat.
    """
    if start.save_state is not None and config.num_samples > 1:
        raise OptionError("--save-state saves the state after one text: use --num-samples 1")
    if start.save_state is not None and config.mirostat_ent:
        raise OptionError("--save-state does not save mirostat's cutoff: leave out --mirostat-ent")
    target = Target(output, config.num_samples)
    index = novelty_index(model) if output.novelty else None
    opening = open_text(load_model(model, engine), start)
    seed = opening.read.seed if config.seed is None else config.seed
    config = replace(config, seed=secrets.randbits(32) if seed is None else seed)
    note(f"seed: {config.seed}")
    opening.generator.prepare(config)
    samples = show(
        opening.prompt,
        target,
        lambda write: opening.generator.samples(opening.read, config, write),
        index,
    )
    opening.save(samples[0])
