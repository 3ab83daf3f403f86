"""``charrnn info``: what a model file holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.shared import JsonOption, guarded, print_json
from charrnn.terminal import one_line, visible

if TYPE_CHECKING:
    from charrnn.text.tokenizer import Tokenizer


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
    """Show a model: architecture, symbols, what it was trained on and what it reached."""
    from charrnn.config import to_json
    from charrnn.model import model_file, parameters
    from charrnn.run_dir import find_model

    path = find_model(model)
    loaded = model_file.load(path)
    fields = {
        "model": str(path),
        "format": model_file.FORMAT_VERSION,
        "parameters": parameters.count(loaded.config),
        "config": to_json(loaded.config),
        "tokenizer": loaded.tokenizer.to_json(),
        "training": loaded.training,
    }
    if as_json:
        print_json(fields)
        return
    typer.echo(f"{visible(str(path))}")
    config = loaded.config
    inputs = f"embedding {config.embedding_size}" if config.embedding_size else "one-hot symbols"
    typer.echo(
        f"  network    {config.cell}, {config.num_layers} x {config.hidden_size}, {inputs}, "
        f"{parameters.count(config):,} parameters"
    )
    typer.echo(f"  symbols    {config.vocab_size}: {_shortened(loaded.tokenizer)}")
    for name, value in _flat(loaded.training):
        typer.echo(f"  {visible(name)}: {visible(str(value))}")


def _shortened(tokenizer: Tokenizer) -> str:
    """The symbols, as far as they fit."""
    from charrnn.text.tokenizer import CharTokenizer

    if isinstance(tokenizer, CharTokenizer):
        symbols = tokenizer.alphabet
        rest = " and all bytes" if tokenizer.byte_fallback else ""
        return _line(symbols) + rest
    pieces = [piece.decode("utf-8", "replace") for piece in tokenizer.token_bytes[256:]]
    return f"{tokenizer.kind}, all bytes" + (f" and {_line(' | '.join(pieces))}" if pieces else "")


def _line(text: str) -> str:
    shown = one_line(text)
    return shown if len(shown) <= 200 else f"{shown[:200]}…"


def _flat(fields: Any, prefix: str = "") -> list[tuple[str, object]]:
    """Nested fields as dotted names, in order."""
    rows: list[tuple[str, object]] = []
    for name, value in fields.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, value))
    return rows
