"""What commands that read texts share: their options, reading with notices, progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.shared import note
from charrnn.config import Reading, TextOptions, flag

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from charrnn.text.corpus import Corpus
    from charrnn.text.dataset import Dataset
    from charrnn.text.open import Texts

TEXT, SYMBOLS = "The text", "The symbols"
_QUIET_SECONDS = 0.3  # what ends sooner shows no progress
_LINE_SECONDS = 10.0  # between lines of progress, where there is no terminal


def _text(help_text: str, **more: Any) -> Any:
    return typer.Option(help=help_text, rich_help_panel=TEXT, **more)


def _symbols(help_text: str, **more: Any) -> Any:
    return typer.Option(help=help_text, rich_help_panel=SYMBOLS, **more)


CorpusArgument = Annotated[
    list[str],
    typer.Argument(
        help="Text files (gz, bz2, xz or zst too), folders, patterns, - for stdin, or a named "
        "corpus."
    ),
]
EncodingOption = Annotated[str, _text("Of the files, as Python names it.")]
ErrorsOption = Annotated[
    str, _text("What cannot be decoded: strict is an error, replace makes it U+FFFD.")
]
NewlineOption = Annotated[str, _text("keep line ends, or make CR LF into LF: keep or lf.")]
IncludeOption = Annotated[
    list[str] | None,
    _text("Of a folder's files only those like this, as '*.c'; repeatable.", show_default="all"),
]
ExcludeOption = Annotated[
    list[str] | None,
    _text("Of a folder's files none like this; repeatable.", show_default="none"),
]
SeparatorOption = Annotated[
    str,
    _text(
        "Behind this text a document starts, as at each file; \\n and \\t mean what they say.",
        show_default="none",
    ),
]
UnpackedOption = Annotated[
    int | None,
    _text("Bytes to which a packed file may unpack.", show_default="200 times its size"),
]
ValidFractionOption = Annotated[float, _text("Part of the text held out, to validate.")]
TestFractionOption = Annotated[float, _text("Part of the text held out, to test; the very last.")]
SplitOption = Annotated[
    str,
    _text(
        "What is held out: the end of the text by position, the last documents by document, or "
        "documents by hash of their content."
    ),
]
ValidOption = Annotated[Path | None, _text("A validation text of its own.", show_default="none")]
TestOption = Annotated[Path | None, _text("A test text of its own.", show_default="none")]
TokenizerOption = Annotated[str, _symbols("char (code points), byte, or sentencepiece.")]
MinCountOption = Annotated[int, _symbols("char: what occurs less often is written as its bytes.")]
VocabSizeOption = Annotated[
    int | None, _symbols("sentencepiece: how many symbols.", show_default="1024")
]
PiecesOption = Annotated[
    str | None, _symbols("sentencepiece: unigram, bpe or char.", show_default="bpe")
]

_ESCAPES = {"\\n": "\n", "\\r": "\r", "\\t": "\t", "\\\\": "\\"}


def unescaped(text: str) -> str:
    """Line feeds, tabs and the like for what stands for them in a shell's quotes."""
    parts, rest = "", text
    while rest:
        known = _ESCAPES.get(rest[:2])
        parts += known or rest[0]
        rest = rest[2 if known else 1 :]
    return parts


def read_corpus(names: Sequence[str], reading: Reading) -> Corpus:
    """Read texts as `open.read_corpus`, with progress and notices on stderr."""
    from charrnn.text import open as opening

    _announce_stdin(names)
    with Watched() as watched:
        return opening.read_corpus(names, reading, notify=watched.notify, progress=watched)


def texts_of(
    names: Sequence[str],
    options: TextOptions,
    valid: Path | None,
    test: Path | None,
    given: Iterable[str] = (),
) -> Texts:
    """Read texts as `open.texts_of`, with progress and notices on stderr."""
    from charrnn.text import open as opening

    _announce_stdin([*names, str(valid), str(test)])
    with Watched() as watched:
        return opening.texts_of(
            names, options, valid, test, given, notify=watched.notify, progress=watched
        )


def dataset_of(
    names: Sequence[str],
    options: TextOptions,
    valid: Path | None,
    test: Path | None,
    given: Iterable[str] = (),
    folder: Path | None = None,
) -> Dataset:
    """Make or load a dataset as `open.dataset_of`, with progress and notices on stderr."""
    from charrnn.text import open as opening

    _announce_stdin([*names, str(valid), str(test)])
    with Watched() as watched:
        return opening.dataset_of(
            names, options, valid, test, given, folder, notify=watched.notify, progress=watched
        )


def _announce_stdin(names: Sequence[str]) -> None:
    if "-" in names and sys.stdin.isatty():
        note("reading the text from the terminal: Ctrl-D ends it")


def split_lines(data: Dataset) -> list[str]:
    """How a text was split, and what its parts share, in a line or more."""
    sizes = {name: size for name, size in data.sizes.items() if size.characters}
    parts = ", ".join(f"{name} {size.characters:,}" for name, size in sizes.items())
    lines = [f"{parts} characters ({data.split})"]
    for name, leak in data.leaks.items():
        if leak.repeated:
            lines.append(
                f"{leak.repeated:,} of {leak.documents:,} {name} documents are in the training "
                "text too: its figures flatter (--split hash keeps equal documents together)"
            )
    return lines


def text_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """A command's parameters as those of `TextOptions`."""
    known = {field.name for field in fields(TextOptions)}
    chosen = {name: value for name, value in values.items() if name in known}
    for name in ("include", "exclude"):
        if name in chosen:
            chosen[name] = tuple(chosen[name] or ())
    if "document_separator" in chosen:
        chosen["document_separator"] = unescaped(chosen["document_separator"])
    return chosen


def reading_options(reading: Reading) -> list[str]:
    """The words of a command that read a text as it was read."""
    words = []
    for field in fields(Reading):
        value = getattr(reading, field.name)
        if value != field.default:
            for each in value if isinstance(value, tuple) else (value,):
                words += [flag(field.name), _escaped(str(each))]
    return words


def _escaped(text: str) -> str:
    for written, character in reversed(_ESCAPES.items()):
        text = text.replace(character, written)
    return text


class Watched:
    """Shows how far a reading or writing is, in bytes: a bar on a terminal, lines elsewhere."""

    def __init__(self) -> None:
        self._began = self._said = time.monotonic()
        self._bar: Bar | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bar:
            self._bar.stop()
        self._bar, self._tasks = None, {}

    def notify(self, text: str) -> None:
        """Print a notice; the bar of what was read so far goes."""
        self._stop()
        note(text)

    def __call__(self, what: str, done: int, total: int) -> None:
        """So much of `what` is done."""
        now = time.monotonic()
        if now - self._began < _QUIET_SECONDS:
            return
        if sys.stderr.isatty():
            self._draw(what, done, total)
        elif now - self._said > _LINE_SECONDS:
            self._said = now
            note(f"{what} the text: {done / total:.0%} of {total / 1e6:,.1f} MB")

    def _draw(self, what: str, done: int, total: int) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

            columns = ("{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total)
        self._bar.update(self._tasks[what], completed=done, total=total)
