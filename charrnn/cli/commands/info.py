"""``charrnn info``: what model files hold, and how they differ."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli import completion
from charrnn.cli.display import model_summary
from charrnn.cli.shared import JsonOption, guarded, print_json

if TYPE_CHECKING:
    from charrnn.model.model_file import Model


@guarded
def info(
    models: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="MODEL",
            help="Model files, or runs: their folders, or their names in ./runs.",
            show_default="the newest run in ./runs",
            autocompletion=completion.models,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a model: its architecture, its tokens, what it was trained on and how far it got.

    For several models, it shows key figures and what differs, side by side.
    """
    from charrnn.run_dir import find_model, read_model

    found = map(find_model, models) if models else [find_model(None)]
    paths = list(dict.fromkeys(found))
    loaded = [read_model(path, described_only=True) for path in paths]
    described = [_fields(path, model) for path, model in zip(paths, loaded, strict=True)]
    if as_json:
        print_json(described[0] if len(described) == 1 else {"models": described})
    elif len(described) == 1:
        sys.stdout.write(model_summary.summary(described[0], loaded[0].tokenizer))
    else:
        names = _names(paths)
        sys.stdout.write(model_summary.comparison(dict(zip(names, described, strict=True))))


def _fields(path: Path, model: Model) -> dict[str, Any]:
    from charrnn.config import to_json
    from charrnn.run_dir import RunDir

    return {
        "model": str(path),
        "format": model.format,
        "parameters": sum(value.size for value in model.values.values()),
        "config": to_json(model.config),
        "tokenizer": model.tokenizer.to_json(),
        "training": model.training,
        "seconds": RunDir.of_model(path).read_summary().get("seconds"),
    }


def _names(paths: list[Path]) -> list[str]:
    """Return a name for each model, no two of them the same: that of its run, or its path."""
    names = [path.parent.name if path.suffix == ".safetensors" else str(path) for path in paths]
    return [str(p) if names.count(n) > 1 else n for n, p in zip(names, paths, strict=True)]
