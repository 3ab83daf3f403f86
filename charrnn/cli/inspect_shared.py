"""Functions that the commands of ``charrnn inspect`` share: models, text to read, output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli import completion
from charrnn.cli.display import plots
from charrnn.cli.shared import note
from charrnn.config.fields import Options, check_force, path, switch
from charrnn.errors import OptionError
from charrnn.terminal import visible

if TYPE_CHECKING:
    from charrnn.model.model_file import Model

MAX_HELD_OUT = 2**20  # tokens of a held-out text; what is measured is spread over them

ModelsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--model",
        "-m",
        autocompletion=completion.models,
        help="A model file or a run's folder; may be repeated.",
        show_default="the newest run in ./runs",
    ),
]
TextArgument = Annotated[
    Path | None,
    typer.Argument(
        help="Text to read; - is standard input.",
        show_default="the validation text of the (first) model",
    ),
]


@dataclass(frozen=True)
class InspectOutput(Options):
    """Where the results go besides the terminal.

    Raises:
        OptionError: the picture has an unknown format, or exists already.
    """

    plot: Path | None = path("Write a picture: .png, .svg or .pdf.", shown="none")
    force: bool = switch("Overwrite files that exist.")
    json: bool = switch("Print one JSON object as the last line of stdout.")

    def __post_init__(self) -> None:
        """Check the picture's file before anything is computed."""
        super().__post_init__()
        self._check_force()
        plots.check_file("--plot", self.plot, self.force)

    def _check_force(self) -> None:
        check_force(self.force, plot=self.plot)


@dataclass(frozen=True)
class PageOutput(InspectOutput):
    """Where the results go besides the terminal, with a page."""

    html: Path | None = path("Write an HTML page, which needs no other file.", shown="none")

    def __post_init__(self) -> None:
        """Check the page's file as well."""
        super().__post_init__()
        plots.check_file("--html", self.html, self.force, (".html", ".htm"))

    def _check_force(self) -> None:
        check_force(self.force, plot=self.plot, html=self.html)


def load_models(given: Sequence[Path] | None, *, newest: bool = True) -> dict[Path, Model]:
    """Return the models of ``--model`` by path; without any, the newest one if `newest` is true.

    Raises:
        ModelError: a model does not exist or cannot be read.
    """
    from charrnn.run_dir import find_model, read_model

    wanted: Sequence[Path | None] = given or ([None] if newest else [])
    paths = [find_model(model) for model in wanted]
    if paths and not given:
        note(f"model: {paths[0]}")
    return {each: read_model(each) for each in paths}


def read_text(
    file: Path | None, loaded: Mapping[Path, Model], length: int, given: Mapping[str, Any]
) -> str:
    """Return the start of the named text, or of the first model's own validation text.

    The named text is read as that of the first model's training was.

    Args:
        file: the text; None for the validation text.
        loaded: models by their path.
        length: limit of the text, in characters or tokens.
        given: the options of `Reading` that the user gave.

    Raises:
        OptionError: no text is named, and there is no model, or its text is not available; or a
            model is one of pairs.
        CorpusError: the named text cannot be read.
    """
    from charrnn.cli.texts import read_for
    from charrnn.config import ModelReading
    from charrnn.inspection.activations import check_reads_text
    from charrnn.run_dir.run_text import held_out

    for model in loaded.values():
        check_reads_text(model)
    if file is not None:
        reading = next((model.reading for model in loaded.values()), ModelReading())
        return read_for(reading, [str(file)], given).text[:length]
    if not loaded:
        raise OptionError("name a text for the untrained networks to read")
    model_path, model = next(iter(loaded.items()))
    ids, _ = held_out(model_path, model.tokenizer, "valid")
    text = model.tokenizer.decode(ids[:length])
    return text.removesuffix("\ufffd")  # of a character that was cut in two


def by_name(loaded: Mapping[Path, Model]) -> dict[str, Model]:
    """Return models by the names of their files.

    A notice says which of them read as one text what they were trained to read apart.
    """
    names = model_names(list(loaded))
    for each, model in loaded.items():
        if model.reading.documents_apart:
            note(f"{names[each]} was trained on documents apart: here it reads the text as one")
    return {names[each]: model for each, model in loaded.items()}


def model_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return a name for each model file: its run's name, or its path if that is not unique."""
    from charrnn.model.model_file import MODEL_NAME

    names = [each.resolve().parent.name if each.name == MODEL_NAME else each.stem for each in paths]
    return {
        each: visible(name if names.count(name) == 1 else str(each))
        for each, name in zip(paths, names, strict=True)
    }
