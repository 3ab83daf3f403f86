"""Show the texts of ``sample``, ``greedy`` and ``beam``, or write them to files."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli.shared import json_line, note, print_json
from charrnn.config import BeamConfig, SampleConfig, unescape
from charrnn.config.fields import Options, check_force, path, string, strings, switch
from charrnn.errors import OptionError, counted
from charrnn.storage.files import would_replace
from charrnn.terminal import TextWriter, one_line

if TYPE_CHECKING:
    from charrnn.cli.prompt import Opening
    from charrnn.decoding.output_text import Sample
    from charrnn.inspection.text_index import Index, Novelty

FLUSH_SECONDS = 0.02
SHOWN = ("text", "seed", "log_prob", "finished_by")
SHOWN_RUN = 60  # characters of a copied passage
Write = Callable[[str], object]
WriteTexts = Callable[["Opening", int, Write], Sequence["Sample"]]
Written = list[tuple["Opening", Sequence["Sample"]]]


@dataclass(frozen=True)
class OutputOptions(Options):
    """Where texts go."""

    separator: str | None = string(
        None,
        r"End each of several texts with this; escapes such as \n and \x00 work.",
        shown="a line feed after texts of one line, else a blank line; on a terminal a header",
        parse=unescape,
    )
    novelty: bool = switch(
        "Report the longest passage that each text copies from the training text."
    )
    training_text: str | Sequence[str] = strings(
        "The training text's path, if it has moved; may be repeated.",
        shown="where it was",
    )
    out: Path | None = path(
        "Write to this file (a folder for several texts without --separator) instead of stdout.",
        shown="none",
    )
    force: bool = switch("Overwrite --out if it exists.")
    json: bool = switch("Print one JSON object as the last line of stdout.")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_force(self.force, out=self.out)
        if self.separator is not None and self.json and self.out is None:
            raise OptionError("--separator has no effect on --json: leave one of them out")
        if self.training_text and not self.needs_index:
            raise OptionError("--training-text has no effect without --novelty or --new")

    @property
    def needs_index(self) -> bool:
        """Whether texts are compared with the training text."""
        return self.novelty

    def check_out(self, *, is_folder: bool = False) -> None:
        """Refuse an ``--out`` of the wrong kind, or that would replace something without --force.

        Args:
            is_folder: whether it is to be a folder.
        """
        out = self.out
        if out is None:
            return
        if not out.absolute().parent.is_dir():
            raise OptionError(f"--out {out}: {out.parent} is not a folder: create it first")
        if out.exists() and out.is_dir() != is_folder:
            actual, needed = ("file", "folder") if is_folder else ("folder", "file")
            raise OptionError(f"--out {out} is a {actual}: name a {needed}")
        replaced = would_replace(out) and not (is_folder and not any(out.iterdir()))
        if replaced and not self.force:
            raise OptionError(f"--out {out} exists: choose another name, or use --force")


@dataclass(frozen=True)
class SampleOutput(OutputOptions):
    """Where random texts go, and which of them."""

    new: bool = switch(
        "Leave out texts that occur in the training text; for a list, those that are items of it."
    )

    @property
    def needs_index(self) -> bool:
        """Whether texts are compared with the training text."""
        return self.novelty or self.new


@dataclass(frozen=True)
class Target:
    """Where the texts go: to stdout, to a file, or to a folder if there are several.

    Attributes:
        options: what the user asked for.
        count: number of texts.
        separator: what ends each of several texts.
        as_list: whether they are the entries of a list, without headers and in one file.

    Raises:
        OptionError: the target exists, is of the wrong kind, or cannot be created.
    """

    options: OutputOptions
    count: int
    separator: str
    as_list: bool

    @classmethod
    def of(
        cls,
        options: OutputOptions,
        count: int,
        config: SampleConfig | BeamConfig,
        separator: str = "",
    ) -> Target:
        """Return where `count` texts go that are written with these settings.

        Args:
            options: what the user asked for.
            count: number of texts.
            config: where they end.
            separator: what separates the entries of the training text, if it is a list.
        """
        separator = separator if options.separator is None else options.separator
        if separator or options.separator is not None:
            return cls(options, count, separator, True)
        one_line_each = config.max_lines == 1 or any(stop[:1] == "\n" for stop in config.stop)
        return cls(options, count, "\n" if one_line_each else "\n\n", False)

    @property
    def out(self) -> Path | None:
        """The file or folder; None is stdout."""
        return self.options.out

    @property
    def as_json(self) -> bool:
        """Whether to write one JSON object instead of the texts."""
        return self.options.json

    def __post_init__(self) -> None:
        self.options.check_out(is_folder=self.is_folder)

    @property
    def is_folder(self) -> bool:
        """Whether each text has a file of its own."""
        return self.count > 1 and not self.as_json and not self.as_list

    @property
    def has_headers(self) -> bool:
        """Whether a numbered line is shown above each text: to a person, if texts are long."""
        return self.count > 1 and self.separator != "\n" and not self.as_list

    def ending(self, text: str) -> str:
        """Return what is to be written after a text, which may end with a part of it."""
        if self.count == 1 and self.options.separator is None:
            return ""
        size = len(self.separator)
        have = next(n for n in range(size, -1, -1) if text.endswith(self.separator[:n]))
        return self.separator[have:]

    def write(self, out: Path, texts: Sequence[str]) -> None:
        """Write the texts to files, exactly as stdout would get them."""
        from charrnn.storage import files

        if self.is_folder:
            out.mkdir(exist_ok=True)
            for number, text in enumerate(texts, start=1):
                files.write_atomically(out / f"{number}.txt", text.encode())
        else:
            files.write_atomically(out, "".join(texts).encode())
        note(f"written: {out}")


def show(
    openings: Iterable[Opening],
    target: Target,
    write_texts: WriteTexts,
    index: Index | None = None,
    *,
    ranked: bool = False,
) -> Written:
    """Run `write_texts` and show the texts: each first one while it is written, then the others.

    Returns the texts after each opening.

    Args:
        openings: after each of them texts are written; its prompt is shown before each text.
        target: where the texts go.
        write_texts: writes all texts after an opening; takes the number of the opening, from 0,
            and a function that receives pieces of the first text.
        index: of the training text; if given, what the texts copy from it is reported.
        ranked: whether log-probabilities are reported of short texts, too.
    """
    if target.as_json or target.out is not None:
        written = _show_at_the_end(openings, target, write_texts, index)
    else:
        written = _show_as_written(openings, target, write_texts)
    if target.as_json:
        return written
    samples = [sample for _, texts in written for sample in texts]
    for number, sample in enumerate(samples, start=1):
        if target.has_headers or (ranked and target.count > 1):
            note(f"{number} of {target.count}: {log_probability(sample)}")
    for number, sample in enumerate(samples, start=1):
        if index:
            which = f"{number} of {target.count}: " if target.count > 1 else ""
            note(f"novelty: {which}{_describe_copies(index.compare(sample.text))}")
    return written


def _show_at_the_end(
    openings: Iterable[Opening], target: Target, write_texts: WriteTexts, index: Index | None
) -> Written:
    written: Written = []
    seconds = 0.0
    for number, opening in enumerate(openings):
        began = time.perf_counter()  # reading the prompt does not count
        written.append((opening, write_texts(opening, number, lambda piece: None)))
        seconds += time.perf_counter() - began
    if target.as_json:
        fields = _json_fields(written, seconds, index)
        if target.out is None:
            print_json(fields)
        else:
            target.write(target.out, [json_line(fields)])
    elif target.out is not None:
        texts = [opening.shown + each.text for opening, samples in written for each in samples]
        ends = ["" if target.is_folder else target.ending(text) for text in texts]
        target.write(target.out, list(map("".join, zip(texts, ends, strict=True))))
    return written


def _show_as_written(
    openings: Iterable[Opening], target: Target, write_texts: WriteTexts
) -> Written:
    stream = _Stream(target)
    written: Written = []
    for number, opening in enumerate(openings):
        stream.begin(opening.shown)
        samples: Sequence[Sample] | None = None
        try:
            samples = write_texts(opening, number, stream.write)
        finally:
            if samples is None:
                stream.abort()
        for index, sample in enumerate(samples):
            if index:
                stream.begin(opening.shown)
                stream.write(sample.text)
            stream.finish()
        written.append((opening, samples))
    return written


def novelty_index(model: Path | None, options: OutputOptions) -> Index | None:
    """Return the index of the text that a model was trained on, if it is needed."""
    if not options.needs_index:
        return None
    from charrnn.inspection import novelty
    from charrnn.run_dir import find_model

    return novelty.for_model(find_model(model), note, tuple(options.training_text))


def log_probability(sample: Sample) -> str:
    """Say how probable a text is."""
    per_character = sample.log_prob / max(len(sample.text), 1)
    return f"log-probability {sample.log_prob:.2f} nats ({per_character:.3f} per character)"


def _describe_copies(found: Novelty) -> str:
    if not found.longest_run:
        return "no text shared with the training corpus"
    if found.entry:
        return f"the whole text is an entry of the training text (line {found.corpus_line:,})"
    shown = one_line(found.run[:SHOWN_RUN]) + ("…" if len(found.run) > SHOWN_RUN else "")
    return (
        f"the longest copied passage has {counted(found.longest_run, 'character')} "
        f"(training text, line {found.corpus_line:,}, offset {found.corpus_offset:,}): '{shown}'; "
        f"{found.copied_share:.0%} of the text is in copied passages of {found.min_run} or more"
    )


def _json_fields(written: Written, seconds: float, index: Index | None) -> dict[str, object]:
    """Return the JSON object; after several prompts, each text says which was its own."""
    several = len(written) > 1
    described = []
    for opening, samples in written:
        for sample in samples:
            fields: dict[str, Any] = {"prompt": opening.prompt} if several else {}
            fields |= {name: getattr(sample, name) for name in SHOWN}
            if index:
                fields["novelty"] = asdict(index.compare(sample.text))
            described.append(fields)
    characters = sum(len(fields["text"]) for fields in described)
    return {
        "prompt": None if several else written[0][0].prompt,
        "samples": described,
        "chars_per_second": characters / max(seconds, 1e-9),
    }


class _Stream:
    """Texts on stdout, each after its prompt, flushed so often that they seem to flow.

    Nothing is written before the first piece of a text: an error comes alone.
    """

    def __init__(self, target: Target) -> None:
        self._writer = TextWriter(sys.stdout)
        self._target = target
        self._number = 0
        self._before: str | None = None  # a header and a prompt that are to be written first
        self._end = ""  # of the text so far, as long as a separator
        self._flushed = 0.0

    def begin(self, prompt: str) -> None:
        """Begin the next text."""
        self._number += 1
        self._before, self._end = prompt, ""

    def write(self, piece: str) -> None:
        """Write a piece of the text."""
        if self._before is not None:
            self._writer.write(self._header())
            piece = self._before + piece
            self._before = None
        self._writer.write(piece)
        self._end = (self._end + piece)[-max(len(self._target.separator), 1) :]
        now = time.perf_counter()
        if now - self._flushed > FLUSH_SECONDS:
            self._writer.flush()
            self._flushed = now

    def _header(self) -> str:
        if not (self._target.has_headers and sys.stdout.isatty()):
            return ""
        above = "\n" if self._number > 1 else ""
        return f"{above}=== {self._number} of {self._target.count} ===\n"

    def finish(self) -> None:
        """End the text."""
        if self._before is not None:
            self.write("")
        if not (self._target.has_headers and sys.stdout.isatty()):
            self._writer.write(self._target.ending(self._end))
        self._writer.finish()

    def abort(self) -> None:
        """End a text that something interrupts."""
        if self._before is None:
            self._writer.finish()
