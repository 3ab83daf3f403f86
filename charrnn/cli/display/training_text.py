"""A training in words: its plan, its progress, its result."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from charrnn.cli.display.dataset_summary import rare_lines, split_lines
from charrnn.cli.shared import cell_words
from charrnn.config import Form, ModelConfig, Regularizers, cell_name
from charrnn.errors import counted, shell_command
from charrnn.model import parameters
from charrnn.training.events import Metrics, Planned, Result
from charrnn.training.plan import window_bytes

if TYPE_CHECKING:
    from charrnn.text.dataset import Dataset
    from charrnn.training.plan import Plan
    from charrnn.training.seeds import Seeds

MANY_TOKENS = 10_000  # with more, the output layer is most of a small network
# The first steps compile, and their median says nothing about the others before these are more.
FIRST_STEPS = 3
SHORT_SOURCE = 50  # tokens of a source that is shown in a command
SHORT_SOURCES = 50  # that are looked at for such a source
HUGE = 1e4  # a loss, or the norm of a gradient, of a training that diverges


def plan_lines(planned: Planned) -> list[str]:
    """Return the plan in a few lines."""
    data, plan, kernel = planned.data, planned.plan, planned.kernel
    model, train = plan.model, plan.train
    size = model.member.embedding_size
    inputs = f"embedding {size}" if size else "one-hot"
    budget = " or ".join(
        counted(value, name.removesuffix("s"))
        for name in ("minutes", "epochs", "steps")
        if (value := getattr(train, name)) is not None
    )
    tuning = "" if plan.known is None else "fine-tuning for "
    split, *leaks = split_lines(data)
    kind = "" if data.tokenizer.kind == "char" else f" ({data.tokenizer.kind})"
    vocabulary = counted(data.tokenizer.vocab_size, "token")
    return [
        f"text     {data.name}: vocabulary of {vocabulary}{kind}; {split}",
        *(f"         {line}" for line in (*leaks, *rare_lines(data))),
        *_large_vocabulary(data, plan),
        f"network  {cell_name(model.cell)}, {model.size_words}, {inputs}, "
        f"{_of_pairs(model)}{extras(model)}{parameters.count(model):,} parameters ({plan.reason})",
        f"training {tuning}{budget}, about {plan.passes:,.1f} passes over the text: "
        f"{_batch(plan)}, {train.optimizer} {train.learning_rate:.3g}, "
        f"{extras(train, Regularizers)}seed {train.seed}",
        f"running  {kernel.backend} kernels, matrix products in {kernel.precision}: "
        f"{kernel.reason}",
        f"run      {planned.run_dir.path}",
    ]


def _large_vocabulary(data: Dataset, plan: Plan) -> list[str]:
    """Return what a large vocabulary costs and how to make it smaller, if it is large."""
    if data.tokenizer.kind != "char" or data.tokenizer.vocab_size < MANY_TOKENS:
        return []
    matrix = "embedding" if plan.model.tied_output else "output.weight"
    count = sum(parameters.count(plan.model, name) for name in (matrix, "output.bias"))
    return [
        f"         the output layer has {count:,} parameters for these tokens: reduce their "
        "number with --min-count 100 or --tokenizer sentencepiece"
    ]


def extras(config: Form | Regularizers, kind: type = Form) -> str:
    """Return the settings that differ from their defaults, each followed by a comma."""
    named = []
    for field in dataclasses.fields(kind):
        value = getattr(config, field.name)
        if (value or 0) != (field.default or 0):
            words = field.name.replace("_", " ")
            named.append(words if value is True else f"{words} {value:g}")
    return "".join(f"{words}, " for words in named)


def _of_pairs(model: ModelConfig) -> str:
    """Return what a pair model has besides its layers, followed by a comma."""
    return f"{model.encoder} encoder, {model.context} context, " if model.encoder else ""


def _batch(plan: Plan) -> str:
    """Return in words what an update reads."""
    if plan.model.encoder:
        return f"up to {counted(plan.train.batch_size, 'pair')} an update"
    return f"{counted(plan.train.batch_size, 'stream')}, {window(plan)}"


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
    valid += f", {metrics.valid_right:.1%} right" if metrics.valid_right else ""
    return (
        f"{metrics.fraction:4.0%}  step {metrics.step:,}  epoch {metrics.epoch:.2f}"
        f"  train {losses(metrics.train_nats)}{valid}"
        f"  gradient {norm(metrics)}, {metrics.clipped:.0%} clipped"
        f"  {speed(metrics)}{time_left(metrics, by_clock)}"
    )


def result_lines(result: Result, planned: Planned) -> list[str]:
    """Return the result of a training, and what to do next."""
    early, cell = result.stopped_by == "interrupt", cell_words(planned.plan.model.cell)
    lines = [
        f"{'stopped early' if early else 'done'} after {counted(result.steps, 'step')}, "
        f"{result.epochs:.2f} epochs, {result.seconds:.0f} s"
        + ("; the best weights so far are saved" if early else "")
    ]
    if result.valid_nats is not None:
        of_bytes = f", {result.valid_bits_per_byte:.3f} bits per byte"
        lines.append(
            f"valid    {losses(result.valid_nats)}{of_bytes}, "
            f"over {counted(result.valid_characters, 'character')} {_scored(planned)}"
        )
    if result.valid_right:  # long targets, such as tunes, are never written exactly
        lines.append(f"         {result.valid_right:.1%} of the answers are right")
    if result.valid_window256_nats is not None:
        lines.append(f"         {losses(result.valid_window256_nats)} in windows of 256")
    if result.valid_counts_nats is not None:
        mixed = losses(result.valid_counts_nats)
        lines.append(f"         {mixed} with counts of the training text")
    if result.valid_nats is not None and not result.valid_whole:
        whole = shell_command("charrnn", "eval", "--model", result.run_dir, *cell)
        lines.append("         for an evenly spread part of the held-out text; for all of it:")
        lines.append(f"eval     {whole}")
    lines.append(f"model    {result.model}")
    command, *source = _next(planned)
    words = ["charrnn", command, "--model", result.run_dir, *cell, *source]
    lines.append(f"next     {shell_command(*words)}")
    return lines


def _scored(planned: Planned) -> str:
    """Return which characters of the validation part are scored."""
    if planned.data.reading.pairs:
        return "of targets"
    return "that are missing" if planned.plan.model.encoder else "read in order"


def _next(planned: Planned) -> list[str]:
    """Return the command that writes with a model of this text, and what it answers."""
    data = planned.data
    if not data.reading.pairs:
        return ["fill", "one ___ three"] if planned.plan.model.encoder else ["sample"]
    part = data.pairs("valid" if len(data.valid) else "train")
    short = [index for index, size in enumerate(part.source_lengths) if size <= SHORT_SOURCE]
    sources = [data.tokenizer.decode(part.source(index)) for index in short[:SHORT_SOURCES] or [0]]
    # Easiest to read and to type: letters and digits alone.
    return ["beam", "--source", next(filter(str.isalnum, sources), sources[0])]


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


def norm(metrics: Metrics) -> str:
    """Return the largest norm of the gradient in words."""
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
