"""The command ``charrnn``, assembled from one file per command."""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NoReturn, TextIO, cast

import typer
import typer.core

from charrnn import __version__
from charrnn.cli.hints import meant_command, similar_options, too_many_words, unnamed
from charrnn.cli.start_up import importing
from charrnn.cli.values import read_values
from charrnn.errors import EXCERPT, excerpt

TERMINATED = 143
MESSAGE = 3 * EXCERPT  # characters at most of what is said about a word of the command line


def _type_in_help(parameter: Any, ctx: Any) -> str | None:
    """Return the type that the help shows: none for a flag, that of the items for a list."""
    if getattr(parameter, "is_flag", False):
        return None
    shown = str(parameter.display_type(ctx)).replace("list[", "").replace("]>", ">")
    return shown.replace("<Path>", "<path>")  # typer shows the class of a list's items


for _kind in (typer.core.TyperOption, typer.core.TyperArgument):
    setattr(_kind, "display_type_rich", _type_in_help)  # noqa: B010 (mypy knows it as a method)
read_values()

_UsageError: Any = typer.BadParameter.__mro__[1]  # the base of every error about a command line


class _Explaining:
    """A command, or a group of commands, that explains what is wrong with its options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            left: list[str] = super().parse_args(ctx, args)  # type: ignore[misc]
            return left
        except _UsageError as error:
            _explain(error, self, ctx)
            raise


class _Command(_Explaining, typer.core.TyperCommand):
    """A command of charrnn."""


def _explain(error: Any, command: Any, ctx: Any) -> None:
    """Let an error about an option or its value say what to do."""
    if hasattr(error, "possibilities"):  # the option does not exist
        shown = [p for p in command.params if not _is_hidden(p)]
        similar = similar_options(error.option_name, [name for p in shown for name in p.opts])
        argument = next((p.name for p in shown if p.param_type_name == "argument"), "")
        advice = unnamed(error.option_name, argument, ctx.command_path)
        advice = advice or (f"did you mean {' or '.join(similar)}?" if similar else "")
        advice = advice or f"see {ctx.command_path} --help"
        error.message, error.possibilities = f"{error.message}: {advice}", None
    else:
        takes_words = any(p.param_type_name == "argument" for p in command.params)
        error.message = too_many_words(error.message, ctx.command_path, takes_words)


def _meant(ctx: Any, word: str) -> str:
    return meant_command(ctx.find_root().info_name, ctx.command_path, word)


class _Commands(_Explaining, typer.core.TyperGroup):
    """A group of commands; what is wrong with their words is said without a long echo of them."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except _UsageError as error:
            if meant := _meant(ctx, args[0]):
                error.message = f"No such command '{args[0]}': {meant}"
            raise

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            error.message = excerpt(error.message, MESSAGE)
            raise


class _CommandWithCommands(_Commands):
    """A command that does something by itself, and has commands of its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] in self.commands:  # it stands in the place of the argument
            self.params = [p for p in self.params if p.param_type_name != "argument"]
        elif args and not Path(args[0]).exists() and (meant := _meant(ctx, args[0])):
            raise _UsageError(f"No such command '{args[0]}': {meant}", ctx)
        else:
            ctx.allow_interspersed_args = True  # options may follow the argument
        return super().parse_args(ctx, args)


def _is_hidden(parameter: Any) -> bool:
    return getattr(parameter, "hidden", False)


# Where in cli/commands each command's function is. A process imports only the commands that it
# shows or runs: all of them would take tens of milliseconds.
COMMANDS = {
    "train": "train.train",
    "prepare": "prepare.prepare",
    "sample": "sample.sample",
    "greedy": "greedy.greedy",
    "beam": "beam.beam",
    "fill": "fill.fill",
    "write": "write.write",
    "serve": "serve.serve",
    "eval": "eval.evaluate",
    "score": "score.score",
    "compress": "compress.compress",
    "decompress": "decompress.decompress",
    "export": "export.export",
    "info": "info.info",
    "plot": "plot.plot",
    "cells": "cells.cells",
}


class _Group(NamedTuple):
    """A command with commands of its own; `alone` is what it does without one of them."""

    help: str
    commands: Mapping[str, str]
    alone: str = ""


GROUPS = {
    "runs": _Group("List the runs.", {"remove": "runs_remove.remove_runs"}, alone="runs.runs"),
    "corpora": _Group(
        "List and download named corpora; describe a text.",
        {
            "list": "corpora.list_corpora",
            "path": "corpora.path",
            "fetch": "corpora.fetch",
            "stats": "corpora_stats.stats",
        },
    ),
    "inspect": _Group(
        "Look inside a model.",
        {
            "attention": "inspect_attention.inspect_attention",
            "cells": "inspect_cells.inspect_cells",
            "gradients": "inspect_gradients.inspect_gradients",
            "memory": "inspect_memory.inspect_memory",
            "next": "inspect_next.inspect_next",
        },
    ),
    "bench": _Group(
        "Benchmark training, generation and preparation.",
        {
            "train": "bench.bench_train",
            "generate": "bench.bench_generate",
            "prepare": "bench.bench_prepare",
        },
    ),
}


def program(first: str = "") -> typer.Typer:
    """Return the command line, with only the command named `first` if there is one."""
    app = typer.Typer(
        cls=_Commands,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_charrnn)
    known = {*COMMANDS, *GROUPS}
    shown = {first} if first in known else known
    _add(app, {name: where for name, where in COMMANDS.items() if name in shown})
    for name, group in GROUPS.items():
        if name in shown:
            if group.alone:
                below = typer.Typer(cls=_CommandWithCommands, invoke_without_command=True)
                below.callback()(_function(group.alone))
            else:
                below = typer.Typer(cls=_Commands, no_args_is_help=True, help=group.help)
            _add(below, group.commands)
            app.add_typer(below, name=name)
    return app


def _add(app: typer.Typer, commands: Mapping[str, str]) -> None:
    for name, where in commands.items():
        app.command(name, cls=_Command)(_function(where))


def _function(where: str) -> Any:
    module, function = where.split(".")
    return getattr(importlib.import_module(f"charrnn.cli.commands.{module}"), function)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"charrnn {__version__}")
        raise typer.Exit


def _charrnn(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Point it at any text and, minutes later, it writes more of it."""


def _null(flags: int, mode: str) -> TextIO:
    return cast("TextIO", os.fdopen(os.open(os.devnull, flags), mode))


def run() -> None:
    """Run the command."""
    # In place of a stream that the caller closed: no file may get its number. Nothing can be
    # written to such a standard output, or a lost text would look like a success.
    sys.stdin = sys.stdin or _null(os.O_RDONLY, "r")
    sys.stdout = sys.stdout or _null(os.O_RDONLY, "w")
    sys.stderr = sys.stderr or _null(os.O_WRONLY, "w")
    # stdout is UTF-8 and exact, whatever the locale and the system's line ends.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace")
    warnings.showwarning = _show_warning
    _ignore_odd_variables()
    _end_on_signals()
    # Shell completion names no command here, and so gets all of them.
    try:
        with importing():
            commands = program(sys.argv[1] if len(sys.argv) > 1 else "")
        commands()
    except OSError as error:  # of --help and --version: commands are guarded
        from charrnn.cli.shared import report

        sys.exit(report(error))


def _ignore_odd_variables() -> None:
    """Remove variables with which numba would end this process."""
    # No thread of numba's is used, and numba ends with a traceback where the number is odd.
    os.environ.pop("NUMBA_NUM_THREADS", None)
    features = os.environ.get("NUMBA_CPU_FEATURES", "").split(",")
    if not all(feature.startswith(("+", "-")) for feature in features if feature):
        from charrnn.cli.shared import note

        del os.environ["NUMBA_CPU_FEATURES"]
        note("NUMBA_CPU_FEATURES is ignored: each feature in it must start with + or -")


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning of charrnn's as a sentence, and others as Python prints them."""
    from charrnn.cli.shared import note
    from charrnn.storage.cache_dir import CacheWarning

    shown = warnings.formatwarning(message, category, filename, lineno, line)
    note(f"{message}" if issubclass(category, CacheWarning) else shown.rstrip())


def _end_on_signals() -> None:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does: it closes and removes open files."""

    def end(number: int, frame: object) -> NoReturn:
        from charrnn.cli.shared import stop_compiling

        stop_compiling()
        sys.exit(TERMINATED)

    def again(lost: sys.UnraisableHookArgs) -> None:
        """Repeat a signal that came where Python drops what is raised, as in a finalizer."""
        numbers = {KeyboardInterrupt: signal.SIGINT, SystemExit: signal.SIGTERM}
        if lost.exc_type not in numbers:
            sys.__unraisablehook__(lost)
            return
        # Later: what it raises here would be dropped, too.
        main = threading.main_thread().ident
        timer = threading.Timer(0.05, signal.pthread_kill, [main, numbers[lost.exc_type]])
        timer.daemon = True
        timer.start()

    if hasattr(signal, "pthread_kill"):
        sys.unraisablehook = again

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number and signal.getsignal(number) == signal.SIG_DFL:  # it is ignored under nohup
            signal.signal(number, end)
