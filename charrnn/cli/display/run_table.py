"""Show runs for ``charrnn runs``: one line each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from charrnn.cli.display import tables
from charrnn.terminal import one_line

if TYPE_CHECKING:
    from charrnn.run_dir.account import Account

DATED_WIDTH = 100  # columns of a terminal that has space for the time of day, and wider gaps
MIN_TEXT = 6  # columns that are left for the name of a text


def table(runs: Sequence[Account]) -> str:
    """Return a table that fits the terminal; a file or a pipe gets all of it."""
    from rich.cells import cell_len
    from rich.text import Text

    wide = tables.width() >= DATED_WIDTH
    gap = 2 if wide else 1
    heads = ("run", "date", "network", "nats", "time", "state", "text")
    rows = [[one_line(cell) for cell in _cells(run, with_time=wide)] for run in runs]
    name, *others, _ = (max(map(cell_len, column)) for column in zip(heads, *rows, strict=True))
    left = tables.width() - sum(others) - gap * len(others) - gap  # for the name and the text
    grid = tables.new_table(gap=gap)
    grid.add_column("run", overflow="fold", min_width=min(name, left - MIN_TEXT))
    for head in heads[1:-1]:
        right = head in ("nats", "time")
        grid.add_column(head, no_wrap=True, justify="right" if right else "left")
    grid.add_column("text", min_width=MIN_TEXT, max_width=max(MIN_TEXT, left - name))
    for row in rows:
        *cells, text = map(Text, row)
        text.no_wrap, text.overflow = True, "ellipsis"
        grid.add_row(*cells, text)
    return tables.as_text(grid)


def line(run: Account) -> str:
    """Return a run in one line: ``runs/story-1: lstm 2x128, 1.3704 nats, 3:00, finished``."""
    _, _, network, nats, time, state, _ = _cells(run, with_time=False)
    return one_line(f"{run.run_dir}: {network}, {nats} nats, {time}, {state}")


def network_words(
    cell: str, num_layers: int | None, hidden_size: int | None, ensemble: int | None
) -> str:
    """Return a network in a few characters, "lstm 2x256", or an ensemble, "2 lstm 2x128"."""
    if not ensemble or not hidden_size:
        return f"{cell} {num_layers}x{hidden_size}"
    return f"{ensemble} {cell} {num_layers}x{hidden_size // ensemble}"


def _cells(run: Account, *, with_time: bool) -> tuple[str, ...]:
    nats = run.train_nats if run.valid_nats is None else run.valid_nats
    sizes = (run.num_layers, run.hidden_size, run.ensemble)
    network = "-" if run.cell is None else network_words(run.cell, *sizes)
    return (
        run.name,
        date(run.date, with_time=with_time),
        network,
        "-" if nats is None else f"{nats:.4f}",
        "-" if run.seconds is None else duration(run.seconds),
        run.state,
        run.text or "-",
    )


def date(written: str, *, with_time: bool) -> str:
    """Return a date in ISO 8601 as the day, and the time of day if asked for."""
    try:
        when = datetime.fromisoformat(written)
    except ValueError:
        return written[:10]
    return f"{when:%Y-%m-%d %H:%M}" if with_time else f"{when:%Y-%m-%d}"


def size(num_bytes: int) -> str:
    """Return a size on disk: ``1.3 MB``."""
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e5 else f"{num_bytes / 1e3:.1f} kB"


def duration(seconds: float) -> str:
    """Return a time as minutes and seconds, with hours if there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
