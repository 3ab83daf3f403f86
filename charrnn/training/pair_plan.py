"""The plan for pairs: their number, the machine and the budget decide sizes, batch and rates."""

from __future__ import annotations

import dataclasses

from charrnn.cells import find
from charrnn.config import FORM, ModelConfig, TrainConfig, TrainOptions
from charrnn.errors import OptionError
from charrnn.text.gaps import Pairs, order_of
from charrnn.text.labels import has_labels
from charrnn.text.pairs import PairPart
from charrnn.training import plan
from charrnn.training.plan import Plan, Speed

# Pairs in a batch, and in one of many pairs. Spellings and sounds of 121,217 words, 2 x 320, 8.1
# epochs, rate 0.011: validation loss 0.0858 and 27.2 % wrong words with 64, 0.0841 and 26.3 % with
# 128, in three quarters of the time. Languages of 13,568 names, right: with dropout 0.3 84.2 % with
# 64 and 81.7 % with 128 (on two machines), with dropout 0.5 82.7 % with both; one run each.
BATCH_SIZE, LARGE_BATCH_SIZE = 64, 128
MANY_PAIRS = 50_000
# Fine-tuning on 1,000 pairs of a network of 2 x 128 that knows 4,000 (fine_tuning_pairs.py in
# tests/benchmarks has all), the lowest validation losses of 10 epochs. In the direction that it
# knows, more epochs overfit; in the other one, 20 at the rate 0.0138 reach 0.910.
#   spelling to sound   rate 0.002: 0.201   0.004: 0.207  0.0069: 0.219  0.0138: 0.229  0.02: 0.258
#   name to language    rate 0.002: 0.119   0.004: 0.120  0.0069: 0.121  0.0137: 0.127
#   sound to spelling   rate 0.004: 1.600   0.0138: 1.000 0.02: 0.988    0.0273: 1.022
SAME_POWER, TURNED_POWER = 1.0, 0.5  # of the ratio of the lengths, 1 / 4 here
ENOUGH_TURNED_EPOCHS = 20.0
# Where the targets are labels, networks of one layer vote, and some tokens of sources are hidden:
# few pairs are soon known by heart. Languages of 3,609 held-out names after 2 minutes on 2 cores:
# right answers of one network 84.8 and 84.5 %, of two 85.2 and 85.0 %, of four, which are smaller
# and read fewer epochs, 84.5, 84.8 and 84.4 % (one number for each seed).
LABELS_SOURCE_DROPOUT, LABELS_ENSEMBLE = 0.1, 2
ENSEMBLE_EPOCHS = 10.0  # the fewest, about, for which several networks are planned
ENSEMBLE_SPEED = 40_000  # characters per second, about, that they read on two cores
BATCHES_PER_EPOCH = 8  # the fewest, about, so that few pairs get enough updates


def make(
    options: TrainOptions,
    pairs: Pairs,
    alphabet_size: int,
    speed: Speed,
    known: int | None = None,
    *,
    turned: bool = False,
) -> Plan:
    """Plan for these training pairs over an alphabet.

    `speed` tells the characters per second of a training; it is only called if the budget is
    minutes. For `known` see `charrnn.training.plan.make`; `turned`: it is about pairs in the other
    direction.

    Raises:
        OptionError: the cell cannot read pairs.
    """
    cell = find(options.planned_cell)
    if cell.feeds_back:
        raise OptionError(
            f"the cell {cell.name} feeds the network's output back, and an encoder has none: use "
            "another cell for pairs"
        )
    fitting = -(-len(pairs) // BATCHES_PER_EPOCH)
    most = LARGE_BATCH_SIZE if len(pairs) >= MANY_PAIRS else BATCH_SIZE
    batch_size = options.batch_size or max(1, min(most, fitting))
    order = order_of(pairs, batch_size, options.seed)
    length, steps = order.tokens, -(-order.most_steps // batch_size)
    # A window is a pair in the largest batch, source and target.
    train = plan.without_rates(options, steps, steps, batch_size, length, known)
    if turned and options.epochs is None and options.steps is None:
        train = dataclasses.replace(train, epochs=ENOUGH_TURNED_EPOCHS)
    labels = isinstance(pairs, PairPart) and has_labels(pairs)
    if labels and options.source_dropout is None:
        train = dataclasses.replace(train, source_dropout=LABELS_SOURCE_DROPOUT)
    step = length / order.batches
    votes = labels and _epochs(train, length, step) >= ENSEMBLE_EPOCHS
    model = _architecture(options, alphabet_size, votes)
    sizes = plan.sized(options, model, train, length, length, step, speed)
    power = TURNED_POWER if turned or options.fill else SAME_POWER  # gaps: as for a text
    return plan.with_rates(options, train, sizes, length, step, speed, known, power)


def _epochs(train: TrainConfig, length: int, step: float) -> float:
    """Return how many epochs a training has if it is that of an ensemble, about."""
    limits = (
        train.epochs,
        train.steps and train.steps * step / length,
        train.minutes and train.minutes * 60 * ENSEMBLE_SPEED / length,
    )
    return min(limit for limit in limits if limit is not None)


def _architecture(options: TrainOptions, alphabet_size: int, votes: bool) -> ModelConfig:
    """Return the network but for its hidden size; `votes`: it is an ensemble if none is asked."""
    cell = find(options.planned_cell)
    votes = votes and options.context != "attention" and plan.may_vote(options, cell)
    ensemble = options.ensemble or (LABELS_ENSEMBLE if votes else 1)
    embedding = plan.embedding_size(options, alphabet_size)
    depth = plan.planned_depth(options, cell)
    if ensemble > 1:
        embedding *= ensemble if options.embedding_size is None else 1
        depth = {"num_layers": options.num_layers or 1}
    return ModelConfig(
        vocab_size=alphabet_size + 1,
        cell=options.planned_cell,
        embedding_size=embedding,
        encoder=options.encoder or "bidirectional",
        context=options.context or ("fixed" if ensemble > 1 else "attention"),
        ensemble=ensemble,
        **{name: getattr(options, name) for name in FORM} | depth,
    )
