"""Show the texts of ``sample``, ``greedy`` and ``beam`` as they are written, or at the end."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli.display.sample_output import OutputOptions, Target
from charrnn.cli.shared import json_line, note, print_json
from charrnn.errors import counted
from charrnn.terminal import TextWriter, one_line

if TYPE_CHECKING:
    from charrnn.cli.prompt import Opening
    from charrnn.decoding.output_text import Sample
    from charrnn.inspection.text_index import Index, Novelty

FLUSH_SECONDS = 0.02
SHOWN = ("text", "seed", "log_prob", "finished_by")
SHOWN_RUN = 60  # characters of a copied passage
DESCRIBED = 4096  # texts that are described at the end, at most
Write = Callable[[str], object]
WriteTexts = Callable[["Opening", int, Write], Iterable["Sample"]]
Written = list[tuple["Opening", Sequence["Sample"]]]


def show(
    openings: Iterable[Opening],
    target: Target,
    write_texts: WriteTexts,
    index: Index | None = None,
    *,
    ranked: bool = False,
) -> Written:
    """Run `write_texts` and show the texts: each first one while it is written, then the others.

    Returns the texts after each opening; of very many, only the first.

    Args:
        openings: after each of them texts are written; its prompt is shown before each text.
        target: where the texts go.
        write_texts: writes all texts after an opening; takes the number of the opening, from 0,
            and a function that receives pieces of the first text.
        index: of the training text; if given, what the texts copy from it is reported.
        ranked: whether log-probabilities are reported of short texts, too.
    """
    written: Written = []
    if target.as_json:
        _show_json(openings, target, write_texts, written, index)
        return written
    described = target.count <= DESCRIBED or index is not None or ranked
    if target.out is None:
        _show_as_written(openings, target, write_texts, written, keep=described)
    else:
        each = _each(openings, write_texts, written, keep=described)
        ending = (lambda text: "") if target.is_folder else target.ending
        texts = (opening.shown + sample.text for opening, sample in each)
        with contextlib.closing(each):
            target.write(target.out, (text + ending(text) for text in texts))
    if described:
        _describe(written, target, index, ranked=ranked)
    return written


def _describe(written: Written, target: Target, index: Index | None, *, ranked: bool) -> None:
    """Say how probable the texts are, and what they copy."""
    samples = [sample for _, texts in written for sample in texts]
    for number, sample in enumerate(samples, start=1):
        if target.has_headers or (ranked and target.count > 1):
            note(f"{number} of {target.count}: {log_probability(sample)}")
    for number, sample in enumerate(samples, start=1):
        if index:
            which = f"{number} of {target.count}: " if target.count > 1 else ""
            note(f"novelty: {which}{_describe_copies(index.compare(sample.text))}")


def _each(
    openings: Iterable[Opening],
    write_texts: WriteTexts,
    written: Written,
    *,
    keep: bool = True,
    begin: Callable[[Opening], Write] = lambda opening: lambda piece: None,
) -> Generator[tuple[Opening, Sample]]:
    """Yield each opening with each text after it, as they are written.

    Args:
        openings: after each of them texts are written.
        write_texts: see `show`.
        written: gets all texts, or only the first after each opening unless `keep`.
        keep: whether all texts are kept.
        begin: called with an opening; returns what gets the first text's characters.
    """
    for number, opening in enumerate(openings):
        samples: list[Sample] = []
        texts = write_texts(opening, number, begin(opening))
        # What writes in other processes ends them when it is closed.
        with ended(texts):
            for sample in texts:
                if keep or not samples:
                    samples.append(sample)
                yield opening, sample
        written.append((opening, samples))


def ended(texts: Iterable[object]) -> AbstractContextManager[object]:
    """Return a context that ends what writes texts in other processes when it is left."""
    if isinstance(texts, Generator):
        return contextlib.closing(texts)
    return contextlib.nullcontext()


def _show_json(
    openings: Iterable[Opening],
    target: Target,
    write_texts: WriteTexts,
    written: Written,
    index: Index | None,
) -> None:
    """Show one JSON object, or write it to a file."""
    seconds = [0.0]

    def timed(opening: Opening, number: int, write: Write) -> Sequence[Sample]:
        began = time.perf_counter()  # reading the prompt does not count
        texts = list(write_texts(opening, number, write))
        seconds[0] += time.perf_counter() - began
        return texts

    with contextlib.closing(_each(openings, timed, written)) as each:
        for _ in each:
            pass
    fields = _json_fields(written, seconds[0], index)
    if target.out is None:
        print_json(fields)
    else:
        target.write(target.out, [json_line(fields)])


def _show_as_written(
    openings: Iterable[Opening],
    target: Target,
    write_texts: WriteTexts,
    written: Written,
    *,
    keep: bool,
) -> None:
    stream = _Stream(target)
    begun = None  # the opening whose first text is being written

    def begin(opening: Opening) -> Write:
        nonlocal begun
        begun = opening
        stream.begin(opening.shown)
        return stream.write

    each = _each(openings, write_texts, written, keep=keep, begin=begin)
    try:
        for opening, sample in each:
            if opening is not begun:
                stream.begin(opening.shown)
                stream.write(sample.text)
            stream.finish()
            begun = None
    finally:
        each.close()
        if begun:
            stream.abort()


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
