"""Where the texts of ``sample``, ``greedy`` and ``beam`` go: options, files and folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from charrnn.cli.shared import note
from charrnn.config import BeamConfig, SampleConfig, unescape
from charrnn.config.fields import Options, check_force, integer, path, string, strings, switch
from charrnn.errors import OptionError
from charrnn.storage.files import would_replace

BLOCK = 2**16  # characters of a file that are written at once, about


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
    skip: int = integer(
        0,
        10**9,
        0,
        "Leave out the first N texts, or sources: those that an earlier command with the same "
        "--seed has written, whose output goes on.",
        shown="none",
    )

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

    def write(self, out: Path, texts: Iterable[str]) -> None:
        """Write the texts to files as they come, exactly as stdout would get them."""
        from charrnn.storage import files

        if self.is_folder:
            out.mkdir(exist_ok=True)
            for number, text in enumerate(texts, start=self.options.skip + 1):
                files.write_atomically(out / f"{number}.txt", text.encode())
        else:
            files.write_atomically(out, in_blocks(texts))
        note(f"written: {out}")


def in_blocks(texts: Iterable[str]) -> Iterator[bytes]:
    """Yield texts as they are written to a file: some at a time."""
    some, size = list[str](), 0
    for text in texts:
        some.append(text)
        size += len(text)
        if size >= BLOCK:
            yield "".join(some).encode()
            some, size = [], 0
    yield "".join(some).encode()
