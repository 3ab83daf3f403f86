"""Writes many texts, or answers many sources, on every core: portion after portion, in order.

A text depends on its number alone, not on those beside it: the output is the same whatever the
number of processes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, TypeVar

from charrnn.config import BeamConfig, EngineOptions, SampleConfig, seeded
from charrnn.decoding import workers
from charrnn.decoding.generation import Writer
from charrnn.decoding.output_text import Sample, Write, unwatched
from charrnn.decoding.reader_and_writer import ReaderAndWriter
from charrnn.inference.select import EngineSelector
from charrnn.model.model_file import Model
from charrnn.model.saved_state import Prompted
from charrnn.text.notices import Notify

Found = TypeVar("Found")
SOURCES = 256  # of a portion
_CHARACTERS = 100  # of a text that are counted on: many end early


@dataclass(frozen=True)
class ManyTexts:
    """Writes many texts with a model, in one process or in several.

    Several start the program anew: a program that asks for them needs
    ``if __name__ == "__main__"``.

    Attributes:
        model: the model, as it writes.
        options: what runs it.
        own: reads and writes in this process.
        notices: gets a sentence about sources.
    """

    model: Model
    options: EngineOptions
    own: ReaderAndWriter
    notices: Notify

    def processes(self, count: int, config: SampleConfig | BeamConfig) -> int:
        """Return how many processes write fastest: one for each core, if that is worthwhile.

        Args:
            count: the number of texts, or of sources.
            config: how each is written.
        """
        texts = count * config.width if isinstance(config, BeamConfig) else count
        characters = texts * min(config.length, _CHARACTERS)
        if characters * workers.cost(self.model.config) < workers.WORTHWHILE:
            return 1
        return min(workers.limit(self.model.config, self.options), -(-count // SOURCES))

    def texts(
        self,
        writer: Writer,
        read: Prompted,
        config: SampleConfig,
        write: Write = unwatched,
        *,
        first: int = 0,
        processes: int = 1,
    ) -> Iterator[Sample]:
        """Yield random texts in order, of which some hundreds are kept at a time.

        Args:
            writer: writes in this process, with the weights that belong to the prompt.
            read: what the model has read.
            config: number and length of the texts, and how their tokens are chosen.
            write: gets the first text's characters.
            first: how many texts of this seed are left out.
            processes: how many write.
        """
        if config.unique:
            yield from writer.samples(read, config, write, first)
            return
        if processes == 1 or read.weights is not None:
            yield from writer.texts(read, config, write, first)
            return
        if read.seed is None:
            config = seeded(config)
        numbers = range(writer.portions(config))
        read = self.own.reader.exact(read)
        found = self._in_processes(_Portion(read, config, first), numbers, processes)
        for number, sample in enumerate(found):
            if not number:
                write(sample.text)
            yield sample

    def answers(
        self,
        sources: Iterable[str],
        prompt: str,
        config: SampleConfig | BeamConfig,
        *,
        first: int = 0,
        processes: int = 1,
    ) -> Iterator[list[Sample]]:
        """Yield the answers to each source, in order.

        Args:
            sources: any number of them.
            prompt: how each answer begins.
            config: how an answer is chosen, and how many for each source.
            first: how many sources were answered before with this seed.
            processes: how many answer.
        """
        do = _Answers(prompt, config)
        if processes == 1:
            return do.answers(self.own, sources, first)
        if not isinstance(config, BeamConfig) or config.stochastic:
            do = replace(do, config=seeded(config))
        some = iter(sources)
        batches = iter(lambda: list(itertools.islice(some, SOURCES)), [])
        jobs = ((first + number * SOURCES, batch) for number, batch in enumerate(batches))
        return self._in_processes(do, jobs, processes)

    def _in_processes(
        self, do: Callable[[ReaderAndWriter, Any], list[Found]], jobs: Iterable[Any], processes: int
    ) -> Iterator[Found]:
        work = _Worker(self.model, replace(self.options, threads=1), do)
        for found, sentences in workers.in_order(work, jobs, processes):
            for sentence in sentences:
                self.notices(sentence)
            yield from found


@dataclass(frozen=True)
class _Worker:
    """Does jobs in a process of its own, on one thread.

    Attributes:
        model: the model.
        options: what runs it.
        do: does a job, given what reads and writes.
        said: what is to be said of the job.
    """

    model: Model
    options: EngineOptions
    do: Callable[[ReaderAndWriter, Any], list[Any]]
    said: list[str] = field(default_factory=list)

    def __call__(self, job: Any) -> tuple[list[Any], list[str]]:
        self.said.clear()
        return self.do(self._tools, job), self.said

    @cached_property
    def _tools(self) -> ReaderAndWriter:
        given = (self.model.config, self.model.values, self.options, lambda sentence: None)
        selector = EngineSelector(*given, self.model.counts)
        return ReaderAndWriter.of(self.model, selector, self.said.append)


@dataclass(frozen=True)
class _Portion:
    """Writes a portion of many texts, by its number; see `ManyTexts.texts`."""

    read: Prompted
    config: SampleConfig
    first: int

    def __call__(self, tools: ReaderAndWriter, number: int) -> list[Sample]:
        return tools.writer.portion(self.read, self.config, number, self.first)


@dataclass(frozen=True)
class _Answers:
    """Answers some sources, before which there are others; see `ManyTexts.answers`."""

    prompt: str
    config: SampleConfig | BeamConfig

    def __call__(
        self, tools: ReaderAndWriter, job: tuple[int, Sequence[str]]
    ) -> list[list[Sample]]:
        first, sources = job
        return list(self.answers(tools, sources, first))

    def answers(
        self, tools: ReaderAndWriter, sources: Iterable[str], first: int
    ) -> Iterator[list[Sample]]:
        read = partial(tools.reader.read_any, self.prompt, self.config.unknown)
        return tools.writer.answers(sources, read, self.config, first)
