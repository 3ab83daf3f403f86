"""Shows a training: a live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
from typing import TYPE_CHECKING

from charrnn.cli.display.dataset_summary import split_lines
from charrnn.cli.shared import cell_words, note, wrapped
from charrnn.config import Form, Regularizers, cell_name
from charrnn.errors import OptionError, counted, shell_command
from charrnn.model import parameters
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
from charrnn.training.plan import window_bytes

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

    from charrnn.network.module import CharRNN
    from charrnn.text.dataset import Dataset
    from charrnn.training.plan import Plan
    from charrnn.training.seeds import Seeds

LABEL = 9  # columns before the text of a line of the plan
MANY_TOKENS = 10_000  # with more, the output layer is most of a small network
# The first steps compile, and their median says nothing about the others before these are more.
FIRST_STEPS = 3
SAMPLE_LENGTH = 240
SAMPLE_LINES = 10  # that a chart leaves for the sample
MIN_CHART_WIDTH = 60  # columns
HUGE = 1e4  # a loss, or the norm of a gradient, of a training that diverges
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

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._stopping = False
        self.planned: Planned

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
            case Planned():
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
            _note(line)
        for sentence in planned.resumed:
            self.notify(sentence)

    def _show_progress(self, metrics: Metrics, network: CharRNN) -> None:
        if metrics.valid_nats is not None or not len(self.planned.data.valid):
            _note(progress_line(metrics, self._by_clock))

    def _show_result(self, result: Result) -> None:
        for line in result_lines(result, self.planned.plan.model.cell):
            _note(line)


class Picture(Lines):
    """Numbers, a bar, a chart and a sample, redrawn in the same place.

    The chart is left out where the terminal is too small or the package that draws it is missing.
    """

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop)
        self._live: Live | None = None
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
            (train, valid, lowest, f"gradient {_norm(metrics)}"),
            (bits[0], bits[1], bits[2], f"{metrics.clipped:.0%} clipped"),
        ]


def _note(line: str) -> None:
    """Print a line of the plan or the result; paths and commands are not cut between words."""
    whole = line.startswith(("run ", "model ", "next "))
    note(line if whole else wrapped(line, sys.stderr, LABEL))


def plan_lines(planned: Planned) -> list[str]:
    """Return the plan in a few lines."""
    data, plan, kernel = planned.data, planned.plan, planned.kernel
    model, train = plan.model, plan.train
    inputs = f"embedding {model.embedding_size}" if model.embedding_size else "one-hot"
    budget = " or ".join(
        counted(value, name.removesuffix("s"))
        for name in ("minutes", "epochs", "steps")
        if (value := getattr(train, name)) is not None
    )
    split, *leaks = split_lines(data)
    kind = "" if data.tokenizer.kind == "char" else f" ({data.tokenizer.kind})"
    vocabulary = counted(data.tokenizer.vocab_size, "token")
    return [
        f"text     {data.name}: vocabulary of {vocabulary}{kind}; {split}",
        *(f"         {line}" for line in leaks),
        *_large_vocabulary(data, plan),
        f"network  {cell_name(model.cell)}, {model.num_layers} x {model.hidden_size}, {inputs}, "
        f"{extras(model)}{parameters.count(model):,} parameters ({plan.reason})",
        f"training {budget}, about {plan.characters / len(data.train):.1f} passes over the text: "
        f"{counted(train.batch_size, 'stream')}, {window(plan)}, {train.optimizer} "
        f"{train.learning_rate:.3g}, {extras(train, Regularizers)}seed {train.seed}",
        f"running  {kernel.backend} kernels, matrix products in {kernel.precision}: "
        f"{kernel.reason}",
        f"run      {planned.run_dir.path}",
    ]


def _large_vocabulary(data: Dataset, plan: Plan) -> list[str]:
    """Return what a large vocabulary costs and how to make it smaller, if it is large."""
    if data.tokenizer.kind != "char" or data.tokenizer.vocab_size < MANY_TOKENS:
        return []
    shapes = parameters.shapes(plan.model)
    count = sum(math.prod(shapes[name]) for name in ("output.weight", "output.bias"))
    return [
        f"         the output layer has {count:,} parameters for these tokens: reduce their "
        "number with --min-count 2 or --tokenizer sentencepiece"
    ]


def extras(config: Form | Regularizers, kind: type = Form) -> str:
    """Return the settings that differ from their defaults, each followed by a comma."""
    named = []
    for field in dataclasses.fields(kind):
        value = getattr(config, field.name)
        if value != field.default:
            words = field.name.replace("_", " ")
            named.append(words if value is True else f"{words} {value:g}")
    return "".join(f"{words}, " for words in named)


def window(plan: Plan) -> str:
    """Return the BPTT window in words."""
    train = plan.train
    words = f"windows of {train.seq_len:,}"
    if train.update_every != train.seq_len:
        words += f" every {train.update_every:,}"
    if train.state == "reset":
        words += ", state reset for each"
    if train.reset_at_documents:
        words += ", state reset at documents"
    needed = window_bytes(plan.model, train)
    return f"{words} (about {needed / 1e9:.1f} GB)" if needed > 1e9 else words


def progress_line(metrics: Metrics, by_clock: bool) -> str:
    """Return a report in one line; `by_clock`: the training ends at a time."""
    valid = "" if metrics.valid_nats is None else f"  valid {losses(metrics.valid_nats)}"
    return (
        f"{metrics.fraction:4.0%}  step {metrics.step:,}  epoch {metrics.epoch:.2f}"
        f"  train {losses(metrics.train_nats)}{valid}"
        f"  gradient {_norm(metrics)}, {metrics.clipped:.0%} clipped"
        f"  {speed(metrics)}{time_left(metrics, by_clock)}"
    )


def result_lines(result: Result, cell: str) -> list[str]:
    """Return the result of a training, and what to do next; `cell` as the model's config has it."""
    early = result.stopped_by == "interrupt"
    lines = [
        f"{'stopped early' if early else 'done'} after {counted(result.steps, 'step')}, "
        f"{result.epochs:.2f} epochs, {result.seconds:.0f} s"
        + ("; the best weights so far are saved" if early else "")
    ]
    if result.valid_nats is not None:
        of_bytes = f", {result.valid_bits_per_byte:.3f} bits per byte"
        lines.append(
            f"valid    {losses(result.valid_nats)}{of_bytes}, "
            f"over {counted(result.valid_characters, 'character')} read in order"
        )
    if result.valid_window256_nats is not None:
        lines.append(f"         {losses(result.valid_window256_nats)} in windows of 256")
    lines.append(f"model    {result.model}")
    words = ["charrnn", "sample", "--model", result.run_dir, *cell_words(cell)]
    lines.append(f"next     {shell_command(*words)}")
    return lines


def seeds_lines(seeds: Seeds) -> list[str]:
    """Return the mean and the spread of several trainings, and how to compare them."""
    finished = seeds.finished
    head = f"seeds    {len(finished)} of {seeds.asked} finished"
    head += f", {len(seeds.diverged)} diverged" if seeds.diverged else ""
    if seeds.mean is None:
        return [head]
    lines = [f"{head}: valid {losses(seeds.mean)} on average"]
    if seeds.spread is not None:
        lines.append(f"         {losses(seeds.spread)} standard deviation of one run")
    if len(finished) > 1:
        compare = shell_command("charrnn", "info", *(result.run_dir for result in finished))
        lines.append(f"compare  {compare}")
    return lines


def losses(nats: float | None) -> str:
    """Return a loss in nats and bits per character."""
    bits = in_bits(nats)
    return f"{in_nats(nats)} ({bits})" if bits else in_nats(nats)


def in_nats(nats: float | None) -> str:
    """Return a loss in nats per character."""
    if nats is None:
        return "-"
    return f"{nats:.4f} nats" if nats < HUGE else f"{nats:.3g} nats"


def in_bits(nats: float | None) -> str:
    """Return a loss in bits per character; "" for one that is unknown or huge."""
    return f"{nats / math.log(2):.3f} bpc" if nats is not None and nats < HUGE else ""


def _norm(metrics: Metrics) -> str:
    return f"{metrics.grad_norm:.2f}" if metrics.grad_norm < HUGE else f"{metrics.grad_norm:.2g}"


def speed(metrics: Metrics) -> str:
    """Return the speed in words, as soon as it is that of a usual step."""
    if metrics.step < FIRST_STEPS:
        return "speed not known yet"
    return f"{metrics.chars_per_second:,.0f} chars/s"


def time_left(metrics: Metrics, by_clock: bool) -> str:
    """Return the time left in words, after two spaces; nothing as long as it is not known."""
    seconds = seconds_left(metrics, by_clock)
    return "" if seconds is None else f"  {clock(seconds)} left"


def seconds_left(metrics: Metrics, by_clock: bool) -> float | None:
    """Estimate the seconds left; None in the first steps of a training that counts steps.

    A clock knows them. Otherwise the time so far does not tell: it holds compiling and saving.
    """
    part = (1 - metrics.fraction) / max(metrics.fraction, 1e-9)
    if by_clock:
        return metrics.seconds * part
    if metrics.step < FIRST_STEPS:
        return None
    return metrics.characters * part / metrics.chars_per_second


def clock(seconds: float) -> str:
    """Return a time as minutes and seconds, with hours if there are any."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
