"""Answer sources with a model of pairs: ``sample``, ``greedy`` and ``beam`` with ``--source``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli.display.samples import SHOWN, OutputOptions
from charrnn.cli.prompt import PromptOptions, content
from charrnn.cli.shared import json_line, load_model, note, print_json
from charrnn.config import BeamConfig, EngineOptions, SampleConfig, new_seed
from charrnn.config.fields import flag
from charrnn.errors import OptionError, PromptError, counted
from charrnn.terminal import TextWriter

if TYPE_CHECKING:
    from charrnn.config import ModelReading
    from charrnn.decoding.output_text import Sample
    from charrnn.generator import Generator

_OF_TEXTS = ("prompt_file", "prompts", "load_state", "save_state")  # without meaning for pairs
_OF_OUTPUT = ("separator", "novelty", "training_text", "new")


@dataclass(frozen=True)
class Answering:
    """Sources, and how they are answered.

    Attributes:
        generator: the model.
        sources: at least one.
        config: how an answer is chosen, and how many for each source.
        prompt: how every answer begins.
        shown: what is shown of that.
        in_columns: whether all answers to a source are on one line.
    """

    generator: Generator
    sources: Sequence[str]
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
        answers = self.generator.answers(self.sources, self.config, self.prompt)
        yield from zip(self.sources, answers, strict=True)

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
    generator = load_model(model, engine, cell)
    random = config.stochastic if isinstance(config, BeamConfig) else config.temperature > 0
    if random:
        config = replace(config, seed=new_seed() if config.seed is None else config.seed)
        note(f"seed: {config.seed}")
    sources = _sources(start, generator.reading)
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


def _sources(start: PromptOptions, model: ModelReading) -> list[str]:
    """Return the source, or those of the lines of a file.

    Raises:
        PromptError: the file cannot be read; a line is empty, has a tab, or a bad escape.
    """
    if start.source is not None:
        return [start.source]
    from charrnn.text import line_ends
    from charrnn.text.pair_lines import unescaped

    assert start.source_file is not None
    file = start.source_file
    found = []
    text = content("--source-file", file, model)
    for number, line in enumerate(line_ends.split(text), start=1):
        source = line_ends.without_end(line)
        if not source or "\t" in source:
            what = "has a tab: name sources alone, one a line" if source else "is empty"
            raise PromptError(f"--source-file {file}, line {number:,} {what}")
        try:
            found.append(unescaped(source))
        except ValueError as error:
            raise PromptError(f"--source-file {file}, line {number:,}: {error}") from None
    if not found:
        raise PromptError(f"--source-file {file} is empty: write one source on each line")
    return found


def _write(given: Answering, output: OutputOptions) -> None:
    """Show the answers as they come, or write them to a file or as JSON at the end."""
    from charrnn.storage import files

    output.check_out()
    if output.out is None and not output.json:
        writer = TextWriter(sys.stdout)
        for _, samples in given.answers():
            for line in given.lines(samples):
                writer.write(line)
            writer.flush()
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
