"""What all commands share: options, errors as sentences, exit codes, where output goes.

stdout carries the product (text, JSON); everything else goes to stderr. Nothing from a corpus, a
model or a file name reaches a terminal unescaped, and no markup is ever read from it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer

from charrnn.config import check_threads, check_weights, check_writing_device
from charrnn.errors import CharRNNError
from charrnn.terminal import json_visible, visible

if TYPE_CHECKING:
    from charrnn.generator import Generator

P = ParamSpec("P")
R = TypeVar("R")
INTERRUPTED = 130

ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        "-m",
        help="A model file or a run's folder.",
        show_default="the newest run in ./runs",
    ),
]
PromptOption = Annotated[
    str,
    typer.Option(
        "--prompt", "-p", help="Text to continue; - is standard input.", show_default="nothing"
    ),
]
PromptFileOption = Annotated[
    Path | None,
    typer.Option(
        help="Continue the text of this file, exactly as it is; - is standard input.",
        show_default="none",
    ),
]
UnknownOption = Annotated[
    str,
    typer.Option(
        help="Symbols of the prompt that the model has never seen: error, skip, or nearest, "
        "which writes them another way (é as e)."
    ),
]
LoadStateOption = Annotated[
    Path | None,
    typer.Option(
        help="Go on from a saved state, with its randomness unless --seed is given.",
        show_default="none",
    ),
]
SaveStateOption = Annotated[
    Path | None,
    typer.Option(help="Keep the state after the text, to go on from.", show_default="none"),
]
WeightsOption = Annotated[
    str,
    typer.Option(help="What weights are kept as: float32, bfloat16 or int8 (less exact, faster)."),
]
ThreadsOption = Annotated[
    int | None, typer.Option(help="CPU threads.", show_default="as many as are worth it")
]
DeviceOption = Annotated[str, typer.Option(help="What runs the network: cpu, cuda or cuda:N.")]
RegexOption = Annotated[
    str | None,
    typer.Option(
        help="The text matches this pattern in full; where it may end, it ends before what would "
        "not match.",
        show_default="none",
        rich_help_panel="Limits",
    ),
]
AllowOption = Annotated[
    str | None,
    typer.Option(
        help="Write these characters only, as in the square brackets of a pattern: a-z.",
        show_default="all",
        rich_help_panel="Limits",
    ),
]
ForbidOption = Annotated[
    str | None,
    typer.Option(
        help="Write none of these characters, in the same way: 0-9.",
        show_default="none",
        rich_help_panel="Limits",
    ),
]
MaxLinesOption = Annotated[
    int | None,
    typer.Option(
        help="End the text with the end of this line.",
        show_default="any number",
        rich_help_panel="Limits",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        help="Write to this file, or folder of several texts, instead of stdout.",
        show_default="none",
    ),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Write over what --out names, if it exists.")
]
StopOption = Annotated[
    list[str] | None,
    typer.Option("--stop", help="Stop before this text; may be repeated.", show_default="none"),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")
]


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Turn what can go wrong into one sentence on stderr and the exit code that belongs to it."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            result = command(*args, **kwargs)
            sys.stdout.flush()
            return result
        except CharRNNError as error:
            note(f"charrnn: {error.message}")
            raise typer.Exit(error.exit_code) from error
        except BrokenPipeError:  # the reader has all it wanted
            _discard_stdout()
            raise typer.Exit(0) from None
        except OSError as error:
            _discard_stdout()
            note(f"charrnn: {error.filename or 'the output'}: {error.strerror}")
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            note("")
            raise typer.Exit(INTERRUPTED) from None
        except MemoryError:
            note("charrnn: out of memory: use a smaller model, batch, width or text")
            raise typer.Exit(1) from None

    return run


def _discard_stdout() -> None:
    """What is still to be written goes nowhere: Python would complain when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def note(text: str) -> None:
    """A line for the person: to stderr, made visible."""
    with contextlib.suppress(OSError):  # nobody listens any more: the work goes on
        sys.stderr.write(visible(text) + "\n")
        sys.stderr.flush()


def json_line(fields: Mapping[str, Any]) -> str:
    """The machine-readable result: one object, one line, safe to show and to encode."""
    return json_visible(json.dumps(fields, ensure_ascii=False)) + "\n"


def print_json(fields: Mapping[str, Any]) -> None:
    """The machine-readable result, to stdout."""
    sys.stdout.write(json_line(fields))
    sys.stdout.flush()


def load_model(
    given: Path | None,
    weights: str = "float32",
    threads: int | None = None,
    device: str = "cpu",
) -> Generator:
    """The generator meant by ``--model``; stderr says which, where it was not named.

    Raises:
        OptionError: it cannot be had like this; the device is not there.
        ModelError: there is no such model.
    """
    from charrnn.generator import Generator
    from charrnn.model import model_file
    from charrnn.run_dir import find_model

    check_weights(weights)
    check_threads(threads)
    check_writing_device(device, weights, threads)
    path = find_model(given)
    if given is None:
        note(f"model: {path}")
    model = model_file.load(path)
    generator = Generator(model, weights=weights, threads=threads, device=device, notify=note)
    if device != "cpu":
        _ = generator.engine  # says now, and not in the midst of the work, if it is not there
    return generator


@contextlib.contextmanager
def watched(what: str, length: int, long: int = 0) -> Iterator[Callable[[int], object]]:
    """A bar on the terminal, told how far it is, while something of `long` or more is read."""
    if length < long or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=length)
        yield lambda done: bar.update(task, completed=done)
