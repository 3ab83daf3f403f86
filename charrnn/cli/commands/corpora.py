"""``charrnn corpora``: texts known by name."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.cli.shared import JsonOption, guarded, note, print_json
from charrnn.config import Reading, TrainOptions
from charrnn.errors import CorpusError
from charrnn.terminal import one_line, visible

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from charrnn.text.profile import Counting, Repetition, Statistics
    from charrnn.training.plan import Plan

FEW = 10  # occurrences of a symbol, of which little can be learned

app = typer.Typer(no_args_is_help=True, help="Texts known by name.")

NameArgument = Annotated[str, typer.Argument(help="A name that 'corpora list' shows.")]


@app.command("list")
@guarded
def list_corpora(as_json: JsonOption = False) -> None:
    """List the named corpora; 'charrnn train NAME' uses one."""
    from charrnn.text.named import registry

    entries = registry.registry().values()
    if as_json:
        listed = [{**asdict(entry), "here": registry.is_here(entry)} for entry in entries]
        print_json({"corpora": listed})
        return
    for entry in entries:
        size = "size not known"
        if entry.bytes:
            size = f"{'' if entry.sha256 else 'up to '}{entry.bytes:,} bytes"
        typer.echo(f"{entry.name}: {entry.title}, {size}, {entry.licence}")
        fetched = ", fetched" if entry.url and registry.is_here(entry) else ""
        typer.echo(f"    {entry.description}\n    {entry.source}{fetched}\n")


@app.command("path")
@guarded
def path(name: NameArgument, as_json: JsonOption = False) -> None:
    """Print the local files of a named corpus, one a line."""
    from charrnn.text.named import registry

    _print_paths(name, registry.paths(registry.entry(name)), as_json)


@app.command("fetch")
@guarded
def fetch(name: NameArgument, as_json: JsonOption = False) -> None:
    """Bring a named corpus to this machine and print its path.

    It comes over https into the user's cache, and counts only when its SHA-256 is the registry's. A
    download that was cut off goes on where it ended. A copy in the folder that CHARRNN_CORPORA
    names is found by its SHA-256, packed or not.
    """
    from charrnn.text.named import fetch, registry

    entry = registry.entry(name)
    if not entry.url:
        note(f"{name} is {entry.source}: there is nothing to fetch")
        _print_paths(name, registry.paths(entry), as_json)
        return
    with _Arriving() as arriving:
        result = fetch.fetch(entry, arriving, note)
    note(f"{result.bytes:,} bytes, SHA-256 {result.sha256}; licence: {entry.licence}")
    if as_json:
        fields = {**asdict(result), "path": str(result.path), "licence": entry.licence}
        print_json({"name": name, **fields})
        return
    typer.echo(str(result.path))


@app.command("stats")
@guarded
def stats(
    corpus: Annotated[
        list[str], typer.Argument(help="Text files, folders, - for standard input, or a name.")
    ],
    newline: Annotated[
        str, typer.Option(help="keep line ends, or make CR LF into LF: keep or lf.")
    ] = "keep",
    symbols: Annotated[
        int, typer.Option(help="Print so many symbols; --json has all.", min=0)
    ] = 12,
    as_json: JsonOption = False,
) -> None:
    """Say what a text is like: symbols, suspicious signs, repetition, what counting achieves.

    The last part is held out as in training. Models that only count symbols after their last 0 to 5
    characters learn from the rest and are measured on it: a network must do better. What 'train'
    would plan is told as far as it does not depend on this machine's speed.
    """
    from charrnn.cli.corpus_options import read_corpus
    from charrnn.text import profile

    text = read_corpus(corpus, Reading(newline=newline))
    found = profile.measure(
        lambda: (piece.data.decode() for piece in text.pieces()), TrainOptions.valid_fraction
    )
    plan = _largest_plan(found)
    if as_json:
        fields = asdict(found) | {"symbols": profile.rows(found.symbols)}
        counting = found.counting and {**asdict(found.counting), "bpc": found.counting.bpc}
        made = plan and asdict(plan)
        print_json({"name": text.name, **fields, "counting": counting, "largest_plan": made})
        return
    for line in _statistics_lines(text.name, found, symbols):
        typer.echo(visible(line))
    for line in _plan_lines(plan):
        typer.echo(line)


def _largest_plan(found: Statistics) -> Plan | None:
    """What 'train' would plan on a machine of any speed; None where the text is too short."""
    from charrnn.text.dataset import split_positions
    from charrnn.training import plan

    length, _ = split_positions(found.characters, TrainOptions.valid_fraction, 0.0)
    if length < 2:
        return None
    return plan.make(TrainOptions(), length, len(found.symbols), lambda model, train: math.inf)


def _statistics_lines(name: str, found: Statistics, most: int) -> Iterator[str]:
    from charrnn.text.profile.symbols import rows

    few = sum(count < FEW for count in found.symbols.values())
    yield (
        f"{name}: {found.characters:,} characters, {found.bytes:,} bytes, {found.lines:,} lines, "
        f"the longest of {found.longest_line:,} characters (line {found.longest_line_number:,})"
    )
    yield f"\n{len(found.symbols):,} symbols, {few:,} of them less than {FEW} times"
    for row in rows(dict(list(found.symbols.items())[:most])):
        share = found.symbols[row["symbol"]] / found.characters
        shown = one_line(row["symbol"])
        yield f"  {row['count']:>12,} {share:7.2%}  {row['code_point']:<8} {shown:<2} {row['name']}"
    if len(found.symbols) > most > 0:
        yield f"  and {len(found.symbols) - most:,} more"
    yield "\nsuspicious"
    for sign in found.signs:
        yield f"  {sign.text}"
    if not found.signs:
        yield "  nothing"
    yield from _repetition_lines(found.repetition)
    yield from _counting_lines(found.counting)


def _repetition_lines(found: Repetition) -> Iterator[str]:
    which = "" if found.one_in == 1 else f", by one in {found.one_in}"
    yield "\nrepeated"
    yield f"  {found.share:.2%} of all passages of {found.window} characters stood before{which}"
    for passage in found.longest:
        beginning = one_line(passage.excerpt)
        yield (
            f"  {passage.length:,} characters in line {passage.line:,} stand in line "
            f"{passage.before_line:,} too: {beginning}"
        )


def _counting_lines(found: Counting | None) -> Iterator[str]:
    if found is None:
        return
    yield "\ncounting, which a network must beat"
    yield (
        f"  what follows the last few characters, counted in {found.counted:,} characters, "
        f"measured on the {found.measured:,} held out after them"
    )
    for order, (nats, bits) in enumerate(zip(found.nats, found.bpc, strict=True)):
        yield f"  the last {order}: {nats:.4f} nats ({bits:.3f} bpc)"


def _plan_lines(plan: Plan | None) -> Iterator[str]:
    from charrnn.model import parameters

    yield "\n'charrnn train' would"
    if plan is None:
        yield "  refuse it: it is too short"
        return
    model, train = plan.model, plan.train
    yield (
        f"  train for {train.minutes:g} minutes or {train.epochs:g} times through the text, in "
        f"{train.batch_size} streams and windows of {train.seq_len}"
    )
    yield (
        f"  choose {model.cell}, {model.num_layers} x {model.hidden_size} at most "
        f"({parameters.count(model):,} parameters): by this machine's speed, as --dry-run tells"
    )


def _print_paths(name: str, paths: list[Path], as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "paths": [str(path) for path in paths]})
        return
    for found in paths:
        if "\n" in str(found):
            raise CorpusError(f"{found} has a line feed in its name")
        typer.echo(str(found))


class _Arriving:
    """A bar on a terminal, which is told the bytes that have arrived."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID

    def __enter__(self) -> _Arriving:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, have: int, whole: int | None) -> None:
        if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
            return
        if self._bar is None:
            self._bar = _bar()
            self._task = self._bar.add_task("", total=whole)
            self._bar.start()
        self._bar.update(self._task, completed=have, total=whole)


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
