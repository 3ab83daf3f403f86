"""What the commands of ``charrnn inspect`` share: the text they look at, where they draw."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.errors import OptionError
from charrnn.terminal import visible

if TYPE_CHECKING:
    from charrnn.model.model_file import Model

PictureOption = Annotated[
    Path | None,
    typer.Option("--plot", help="Draw a .png, .svg or .pdf file.", show_default="none"),
]
ReplaceOption = Annotated[bool, typer.Option("--force", help="Replace files that are there.")]
ModelsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--model",
        "-m",
        help="A model file or a run's folder; may be repeated.",
        show_default="the newest run in ./runs",
    ),
]
TextArgument = Annotated[
    Path | None,
    typer.Argument(
        help="The text that is read; - is standard input.",
        show_default="the (first) model's own validation text",
    ),
]


def text_of(file: Path | None, loaded: Mapping[Path, Model], most: int) -> str:
    """The beginning of a text: of the one named, or of what the first model's run held out."""
    from charrnn.cli.commands.eval import held_out
    from charrnn.cli.corpus_options import read_corpus
    from charrnn.config import Reading

    if file is not None:
        return read_corpus([str(file)], Reading()).text[:most]
    if not loaded:
        raise OptionError("name a text for the untrained networks to read")
    path, model = next(iter(loaded.items()))
    ids, _ = held_out(path, model.tokenizer, "valid")
    text = model.tokenizer.decode(ids[:most])
    return text.removesuffix("\ufffd")  # of a character that was cut


def names_of(paths: Sequence[Path]) -> dict[Path, str]:
    """A name for each model file, as a terminal may get it: its run's, unless that is another's."""
    from charrnn.model.model_file import MODEL_NAME

    names = [path.resolve().parent.name if path.name == MODEL_NAME else path.stem for path in paths]
    return {
        path: visible(name if names.count(name) == 1 else str(path))
        for path, name in zip(paths, names, strict=True)
    }


def numbers(values: Iterable[Any]) -> list[float | None]:
    """Numbers as JSON can have them."""
    return [number(float(value)) for value in values]


def number(value: float) -> float | None:
    """JSON has none that are not finite."""
    return value if math.isfinite(value) else None
