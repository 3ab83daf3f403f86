"""The command ``charrnn``: assembles one file per command."""

from __future__ import annotations

from typing import Annotated

import typer

from charrnn import __version__

# Before everything else: the clock of --minutes starts when this module is imported.
from charrnn.cli import shell  # noqa: F401
from charrnn.cli.beam import beam
from charrnn.cli.cells import cells
from charrnn.cli.corpora import app as corpora_app
from charrnn.cli.eval import evaluate
from charrnn.cli.greedy import greedy
from charrnn.cli.info import info
from charrnn.cli.sample import sample
from charrnn.cli.train import train

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"charrnn {__version__}")
        raise typer.Exit


@app.callback()
def _charrnn(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Point it at any text and, minutes later, it writes more of it."""


app.command()(train)
app.command()(sample)
app.command()(greedy)
app.command()(beam)
app.command("eval")(evaluate)
app.command()(info)
app.command()(cells)
app.add_typer(corpora_app, name="corpora")


def main() -> None:
    """Entry point."""
    app()
