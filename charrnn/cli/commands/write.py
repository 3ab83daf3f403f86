"""``charrnn write``: a person and the network write one text in turns."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.cli.shared import DeviceOption, ModelOption, PromptOption, guarded, load_model, note
from charrnn.config import SampleConfig
from charrnn.errors import OptionError
from charrnn.terminal import TextWriter

if TYPE_CHECKING:
    from charrnn.generator import Generator
    from charrnn.model.saved_state import Prompted

DEFAULT_LENGTH = 200
_STEP = 4096  # characters read between two questions whether to go on
_KEPT = 64  # places whose states are kept


@guarded
def write(
    model: ModelOption = None,
    prompt: PromptOption = "",
    length: Annotated[
        int, typer.Option("--length", "-n", help="Characters of a continuation.")
    ] = DEFAULT_LENGTH,
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature", "-t", help="Below 1 safer, above 1 wilder; 1 is neutral, 0 greedy."
        ),
    ] = SampleConfig.temperature,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Of the first continuation; each further one takes the next.",
            show_default="a new one each time, shown",
        ),
    ] = None,
    device: DeviceOption = "cpu",
    out: Annotated[
        Path | None,
        typer.Option(help="A new file for the text.", show_default="asked for when leaving"),
    ] = None,
) -> None:
    """Write in turns with a trained model, on the whole screen.

    Type a beginning, press Tab and watch it continue from the cursor, in place of all that follows;
    Ctrl-R writes another continuation, Ctrl-Z takes back. When you leave, with Ctrl-D, the text is
    printed, and saved if you like.
    """
    config = SampleConfig(length=length, temperature=temperature, seed=seed)
    _check_terminal()
    if out is not None and out.exists():
        raise OptionError(f"--out {out} exists already: name a new file")
    try:
        from charrnn.cli.display.editor import Editor
    except ModuleNotFoundError as error:
        if error.name != "prompt_toolkit":
            raise
        raise OptionError(
            "charrnn write needs prompt_toolkit: install it with \"pip install 'charrnn[write]'\""
        ) from None
    generator = load_model(model, device=device)
    seeds = count(seed) if seed is not None else _random_seeds()
    editor = Editor(generator, config, seeds, prompt, asks=out is None)
    code = editor.run()
    # The text comes first: whatever happens to the file, it is not lost.
    writer = TextWriter(sys.stdout)
    writer.write(editor.draft.text)
    writer.finish()
    if out is not None and editor.draft.text:
        save(out, editor.draft.text)
        note(f"saved: {out}")
    if code:
        raise typer.Exit(code)


def _check_terminal() -> None:
    if not (sys.stdin.isatty() and (sys.stdout.isatty() or sys.stderr.isatty())):
        raise OptionError(
            "charrnn write needs a terminal to type in: use 'charrnn sample --prompt TEXT'"
        )
    if os.environ.get("TERM") == "dumb":
        raise OptionError(
            "charrnn write needs a terminal that can move its cursor, and TERM is dumb: "
            "use 'charrnn sample --prompt TEXT'"
        )


def _random_seeds() -> Iterator[int]:
    while True:
        yield secrets.randbits(32)


def save(path: Path, text: str) -> None:
    """Write a text to a file, exactly.

    Raises:
        RunError: it could not be written.
    """
    from charrnn.storage.files import write_atomically

    write_atomically(path, text.encode("utf-8", "surrogatepass"))


class Readings:
    """What the network has read: states of beginnings, so that only what is new is read."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._kept: dict[str, Prompted] = {}  # the last used comes last

    def after(self, text: str, goes_on: Callable[[], bool] = lambda: True) -> Prompted | None:
        """The state after `text`; None if `goes_on` said no before it was read.

        Raises:
            PromptError: it has symbols that the model has never seen.
        """
        known = max((kept for kept in self._kept if text.startswith(kept)), key=len, default="")
        read = self._kept.get(known) or self._generator.read("")
        self._keep(known, read)
        end = len(known)
        while end < len(text) and goes_on():
            read = self._generator.read(text[end : end + _STEP], read)
            end = min(end + _STEP, len(text))
        self._keep(text[:end], read)
        return read if end == len(text) else None

    def _keep(self, text: str, read: Prompted) -> None:
        self._kept.pop(text, None)
        self._kept[text] = read
        if len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]
