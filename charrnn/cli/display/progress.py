"""The progress bar of everything that takes a while: reading, fetching, scoring, compressing."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from charrnn.cli.shared import note

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

QUIET_SECONDS = 0.3  # work that ends sooner shows no progress
LINE_SECONDS = 10.0  # between two lines of progress where there is no terminal


class ProgressBar:
    """Shows how much of some work is done: a bar on a terminal, now and then a line elsewhere.

    It appears after 0.3 seconds and disappears with the `with` block.
    """

    def __init__(self, *, in_bytes: bool = True) -> None:
        """Count bytes, which are shown and printed as lines elsewhere, or anything else."""
        self._in_bytes = in_bytes
        self._started = self._last_line = time.monotonic()
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def notify(self, text: str) -> None:
        """Print a notice and remove the bar of the work so far."""
        self._stop()
        note(text)

    def of(self, what: str, total: int) -> Callable[[int], None]:
        """Return a function that takes how much of `total` is done."""
        return lambda done: self(what, done, total)

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Show that `done` of `total`, if that is known, is done."""
        now = time.monotonic()
        if now - self._started < QUIET_SECONDS:
            return
        if sys.stderr.isatty():
            self._draw(what, done, total)
        elif self._in_bytes and total and now - self._last_line > LINE_SECONDS:
            self._last_line = now
            note(f"{what} the text: {done / total:.0%} of {total / 1e6:,.1f} MB")

    def _draw(self, what: str, done: int, total: int | None) -> None:
        if os.environ.get("TERM") == "dumb":
            return
        if self._bar is None:
            self._bar = _bar(self._in_bytes)
            self._bar.start()
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total)
        self._bar.update(self._tasks[what], completed=done, total=total)

    def _stop(self) -> None:
        if self._bar:
            self._bar.stop()
        self._bar, self._tasks = None, {}


def _bar(in_bytes: bool) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskProgressColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    amount = (DownloadColumn(), TransferSpeedColumn()) if in_bytes else (TaskProgressColumn(),)
    columns = ("{task.description}", BarColumn(), *amount, TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
