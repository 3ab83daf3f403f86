"""``charrnn eval``: how well a model predicts a text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cli import completion
from charrnn.cli.display.scores import score_fields
from charrnn.cli.evaluation import Evaluator, check_text
from charrnn.cli.options import Given, Only, configured
from charrnn.cli.shared import CellOption, JsonOption, ModelOption, guarded, note, print_json
from charrnn.cli.texts import OWN_READING
from charrnn.config import DynamicOptions, EngineOptions, Reading


@guarded
@configured
def evaluate(
    reading: Annotated[dict[str, Any], Given(Reading), OWN_READING],
    engine: Annotated[EngineOptions, Only("weights", "threads")],
    learning: DynamicOptions,
    file: Annotated[
        Path | None,
        typer.Argument(
            help="The text; - is standard input.", show_default="the model's own validation text"
        ),
    ] = None,
    model: ModelOption = None,
    cell: CellOption = None,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Read in one stream instead of 32: slower, but exact."),
    ] = False,
    part: Annotated[
        str | None,
        typer.Option(
            help="Without FILE: part of the model's own text: train, valid or test.",
            autocompletion=completion.parts,
            show_default="valid",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score a text: nats and bits per character, bits per byte.

    The text is read like the training text: with the same line ends, and each document by itself
    if the model was trained that way. It is read in order with the state carried over, in at most
    32 streams that each warm up on the 512 characters before them. 'windows of 256' start from the
    zero state, as in nanoGPT. With --weights, the loss due to rounding is shown as well. With
    --dynamic the text is one stream, and the model learns from what it has scored: it trains on
    each 32 tokens (dynamic evaluation), and counts what follows what; the result cannot be compared
    with the others, and the model file stays as it is.

    For a model of pairs FILE has pairs: their sources are answered, greedily and by beam search,
    and the answers compared with the targets; of a few different targets (labels), a table shows
    which are confused.
    """
    from charrnn.run_dir import find_model, read_model

    check_text(file, part, reading)
    path = find_model(model)
    evaluator = Evaluator(path, read_model(path, cell), engine, exact, learning)
    note(f"model: {path}")
    found = evaluator.part(part or "valid") if file is None else evaluator.file(file, reading)
    if as_json:
        print_json(score_fields(found.score) | found.fields())
        return
    for line in found.lines():
        typer.echo(line)
