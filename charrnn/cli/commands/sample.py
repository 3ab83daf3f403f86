"""``charrnn sample``: random text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from charrnn.cli.answering import answer
from charrnn.cli.display.sample_output import SampleOutput
from charrnn.cli.options import configured
from charrnn.cli.prompt import PromptArgument, PromptOptions
from charrnn.cli.shared import CellOption, ModelOption, guarded, left_after, note
from charrnn.cli.writing import Writing
from charrnn.config import EngineOptions, SampleConfig, seeded
from charrnn.errors import OptionError

if TYPE_CHECKING:
    from charrnn.cli.display.samples import Write
    from charrnn.cli.prompt import Opening
    from charrnn.decoding.output_text import Sample


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
    config = seeded(config if given else replace(config, seed=writing.seed))
    accept = writing.index.is_new if output.new and writing.index else None
    if output.skip and (accept or config.unique or start.prompts):
        raise OptionError("--skip is for texts after one prompt, without --unique and --new")
    count = left_after(output.skip, config.num_samples, "text")
    left = replace(config, num_samples=count)
    writing.generator.prepare(left, wait=False)
    if config.temperature:
        note(f"seed: {config.seed}")
    elif given:
        note("--seed has no effect at --temperature 0, where nothing is random")

    def texts(opening: Opening, number: int, write: Write) -> Iterable[Sample]:
        first, generator = number * config.num_samples + output.skip, writing.generator
        if accept:
            return generator.samples(opening.read, config, write, first=first, accept=accept)
        processes = generator.processes(left.num_samples, left)
        return generator.texts(opening.read, left, write, first=first, processes=processes)

    writing.run(texts)
