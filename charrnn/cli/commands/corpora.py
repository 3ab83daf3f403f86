"""``charrnn corpora``: named corpora."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli import completion
from charrnn.cli.display.progress import ProgressBar
from charrnn.cli.shared import JsonOption, guarded, note, print_json
from charrnn.errors import CorpusError, counted

NameArgument = Annotated[
    str, typer.Argument(help="A name that 'corpora list' shows.", autocompletion=completion.corpora)
]


@guarded
def list_corpora(as_json: JsonOption = False) -> None:
    """List the named corpora; 'charrnn train NAME' uses one."""
    from charrnn.text.named import registry

    entries = registry.entries().values()
    if as_json:
        fields = [{**asdict(entry), "here": registry.is_here(entry)} for entry in entries]
        print_json({"corpora": fields})
        return
    for entry in entries:
        limit = "" if entry.sha256 else "up to "
        size = f"{limit}{counted(entry.bytes, 'byte')}" if entry.bytes else "size unknown"
        typer.echo(f"{entry.name}: {entry.title}, {size}, {entry.licence}")
        fetched = ", downloaded" if entry.url and registry.is_here(entry) else ""
        typer.echo(f"    {entry.description}\n    {entry.source}{fetched}\n")


@guarded
def path(name: NameArgument, as_json: JsonOption = False) -> None:
    """Print the local files of a named corpus, one per line."""
    from charrnn.text.named import registry

    _print_paths(name, registry.paths(registry.find(name)), as_json)


@guarded
def fetch(name: NameArgument, as_json: JsonOption = False) -> None:
    """Download a named corpus and print its path.

    It is downloaded over https into the user's cache and checked against the registry's SHA-256; an
    interrupted download continues. A copy in the folder CHARRNN_CORPORA is used if it has the same
    SHA-256, compressed or not.
    """
    from charrnn.text.named import fetch, registry

    entry = registry.find(name)
    if not entry.url:
        note(f"{name} is {entry.source}: nothing to download")
        _print_paths(name, registry.paths(entry), as_json)
        return
    with ProgressBar() as bar:
        result = fetch.fetch(entry, lambda have, size: bar("downloading", have, size), note)
    note(f"{counted(result.bytes, 'byte')}, SHA-256 {result.sha256}; licence: {entry.licence}")
    if as_json:
        path, licence = str(result.path), entry.licence
        print_json({"name": name, **asdict(result), "path": path, "licence": licence})
        return
    typer.echo(str(result.path))


def _print_paths(name: str, paths: list[Path], as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "paths": [str(path) for path in paths]})
        return
    for each in map(str, paths):
        if "\n" in each:
            raise CorpusError(f"{each} has a line feed in its name")
        typer.echo(each)
