"""``charrnn score``: how much each character of a text surprises a model."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from charrnn.cli.display.progress import ProgressBar
from charrnn.cli.display.scores import score_fields
from charrnn.cli.display.surprisal_tables import (
    ScoreOutput,
    csv_table,
    json_fields,
    surprises,
    write_result,
)
from charrnn.cli.learning import predictor
from charrnn.cli.line_scores import write_line_scores
from charrnn.cli.options import Given, Only, configured
from charrnn.cli.shared import CellOption, ModelOption, guarded, load_model, note, print_json
from charrnn.cli.texts import OWN_READING, read_for
from charrnn.config import DynamicOptions, EngineOptions, Reading, UnknownOption


@guarded
@configured
def score(
    *,
    files: Annotated[
        list[str],
        typer.Argument(help="Text files (also gz, bz2, xz, zst), folders, patterns, - for stdin."),
    ],
    model: ModelOption = None,
    cell: CellOption = None,
    output: ScoreOutput,
    characters: Annotated[UnknownOption, Only(unknown="error")],
    engine: Annotated[EngineOptions, Only("weights", "threads")],
    reading: Annotated[dict[str, Any], Given(Reading), OWN_READING],
    learning: DynamicOptions,
) -> None:
    r"""Show how much a text surprises a model, and where.

    The text is read like the training text: with the same line ends, and document by document if
    the model was trained that way. Each document is read from its start by itself, as 'charrnn eval
    --exact' does; a line is scored in the context of its document. Rankings are by bits per
    character, highest first. To rank unrelated lines, use --document-separator '\n'; --line-by-line
    scores any number of them in order. Of pairs, the targets are scored, each given its source and
    without its end. --dynamic learns from each text.
    """
    from charrnn import scoring
    from charrnn.cli.display.surprisal_page import surprisal_page
    from charrnn.cli.display.surprisal_report import show, show_score
    from charrnn.inspection.surprise import encode_documents, score_documents
    from charrnn.run_dir import find_model
    from charrnn.scoring.text_scorer import EXPECTED

    generator = load_model(model, engine, cell)
    if output.line_by_line:
        write_line_scores(generator, files, reading, characters.unknown, output, learning)
        return
    text = read_for(generator.reading, files, reading)
    documents = encode_documents(text, generator, characters.unknown, note)
    by = output.by or ("character" if len(documents) == 1 else "document")
    count = {"line": 0, "document": None}.get(by, EXPECTED)
    count = EXPECTED if output.html else count
    length = sum(len(ids) for _, ids in documents)
    reader = predictor(generator, model, learning, length) if learning.dynamic else None
    with ProgressBar(in_bytes=False) as bar:
        texts = score_documents(documents, generator, count, bar.of("scoring", length), reader)
    if output.html:
        read_by = f"read by {find_model(model)}, after the start token"
        write_result(output.html, surprisal_page(surprises(texts), read_by))
    if output.csv:
        write_result(output.csv, csv_table(texts, by))
    whole = scoring.total(text.score for text in texts)
    if str(output.csv) == "-":
        return
    if output.json:
        fields = score_fields(whole) | {"tokenizer": generator.tokenizer.kind, "by": by}
        fields |= {"weights": engine.weights, **asdict(learning)}
        print_json(fields | json_fields(texts, by))
        return
    show(texts, by)
    show_score(whole)
