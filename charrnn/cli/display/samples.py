"""How ``sample``, ``greedy`` and ``beam`` show their texts, or write them to files."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli.shared import json_line, note, print_json
from charrnn.config.fields import Options, path, switch
from charrnn.errors import OptionError
from charrnn.terminal import TextWriter, one_line

if TYPE_CHECKING:
    from charrnn.decoding.output_text import Sample
    from charrnn.inspection.novelty import Index, Novelty

FLUSH_SECONDS = 0.02
_SHOWN = ("text", "seed", "log_prob", "finished_by")
SHOWN_RUN = 60  # characters of a copied passage
Write = Callable[[str], object]


@dataclass(frozen=True)
class OutputOptions(Options):
    """Where texts go."""

    novelty: bool = switch(
        "Report the longest passage that each text copies from the training text."
    )
    out: Path | None = path(
        "Write to this file (a folder for several texts) instead of stdout.", shown="none"
    )
    force: bool = switch("Overwrite --out if it exists.")
    json: bool = switch("Print one JSON object as the last line of stdout.")


@dataclass(frozen=True)
class Target:
    """Where the texts go: to stdout, to a file, or to a folder if there are several.

    Attributes:
        options: what the user asked for.
        count: number of texts.

    Raises:
        OptionError: the target exists, is of the wrong kind, or cannot be created.
    """

    options: OutputOptions
    count: int

    @property
    def out(self) -> Path | None:
        """The file or folder; None is stdout."""
        return self.options.out

    @property
    def as_json(self) -> bool:
        """Whether to write one JSON object instead of the texts."""
        return self.options.json

    def __post_init__(self) -> None:
        if self.out is None:
            return
        if not self.out.absolute().parent.is_dir():
            raise OptionError(
                f"--out {self.out}: {self.out.parent} is not a folder: create it first"
            )
        if self.out.exists() and self.out.is_dir() != self.is_folder:
            actual, needed = ("file", "folder") if self.is_folder else ("folder", "file")
            raise OptionError(f"--out {self.out} is a {actual}: name a {needed}")
        replaced = self.out.exists() and not (self.is_folder and self._is_empty())
        if replaced and not self.options.force:
            raise OptionError(f"--out {self.out} exists: choose another name, or use --force")

    @property
    def is_folder(self) -> bool:
        """Whether each text has a file of its own."""
        return self.count > 1 and not self.as_json

    def _is_empty(self) -> bool:
        return self.out is not None and not any(self.out.iterdir())

    def write(self, out: Path, texts: Sequence[str]) -> None:
        """Write the texts to files, exactly as stdout would get them."""
        from charrnn.storage import files

        if self.is_folder:
            out.mkdir(exist_ok=True)
        for number, text in enumerate(texts, start=1):
            file = out / f"{number}.txt" if self.is_folder else out
            files.write_atomically(file, text.encode())
        note(f"written: {out}")


def show(
    prompt: str,
    target: Target,
    write_texts: Callable[[Write], Sequence[Sample]],
    index: Index | None = None,
) -> Sequence[Sample]:
    """Run `write_texts` and show the texts: the first one while it is written, then the others.

    Args:
        prompt: shown before each text.
        target: where the texts go; on stdout a numbered line separates several texts.
        write_texts: writes all texts; takes a function that receives pieces of the first text.
        index: of the training text; if given, what the texts copy from it is reported.
    """
    if target.as_json or target.out is not None:
        samples = _show_at_the_end(prompt, target, write_texts, index)
    else:
        samples = _show_as_written(prompt, target.count, write_texts)
    if target.count > 1 and not target.as_json:
        for number, sample in enumerate(samples, start=1):
            note(f"{number} of {target.count}: {_describe(sample)}")
    if index and not target.as_json:
        for number, sample in enumerate(samples, start=1):
            which = f"{number} of {target.count}: " if target.count > 1 else ""
            note(f"novelty: {which}{_describe_copies(index.compare(sample.text))}")
    return samples


def _show_at_the_end(
    prompt: str,
    target: Target,
    write_texts: Callable[[Write], Sequence[Sample]],
    index: Index | None,
) -> Sequence[Sample]:
    began = time.perf_counter()
    samples = write_texts(lambda piece: None)
    fields = _fields(prompt, samples, time.perf_counter() - began, index)
    if target.out is None:
        print_json(fields)
    elif target.as_json:
        target.write(target.out, [json_line(fields)])
    else:
        target.write(target.out, [prompt + sample.text for sample in samples])
    return samples


def _show_as_written(
    prompt: str, count: int, write_texts: Callable[[Write], Sequence[Sample]]
) -> Sequence[Sample]:
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
    return samples


def novelty_index(model: Path | None) -> Index:
    """Return the index of the text that the model of ``--model`` was trained on."""
    from charrnn.inspection import novelty
    from charrnn.run_dir import find_model

    return novelty.for_model(find_model(model), note)


def _describe(sample: Sample) -> str:
    per_character = sample.log_prob / max(len(sample.text), 1)
    return f"log-probability {sample.log_prob:.2f} nats ({per_character:.3f} per character)"


def _describe_copies(found: Novelty) -> str:
    if not found.longest_run:
        return "no text shared with the training corpus"
    shown = one_line(found.run[:SHOWN_RUN]) + ("…" if len(found.run) > SHOWN_RUN else "")
    return (
        f"the longest copied passage has {found.longest_run:,} characters (training text, line "
        f"{found.corpus_line:,}, offset {found.corpus_offset:,}): '{shown}'; "
        f"{found.copied_share:.0%} of the text is in copied passages of {found.min_run} or more"
    )


def _fields(
    prompt: str, samples: Sequence[Sample], seconds: float, index: Index | None
) -> dict[str, object]:
    written = sum(len(sample.text) for sample in samples)
    described: list[dict[str, Any]] = [
        {name: getattr(sample, name) for name in _SHOWN} for sample in samples
    ]
    if index:
        for fields, sample in zip(described, samples, strict=True):
            fields["novelty"] = asdict(index.compare(sample.text))
    return {
        "prompt": prompt,
        "samples": described,
        "chars_per_second": written / max(seconds, 1e-9),
    }


class _Stream:
    """Texts on stdout, each after its prompt, flushed so often that they seem to flow."""

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
