"""What the commands of ``charrnn inspect`` share: the text they look at, where they draw."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from charrnn.tokenizer import Tokenizer

PictureOption = Annotated[
    Path | None,
    typer.Option("--plot", help="Draw a .png, .svg or .pdf file.", show_default="none"),
]
ReplaceOption = Annotated[bool, typer.Option("--force", help="Replace files that are there.")]
TextArgument = Annotated[
    Path | None,
    typer.Argument(
        help="The text that is read; - is standard input.",
        show_default="the model's own validation text",
    ),
]


def text_of(file: Path | None, model: Path, tokenizer: Tokenizer, most: int) -> str:
    """The beginning of a text: of the one that was named, or of what the model's run held out."""
    from charrnn.cli.eval import held_out
    from charrnn.cli.text import read_corpus
    from charrnn.config import Reading

    if file is None:
        text = tokenizer.decode(held_out(model, tokenizer, "valid")[:most])
        return text.removesuffix("\ufffd")  # of a character that was cut
    return read_corpus([str(file)], Reading()).text[:most]


def numbers(values: Iterable[Any]) -> list[float | None]:
    """Numbers as JSON can have them."""
    return [number(float(value)) for value in values]


def number(value: float) -> float | None:
    """JSON has none that are not finite."""
    return value if math.isfinite(value) else None
