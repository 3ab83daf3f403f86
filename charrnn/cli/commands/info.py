"""``charrnn info``: what a model file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.display.model_summary import flat, vocabulary_line
from charrnn.cli.shared import JsonOption, guarded, print_json
from charrnn.terminal import visible


@guarded
def info(
    model: Annotated[
        Path | None,
        typer.Argument(
            help="A model file or a run's folder.", show_default="the newest run in ./runs"
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a model: its architecture, its tokens, what it was trained on and how far it got."""
    from charrnn.config import cell_name, to_json
    from charrnn.model import model_file
    from charrnn.run_dir import find_model, read_model

    path = find_model(model)
    loaded = read_model(path, described_only=True)
    parameters = sum(value.size for value in loaded.values.values())
    fields = {
        "model": str(path),
        "format": model_file.FORMAT_VERSION,
        "parameters": parameters,
        "config": to_json(loaded.config),
        "tokenizer": loaded.tokenizer.to_json(),
        "training": loaded.training,
    }
    if as_json:
        print_json(fields)
        return
    typer.echo(f"{visible(str(path))}")
    config = loaded.config
    inputs = f"embedding {config.embedding_size}" if config.embedding_size else "one-hot tokens"
    typer.echo(
        f"  network    {cell_name(config.cell)}, {config.num_layers} x {config.hidden_size}, "
        f"{inputs}, {parameters:,} parameters"
    )
    typer.echo(f"  tokens     {config.vocab_size}: {vocabulary_line(loaded.tokenizer)}")
    for name, value in flat(loaded.training):
        typer.echo(f"  {visible(name)}: {visible(str(value))}")
