"""``charrnn score``: how much each character of a text surprises a model."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.commands.eval import score_fields, score_lines
from charrnn.cli.corpus_options import (
    EncodingOption,
    ErrorsOption,
    ExcludeOption,
    IncludeOption,
    NewlineOption,
    SeparatorOption,
    read_corpus,
    unescaped,
)
from charrnn.cli.prompt import check_unknown
from charrnn.cli.shared import (
    JsonOption,
    ModelOption,
    ThreadsOption,
    WeightsOption,
    guarded,
    load_model,
    note,
    print_json,
    watched,
)
from charrnn.config import Reading
from charrnn.errors import CorpusError, OptionError, PromptError, nearest
from charrnn.terminal import TextWriter, symbol_mark, visible
from charrnn.text.unknown_symbols import Replaced, replace

if TYPE_CHECKING:
    from charrnn.arrays import Ids
    from charrnn.cli.display.surprisal_text import Painter
    from charrnn.generator import Generator
    from charrnn.inspection.surprise import Surprise
    from charrnn.scoring import Score
    from charrnn.text.corpus import Corpus

BY = ("character", "line", "document")
EXPECTED = 3  # symbols that are told in place of one
WORST = 5  # passages that are shown
CONTEXT = 30  # characters around them
MOST_SHOWN = 20_000  # characters of a text that is painted on a terminal
MOST_NAME = 40  # characters of a column of names
LONG = 100_000  # symbols: reading them takes long enough to be watched


@guarded
def score(
    files: Annotated[
        list[str],
        typer.Argument(help="Text files (packed too), folders, patterns, - for stdin."),
    ],
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
    unknown: Annotated[
        str,
        typer.Option(
            help="Symbols that the model has never seen: error, skip, or nearest, which reads "
            "them another way (é as e)."
        ),
    ] = "error",
    encoding: EncodingOption = Reading.encoding,
    errors: ErrorsOption = Reading.errors,
    newline: NewlineOption = Reading.newline,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    document_separator: SeparatorOption = "",
    weights: WeightsOption = "float32",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    r"""Show how much a text surprises a model, and where.

    Every text is read by itself from its first character, as 'charrnn eval --exact' does, and many
    side by side; a line is told of as it stands in its text. Ranked is by bits per character, what
    surprises most comes first. To rank lines that have nothing to do with each other, make them
    documents: --document-separator '\n'.
    """
    from charrnn.cli.display import surprisal_text
    from charrnn.inspection.surprise import Surprise
    from charrnn.run_dir import find_model

    _check(by, unknown, page, table, force)
    reading = Reading(
        encoding=encoding,
        errors=errors,
        newline=newline,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        document_separator=unescaped(document_separator),
    )
    generator = load_model(model, weights, threads)
    documents = _documents(read_corpus(files, reading), generator, unknown)
    by = by or ("character" if len(documents) == 1 else "document")
    count = EXPECTED if by == "character" or page is not None else 0
    ids = [ids for _, ids in documents]
    with watched("scoring", sum(map(len, ids)), LONG) as progress:
        found = generator.surprisals(ids, count, progress)
    tokenizer = generator.tokenizer
    texts = [
        Surprise.of(name, read, tokenizer) for (name, _), read in zip(documents, found, strict=True)
    ]
    total = _total(text.score for text in texts)
    names = tokenizer.symbol_names
    if page is not None:
        notes = f"read by {find_model(model)}, after the start symbol"
        _write(page, surprisal_text.page(_title(texts), texts, names, notes))
    if table is not None:
        _write(table, _csv(texts, by, names))
        if str(table) == "-":
            return
    if as_json:
        fields = score_fields(total) | {"tokenizer": tokenizer.kind, "weights": weights, "by": by}
        print_json(fields | _json(texts, by, names))
        return
    _show(texts, by, names)
    _show_total(total)


def _check(
    by: str | None, unknown: str, page: Path | None, table: Path | None, force: bool
) -> None:
    if by is not None and by not in BY:
        raise OptionError(f"--by '{by}' is not known: {nearest(by, BY)}")
    check_unknown(unknown)
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
                    f"{name}: {error.message}; --unknown nearest (or skip) does without"
                ) from None
            replaced = replace(document, generator.knows, nearest=unknown == "nearest")
            changes.changes.update(replaced.changes)
            every.append((name, generator.tokenizer.encode(replaced.text)))
    if changes.changes:
        note(f"unknown symbols: {changes}")
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


def _total(scores: Iterable[Score]) -> Score:
    """Of all texts together."""
    from charrnn.scoring import Score

    every = list(scores)
    return Score(
        math.fsum(score.total_nats for score in every),
        sum(score.characters for score in every),
        sum(score.num_bytes for score in every),
    )


def _json(texts: Sequence[Surprise], by: str, names: Sequence[str]) -> dict[str, Any]:
    if by == "line":
        return {"lines": [place | score_fields(line.score) for place, line in _lines(texts)]}
    if by == "document":
        return {"documents": [{"file": text.name, **score_fields(text.score)} for text in texts]}
    return {
        "documents": [
            {
                "file": text.name,
                **score_fields(text.score),
                "symbols": list(text.units),
                "symbol_nats": [round(nats, 7) for nats in text.nats.tolist()],
                "worst": [_worst_fields(text, part, names) for part in text.worst(WORST)],
            }
            for text in texts
        ]
    }


def _worst_fields(text: Surprise, part: slice, names: Sequence[str]) -> dict[str, Any]:
    """A passage: where it is, and what was expected at its most surprising unit."""
    peak = part.start + int(text.nats[part].argmax())
    expected = zip(text.likeliest[peak].tolist(), text.likeliest_nats[peak].tolist(), strict=True)
    line, column = _place(text, part.start)
    return {
        "line": line,
        "column": column,
        "text": text[part].text,
        "nats": float(text.nats[part].sum()),
        "most": text.units[peak],
        "probability": math.exp(-float(text.nats[peak])),
        "expected": {names[symbol]: math.exp(-nats) for symbol, nats in expected},
    }


def _place(text: Surprise, unit: int) -> tuple[int, int]:
    """Line and column of a unit, from 1."""
    before = "".join(text.units[:unit])
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _lines(texts: Sequence[Surprise]) -> Iterator[tuple[dict[str, Any], Surprise]]:
    """All lines with the place where they are."""
    for text in texts:
        for number, part in enumerate(text.lines(), start=1):
            yield {"file": text.name, "line": number}, text[part]


def _csv(texts: Sequence[Surprise], by: str, names: Sequence[str]) -> str:
    """A table with a row for each character, line or document, in the order of the text."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    if by == "character":
        rows.writerow(["file", "line", "column", "symbol", "nats", "bits", "expected", "p"])
        for text in texts:
            rows.writerows(_character_rows(text, names))
        return out.getvalue()
    measures = ["characters", "bytes", "nats", "bpc", "bits_per_byte"]
    if by == "line":
        rows.writerow(["file", "line", *measures, "text"])
        for place, line in _lines(texts):
            text_of = line.text.removesuffix("\n")
            rows.writerow([*place.values(), *score_fields(line.score).values(), text_of])
    else:
        rows.writerow(["file", *measures])
        rows.writerows([text.name, *score_fields(text.score).values()] for text in texts)
    return out.getvalue()


def _character_rows(text: Surprise, names: Sequence[str]) -> Iterator[list[Any]]:
    line, column = 1, 1
    best, best_nats = text.likeliest[:, 0].tolist(), text.likeliest_nats[:, 0].tolist()
    for unit, nats, symbol, symbol_nats in zip(
        text.units, text.nats.tolist(), best, best_nats, strict=True
    ):
        bits = round(nats / math.log(2), 7)
        expected = [names[symbol], round(math.exp(-symbol_nats), 7)]
        yield [text.name, line, column, unit, round(nats, 7), bits, *expected]
        line, column = line + unit.count("\n"), 1 if unit.endswith("\n") else column + len(unit)


def _write(path: Path, text: str) -> None:
    from charrnn.storage.files import write_atomically

    if str(path) == "-":
        out = TextWriter(sys.stdout)
        out.write(text)
        out.finish()
        return
    write_atomically(path, text.encode())
    note(f"written: {path}")


def _show(texts: Sequence[Surprise], by: str, names: Sequence[str]) -> None:
    from charrnn.cli.display.surprisal_text import Painter, painted

    painter = Painter()
    if by == "character":
        for text in texts:
            _show_text(painter, text, names, name=len(texts) > 1)
        return
    width = max(len(f"{text.score.characters:,}") for text in texts)
    rows: Iterable[tuple[str, Surprise]] = ((text.name, text) for text in texts)
    if by == "line":
        rows = ((f"{place['file']}:{place['line']}", line) for place, line in _lines(texts))
    ranked = [(part.score, name, part) for name, part in rows]
    ranked.sort(key=lambda row: -row[0].bpc)
    typer.echo(f"{'bpc':>7}  {'characters':>{max(width, 10)}}  {by}")
    longest = min(MOST_NAME, max(len(visible(name)) for _, name, _ in ranked))
    for measured, name, part in ranked:
        head = f"{measured.bpc:7.3f}  {measured.characters:>{max(width, 10)},}  "
        head += f"{visible(name):<{longest}}"
        painter.row(head, painted(part) if by == "line" else [])


def _show_text(painter: Painter, text: Surprise, names: Sequence[str], *, name: bool) -> None:
    from charrnn.cli.display.surprisal_text import painted

    if name:
        typer.echo(f"== {visible(text.name)}")
    if text.score.characters <= MOST_SHOWN:
        painter.show(painted(text))
    else:
        typer.echo(
            f"{text.score.characters:,} characters are too many to be shown here: --html makes a "
            "page of them, --by line ranks the lines"
        )
    typer.echo()
    painter.legend()
    worst = text.worst(WORST)
    if worst:
        typer.echo()
        typer.echo("what surprised most:")
    for part in worst:
        _show_passage(painter, text, part, names)
    typer.echo()
    if name:
        _show_total(text.score)
        typer.echo()


def _show_passage(painter: Painter, text: Surprise, part: slice, names: Sequence[str]) -> None:
    """A passage with what is around it, and what was expected where it surprised most."""
    from charrnn.cli.display.surprisal_text import expected, painted, percent

    around = text[max(0, part.start - CONTEXT) : part.stop + CONTEXT]
    peak = part.start + int(text.nats[part].argmax())
    line, column = _place(text, part.start)
    came = f"'{symbol_mark(text.units[peak])}' {percent(math.exp(-float(text.nats[peak])))}"
    typer.echo(
        f"  line {line:,}, column {column:,}: {came}; expected {expected(text, peak, names)}"
    )
    one_line = [(piece.replace("\n", " "), level) for piece, level in painted(around)]
    painter.show(one_line, "    ")


def _show_total(score: Score) -> None:
    for line in score_lines(score):
        typer.echo(line)
