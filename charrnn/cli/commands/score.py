"""``charrnn score``: how much each character of a text surprises a model."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.cli.display.progress import ProgressBar
from charrnn.cli.display.scores import score_fields
from charrnn.cli.options import Only, configured
from charrnn.cli.prompt import PromptOptions
from charrnn.cli.shared import JsonOption, ModelOption, guarded, load_model, note, print_json
from charrnn.cli.texts import read_corpus
from charrnn.config import EngineOptions, Reading
from charrnn.errors import CorpusError, OptionError, PromptError, nearest
from charrnn.terminal import TextWriter
from charrnn.text.unknown_symbols import Replaced, replace

if TYPE_CHECKING:
    from charrnn.arrays import Ids
    from charrnn.generator import Generator
    from charrnn.inspection.surprise import Surprise
    from charrnn.text.corpus import Corpus

BY = ("character", "line", "document")
EXPECTED = 3  # likeliest symbols reported for each position
READING = Only("encoding", "errors", "newline", "include", "exclude", "document_separator")


@guarded
@configured
def score(
    files: Annotated[
        list[str],
        typer.Argument(help="Text files (packed too), folders, patterns, - for stdin."),
    ],
    reading: Annotated[Reading, READING],
    engine: Annotated[EngineOptions, Only("weights", "threads")],
    start: Annotated[PromptOptions, Only("unknown")],
    model: ModelOption = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="What is told of: every character, or lines or documents ranked.",
            show_default="character of one text, document of several",
        ),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--html", help="Write the painted texts as a page.", show_default="none"),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            "--csv", help="Write a table, a row for each; - is stdout.", show_default="none"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace these files.")] = False,
    as_json: JsonOption = False,
) -> None:
    r"""Show how much a text surprises a model, and where.

    Every text is read by itself from its first character, as 'charrnn eval --exact' does, and many
    side by side; a line is told of as it stands in its text. Ranked is by bits per character, what
    surprises most comes first. To rank lines that have nothing to do with each other, make them
    documents: --document-separator '\n'.
    """
    from charrnn.cli.display.surprisal_page import surprisal_page
    from charrnn.cli.display.surprisal_report import show, show_score
    from charrnn.cli.display.surprisal_tables import csv_table, json_fields
    from charrnn.inspection.surprise import Surprise, total
    from charrnn.run_dir import find_model

    _check(by, page, table, force)
    generator = load_model(model, engine)
    documents = _documents(read_corpus(files, reading), generator, start.unknown)
    by = by or ("character" if len(documents) == 1 else "document")
    count = EXPECTED if by == "character" or page is not None else 0
    ids = [ids for _, ids in documents]
    with ProgressBar(in_bytes=False) as bar:
        progress = bar.of("scoring", sum(map(len, ids)))
        found = generator.surprisals(ids, count, progress)
    tokenizer = generator.tokenizer
    texts = [
        Surprise.of(name, read, tokenizer) for (name, _), read in zip(documents, found, strict=True)
    ]
    names = tokenizer.symbol_names
    if page is not None:
        notes = f"read by {find_model(model)}, after the start symbol"
        _write(page, surprisal_page(_title(texts), texts, names, notes))
    if table is not None:
        _write(table, csv_table(texts, by, names))
        if str(table) == "-":
            return
    score_of_all = total(text.score for text in texts)
    if as_json:
        fields = score_fields(score_of_all) | {
            "tokenizer": tokenizer.kind,
            "weights": engine.weights,
            "by": by,
        }
        print_json(fields | json_fields(texts, by, names))
        return
    show(texts, by, names)
    show_score(score_of_all)


def _check(by: str | None, page: Path | None, table: Path | None, force: bool) -> None:
    if by is not None and by not in BY:
        raise OptionError(f"--by '{by}' is not known: {nearest(by, BY)}")
    for option, path in (("--html", page), ("--csv", table)):
        if path is not None and str(path) != "-" and path.exists() and not force:
            raise OptionError(f"{option} {path} exists: name another, or --force to replace it")


def _documents(text: Corpus, generator: Generator, unknown: str) -> list[tuple[str, Ids]]:
    """Names and ids; documents of one file are numbered."""
    every, changes = [], Replaced("")
    for name, data in text.documents():
        document = data.decode()
        try:
            every.append((name, generator.tokenizer.encode(document)))
        except PromptError as error:
            if unknown == "error":
                raise PromptError(
                    f"{name}: {error.message}; use --unknown nearest or --unknown skip"
                ) from None
            replaced = replace(document, generator.knows, nearest=unknown == "nearest")
            changes.changes.update(replaced.changes)
            every.append((name, generator.tokenizer.encode(replaced.text)))
    if changes.changes:
        note(f"unknown characters: {changes}")
    several = Counter(name for name, _ in every)
    number: Counter[str] = Counter()
    documents = []
    for name, ids in every:
        number[name] += 1
        if len(ids):
            where = f"{name}:{number[name]}" if several[name] > 1 else name
            documents.append((where, ids))
    if not documents:
        raise CorpusError("no symbol is left of the text: there is nothing to score")
    return documents


def _title(texts: Sequence[Surprise]) -> str:
    return texts[0].name if len(texts) == 1 else f"{len(texts):,} texts"


def _write(path: Path, text: str) -> None:
    from charrnn.storage.files import write_atomically

    if str(path) == "-":
        out = TextWriter(sys.stdout)
        out.write(text)
        out.finish()
        return
    write_atomically(path, text.encode())
    note(f"written: {path}")
