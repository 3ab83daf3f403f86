"""The input and output of ``charrnn compress`` and ``decompress``: files, or standard streams."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.shared import announce_waiting
from charrnn.errors import ArchiveError, CorpusError, OptionError
from charrnn.storage.files import endless, would_replace, write_atomically

InArgument = Annotated[Path, typer.Argument(help="The file to read; - is standard input.")]
OutArgument = Annotated[Path, typer.Argument(help="The file to write; - is standard output.")]
ReplaceOption = Annotated[bool, typer.Option("--force", help="Overwrite OUT if it exists.")]
_STREAM = Path("-")


def check_out(out: Path, force: bool, as_json: bool = False) -> None:
    """Refuse an output that cannot be written, before the work begins.

    Raises:
        OptionError: says what is in the way.
    """
    if out == _STREAM:
        if as_json:
            raise OptionError("OUT is standard output, and so is --json: name a file")
        if sys.stdout.isatty():
            raise OptionError("OUT is the terminal: name a file, or pipe the output")
    elif would_replace(out) and not force:
        raise OptionError(f"{out} exists: choose another name, or use --force to overwrite it")
    elif not out.parent.is_dir():
        raise OptionError(f"{out.parent} is not a folder: create it, or choose another")


def read(source: Path, error_type: type[ArchiveError | CorpusError]) -> bytes:
    """Return the bytes of a file or of standard input.

    Raises:
        CharRNNError: `error_type`, the file cannot be read.
    """
    announce_waiting([str(source)], "file")
    if source == _STREAM:
        return sys.stdin.buffer.read()
    if what := endless(source):
        raise error_type(f"{source} is {what}: name a file")
    try:
        return source.read_bytes()
    except OSError as error:
        raise error_type(f"{source} cannot be read: {error.strerror}") from None


def write(out: Path, data: bytes) -> None:
    """Write bytes to a file or to standard output.

    Raises:
        RunError: the file cannot be written.
    """
    if out == _STREAM:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        write_atomically(out, data)
