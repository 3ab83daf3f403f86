"""``charrnn corpora``: texts known by name."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from charrnn.cli.shell import JsonOption, guarded, print_json
from charrnn.errors import CorpusError

app = typer.Typer(no_args_is_help=True, help="Texts known by name.")


@app.command("list")
@guarded
def list_corpora(as_json: JsonOption = False) -> None:
    """List the named corpora; 'charrnn train NAME' uses one."""
    from charrnn import corpora

    entries = corpora.registry().values()
    if as_json:
        print_json({"corpora": [asdict(entry) for entry in entries]})
        return
    for entry in entries:
        size = f"{entry.bytes:,} bytes" if entry.bytes else "size not known"
        typer.echo(f"{entry.name}: {entry.title}, {size}, {entry.licence}")
        typer.echo(f"    {entry.description}\n    {entry.source}\n")


@app.command("path")
@guarded
def path(name: Annotated[str, typer.Argument(help="A name that 'corpora list' shows.")]) -> None:
    """Print the local files of a named corpus, one a line."""
    from charrnn import corpora

    for found in corpora.paths(corpora.entry(name)):
        if "\n" in str(found):
            raise CorpusError(f"{found} has a line feed in its name")
        typer.echo(str(found))
