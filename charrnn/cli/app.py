"""The command ``charrnn``, assembled from one file per command."""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO, cast

import typer
import typer.core

from charrnn import __version__
from charrnn.cli.commands.beam import beam
from charrnn.cli.commands.bench import app as bench_app
from charrnn.cli.commands.cells import cells
from charrnn.cli.commands.compress import compress
from charrnn.cli.commands.corpora import app as corpora_app
from charrnn.cli.commands.corpora_stats import stats
from charrnn.cli.commands.decompress import decompress
from charrnn.cli.commands.eval import evaluate
from charrnn.cli.commands.greedy import greedy
from charrnn.cli.commands.info import info
from charrnn.cli.commands.inspect_cells import inspect_cells
from charrnn.cli.commands.inspect_gradients import inspect_gradients
from charrnn.cli.commands.inspect_memory import inspect_memory
from charrnn.cli.commands.inspect_next import inspect_next
from charrnn.cli.commands.plot import plot
from charrnn.cli.commands.prepare import prepare
from charrnn.cli.commands.sample import sample
from charrnn.cli.commands.score import score
from charrnn.cli.commands.train import train
from charrnn.cli.commands.write import write

TERMINATED = 143


def _type_in_help(parameter: Any, ctx: Any) -> str | None:
    """Return the type that the help shows: none for a flag, that of the items for a list."""
    if getattr(parameter, "is_flag", False):
        return None
    return str(parameter.display_type(ctx)).replace("list[", "").replace("]>", ">")


for _kind in (typer.core.TyperOption, typer.core.TyperArgument):
    setattr(_kind, "display_type_rich", _type_in_help)  # noqa: B010 (mypy knows it as a method)

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
app.command()(prepare)
app.command()(sample)
app.command()(greedy)
app.command()(beam)
app.command()(write)
app.command("eval")(evaluate)
app.command()(score)
app.command()(compress)
app.command()(decompress)
app.command()(info)
app.command()(plot)
app.command()(cells)
corpora_app.command("stats")(stats)
app.add_typer(corpora_app, name="corpora")
inspect_app = typer.Typer(no_args_is_help=True, help="Look inside a model.")
inspect_app.command("cells")(inspect_cells)
inspect_app.command("gradients")(inspect_gradients)
inspect_app.command("memory")(inspect_memory)
inspect_app.command("next")(inspect_next)
app.add_typer(inspect_app, name="inspect")
app.add_typer(bench_app, name="bench")


def _null(mode: str) -> TextIO:
    return cast("TextIO", Path(os.devnull).open(mode))


def run() -> None:
    """Run the command."""
    # A stream that the caller closed is replaced by an empty one.
    sys.stdin = sys.stdin or _null("r")
    sys.stdout = sys.stdout or _null("w")
    sys.stderr = sys.stderr or _null("w")
    # stdout is UTF-8 and exact, whatever the locale and the system's line ends.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace")
    _end_on_signals()
    app()


def _end_on_signals() -> None:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does: it closes and removes open files."""

    def end(number: int, frame: object) -> NoReturn:
        sys.exit(TERMINATED)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number and signal.getsignal(number) == signal.SIG_DFL:  # it is ignored under nohup
            signal.signal(number, end)
