"""``charrnn inspect cells``: what single units do while a network reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.display import activation_text, plots, tracked_units
from charrnn.cli.inspect_shared import PageOutput, TextArgument, model_names, read_text
from charrnn.cli.options import Given, configured
from charrnn.cli.shared import CellOption, ModelOption, guarded, note, print_json
from charrnn.cli.texts import OWN_READING
from charrnn.config import Reading
from charrnn.config.inspection import UnitOptions
from charrnn.errors import OptionError

if TYPE_CHECKING:
    from charrnn.inspection.units import TrackedUnits, Unit


@guarded
@configured
def inspect_cells(
    *,
    file: TextArgument = None,
    model: ModelOption = None,
    cell: CellOption = None,
    options: UnitOptions,
    reading: Annotated[dict[str, Any], Given(Reading), OWN_READING],
    output: PageOutput,
) -> None:
    """Show what single units track while a model reads a text, and which gates saturate.

    Units that track a feature of the text are chosen on its first half and scored on its second:
    by 2 AUC - 1 of the ROC curve for a yes-or-no feature, by Spearman's rank correlation for a
    number; 1 and -1 are best, 0 is chance. A gate is left-saturated below 0.1 and right-saturated
    above 0.9.
    """
    from charrnn.inspection.units import parse_unit, track_units
    from charrnn.run_dir import find_model, read_model

    if file is not None and options.prompt is not None:
        raise OptionError("FILE and --prompt both name a text: give one of them")
    path = find_model(model)
    loaded = read_model(path, cell)
    if model is None:
        note(f"model: {path}")
    unit = parse_unit(options.unit, loaded) if options.unit else None
    text = options.prompt
    if text is None:
        text = read_text(file, {path: loaded}, options.length, reading)
    found = track_units(loaded, text, options.length)
    if unit and unit.part not in found.activations.parts:
        parts = ", ".join(found.activations.parts)
        raise OptionError(f"--unit {options.unit}: a layer of this model has {parts}")
    name = model_names([path])[path]
    if output.plot is not None:
        plots.save(tracked_units.picture(found, unit), output.plot)
    if output.html is not None:
        from charrnn.cli.display.unit_page import write_page

        write_page(output.html, name, found, unit)
    if output.json:
        print_json({"model": name} | found.to_json(unit))
    else:
        _show(name, found, unit)


def _show(name: str, found: TrackedUnits, unit: Unit | None) -> None:
    if unit is None:
        for line in tracked_units.table(found):
            typer.echo(line)
        return
    typer.echo(f"unit {unit} of {name} after each token")
    scale = activation_text.Scale(*found.limits(unit))
    activation_text.print_text(found.tokens, found.values(unit).tolist(), scale)
