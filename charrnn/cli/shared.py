"""Functions that all commands share: errors as sentences, exit codes, output, loading a model.

stdout carries the product (text, JSON); everything else goes to stderr. Nothing from a corpus, a
model or a file name reaches a terminal unescaped, and none of it is read as markup.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import functools
import inspect
import io
import os
import re
import select
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TextIO, TypeVar

import typer

from charrnn.cli import completion
from charrnn.config import EngineOptions, to_json
from charrnn.errors import (
    CharRNNError,
    InputError,
    OptionError,
    counted,
    shell_command,
    text_as_name,
)
from charrnn.storage.files import json_text, waits_for
from charrnn.terminal import json_visible, visible

if TYPE_CHECKING:
    from charrnn.generator import Generator

P = ParamSpec("P")
R = TypeVar("R")
INTERRUPTED = 130
_LABELED = re.compile(r"(?:compare|eval|model|next|resume|run) {2,}")
_QUOTED = re.compile(r"(?<!\w)'[^'\n]+'(?!\w)")
_JOINED = "\0"  # stands for a space at which no line ends; `visible` leaves none of these in a text

ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        "-m",
        help="A model file, or a run or one of its checkpoints: its folder, or its name in ./runs.",
        show_default="$CHARRNN_MODEL, or the newest run in ./runs",
        autocompletion=completion.models,
    ),
]
CellOption = Annotated[
    str | None,
    typer.Option(
        "--cell",
        help="The file of the model's cell, if that is one of your own; its code is run.",
        show_default="none",
    ),
]
NO_THREAD = "can't start new thread"  # as Python words it
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")
]


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Return a command that reports an error as one sentence on stderr and as an exit code."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            result = command(*args, **kwargs)
            sys.stdout.flush()
            return result
        except CharRNNError as error:
            if not error.said:
                note(f"charrnn: {error.message}")
            raise typer.Exit(error.exit_code) from error
        except BrokenPipeError:  # the reader stopped reading
            _discard_stdout()
            raise typer.Exit(0) from None
        except OSError as error:
            raise typer.Exit(report(error)) from None
        except KeyboardInterrupt:
            stop_compiling()
            note("")
            raise typer.Exit(INTERRUPTED) from None
        except MemoryError:
            note("charrnn: out of memory: use a smaller model, batch, width or text")
            raise typer.Exit(1) from None
        except RuntimeError as error:
            if str(error) != NO_THREAD:
                raise
            note("charrnn: the system lets this user start no more threads (see 'ulimit -u')")
            raise typer.Exit(1) from None

    run.__doc__ = _unwrapped(command.__doc__ or "")
    return run


def stop_compiling() -> None:
    """End processes that compile in the background; they would be finished otherwise."""
    background = sys.modules.get("charrnn.compiler.background")
    if background:
        background.stop()


def _unwrapped(docstring: str) -> str:
    """Return a docstring with each paragraph on one line, so that `--help` can wrap it."""
    paragraphs = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs)


def report(error: OSError) -> int:
    """Say what the system refuses, and return the exit code."""
    _discard_stdout()
    name = "the output" if error.filename is None else str(error.filename)
    if error.errno == errno.ENAMETOOLONG:
        note(f"charrnn: {text_as_name(name)}")
        return InputError.exit_code
    why = "it is closed" if error.errno == errno.EBADF else error.strerror
    note(f"charrnn: {name}: {why}")
    return 1


def _discard_stdout() -> None:
    """Discard output that is still buffered: Python would complain about it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def note(text: str, *, dim: bool = False, indent: int = 0) -> None:
    """Print a sentence to stderr, with control characters escaped.

    Args:
        text: the sentence.
        dim: whether it is dim on a terminal with colors.
        indent: on a terminal, the spaces before each line but the first.
    """
    line = wrapped(visible(text), sys.stderr, indent)
    if dim and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        line = line if os.environ.get("NO_COLOR") else f"\x1b[2m{line}\x1b[0m"
    with contextlib.suppress(OSError):  # stderr was closed: the work goes on
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def announce_waiting(names: Iterable[str], what: str = "text") -> None:
    """Say what a command waits for that reads from a terminal, a pipe or the system itself."""
    for name in names:
        if name == "-" and sys.stdin.isatty():
            note(f"reading the {what} from the terminal: Ctrl-D ends it")
            _wait_for_typing()
        elif name != "-" and (sentence := waits_for(Path(name))):
            note(sentence)


def _wait_for_typing() -> None:
    """Return when the terminal has a line.

    A signal that comes just before a process begins to read is handled when the reading ends. So
    wait in short turns, between which Python handles signals.
    """
    with contextlib.suppress(OSError, ValueError):  # Windows can only wait for sockets
        while not select.select([sys.stdin], [], [], 0.1)[0]:
            pass


def wrapped(text: str, stream: TextIO, indent: int) -> str:
    """Return a text for a terminal, which would cut it inside a word; for other streams, as it is.

    What is to be copied stays whole: whatever is in quotes, and a command or a path after a label.

    Args:
        text: sentences or a list; of several lines, each is wrapped by itself.
        stream: where it goes.
        indent: the spaces before each further line.
    """
    if not stream.isatty():
        return text
    columns = shutil.get_terminal_size().columns
    with contextlib.suppress(OSError):
        columns = os.get_terminal_size(stream.fileno()).columns or columns
    fill = functools.partial(
        textwrap.fill,
        width=max(columns, 2 * indent, 20),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(
        line if _LABELED.match(line) else fill(_QUOTED.sub(_join, line)).replace(_JOINED, " ")
        for line in text.split("\n")
    )


def _join(quoted: re.Match[str]) -> str:
    return quoted[0].replace(" ", _JOINED)


def left_after(skip: int, count: int, what: str) -> int:
    """Return how many of `count` texts, sources or lines are left after those to skip.

    Raises:
        OptionError: none is.
    """
    if skip and skip >= count:
        raise OptionError(f"--skip {skip:,} leaves none of {counted(count, what)}")
    return count - skip


def json_line(fields: Mapping[str, Any]) -> str:
    """Return the machine-readable result: one JSON object on one line, safe to show."""
    return json_visible(json_text(fields, ensure_ascii=False)) + "\n"


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a table as CSV; a value that is None or not a number is left empty."""
    values = ([row[name] if row[name] == row[name] else "" for name in columns] for row in rows)
    return csv_rows([columns, *values])


def csv_rows(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV that ends its lines in LF.

    A byte of a file's name that is not UTF-8 is written as the escape that JSON has for it.
    """
    # The writer quotes the characters of its own line end only, and values may hold CR and LF.
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    lines = []
    for row in rows:
        writer.writerow(row)
        lines.append(out.getvalue().removesuffix("\r\n") + "\n")
        out.seek(0)
        out.truncate()
    return "".join(lines).encode("utf-8", "backslashreplace").decode()


def print_json(fields: Mapping[str, Any]) -> None:
    """Print the machine-readable result to stdout."""
    sys.stdout.write(json_line(fields))
    sys.stdout.flush()


def cell_words(cell: str) -> list[str]:
    """Return the flag that names a cell to a later command, if that needs it."""
    from charrnn.cells import own

    used = own.used(cell)
    return ["--cell", used.origin] if used else []


def load_model(
    given: Path | None, engine: EngineOptions | None = None, cell: str | None = None
) -> Generator:
    """Return the generator of the model that ``--model`` names; by default, of the newest run.

    A model that was not named is described on stderr, and so is a better one that it hides.

    Args:
        given: the model.
        engine: what runs it.
        cell: its cell, if that is one of the user's own.

    Raises:
        OptionError: the device is not available, or the cell has a mistake.
        ModelError: there is no such model, or its file is damaged.
    """
    from charrnn.generator import Generator
    from charrnn.run_dir import MODEL_VARIABLE, find_model, in_words, read_model

    engine = engine or EngineOptions()
    path = find_model(given)
    model = read_model(path, cell)
    if given is None:
        note(f"model: {in_words(path, model.training)}", dim=True)
        if not os.environ.get(MODEL_VARIABLE):
            _name_better_run()
    generator = Generator(model, **to_json(engine), notify=note)
    if engine.device != "cpu":
        _ = generator.engine  # reports a missing device now instead of in the middle of the work
    return generator


def _name_better_run() -> None:
    """Say which run the newest one should not hide, if there is one."""
    from charrnn.run_dir.account import better_than_newest

    found = better_than_newest()
    if found:
        run, why = found
        use = f"--model {shell_command(run.run_dir)}"
        note(f"model: this is the newest run, but {run.run_dir} {why}: {use} writes with that one")
