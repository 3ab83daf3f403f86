"""The sources that a model of pairs answers: one, the lines of a file, or a pipe's as they come."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, cast

from charrnn.cli.prompt import PromptOptions, content, decoded
from charrnn.cli.shared import announce_waiting, note
from charrnn.errors import PromptError

if TYPE_CHECKING:
    from charrnn.config import ModelReading

_BLOCK = 2**16  # bytes that are read at once, at most
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def given_sources(options: PromptOptions, model: ModelReading) -> Iterator[list[str]]:
    """Yield sources, as many at a time as can be answered now: of a pipe, what has come so far.

    Raises:
        PromptError: the file cannot be read; a line is empty, has a tab, or a bad escape.
    """
    if options.source is not None:
        yield [options.source]
        return
    assert options.source_file is not None
    file, line = options.source_file, 0
    for text in _texts(file, model):
        found = list(_lines(file, text, line))
        line += len(found)
        yield found
    if not line:
        raise PromptError(f"--source-file {file} is empty: write one source on each line")


def _lines(file: Path, text: str, before: int) -> Iterator[str]:
    """Yield the sources on the lines of a text, before which the file has others."""
    from charrnn.text import line_ends
    from charrnn.text.pair_lines import unescaped

    for number, line in enumerate(line_ends.split(text), start=before + 1):
        source = line_ends.without_end(line)
        if not source or "\t" in source:
            what = "has a tab: name sources alone, one a line" if source else "is empty"
            raise PromptError(f"--source-file {file}, line {number:,} {what}")
        try:
            yield unescaped(source)
        except ValueError as error:
            raise PromptError(f"--source-file {file}, line {number:,}: {error}") from None


def _texts(file: Path, model: ModelReading) -> Iterator[str]:
    """Yield the text of a file; of standard input, whole lines as soon as they are there."""
    if str(file) != "-":
        yield content("--source-file", file, model)
        return
    for some in piped_lines("sources", model):
        if some is not None:
            yield some


def piped_lines(what: str, model: ModelReading) -> Iterator[str | None]:
    """Yield whole lines of standard input as soon as they are there; None where no more are yet.

    Args:
        what: the lines are, in words.
        model: how they are read.

    Raises:
        PromptError: their encoding is not certain.
    """
    said = set[str]()

    def notify(sentence: str) -> None:  # not again for each block
        if sentence not in said:
            said.add(sentence)
            note(sentence)

    announce_waiting(["-"], what)
    for data in _whole_lines():
        yield decoded("standard input", data, model, notify) if data else None


def _whole_lines() -> Iterator[bytes]:
    """Yield what standard input has, without waiting for more than the end of a line.

    A block that is not full has been all that there was: then nothing is yielded, once.
    """
    held, in_pieces, stream = b"", True, cast(BufferedReader, sys.stdin.buffer)
    while block := stream.read1(_BLOCK):
        held += block
        # In UTF-16, the byte of a line feed may be a part of another character.
        in_pieces = in_pieces and not held.startswith(_WIDE) and b"\0" not in block
        end = held.rfind(b"\n") + 1
        if end and in_pieces:
            yield held[:end]
            held = held[end:]
            if len(block) < _BLOCK:
                yield b""
    if held:
        yield held
