"""``charrnn corpora``: texts known by name."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.cli.shell import JsonOption, guarded, note, print_json
from charrnn.errors import CorpusError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

app = typer.Typer(no_args_is_help=True, help="Texts known by name.")

NameArgument = Annotated[str, typer.Argument(help="A name that 'corpora list' shows.")]


@app.command("list")
@guarded
def list_corpora(as_json: JsonOption = False) -> None:
    """List the named corpora; 'charrnn train NAME' uses one."""
    from charrnn import corpora

    entries = corpora.registry().values()
    if as_json:
        listed = [{**asdict(entry), "here": corpora.is_here(entry)} for entry in entries]
        print_json({"corpora": listed})
        return
    for entry in entries:
        size = "size not known"
        if entry.bytes:
            size = f"{'' if entry.sha256 else 'up to '}{entry.bytes:,} bytes"
        typer.echo(f"{entry.name}: {entry.title}, {size}, {entry.licence}")
        fetched = ", fetched" if entry.url and corpora.is_here(entry) else ""
        typer.echo(f"    {entry.description}\n    {entry.source}{fetched}\n")


@app.command("path")
@guarded
def path(name: NameArgument, as_json: JsonOption = False) -> None:
    """Print the local files of a named corpus, one a line."""
    from charrnn import corpora

    _print_paths(name, corpora.paths(corpora.entry(name)), as_json)


@app.command("fetch")
@guarded
def fetch(name: NameArgument, as_json: JsonOption = False) -> None:
    """Bring a named corpus to this machine and print its path.

    It comes over https into the user's cache, and counts only when its SHA-256 is the registry's. A
    download that was cut off goes on where it ended. A copy in the folder that CHARRNN_CORPORA
    names is found by its SHA-256, packed or not.
    """
    from charrnn import corpora
    from charrnn.corpora import fetching

    entry = corpora.entry(name)
    if not entry.url:
        note(f"{name} is {entry.source}: there is nothing to fetch")
        _print_paths(name, corpora.paths(entry), as_json)
        return
    with _Arriving() as arriving:
        result = fetching.fetch(entry, arriving, note)
    note(f"{result.bytes:,} bytes, SHA-256 {result.sha256}; licence: {entry.licence}")
    if as_json:
        fields = {**asdict(result), "path": str(result.path), "licence": entry.licence}
        print_json({"name": name, **fields})
        return
    typer.echo(str(result.path))


def _print_paths(name: str, paths: list[Path], as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "paths": [str(path) for path in paths]})
        return
    for found in paths:
        if "\n" in str(found):
            raise CorpusError(f"{found} has a line feed in its name")
        typer.echo(str(found))


class _Arriving:
    """A bar on a terminal, which is told the bytes that have arrived."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID

    def __enter__(self) -> _Arriving:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, have: int, whole: int | None) -> None:
        if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
            return
        if self._bar is None:
            self._bar = _bar()
            self._task = self._bar.add_task("", total=whole)
            self._bar.start()
        self._bar.update(self._task, completed=have, total=whole)


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
