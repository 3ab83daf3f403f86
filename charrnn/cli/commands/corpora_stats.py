"""``charrnn corpora stats``: what a text is like."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.cli.display.pair_statistics import pair_lines
from charrnn.cli.display.text_statistics import largest_plan, plan_lines, statistics_lines
from charrnn.cli.options import Only, configured
from charrnn.cli.shared import JsonOption, guarded, print_json, wrapped
from charrnn.cli.texts import read_corpus
from charrnn.config import MAX_LENGTH, Reading, TrainOptions
from charrnn.config.fields import check_integer
from charrnn.terminal import visible

if TYPE_CHECKING:
    from charrnn.text.corpus import Corpus

READ = ("encoding", "errors", "newline", "include", "exclude", "pairs", "max_unpacked")


@guarded
@configured
def stats(
    corpus: Annotated[
        list[str],
        typer.Argument(help="Text files, folders, - for standard input, or a named corpus."),
    ],
    reading: Annotated[Reading, Only(*READ, panel="")],
    symbols: Annotated[
        int, typer.Option(help="Print this many characters, or targets; --json has all.")
    ] = 12,
    as_json: JsonOption = False,
) -> None:
    """Describe a text: characters, suspicious signs, repetition, n-gram baseline.

    The end of the text is held out as in training. n-gram models, which count the characters that
    follow the last 0 to 5, are fitted to the rest and scored on it: a network must do better. The
    last lines show the plan of 'charrnn train', as far as this machine's speed does not matter.
    With --pairs, it describes lengths and targets instead.
    """
    from charrnn.inspection import profile

    check_integer("--symbols", symbols, 0, MAX_LENGTH)
    text = read_corpus(corpus, reading)
    if reading.pairs:
        _describe_pairs(text, symbols, as_json)
        return
    found = profile.measure(
        lambda: (piece.data.decode() for piece in text.pieces()),
        text.characters,
        TrainOptions.valid_fraction,
        known=text.issues,
        strict=reading.errors == "strict",
    )
    plan = largest_plan(found)
    if as_json:
        fields = asdict(found) | {"symbols": profile.rows(found.symbols)}
        counting = found.counting and {**asdict(found.counting), "bpc": found.counting.bpc}
        largest = plan and asdict(plan)
        print_json({"name": text.name, **fields, "counting": counting, "largest_plan": largest})
        return
    for line in statistics_lines(text.name, found, symbols):
        typer.echo(visible(line))
    for line in plan_lines(plan):
        typer.echo(wrapped(line, sys.stdout, 4))


def _describe_pairs(text: Corpus, max_targets: int, as_json: bool) -> None:
    from charrnn.inspection.pair_lengths import measure_pairs

    found = measure_pairs(text)
    if as_json:
        print_json({"name": text.name, **asdict(found)})
    for line in () if as_json else pair_lines(text.name, found, max_targets):
        typer.echo(visible(line))
