"""Shows a training: a live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import os
import sys
from typing import TYPE_CHECKING

from charrnn.cli.display.training_text import (
    in_bits,
    in_nats,
    norm,
    plan_lines,
    progress_line,
    result_lines,
    speed,
    time_left,
)
from charrnn.cli.shared import note
from charrnn.errors import OptionError
from charrnn.terminal import visible
from charrnn.training.events import (
    Done,
    Event,
    Metrics,
    Notice,
    Planned,
    Progress,
    Result,
    Stop,
)

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

    from charrnn.network.module import CharRNN

LABEL = 9  # columns before the text of a line of the plan
SAMPLE_LENGTH = 240
SAMPLE_LINES = 10  # that a chart leaves for the sample
MIN_CHART_WIDTH = 60  # columns
CHART_LINES = (5, 10)  # inside its frame, at least and at most


def display_for(stop: Stop) -> Lines:
    """Return the live picture if stderr is a terminal that can move its cursor, else lines."""
    capable = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    return Picture(stop) if capable else Lines(stop)


class Lines:
    """Prints the plan, a line for each validation, and the result.

    Attributes:
        planned: what is trained and how; set by the first event of a training.
    """

    planned: Planned

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._stopping = self._begun = False

    @property
    def _by_clock(self) -> bool:
        return self.planned.plan.train.minutes is not None

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def stop(self) -> bool:
        """Return whether to stop the training; tell the person when that is so first."""
        if self._stop() and not self._stopping:
            self._stopping = True
            self.notify("stopping after this step; press Ctrl-C again to stop at once")
        return self._stopping

    def notify(self, line: str) -> None:
        """Print a line between the others."""
        note(line)

    def show(self, event: Event) -> None:
        """Show an event of the training."""
        match event:
            case Planned() if self._begun:  # anew, which a notice says
                self.planned = event
                self._begin_anew()
            case Planned():
                self._begun = True
                self._show_plan(event)
            case Progress(metrics, network):
                self._show_progress(metrics, network)
            case Notice(sentence):
                self.notify(sentence)
            case Done(result):
                self._show_result(result)

    def _show_plan(self, planned: Planned) -> None:
        self._stop()  # from now on there is something to be saved when a signal comes
        self.planned = planned
        for line in plan_lines(planned):
            note(line, indent=LABEL)
        for sentence in planned.resumed:
            self.notify(sentence)

    def _begin_anew(self) -> None:
        """Forget what was reported before the training began anew."""

    def _show_progress(self, metrics: Metrics, network: CharRNN) -> None:
        if metrics.valid_nats is not None or not len(self.planned.data.valid):
            note(progress_line(metrics, self._by_clock), indent=LABEL)

    def _show_result(self, result: Result) -> None:
        for line in result_lines(result, self.planned):
            note(line, indent=LABEL)


class Picture(Lines):
    """Numbers, a bar, a chart and a sample, redrawn in the same place.

    The chart is left out where the terminal is too small or the package that draws it is missing.
    """

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop)
        self._live: Live | None = None
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._sample = ""
        self._last_valid: float | None = None
        self._best = math.inf
        self._train: list[tuple[int, float]] = []  # losses by step
        self._valid: list[tuple[int, float]] = []
        self._chart = ""

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def _show_plan(self, planned: Planned) -> None:
        from rich.console import Console
        from rich.live import Live

        super()._show_plan(planned)
        self._live = Live(
            console=Console(stderr=True), auto_refresh=False, vertical_overflow="crop"
        )

    def _show_progress(self, metrics: Metrics, network: CharRNN) -> None:
        assert self._live
        self._train.append((metrics.step, metrics.train_nats))
        if metrics.valid_nats is not None:
            self._last_valid = metrics.valid_nats
            self._best = min(self._best, metrics.valid_nats)
            self._valid.append((metrics.step, metrics.valid_nats))
            self._chart = self._draw_chart(self._live.console)  # not each time: it takes a moment
        if metrics.valid_nats is not None or not self._sample:
            self._sample = self._write(network)
        if not self._live.is_started:
            self._live.start()
        self._live.update(self._draw(metrics), refresh=True)

    def _show_result(self, result: Result) -> None:
        if self._live:
            self._live.stop()
        super()._show_result(result)

    def notify(self, line: str) -> None:
        """Print a line above the picture."""
        from rich.text import Text

        if self._live is None:
            note(line)
            return
        self._live.console.print(Text(visible(line)))

    def _write(self, network: CharRNN) -> str:
        """Return a sample of the current weights, from a random generator of its own."""
        from charrnn.training.samples import sample_text

        return sample_text(network, self.planned.data, self.planned.plan, SAMPLE_LENGTH)

    def _draw_chart(self, console: Console) -> str:
        """Return a chart of the losses so far; empty without the space or the package for it."""
        from charrnn.cli.display import plots
        from charrnn.cli.display.training_curves import after_start

        lowest, highest = CHART_LINES
        height = min(highest, console.height - SAMPLE_LINES - 11)
        if height < lowest or console.width < MIN_CHART_WIDTH or len(self._valid) < 2:
            return ""
        shown = after_start(self._train), after_start(self._valid)
        steps, nats = zip(*(zip(*curve, strict=True) for curve in shown), strict=True)
        try:
            return plots.chart(
                "nats per character, over steps",
                steps,
                nats,
                ("train", "valid"),
                plots.COLORS,
                height=height,
                width=console.width,
                stream=sys.stderr,
            )
        except OptionError:  # the extra is missing: the numbers are there
            return ""

    def _draw(self, metrics: Metrics) -> RenderableType:
        from rich.console import Group
        from rich.panel import Panel
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        bar = Table.grid(expand=True, padding=(0, 1))
        bar.add_column(ratio=1)
        bar.add_column(justify="right")
        left = time_left(metrics, self._by_clock)
        bar.add_row(
            ProgressBar(total=1.0, completed=metrics.fraction),
            Text(f"{metrics.fraction:4.0%}{left}"),
        )
        numbers = Table.grid(expand=True, padding=(0, 2))
        for _ in range(4):
            numbers.add_column()
        for row in self._numbers(metrics):
            numbers.add_row(*(Text(cell) for cell in row))
        sample = Panel(Text(visible(self._sample)), title="sample", title_align="left")
        chart = [Text.from_ansi(self._chart)] if self._chart else []
        return Group(bar, numbers, *chart, sample)

    def _numbers(self, metrics: Metrics) -> list[tuple[str, str, str, str]]:
        best = self._best if math.isfinite(self._best) else None
        nats = {"train": metrics.train_nats, "valid": self._last_valid, "best": best}
        train, valid, lowest = (f"{name} {in_nats(loss)}" for name, loss in nats.items())
        bits = [f"{' ' * len(name)} {in_bits(loss)}" for name, loss in nats.items()]
        return [
            (
                f"step {metrics.step:,}",
                f"epoch {metrics.epoch:.2f}",
                speed(metrics),
                f"rate {metrics.learning_rate:.2e}",
            ),
            (train, valid, lowest, f"gradient {norm(metrics)}"),
            (bits[0], bits[1], bits[2], f"{metrics.clipped:.0%} clipped"),
        ]
