"""The events that a training yields to its caller: planned, progress, best, notice, done."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

from charrnn.arrays import Floats32
from charrnn.errors import counted
from charrnn.network.layers import Kernel
from charrnn.network.module import CharRNN
from charrnn.run_dir import RunDir
from charrnn.text.dataset import Dataset
from charrnn.training.plan import Plan

Values = Mapping[str, Floats32]  # parameters by name
Stop = Callable[[], bool]  # asked before every step and during scoring: whether to end the training


def never() -> bool:
    """Let a training go on: the default `Stop`."""
    return False


@dataclass(frozen=True)
class Metrics:
    """How far a training is and how well it learns: one line of metrics.jsonl.

    Attributes:
        step: updates made.
        epoch: passes over the text, with fraction.
        characters: characters read.
        fraction: part of the budget used.
        seconds: since the training began.
        train_nats: mean loss per character since the last report.
        valid_nats: loss on (part of) the validation text; None if it was not scored now.
        learning_rate: learning rate of this step.
        grad_norm: largest gradient norm since the last report, before clipping.
        clipped: share of the updates since the last report whose gradient was clipped.
        chars_per_second: median over the steps so far.
        valid_right: the share of (part of) the validation pairs whose target is the greedy answer;
            None if it was not measured, or of a text.
    """

    step: int
    epoch: float
    characters: int
    fraction: float
    seconds: float
    train_nats: float
    valid_nats: float | None
    learning_rate: float
    grad_norm: float
    clipped: float
    chars_per_second: float
    valid_right: float | None = None


@dataclass(frozen=True, repr=False)
class Result:
    """The result of a training; the fields are those of ``charrnn train --json``.

    Losses are those of the best model: nats per character, bits per character, bits per byte of
    UTF-8. They are None without a validation text (the loss in windows, without one of 257
    characters, or where a token is not always a character). `valid_whole` tells whether they are
    those of the whole validation text: a training by the clock scores a part of a long one.
    They are the network's; `valid_counts_nats` is the loss of the network and the counts together
    on the same text, or None without counts or where that was not measured. `valid_right` is the
    share of (part of) the validation pairs whose target is the greedy answer; None of a text.
    """

    run_dir: str
    model: str
    cell: str
    parameters: int
    steps: int
    epochs: float
    characters: int
    seconds: float
    chars_per_second: float
    train_nats: float
    valid_nats: float | None
    valid_bpc: float | None
    valid_bits_per_byte: float | None
    valid_window256_nats: float | None
    valid_characters: int
    stopped_by: str
    valid_whole: bool = True
    valid_counts_nats: float | None = None
    valid_right: float | None = None

    def __fspath__(self) -> str:
        """Return the run's folder, so that a result can be given wherever a run is named."""
        return self.run_dir

    def __repr__(self) -> str:
        loss = "" if self.valid_nats is None else f"{self.valid_nats:.4f} nats per character, "
        return (
            f"<Result {self.run_dir}: {self.cell}, {counted(self.parameters, 'parameter')}, {loss}"
            f"{counted(self.steps, 'step')}, {self.epochs:.2f} epochs, {self.seconds:.0f} s, "
            f"ended by {self.stopped_by}>"
        )


@dataclass(frozen=True)
class Planned:
    """Everything is decided; nothing has been written yet.

    It comes a second time where a plan is made anew: the training begins again, with new weights.

    Attributes:
        run_dir: where the run will be.
        data: the text.
        plan: the network and its training.
        kernel: what will run the layers.
        resumed: for a resumed run, sentences that say where it continues and what changed.
    """

    run_dir: RunDir
    data: Dataset
    plan: Plan
    kernel: Kernel
    resumed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """A report, a few hundred times per run; `network` is the one in training."""

    metrics: Metrics
    network: CharRNN


@dataclass(frozen=True)
class Best:
    """The weights are the best so far; a copy of them."""

    metrics: Metrics
    values: Values


@dataclass(frozen=True)
class Notice:
    """A sentence about something that a person may want to know."""

    sentence: str


@dataclass(frozen=True)
class Done:
    """The training has ended and everything is written."""

    result: Result


Event = Planned | Progress | Best | Notice | Done
Events = Generator[Event, None, None]


def result_of(events: Events) -> Result:
    """Run a training to its end and return its result."""
    with contextlib.closing(events):
        for event in events:
            if isinstance(event, Done):
                return event.result
    raise AssertionError("a training ends with Done")
