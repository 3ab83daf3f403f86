"""``charrnn write``: a person and the network write one text in turns."""

from __future__ import annotations

import os
import sys
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.options import Only, configured
from charrnn.cli.prompt import PromptOptions, first_state
from charrnn.cli.shared import CellOption, ModelOption, guarded, load_model, note
from charrnn.config import EngineOptions, SampleConfig, new_seed
from charrnn.errors import OptionError, missing_package
from charrnn.terminal import TextWriter


@guarded
@configured
def write(
    *,
    model: ModelOption = None,
    cell: CellOption = None,
    start: Annotated[PromptOptions, Only("prompt", "adapt")],
    config: Annotated[SampleConfig, Only("temperature", "seed", "unknown", length=200)],
    engine: Annotated[EngineOptions, Only("device", "with_counts")],
    out: Annotated[
        Path | None,
        typer.Option(help="A new file for the text.", show_default="asked for when you leave"),
    ] = None,
) -> None:
    """Write in turns with a trained model, in a full-screen editor.

    Type a beginning and press Tab: the model continues from the cursor and replaces the text after
    it. Ctrl-R writes another continuation, Ctrl-Z undoes. When you leave, with Ctrl-D, the text is
    printed, and saved if you like. With --seed, each continuation takes the next seed.
    """
    from charrnn.run_dir import find_model, in_words

    _check_terminal()
    if out is not None and out.exists():
        raise OptionError(f"--out {out} exists already: name a new file")
    try:
        from charrnn.cli.display.editor import Editor, save
    except ModuleNotFoundError as error:
        if error.name != "prompt_toolkit":
            raise
        raise OptionError(missing_package("charrnn write", "prompt_toolkit", "write")) from None
    generator = load_model(model, engine, cell)
    # A model that cannot write is refused before the screen changes.
    generator.prepare(config, wait=False)
    seeds = iter(new_seed, None) if config.seed is None else count(config.seed)
    title = f"model: {in_words(find_model(model), generator.training)}"
    learnt = first_state(generator, start, config.unknown)
    given = (generator, config, seeds, start.prompt or "")
    editor = Editor(*given, title=title, asks=out is None, start=learnt)
    code = editor.run()
    # Print first: whatever happens to the file, the text is not lost.
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
