"""Answer sources with a model of pairs: ``sample``, ``greedy`` and ``beam`` with ``--source``."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli.display.sample_output import OutputOptions, in_blocks
from charrnn.cli.display.samples import SHOWN, ended, log_probability
from charrnn.cli.prompt import PromptOptions
from charrnn.cli.shared import json_line, left_after, load_model, note, print_json
from charrnn.cli.source_lines import given_sources
from charrnn.config import BeamConfig, EngineOptions, SampleConfig, seeded
from charrnn.config.fields import flag
from charrnn.errors import OptionError, counted
from charrnn.terminal import TextWriter

if TYPE_CHECKING:
    from charrnn.decoding.output_text import Sample
    from charrnn.generator import Generator as Model

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
        output: says how many sources are left out.
    """

    generator: Model
    sources: Iterable[Sequence[str]]
    config: SampleConfig | BeamConfig
    prompt: str
    shown: str
    in_columns: bool
    output: OutputOptions

    @property
    def each(self) -> int:
        """The number of answers to each source."""
        config = self.config
        return config.num_return if isinstance(config, BeamConfig) else config.num_samples

    def answers(self) -> Generator[tuple[str, list[Sample]]]:
        """Yield each source and its answers, in order.

        Raises:
            OptionError: no source is left after those to skip.
        """
        before = 0
        for given in self.sources:
            some = given[max(0, self.output.skip - before) :]
            first, before = before + len(given) - len(some), before + len(given)
            processes = self.generator.processes(len(some), self.config)
            answers = self.generator.answers(
                some, self.config, self.prompt, first=first, processes=processes
            )
            with ended(answers):
                yield from zip(some, answers, strict=True)
        left_after(self.output.skip, before, "source")

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
        config = seeded(config)
        note(f"seed: {config.seed}")
    sources = given_sources(start, generator.reading)
    prompt = (start.prompt if argument is None else argument) or ""
    shown = "" if start.no_prompt else prompt
    in_columns = start.source is None
    given = Answering(generator, sources, config, prompt, shown, in_columns, output)
    with contextlib.closing(given.answers()) as answers:
        _write(given, answers, output)


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


def _write(
    given: Answering, answers: Iterator[tuple[str, list[Sample]]], output: OutputOptions
) -> None:
    """Show the answers, or write them to a file, as they come; or as JSON at the end."""
    from charrnn.storage import files

    if output.json:
        began = time.perf_counter()
        answered = list(answers)
        fields = _fields(given, answered, time.perf_counter() - began)
        if output.out is None:
            print_json(fields)
        else:
            files.write_atomically(output.out, json_line(fields).encode())
            note(f"written: {output.out} ({counted(len(answered), 'source')})")
    elif output.out is not None:
        _write_lines(given, answers, output.out)
    else:
        _show(given, answers)


def _write_lines(given: Answering, answers: Iterable[tuple[str, list[Sample]]], out: Path) -> None:
    from charrnn.storage import files

    count = 0

    def lines() -> Iterator[str]:
        nonlocal count
        for _, samples in answers:
            count += 1
            yield from given.lines(samples)

    files.write_atomically(out, in_blocks(lines()))
    note(f"written: {out} ({counted(count, 'source')})")


def _show(given: Answering, answers: Iterable[tuple[str, list[Sample]]]) -> None:
    writer = TextWriter(sys.stdout)
    for _, samples in answers:
        for line in given.lines(samples):
            writer.write(line)
        writer.flush()
        if given.each > 1 and not given.in_columns and isinstance(given.config, BeamConfig):
            for number, sample in enumerate(samples, start=1):
                note(f"{number} of {given.each}: {log_probability(sample)}")


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
