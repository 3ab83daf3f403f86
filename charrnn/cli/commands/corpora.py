"""``charrnn corpora``: texts known by name."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.display.progress import ProgressBar
from charrnn.cli.shared import JsonOption, guarded, note, print_json
from charrnn.errors import CorpusError

app = typer.Typer(no_args_is_help=True, help="Texts known by name.")

NameArgument = Annotated[str, typer.Argument(help="A name that 'corpora list' shows.")]


@app.command("list")
@guarded
def list_corpora(as_json: JsonOption = False) -> None:
    """List the named corpora; 'charrnn train NAME' uses one."""
    from charrnn.text.named import registry

    entries = registry.entries().values()
    if as_json:
        listed = [{**asdict(entry), "here": registry.is_here(entry)} for entry in entries]
        print_json({"corpora": listed})
        return
    for entry in entries:
        size = "size not known"
        if entry.bytes:
            size = f"{'' if entry.sha256 else 'up to '}{entry.bytes:,} bytes"
        typer.echo(f"{entry.name}: {entry.title}, {size}, {entry.licence}")
        fetched = ", fetched" if entry.url and registry.is_here(entry) else ""
        typer.echo(f"    {entry.description}\n    {entry.source}{fetched}\n")


@app.command("path")
@guarded
def path(name: NameArgument, as_json: JsonOption = False) -> None:
    """Print the local files of a named corpus, one a line."""
    from charrnn.text.named import registry

    _print_paths(name, registry.paths(registry.find(name)), as_json)


@app.command("fetch")
@guarded
def fetch(name: NameArgument, as_json: JsonOption = False) -> None:
    """Bring a named corpus to this machine and print its path.

    It comes over https into the user's cache, and counts only when its SHA-256 is the registry's. A
    download that was cut off goes on where it ended. A copy in the folder that CHARRNN_CORPORA
    names is found by its SHA-256, packed or not.
    """
    from charrnn.text.named import fetch, registry

    entry = registry.find(name)
    if not entry.url:
        note(f"{name} is {entry.source}: there is nothing to fetch")
        _print_paths(name, registry.paths(entry), as_json)
        return
    with ProgressBar() as bar:
        result = fetch.fetch(entry, lambda have, size: bar("fetching", have, size), note)
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
