"""What ``sample``, ``greedy`` and ``beam`` share: how their texts are shown."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from charrnn.cli.shell import note, print_json
from charrnn.terminal import TextWriter

if TYPE_CHECKING:
    from charrnn.generator import Sample

FLUSH_SECONDS = 0.02
Write = Callable[[str], object]


def show(
    prompt: str, count: int, as_json: bool, write_texts: Callable[[Write], Sequence[Sample]]
) -> None:
    """Run `write_texts` and show what it writes: the first text as it comes, others after it.

    Args:
        prompt: shown before each text.
        count: how many texts there will be; several are told apart by a line before each.
        as_json: print one object instead, when all is written.
        write_texts: given a function for the first text's pieces, writes all texts.
    """
    if as_json:
        began = time.perf_counter()
        samples = write_texts(lambda piece: None)
        print_json(_fields(prompt, samples, time.perf_counter() - began))
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


def _describe(sample: Sample) -> str:
    per_character = sample.log_prob / max(len(sample.text), 1)
    return f"log-probability {sample.log_prob:.2f} nats ({per_character:.3f} per character)"


def _fields(prompt: str, samples: Sequence[Sample], seconds: float) -> dict[str, object]:
    written = sum(len(sample.text) for sample in samples)
    return {
        "prompt": prompt,
        "samples": [asdict(sample) for sample in samples],
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
