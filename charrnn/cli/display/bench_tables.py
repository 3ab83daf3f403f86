"""The tables that ``charrnn bench`` prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

import typer

from charrnn.cli.shared import print_json

if TYPE_CHECKING:
    from charrnn.bench import preparation
    from charrnn.bench.measuring import Row

    AnyRow = TypeVar("AnyRow", Row, preparation.Row)

TRAINING_HEAD = (
    f"{'cell':<18} {'size':>7} {'B':>3} {'T':>3} {'products':<9} {'backend':<9} "
    f"{'chars/s':>9}  {'baseline':<22} {'chars/s':>9} {'ratio':>6} {'of peak':>7}"
)
GENERATION_HEAD = (
    f"{'cell':<18} {'size':>7} {'B':>3} {'weights':<9} {'threads':>7} "
    f"{'chars/s':>9}  {'baseline':<22} {'chars/s':>9} {'ratio':>6} {'of limit':>8}"
)
PREPARATION_HEAD = (
    f"{'what':<7} {'tokenizer':<13} {'MB':>6} {'chars/s':>11} {'MB/s':>6} {'memory':>7} "
    f"{'a tenth':>7}  {'baseline':<20} {'chars/s':>11} {'memory':>7} {'ratio':>6} {'of limit':>8}"
)


def print_rows(
    measured: Iterable[AnyRow], head: str, line: Callable[[AnyRow], str], as_json: bool
) -> None:
    """Print each row as soon as it is measured, or all rows as one JSON object."""
    rows = []
    if not as_json:
        typer.echo(head)
    for row in measured:
        rows.append(asdict(row))
        if not as_json:
            typer.echo(line(row))
    if as_json:
        print_json({"rows": rows})


def training_line(row: Row) -> str:
    """Return a row of `bench train` as aligned text, and the parts of a step below it."""
    shares = ", ".join(f"{name} {share:.0%}" for name, share in (row.parts or {}).items())
    parts = f"\n  {shares}" if shares else ""
    return (
        f"{row.cell:<18} {row.num_layers:>3}x{row.hidden_size:<4}"
        f"{row.batch_size:>3} {row.seq_len:>3} {row.dtype:<9} {row.backend:<9} "
        f"{row.chars_per_second:>9,.0f}  {row.baseline:<22} "
        f"{row.baseline_chars_per_second:>9,.0f} {row.ratio:>6.2f} {row.share_of_limit:>7.2f}"
        f"{parts}"
    )


def generation_line(row: Row) -> str:
    """Return a row of `bench generate` as aligned text."""
    cell = row.cell if row.ensemble == 1 else f"{row.ensemble} {row.cell}"
    return (
        f"{cell:<18} {row.num_layers:>3}x{row.hidden_size // row.ensemble:<4}"
        f"{row.batch_size:>3} {row.dtype:<9} {row.threads:>7} "
        f"{row.chars_per_second:>9,.0f}  {row.baseline:<22} "
        f"{row.baseline_chars_per_second:>9,.0f} {row.ratio:>6.2f} {row.share_of_limit:>8.2f}"
    )


def preparation_line(row: preparation.Row) -> str:
    """Return a row of `bench prepare` as aligned text."""
    return (
        f"{row.what:<7} {row.tokenizer:<13} {row.megabytes:>6,.0f} {row.chars_per_second:>11,.0f} "
        f"{_number(row.mb_per_second, 6, 1)} {_number(row.memory, 7, 1)} "
        f"{_number(row.tenth_memory, 7, 1)}  {row.baseline:<20} "
        f"{row.baseline_chars_per_second:>11,.0f} {_number(row.baseline_memory, 7, 1)} "
        f"{row.ratio:>6.2f} {_number(row.share_of_limit, 8, 2)}"
    )


def _number(value: float | None, width: int, digits: int) -> str:
    return f"{'' if value is None else format(value, f',.{digits}f'):>{width}}"
