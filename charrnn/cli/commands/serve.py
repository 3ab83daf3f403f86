"""``charrnn serve``: a page to play with, and OpenAI's protocol for other programs."""

from __future__ import annotations

import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli import completion
from charrnn.cli.options import configured
from charrnn.cli.shared import CellOption, guarded, note
from charrnn.config import EngineOptions
from charrnn.config.serving import ServeOptions
from charrnn.errors import OptionError, counted, missing_package

_PACKAGES = ("starlette", "uvicorn")


@guarded
@configured
def serve(
    *,
    model: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            "-m",
            help="A model file, a run or its name in ./runs, or a checkpoint; may be repeated.",
            show_default="$CHARRNN_MODEL, or the newest run in ./runs",
            autocompletion=completion.models,
        ),
    ] = None,
    cell: CellOption = None,
    options: ServeOptions,
    engine: EngineOptions,
) -> None:
    """Open a page to write with models, and answer other programs in OpenAI's protocol.

    The page also scores texts and shows trainings. The runs in ./runs can be chosen, too; a run
    that is training is loaded again when its best model changes. Programs that speak to OpenAI's
    completions can ask the printed address with /v1 after it. Ctrl-C ends the server.
    """
    try:
        from charrnn.server import serving
        from charrnn.server.limits import Limits
        from charrnn.server.models import Models
    except ModuleNotFoundError as error:
        if error.name not in _PACKAGES:
            raise
        raise OptionError(missing_package("charrnn serve", error.name, "serve")) from None
    models = Models(model or [], engine, Limits(), note, cell)
    listening = serving.listen(options)
    address = serving.address(listening, options)

    def ready() -> None:
        runs = len(models.paths())
        note(f"serving {counted(runs, 'model')}: {address} (Ctrl-C ends)")
        if options.no_token:
            note("everyone who can reach this address may use it: there is no token")
        if options.open:
            # Some browsers end only when they are closed, and all of them ask this server.
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    serving.serve(serving.server(models, options, note), listening, ready)
