"""The plan: from the corpus, the machine and the budget to sizes, window, batch and rates.

Whatever the user set is kept; the rest is chosen. With a budget of steps or epochs the plan is a
pure function of the corpus and the options. With minutes, the machine's speed is measured for a
moment. The rule for the size: a network learns most in a given time when it reads about
`CHARACTERS_PER_PARAMETER` characters for each parameter of its layers. It is for two layers, from
runs of README; for one layer 16 is the rule whose worst case is best under the laws that
tests/benchmarks/plan_runs.py fits to its runs: 0.2 % of the loss in 20 seconds, 3 % in ten minutes.
Where characters are counted and not the time, a larger one
learns more of them: `COUNTED_PER_PARAMETER`. A short text is read no more than `ENOUGH_EPOCHS`
times, also if there is time for more, and feeds `PARAMETERS_PER_CHARACTER` parameters for each
character.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from charrnn.config import FORM, ModelConfig, TrainConfig, TrainOptions
from charrnn.errors import OptionError
from charrnn.model import parameters

CHARACTERS_PER_PARAMETER = 10
COUNTED_PER_PARAMETER = 4
PARAMETERS_PER_CHARACTER = 6.5
HIDDEN_SIZES = (32, 64, 96, 128, 192, 256, 320, 384, 448, 512, 640, 768, 1024, 1280, 1536, 2048)
MAX_MINUTES = 5.0
MIN_MINUTES = 0.2
ENOUGH_EPOCHS = 30.0
FULL_TIME_CHARACTERS = 1e6
# Peak rate times hidden size, for AdamW; measured with 256 to 526 units on plays. A family's name
# stands for those of its members that are not named.
RATE_TIMES_WIDTH = {
    "lstm-coupled": 10.0,
    "lstm": 7.0,
    "gru": 5.0,
    "elman": 6.0,
    "jordan": 6.0,
    "irnn": 4.0,
}
MAX_RATE = 0.03
# Dropout grows with the logarithm of `pressure`. From runs of one layer, the best of some between 0
# and 0.7: none at a pressure of 2, 0.2 or none at 6, 0.4 at 20, 0.6 at 75, 0.6 and 0.7 at 200.
NO_PRESSURE = 2.0
DROPOUT = 0.16
LEAST_DROPOUT, MOST_DROPOUT = 0.08, 0.6
# A text is read at least about this often per epoch, so that a small one makes steps enough.
WINDOWS_PER_EPOCH = 8

Speed = Callable[[ModelConfig, TrainConfig], float]


@dataclass(frozen=True)
class Plan:
    """What will be trained and how, and why.

    Attributes:
        model: the architecture.
        train: the training; every value decided.
        characters: how many characters it expects to read.
        reason: why the network has its size.
    """

    model: ModelConfig
    train: TrainConfig
    characters: float
    reason: str


def make(options: TrainOptions, length: int, vocab_size: int, speed: Speed) -> Plan:
    """Plan for a training text of `length` characters and `vocab_size` symbols.

    `speed` measures characters per second of a training step; it is asked only where the budget
    is of minutes and the size is free.
    """
    seq_len, update_every, batch_size = _window(options, length)
    asked = {field.name: getattr(options, field.name) for field in dataclasses.fields(TrainConfig)}
    decided = {
        "seq_len": seq_len,
        "update_every": update_every,
        "batch_size": batch_size,
        "learning_rate": 0.0,
        "dropout": 0.0,
        "minutes": _minutes(options, length),
        "epochs": _epochs(options),
    }
    train = TrainConfig(**asked | decided)
    form = {name: getattr(options, name) for name in FORM} | _depth(options)
    model = ModelConfig(
        vocab_size=vocab_size,
        cell=options.cell,
        embedding_size=_embedding_size(options, vocab_size),
        **form,
    )
    model, characters, reason = _sized(options, model, train, length, speed)
    train = dataclasses.replace(
        train,
        learning_rate=options.learning_rate or _learning_rate(model),
        **_dropout(options, model, characters / length, length),
    )
    return Plan(model, train, characters, reason)


def _window(options: TrainOptions, length: int) -> tuple[int, int, int]:
    """k2, k1 and B: 64, 64 and 32, less where the text is short."""
    most = max(1, min(64, length // WINDOWS_PER_EPOCH))
    if options.seq_len == "full":
        batch_size = options.batch_size or max(1, min(32, length // (most * WINDOWS_PER_EPOCH)))
        seq_len = max(1, length // batch_size)
        if (options.update_every or 1) > seq_len:
            raise OptionError(
                f"--update-every {options.update_every} is more than the {seq_len:,} characters "
                f"of each of the {batch_size} streams: lower it, or --batch-size"
            )
    else:
        seq_len = int(options.seq_len or max(most, options.update_every or 1))
        fitting = length // (seq_len * WINDOWS_PER_EPOCH)
        batch_size = options.batch_size or max(1, min(32, fitting))
    return seq_len, options.update_every or seq_len, batch_size


def _minutes(options: TrainOptions, length: int) -> float | None:
    """Minutes where no budget is given: five for a megabyte or more, less for less."""
    if options.minutes is not None or options.epochs is not None or options.steps is not None:
        return options.minutes
    share = (length / FULL_TIME_CHARACTERS) ** 0.5
    return float(round(max(MIN_MINUTES, min(1.0, share) * MAX_MINUTES), 1))


def _epochs(options: TrainOptions) -> float | None:
    """With minutes, the epochs after which a text has been learnt: more would be by heart."""
    counted = options.epochs is not None or options.steps is not None
    return options.epochs if counted else ENOUGH_EPOCHS


def _depth(options: TrainOptions) -> dict[str, Any]:
    """Two layers with skip connections, unless the user counts them or the cell has but one.

    In three minutes they learn more than one that is wider (README, "Why this network").
    """
    if options.num_layers is None and options.cell != "jordan":
        return {"num_layers": 2, "skip_connections": True}
    return {"num_layers": options.num_layers or 1}


def _embedding_size(options: TrainOptions, vocab_size: int) -> int:
    if options.embedding_size is not None:
        return options.embedding_size
    return 64 if vocab_size < 512 else 128


def _sized(
    options: TrainOptions, model: ModelConfig, train: TrainConfig, length: int, speed: Speed
) -> tuple[ModelConfig, float, str]:
    """The model with its hidden size, the characters it will read, and why this size."""
    step = train.batch_size * train.update_every
    epoch = length // step * step
    most = math.inf if train.epochs is None else train.epochs * epoch
    if train.steps is not None:
        most = train.steps * step
    each = CHARACTERS_PER_PARAMETER if train.minutes else COUNTED_PER_PARAMETER

    def readable(candidate: ModelConfig) -> float:
        if train.minutes is None:
            return most
        return min(most, speed(candidate, train) * train.minutes * 60)

    if options.hidden_size is not None:
        model = dataclasses.replace(model, hidden_size=options.hidden_size)
        return model, readable(model), "the size is as asked"
    chosen, characters, reason = model, 0.0, ""
    for hidden_size in HIDDEN_SIZES:
        candidate = dataclasses.replace(model, hidden_size=hidden_size)
        size = layers(candidate)
        if characters and size > PARAMETERS_PER_CHARACTER * length:
            reason = "a larger network would learn this short text by heart"
            break
        reads = readable(candidate)
        if characters and reads < min(ENOUGH_EPOCHS * epoch, each * size):
            reason = "a larger network would read too little"
            reason += " in the time" if train.minutes else ""
            break
        chosen, characters = candidate, reads
    return chosen, characters, reason or "the largest size that is planned"


def layers(model: ModelConfig) -> int:
    """The number of values in the layers: rows of rare symbols, hardly ever read, do not count."""
    return parameters.count(model, "layers.")


def pressure(model: ModelConfig, epochs: float, length: int) -> float:
    """To learn by heart: readings after the first, times parameters for each character."""
    return max(0.0, epochs - 1) * parameters.count(model) / length


def _learning_rate(model: ModelConfig) -> float:
    """Wider networks want smaller steps."""
    family = model.cell.partition("-")[0]
    family_rate = RATE_TIMES_WIDTH.get(family, 3.0)
    return min(MAX_RATE, RATE_TIMES_WIDTH.get(model.cell, family_rate) / model.hidden_size)


def _dropout(
    options: TrainOptions, model: ModelConfig, epochs: float, length: int
) -> dict[str, Any]:
    """None while a text cannot be learnt by heart; more with the network's size and with epochs.

    Where it is planned it is locked: to draw a mask for every step takes a third of the time, and
    is no better.
    """
    if options.dropout is not None:
        return {"dropout": options.dropout}
    wanted = DROPOUT * math.log(max(1.0, pressure(model, epochs, length) / NO_PRESSURE))
    dropout = round(min(MOST_DROPOUT, wanted), 2) if wanted >= LEAST_DROPOUT else 0.0
    return {"dropout": dropout, "locked_dropout": options.locked_dropout or dropout > 0}


def window_bytes(model: ModelConfig, train: TrainConfig) -> int:
    """About what a window's values take in memory until the gradient has come back.

    For every step, stream and unit: each block's input part, what is saved of it and its
    derivative; the parts of the state; outputs before and after dropout. Logits are made of some
    of them at a time (`charrnn.network.loss`).
    """
    cell = parameters.cell_of(model)
    values = 3 * len(cell.blocks) + 2 * len(cell.states) + 3
    units = values * model.hidden_size * model.num_layers
    return 4 * train.batch_size * train.seq_len * units


def measure(step: Callable[[], object], characters: int, seconds: float = 0.15) -> float:
    """Characters per second of `step`, which reads `characters`: best of a few, after a warm-up."""
    step()
    best, end = float("inf"), time.perf_counter() + seconds
    while True:
        began = time.perf_counter()
        step()
        now = time.perf_counter()
        best = min(best, now - began)
        if now >= end:
            return characters / best
