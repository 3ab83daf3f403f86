"""``charrnn inspect cells``: what single units do while a network reads.

Longer than other commands because it declares and parses options that no other command has.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.cli.display import activation_text, plots, tracked_units
from charrnn.cli.inspect_shared import InspectOutput, TextArgument, names_of, text_of
from charrnn.cli.options import configured
from charrnn.cli.shared import ModelOption, guarded, note, print_json
from charrnn.errors import OptionError

if TYPE_CHECKING:
    from charrnn.inspection.units import TrackedUnits, Unit
    from charrnn.model.model_file import Model

MAX_LENGTH = 100_000
PAGE_FORMATS = (".html", ".htm")

PromptOption = Annotated[
    str | None, typer.Option("--prompt", help="Read this text instead.", show_default="none")
]
LengthOption = Annotated[
    int, typer.Option("--length", help="Tokens to read.", min=1, max=MAX_LENGTH)
]
UnitOption = Annotated[
    str | None,
    typer.Option(
        "--unit",
        help="Color the text by this unit: LAYER.UNIT or LAYER.PART.UNIT, for example 1.c.37.",
        show_default="none",
    ),
]
PageOption = Annotated[
    Path | None,
    typer.Option(
        "--html",
        help="Write an HTML page in which you can color the text by any unit.",
        show_default="none",
    ),
]


@guarded
@configured
def inspect_cells(
    *,
    file: TextArgument = None,
    model: ModelOption = None,
    prompt: PromptOption = None,
    length: LengthOption = 5000,
    unit: UnitOption = None,
    html: PageOption = None,
    output: InspectOutput,
) -> None:
    """Look at single units while a model reads: what they track, which gates are saturated.

    Units that track a feature of the text are chosen on its first half and scored on its second:
    by 2 AUC - 1 of the ROC curve for a yes-or-no feature, by Spearman's rank correlation for a
    number; 1 and -1 are best, 0 is chance. A gate is left-saturated below 0.1 and right-saturated
    above 0.9.
    """
    from charrnn.inspection.units import track_units
    from charrnn.model import model_file
    from charrnn.run_dir import find_model

    plots.check_file("--html", html, output.force, PAGE_FORMATS)
    if file is not None and prompt is not None:
        raise OptionError("FILE and --prompt both name a text: give one of them")
    path = find_model(model)
    loaded = model_file.load(path)
    if model is None:
        note(f"model: {path}")
    chosen = _parse_unit(unit, loaded) if unit else None
    text = text_of(file, {path: loaded}, length) if prompt is None else prompt
    found = track_units(loaded, text, length)
    if chosen and chosen.part not in found.activations.parts:
        parts = ", ".join(found.activations.parts)
        raise OptionError(f"--unit {unit}: a layer of this model has {parts}")
    name = names_of([path])[path]
    if output.plot is not None:
        plots.save(tracked_units.picture(found, chosen), output.plot)
    if html is not None:
        _write_page(html, name, found, chosen)
    if output.json:
        print_json({"model": name} | found.to_json(chosen))
    else:
        _show(name, found, chosen)


def _parse_unit(text: str, model: Model) -> Unit:
    """Return the unit named LAYER.PART.UNIT, or LAYER.UNIT of the last part of the state."""
    from charrnn.cells import CELLS
    from charrnn.inspection.units import Unit

    config, states = model.config, CELLS[model.config.cell].states
    match = re.fullmatch(r"(\d{1,9})\.(?:([a-z]+)\.)?(\d{1,9})", text)
    if not match:
        raise OptionError(
            f"--unit {text} is not a unit: write LAYER.UNIT or LAYER.PART.UNIT, as 1.c.37"
        )
    unit = Unit(int(match[1]), match[2] or states[-1], int(match[3]))
    if not (1 <= unit.layer <= config.num_layers and 1 <= unit.number <= config.hidden_size):
        raise OptionError(
            f"--unit {text}: layers of this model are 1 to {config.num_layers}, their units 1 to "
            f"{config.hidden_size}"
        )
    return unit


def _write_page(path: Path, name: str, found: TrackedUnits, unit: Unit | None) -> None:
    from charrnn.cli.display.unit_page import shown_tokens, unit_page
    from charrnn.storage.files import write_atomically

    write_atomically(path, unit_page(name, found, unit).encode())
    length = shown_tokens(found)
    part = f", the first {length:,} tokens" if length < len(found.tokens) else ""
    note(f"written: {path}{part}")


def _show(name: str, found: TrackedUnits, unit: Unit | None) -> None:
    if unit is None:
        for line in tracked_units.table(found):
            typer.echo(line)
        return
    typer.echo(f"unit {unit} of {name} after each token")
    scale = activation_text.Scale(*found.limits(unit))
    activation_text.print_text(found.tokens, found.values(unit).tolist(), scale)
