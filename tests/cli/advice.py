"""Which options a message advises, and which of them the command lacks that prints it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import typer

from charrnn.cli.app import program

FLAG = re.compile(r"(?<![\w'\"/-])--([a-z]+(?:-[a-z]+)*)(?![\w-])")
# A command that a message shows in quotes, or at its end, has options of its own.
COMMAND = re.compile(r"'charrnn [^']*'|\bcharrnn (?:[a-z]+ ).*$", re.MULTILINE)


@cache
def options() -> dict[str, set[str]]:
    """Return the options of each command, by its name: ``inspect cells``."""
    found: dict[str, set[str]] = {}

    def collect(command: Any, name: str) -> None:
        for below, one in getattr(command, "commands", {}).items():
            collect(one, f"{name} {below}".strip())
        if not hasattr(command, "commands"):
            given = {option for parameter in command.params for option in parameter.opts}
            found[name] = given | {"--help"}

    collect(typer.main.get_command(program()), "")
    return found


def flags(text: str) -> Iterator[str]:
    """Yield the options that a text names, without those of commands that it shows."""
    for match in FLAG.finditer(COMMAND.sub("", text)):
        yield match[0]


def lacking(words: Sequence[object], said: str) -> set[str]:
    """Return the options that ``charrnn WORDS`` named in what it said, and does not have."""
    line = list(map(str, words))
    name = next((" ".join(line[:n]) for n in (2, 1) if " ".join(line[:n]) in options()), None)
    if name is None:
        return set()
    given = {word for word in line if word.startswith("--")}  # it may quote what it was given
    return {*flags(said)} - options()[name] - given
