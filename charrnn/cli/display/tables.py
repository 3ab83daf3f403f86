"""Tables in text that fit a terminal; a file or a pipe gets them whole."""

from __future__ import annotations

import io
import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

UNLIMITED = 10_000  # columns, for a file or a pipe


def width() -> int:
    """Return the columns that stdout has."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else UNLIMITED


def new_table(gap: int = 2) -> Table:
    """Return a table without lines, whose columns are `gap` apart."""
    from rich.table import Table

    return Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="")


def as_text(table: Table) -> str:
    """Return a table as lines without spaces at their ends."""
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=width(), color_system=None).print(table)
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())
