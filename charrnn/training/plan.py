"""The plan: from the corpus, the machine and the budget to sizes, window, batch and rates.

Whatever the user set is kept; the rest is chosen. With a budget of steps or epochs the plan is a
pure function of the corpus and the options. With minutes, the machine's speed is measured for a
moment. The rule for the size: a network learns most in a given time when it reads about
`CHARACTERS_PER_PARAMETER` characters for each of its parameters. A short text is read no more than
`ENOUGH_EPOCHS` times, also if there is time for more, and feeds `PARAMETERS_PER_CHARACTER`
parameters for each of its characters.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from charrnn import parameters
from charrnn.config import ModelConfig, TrainConfig, TrainOptions

CHARACTERS_PER_PARAMETER = 12
PARAMETERS_PER_CHARACTER = 6.5
HIDDEN_SIZES = (32, 64, 96, 128, 192, 256, 320, 384, 448, 512, 640, 768, 1024, 1280, 1536, 2048)
MAX_MINUTES = 5.0
MIN_MINUTES = 0.2
ENOUGH_EPOCHS = 30.0
FULL_TIME_CHARACTERS = 1e6
# Peak rate times hidden size, for AdamW; measured with 256 and 384 units on plays.
RATE_TIMES_WIDTH = {"lstm": 7.0, "gru-reset-after": 3.0, "elman": 4.0}
MAX_RATE = 0.03
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
    seq_len, batch_size = _window(options, length)
    train = TrainConfig(
        seq_len=seq_len,
        batch_size=batch_size,
        optimizer=options.optimizer,
        learning_rate=0.0,
        weight_decay=options.weight_decay,
        dropout=0.0,
        clip_norm=options.clip_norm,
        seed=options.seed,
        minutes=_minutes(options, length),
        epochs=_epochs(options),
        steps=options.steps,
    )
    model = ModelConfig(
        vocab_size=vocab_size,
        cell=options.cell,
        num_layers=options.num_layers or 1,
        embedding_size=_embedding_size(options, vocab_size),
    )
    model, characters, reason = _sized(options, model, train, length, speed)
    train = dataclasses.replace(
        train,
        learning_rate=options.learning_rate or _learning_rate(model),
        dropout=_dropout(characters / length) if options.dropout is None else options.dropout,
    )
    return Plan(model, train, characters, reason)


def _window(options: TrainOptions, length: int) -> tuple[int, int]:
    """T and B: 64 and 32, less where the text is short."""
    seq_len = options.seq_len or max(1, min(64, length // WINDOWS_PER_EPOCH))
    fitting = length // (seq_len * WINDOWS_PER_EPOCH)
    batch_size = options.batch_size or max(1, min(32, fitting))
    return seq_len, batch_size


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


def _embedding_size(options: TrainOptions, vocab_size: int) -> int:
    if options.embedding_size is not None:
        return options.embedding_size
    return 64 if vocab_size < 512 else 128


def _sized(
    options: TrainOptions, model: ModelConfig, train: TrainConfig, length: int, speed: Speed
) -> tuple[ModelConfig, float, str]:
    """The model with its hidden size, the characters it will read, and why this size."""
    epoch = length // train.batch_size // train.seq_len * train.batch_size * train.seq_len
    most = math.inf if train.epochs is None else train.epochs * epoch
    if train.steps is not None:
        most = train.steps * train.batch_size * train.seq_len

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
        size = parameters.count(candidate)
        if characters and size > PARAMETERS_PER_CHARACTER * length:
            reason = "a larger network would learn this short text by heart"
            break
        reads = readable(candidate)
        if characters and reads < min(most, CHARACTERS_PER_PARAMETER * size):
            reason = "a larger network would read too little in the time"
            break
        chosen, characters = candidate, reads
    return chosen, characters, reason or "the largest size that is planned"


def _learning_rate(model: ModelConfig) -> float:
    """Wider networks want smaller steps."""
    return min(MAX_RATE, RATE_TIMES_WIDTH.get(model.cell, 3.0) / model.hidden_size)


def _dropout(epochs: float) -> float:
    """None while each character is seen a few times; more when it is seen often."""
    if epochs < 6:
        return 0.0
    return 0.2 if epochs < 20 else 0.4


def measure(step: Callable[[], None], characters: int, seconds: float = 0.15) -> float:
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
