"""What ``sample``, ``greedy`` and ``beam`` share: how their texts are shown."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.cli.shell import note, print_json
from charrnn.terminal import TextWriter

if TYPE_CHECKING:
    from charrnn.generator import Sample
    from charrnn.novelty import Index, Novelty

FLUSH_SECONDS = 0.02
SHOWN_RUN = 60  # characters of a copied run
NoveltyOption = Annotated[
    bool,
    typer.Option(
        "--novelty", help="Say what each text copies: the longest run in the training text."
    ),
]
Write = Callable[[str], object]


def show(
    prompt: str,
    count: int,
    as_json: bool,
    write_texts: Callable[[Write], Sequence[Sample]],
    index: Index | None = None,
) -> None:
    """Run `write_texts` and show what it writes: the first text as it comes, others after it.

    Args:
        prompt: shown before each text.
        count: how many texts there will be; several are told apart by a line before each.
        as_json: print one object instead, when all is written.
        write_texts: given a function for the first text's pieces, writes all texts.
        index: of the training text, if what is copied from it shall be told.
    """
    if as_json:
        began = time.perf_counter()
        samples = write_texts(lambda piece: None)
        print_json(_fields(prompt, samples, time.perf_counter() - began, index))
        return
    stream = _Stream(prompt, count)
    stream.begin(1)
    try:
        samples = write_texts(stream.write)
    finally:
        stream.finish()
    for number, sample in enumerate(samples[1:], start=2):
        stream.begin(number)
        stream.write(sample.text)
        stream.finish()
    if count > 1:
        for number, sample in enumerate(samples, start=1):
            note(f"{number} of {count}: {_describe(sample)}")
    if index:
        for number, sample in enumerate(samples, start=1):
            which = f"{number} of {count}: " if count > 1 else ""
            note(f"novelty: {which}{_describe_copies(index.compare(sample.text))}")


def novelty_index(model: Path | None) -> Index:
    """The index of the text that the model meant by ``--model`` was trained on."""
    from charrnn import checkpoint, novelty

    return novelty.for_model(checkpoint.find(model), note)


def _describe(sample: Sample) -> str:
    per_character = sample.log_prob / max(len(sample.text), 1)
    return f"log-probability {sample.log_prob:.2f} nats ({per_character:.3f} per character)"


def _describe_copies(found: Novelty) -> str:
    if not found.longest_run:
        return "no character of it stands in the training text"
    run = found.run.replace("\n", "␊").replace("\t", "␉")
    shown = run if len(run) <= SHOWN_RUN else f"{run[:SHOWN_RUN]}…"
    return (
        f"its longest run in the training text has {found.longest_run:,} characters (line "
        f"{found.corpus_line:,}, offset {found.corpus_offset:,}): '{shown}'; "
        f"{found.copied_share:.0%} of it are in runs of {found.min_run} and more"
    )


def _fields(
    prompt: str, samples: Sequence[Sample], seconds: float, index: Index | None
) -> dict[str, object]:
    written = sum(len(sample.text) for sample in samples)
    described = [asdict(sample) for sample in samples]
    if index:
        for fields, sample in zip(described, samples, strict=True):
            fields["novelty"] = asdict(index.compare(sample.text))
    return {
        "prompt": prompt,
        "samples": described,
        "chars_per_second": written / max(seconds, 1e-9),
    }


class _Stream:
    """Texts on stdout, each after its prompt, flushed often enough for the eye."""

    def __init__(self, prompt: str, count: int) -> None:
        self._writer = TextWriter(sys.stdout)
        self._prompt, self._count = prompt, count
        self._flushed = 0.0

    def begin(self, number: int) -> None:
        if self._count > 1:
            above = "\n" if number > 1 else ""
            self._writer.write(f"{above}=== {number} of {self._count} ===\n")
        self._writer.write(self._prompt)
        self._writer.flush()

    def write(self, piece: str) -> None:
        self._writer.write(piece)
        now = time.perf_counter()
        if now - self._flushed > FLUSH_SECONDS:
            self._writer.flush()
            self._flushed = now

    def finish(self) -> None:
        self._writer.finish()
