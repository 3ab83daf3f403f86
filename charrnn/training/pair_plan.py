"""The plan for pairs: their number, the machine and the budget decide sizes, batch and rates."""

from __future__ import annotations

import dataclasses
import math

from charrnn.cells import find
from charrnn.config import FORM, ModelConfig, TrainConfig, TrainOptions
from charrnn.errors import OptionError
from charrnn.model import parameters
from charrnn.text.gaps import Pairs, order_of
from charrnn.training import plan
from charrnn.training.plan import (
    CHARACTERS_PER_PARAMETER,
    COUNTED_PER_PARAMETER,
    ENOUGH_EPOCHS,
    HIDDEN_SIZES,
    PARAMETERS_PER_CHARACTER,
    Plan,
    Speed,
)

BATCH_SIZE = 64
BATCHES_PER_EPOCH = 8  # the fewest, about, so that few pairs get enough updates


def make(
    options: TrainOptions,
    pairs: Pairs,
    alphabet_size: int,
    speed: Speed,
    known: int | None = None,
) -> Plan:
    """Plan for these training pairs over an alphabet.

    `speed` measures the characters per second of a training step; it is only called if the budget
    is minutes. For `known` see `charrnn.training.plan.make`.

    Raises:
        OptionError: the cell cannot read pairs.
    """
    cell = find(options.cell)
    plan.check_own_cell(cell, options)
    if cell.feeds_back:
        raise OptionError(
            f"the cell {cell.name} feeds the network's output back, and an encoder has none: use "
            "another cell for pairs"
        )
    fitting = -(-len(pairs) // BATCHES_PER_EPOCH)
    batch_size = options.batch_size or max(1, min(BATCH_SIZE, fitting))
    order = order_of(pairs, batch_size, options.seed)
    length, steps = order.tokens, -(-order.most_steps // batch_size)
    asked = {field.name: getattr(options, field.name) for field in dataclasses.fields(TrainConfig)}
    decided = {
        "seq_len": steps,  # of a pair in the largest batch, source and target
        "update_every": steps,
        "batch_size": batch_size,
        "learning_rate": 0.0,
        "dropout": 0.0,
        "minutes": plan.planned_minutes(options, length),
        "epochs": plan.planned_epochs(options, known),
    }
    train = TrainConfig(**asked | decided)
    form = {name: getattr(options, name) for name in FORM} | plan.planned_depth(options, cell)
    model = ModelConfig(
        vocab_size=alphabet_size + 1,
        cell=options.cell,
        embedding_size=plan.embedding_size(options, alphabet_size),
        encoder=options.encoder or "bidirectional",
        context=options.context or "attention",
        **form,
    )
    model, characters, reason = _sized(options, model, train, length / order.batches, length, speed)
    rates = plan.planned_rates(options, model, characters / length, length, known)
    return Plan(model, dataclasses.replace(train, **rates), characters, reason, known)


def _sized(
    options: TrainOptions,
    model: ModelConfig,
    train: TrainConfig,
    step: float,
    length: int,
    speed: Speed,
) -> tuple[ModelConfig, float, str]:
    """Return the model with its hidden size, the characters it will read, and the reason.

    Args:
        options: what the user asked for.
        model: the model but for its hidden size.
        train: the training.
        step: characters per update.
        length: characters of all pairs.
        speed: measures the characters per second.
    """
    each = CHARACTERS_PER_PARAMETER if train.minutes else COUNTED_PER_PARAMETER
    limit = math.inf if train.epochs is None else train.epochs * length
    if train.steps is not None:
        limit = train.steps * step

    def readable(candidate: ModelConfig) -> float:
        if train.minutes is None:
            return limit
        return min(limit, speed(candidate, train) * train.minutes * 60)

    if options.hidden_size is not None:
        model = dataclasses.replace(model, hidden_size=options.hidden_size)
        return model, readable(model), "size as given"
    chosen, characters, reason = model, 0.0, ""
    for hidden_size in HIDDEN_SIZES:
        candidate = dataclasses.replace(model, hidden_size=hidden_size)
        size = parameters.count(candidate) - parameters.count(candidate, "output.")
        if characters and size > PARAMETERS_PER_CHARACTER * length:
            reason = "a larger network would overfit these few pairs"
            break
        reads = readable(candidate)
        if characters and reads < min(ENOUGH_EPOCHS * length, each * size):
            reason = "a larger network would read too little"
            reason += " in the time" if train.minutes else ""
            break
        chosen, characters = candidate, reads
    return chosen, characters, reason or "the largest size that is planned"
