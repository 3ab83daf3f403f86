"""Answer sources with a model of pairs: ``sample``, ``greedy`` and ``beam`` with ``--source``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli.display.samples import SHOWN, OutputOptions, log_probability
from charrnn.cli.prompt import PromptOptions
from charrnn.cli.shared import json_line, load_model, note, print_json
from charrnn.cli.source_lines import given_sources
from charrnn.config import BeamConfig, EngineOptions, SampleConfig, new_seed
from charrnn.config.fields import flag
from charrnn.errors import OptionError, counted
from charrnn.terminal import TextWriter

if TYPE_CHECKING:
    from charrnn.decoding.output_text import Sample
    from charrnn.generator import Generator

_OF_TEXTS = (
    "prompt_file",
    "prompts",
    "adapt",
    "load_state",
    "save_state",
)  # without meaning for pairs
_OF_OUTPUT = ("separator", "novelty", "training_text", "new")


@dataclass(frozen=True)
class Answering:
    """Sources, and how they are answered.

    Attributes:
        generator: the model.
        sources: at least one; some at a time, which are answered before the next are asked for.
        config: how an answer is chosen, and how many for each source.
        prompt: how every answer begins.
        shown: what is shown of that.
        in_columns: whether all answers to a source are on one line.
    """

    generator: Generator
    sources: Iterable[Sequence[str]]
    config: SampleConfig | BeamConfig
    prompt: str
    shown: str
    in_columns: bool

    @property
    def each(self) -> int:
        """The number of answers to each source."""
        config = self.config
        return config.num_return if isinstance(config, BeamConfig) else config.num_samples

    def answers(self) -> Iterator[tuple[str, list[Sample]]]:
        """Yield each source and its answers, in order."""
        before = 0
        for some in self.sources:
            answers = self.generator.answers(some, self.config, self.prompt, first=before)
            yield from zip(some, answers, strict=True)
            before += len(some)

    def lines(self, samples: Sequence[Sample]) -> Iterator[str]:
        """Yield the lines of the answers to one source."""
        from charrnn.text.pair_lines import escaped

        texts = [self.shown + sample.text for sample in samples]
        if not self.in_columns:
            yield from (f"{text}\n" for text in texts)
        elif self.each == 1:
            yield f"{escaped(texts[0])}\n"
        else:
            columns = zip(map(escaped, texts), samples, strict=True)
            yield "\t".join(f"{text}\t{sample.log_prob:.6g}" for text, sample in columns) + "\n"


def answer(
    model: Path | None,
    cell: str | None,
    engine: EngineOptions,
    argument: str | None,
    start: PromptOptions,
    output: OutputOptions,
    config: SampleConfig | BeamConfig,
) -> None:
    """Answer the sources that the options name, and show or write the answers.

    Raises:
        CharRNNError: an option, the model or a source cannot be used.
    """
    _check(start, output, config, argument)
    output.check_out()
    generator = load_model(model, engine, cell)
    random = config.stochastic if isinstance(config, BeamConfig) else config.temperature > 0
    if random:
        config = replace(config, seed=new_seed() if config.seed is None else config.seed)
        note(f"seed: {config.seed}")
    sources = given_sources(start, generator.reading)
    prompt = (start.prompt if argument is None else argument) or ""
    shown = "" if start.no_prompt else prompt
    given = Answering(generator, sources, config, prompt, shown, start.source is None)
    _write(given, output)


def _check(
    start: PromptOptions,
    output: OutputOptions,
    config: SampleConfig | BeamConfig,
    argument: str | None,
) -> None:
    """Refuse what has no meaning for answers."""
    if start.source is not None and start.source_file is not None:
        raise OptionError("--source and --source-file both give a source: use one of them")
    if argument is not None and start.prompt is not None:
        raise OptionError("PROMPT and --prompt both give a prompt: use one of them")
    unused = [name for name in _OF_TEXTS if getattr(start, name) is not None]
    unused += [name for name in _OF_OUTPUT if getattr(output, name, None) not in (None, False, ())]
    if isinstance(config, SampleConfig) and config.unique:
        unused.append("unique")
    if unused:
        raise OptionError(
            f"{flag(unused[0])} is for texts, not for answers to a source: leave it out"
        )


def _write(given: Answering, output: OutputOptions) -> None:
    """Show the answers as they come, or write them to a file or as JSON at the end."""
    from charrnn.storage import files

    if output.out is None and not output.json:
        writer = TextWriter(sys.stdout)
        for _, samples in given.answers():
            for line in given.lines(samples):
                writer.write(line)
            writer.flush()
            if given.each > 1 and not given.in_columns and isinstance(given.config, BeamConfig):
                for number, sample in enumerate(samples, start=1):
                    note(f"{number} of {given.each}: {log_probability(sample)}")
        return
    began = time.perf_counter()
    answered = list(given.answers())
    seconds = time.perf_counter() - began
    fields = _fields(given, answered, seconds)
    if output.out is None:
        print_json(fields)
        return
    lines = (line for _, samples in answered for line in given.lines(samples))
    text = json_line(fields) if output.json else "".join(lines)
    files.write_atomically(output.out, text.encode())
    note(f"written: {output.out} ({counted(len(answered), 'source')})")


def _fields(
    given: Answering, answered: Sequence[tuple[str, Sequence[Sample]]], seconds: float
) -> dict[str, Any]:
    samples = [
        {"source": source, **{name: getattr(sample, name) for name in SHOWN}}
        for source, texts in answered
        for sample in texts
    ]
    characters = sum(len(fields["text"]) for fields in samples)
    return {
        "prompt": given.prompt,
        "samples": samples,
        "chars_per_second": characters / max(seconds, 1e-9),
    }
