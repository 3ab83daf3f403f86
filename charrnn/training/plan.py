"""The plan: corpus, machine and budget decide the sizes, the window, the batch and the rates.

What the user set stays; the rest is chosen. With a budget of steps or epochs the plan depends on
the corpus and the options alone. With minutes, the machine's speed counts, too
(`charrnn.training.measured_plan`).

A network learns most in a given time if it reads about `CHARACTERS_PER_PARAMETER` characters per
parameter of its layers. The constant is for two layers; RESULTS.md in tests/benchmarks has its
runs. For one layer, 16 has the best worst case under the laws that plan_runs.py there fits to its
runs: 0.2 % of the loss in 20 seconds, 3 % in ten minutes. If characters are counted instead of
time, a larger network learns more from them: `COUNTED_PER_PARAMETER`. A short text is read at most
`ENOUGH_EPOCHS` times, and trains at most `PARAMETERS_PER_CHARACTER` parameters per character.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from charrnn.cells import Cell, find
from charrnn.config import FORM, ModelConfig, ModelReading, TrainConfig, TrainOptions, cell_name
from charrnn.counts import fit
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
# Peak learning rate of AdamW times the hidden size, measured with 256 to 526 units on plays. A
# family's name (gru) stands for its members that are not listed. At the rate of its family, the
# multiplicative LSTM diverges. 2 x 128, 400 steps, plays and folk tunes, rate 0.004: 1.773, 1.654
# nats; 0.008: 1.716, 1.561; 0.015: 1.727, 1.554; 0.03 diverges.
RATE_TIMES_WIDTH = {
    "lstm-coupled": 10.0,
    "lstm": 7.0,
    "lstm-multiplicative": 1.0,
    "gru": 5.0,
    "elman": 6.0,
    "jordan": 6.0,
    "irnn": 4.0,
}
MAX_RATE = 0.03
# Peak learning rate of SGD (momentum 0.9, Nesterov), relative to AdamW's. Measured on the corpus
# tunes: validation loss after 300 steps without dropout, with AdamW's planned rate of 0.03 and with
# some rates of SGD. It is the largest ratio that suits all cells.
#   lstm-coupled 2 x 64    AdamW 1.092   SGD 1.5: 1.194, 3: 1.154, 6: 1.127
#   lstm-coupled 2 x 128   AdamW 0.992   SGD 1: 1.185, 2: 1.120, 3: 1.091, 5: 1.075, 10: 1.205
#   lstm-coupled 2 x 256   SGD 1.5: 1.113, 3: 1.057, 6: 1.096
#   gru 2 x 128            AdamW 1.003   SGD 1: 1.106, 1.5: 1.088
#   elman 2 x 128          AdamW 1.191   SGD 1: 1.178, 1.5: 1.208, 3: 1.608
SGD_RATE = 50.0
# Dropout grows with the logarithm of `overfitting`. In runs of one layer with dropout from 0 to 0.7
# the best was: none at 2, 0.2 or none at 6, 0.4 at 20, 0.6 at 75, 0.6 and 0.7 at 200.
NO_OVERFITTING = 2.0
DROPOUT = 0.16
MIN_DROPOUT, MAX_DROPOUT = 0.08, 0.6
# A fine-tuned network has the rate that suits its width times the root of (length of the new text /
# length of the texts it knows), half the dropout, and fewer epochs. Lowest validation losses
# (fine_tuning.py in tests/benchmarks has all), and the ratio of the lengths:
#   plays    0.037   2 x 256, 5 epochs    rate 0.005: 1.369   0.01: 1.365
#                    2 x 256, 10 epochs   rate 0.006: 1.369   0.01: 1.376   dropout 0.45 for both
#                    2 x 128, 5 epochs    rate 0.005: 1.401   0.01: 1.391   0.02: 1.402
#   harbour  0.020   2 x 256, 10 epochs   rate 0.005: 0.960   0.008: 0.969  0.01: 0.976
#   tunes    0.038   2 x 128, 10 epochs   rate 0.01: 0.980    0.03: 0.954
#   chapter  0.008   2 x 128, 30 epochs   rate 0.005: 1.647   0.01: 1.673
#   and dropout: plays, 2 x 256, 5 epochs, rate 0.01      0: 1.398   0.3: 1.365
#                plays, 2 x 128, 10 epochs, rate 0.01     0.1: 1.399   0.18: 1.396   0.3: 1.407
#                chapter, 2 x 128, 10 epochs, rate 0.006  0.3: 1.670   0.43: 1.712
TUNED_DROPOUT = 0.5
# A network of pairs has half the dropout as well, and a part of the rate. Spellings and sounds of
# 12,122 words, validation losses:
#   2 x 128, 10 epochs (16 in the measure of `overfitting`), rate 0.02
#     dropout 0: 0.153   0.15: 0.147   0.3: 0.154   0.5: 0.175
#   2 x 128, 10 epochs, dropout 0.15    rate 0.01: 0.150   0.02: 0.147    0.03: 0.147
#   2 x 320, 3 epochs, dropout 0.1      rate 0.008: 0.160  0.015: 0.161   0.03: 0.176
PAIRS_DROPOUT = 0.5
PAIRS_RATE = 0.35
ENOUGH_TUNED_EPOCHS = 10.0
# From how many tokens on the output is tied to the embedding, and the embedding is larger. At about
# equal CPU seconds, 2 x 128, full and tied: Wikipedia, 373 tokens, 1.717 and 1.676; Chinese, 1,880
# tokens, 4.546 and 4.443.
TIED_TOKENS = 300
MANY_TOKENS = 512
# The least number of updates per epoch, about, so that a short text gets enough of them.
WINDOWS_PER_EPOCH = 8

# How many networks vote if each of them reads the text this often, in the time of all. Of a text
# that is read less often, one larger network learns as much (RESULTS.md, "Several networks").
VOTES = {2: 4.5, 4: 24.0}

# The seconds, and the share of the time, that start, plan and scoring take, about. Of 1 minute on
# tiny Shakespeare 18 % were not spent on updates, of 3 minutes 9 and 10 % (AVX2).
BESIDE_SECONDS, BESIDE = 4.0, 0.1

Speed = Callable[[ModelConfig, TrainConfig], float]


@dataclass(frozen=True)
class Plan:
    """What will be trained, and how.

    Attributes:
        model: the architecture.
        train: the training; every value is decided.
        characters: how many characters it expects to read.
        passes: how many epochs that are.
        reason: why the network has its size.
        known: the length of the texts that the network has learned from; None if it is new.
        update_seconds: how long an update is expected to take; None if the budget is not minutes.
        spread: how much the speed of the machine varied while it was measured; 1: not at all.
    """

    model: ModelConfig
    train: TrainConfig
    characters: float
    passes: float
    reason: str
    known: int | None = None
    update_seconds: float | None = None
    spread: float = 1.0

    def reading(self, text: ModelReading) -> ModelReading:
        """Return what the model remembers of how its text was read."""
        fill = bool(self.model.encoder) and not text.pairs
        return dataclasses.replace(text, documents_apart=self.train.reset_at_documents, fill=fill)


def make(
    options: TrainOptions,
    length: int,
    vocab_size: int,
    speed: Speed,
    *,
    counted: float = 1.0,
    known: int | None = None,
    votes: bool = False,
) -> Plan:
    """Plan a training.

    Args:
        options: what the user asked for.
        length: tokens of the training text.
        vocab_size: the size of their vocabulary.
        speed: tells the characters per second of a training; only called if the budget is minutes.
        counted: the share of the tokens of a window that are text; the rest pads documents.
        known: plan a fine-tuning of a network that has learned from texts of this length.
        votes: plan an ensemble if the budget is minutes and the options allow one.
    """
    cell = find(options.planned_cell)
    counts = fit.wanted(options.counts, length, by_clock=by_clock(options))
    kept = fit.kept_back(length, vocab_size) if counts else 0
    seq_len, update_every, batch_size = _window(options, length - kept)
    train = without_rates(options, seq_len, update_every, batch_size, length, known)
    train = dataclasses.replace(train, kept_back=kept)
    form = {name: getattr(options, name) for name in FORM} | planned_depth(options, cell)
    form |= {"tied_output": tied_output(options, vocab_size)}
    step = round(batch_size * update_every * counted)
    epoch = length // step * step

    def text_speed(model: ModelConfig, train: TrainConfig) -> float:
        return speed(model, train) * counted

    def trained_by(networks: int) -> tuple[ModelConfig, float, str]:
        embedding = embedding_size(options, vocab_size)
        embedding *= networks if options.embedding_size is None else 1
        sizes = {"embedding_size": embedding, "ensemble": networks}
        model = ModelConfig(vocab_size, options.planned_cell, **form | sizes)
        return sized(options, model, train, length, epoch, step, text_speed)

    model, characters, reason = trained_by(options.ensemble or 1)
    more = votes and train.minutes and may_vote(options, cell) and not options.ensemble
    for networks, fewest in VOTES.items() if more else ():
        found = trained_by(networks)
        if found[1] < fewest * length:
            break
        model, characters, reason = found
    sizes = (model, characters, reason)
    return with_rates(
        options, train, sizes, length=length, step=step, speed=text_speed, known=known
    )


def with_rates(
    options: TrainOptions,
    train: TrainConfig,
    sizes: tuple[ModelConfig, float, str],
    length: int,
    step: float,
    speed: Speed,
    known: int | None,
    power: float = 0.5,
) -> Plan:
    """Return the plan of a training whose network is chosen, with its rate and dropout.

    Args:
        options: what the user asked for.
        train: the training but for its rate and dropout.
        sizes: the model, the characters that it could read in the whole time, and why it is so.
        length: tokens of the text, or of all pairs.
        step: characters per update.
        speed: tells the characters per second.
        known: see `make`.
        power: see `planned_rates`.
    """
    model, characters, reason = sizes
    rates = planned_rates(options, model, characters / length, length, known, power)
    train = dataclasses.replace(train, **rates)
    characters = expected(characters, model, train, speed)
    update = None if train.minutes is None else step / speed(model, train)
    return Plan(model, train, characters, characters / length, reason, known, update)


def may_vote(options: TrainOptions, cell: Cell) -> bool:
    """Return whether no option asks for what an ensemble cannot have, or for a network's size."""
    sized = options.hidden_size is not None or options.embedding_size is not None
    return not (sized or options.layer_norm or cell.feeds_back)


def expected(characters: float, model: ModelConfig, train: TrainConfig, speed: Speed) -> float:
    """Return how many of these characters will be read, as minutes are not spent on updates alone.

    The constants of the plan are for characters that would be read in the whole time.
    """
    if train.minutes is None:
        return characters
    seconds = 60 * train.minutes
    trained = max(seconds / 2, (1 - BESIDE) * seconds - BESIDE_SECONDS)
    return min(characters, speed(model, train) * trained)


def without_rates(
    options: TrainOptions,
    seq_len: int,
    update_every: int,
    batch_size: int,
    length: int,
    known: int | None,
) -> TrainConfig:
    """Return a training whose learning rate and dropout are still to be planned."""
    names = {field.name for field in dataclasses.fields(TrainConfig)} - {"last_rate", "kept_back"}
    asked = {name: getattr(options, name) for name in names}
    decided = {
        "last_rate": 0.0,
        "kept_back": 0,
        "seq_len": seq_len,
        "update_every": update_every,
        "batch_size": batch_size,
        "learning_rate": 0.0,
        "dropout": 0.0,
        "source_dropout": options.source_dropout or 0.0,
        "minutes": planned_minutes(options, length),
        "epochs": planned_epochs(options, known),
    }
    return TrainConfig(**asked | decided)


def _window(options: TrainOptions, length: int) -> tuple[int, int, int]:
    """Return k2, k1 and B: 64, 64 and 32, or less for a short text; more streams of documents."""
    longest = max(1, min(64, length // WINDOWS_PER_EPOCH))
    if options.seq_len == "full":
        batch_size = options.batch_size or max(1, min(32, length // (longest * WINDOWS_PER_EPOCH)))
        seq_len = max(1, length // batch_size)
        if (options.update_every or 1) > seq_len:
            raise OptionError(
                f"--update-every {options.update_every} is more than the {seq_len:,} characters "
                f"of each of the {batch_size} streams: lower it, or --batch-size"
            )
    else:
        seq_len = int(options.seq_len or max(longest, options.update_every or 1))
        fitting = length // (seq_len * WINDOWS_PER_EPOCH)
        # Short windows, which documents have, need more streams to be as fast.
        limit = max(32, 32 * 64 // seq_len) if options.reset_at_documents else 32
        batch_size = options.batch_size or max(1, min(limit, fitting))
    return seq_len, options.update_every or seq_len, batch_size


def by_clock(options: TrainOptions) -> bool:
    """Return whether the budget of a training is minutes."""
    return options.steps is None and options.epochs is None


def planned_minutes(options: TrainOptions, length: int) -> float | None:
    """Return the minutes; by default five for a megabyte or more, less for a shorter text."""
    if options.minutes is not None or not by_clock(options):
        return options.minutes
    share = (length / FULL_TIME_CHARACTERS) ** 0.5
    return float(round(max(MIN_MINUTES, min(1.0, share) * MAX_MINUTES), 1))


def planned_epochs(options: TrainOptions, known: int | None) -> float | None:
    """Return the epochs; with minutes, those after which a network would only overfit."""
    if options.epochs is not None or options.steps is not None:
        return options.epochs
    return ENOUGH_EPOCHS if known is None else ENOUGH_TUNED_EPOCHS


def planned_depth(options: TrainOptions, cell: Cell) -> dict[str, Any]:
    """Return two layers with skip connections, unless the user sets them or the cell allows one.

    In three minutes they learn more than one wider layer (RESULTS.md, "Two layers or one").
    """
    if options.num_layers is None and not cell.feeds_back:
        return {"num_layers": 2, "skip_connections": True}
    return {"num_layers": options.num_layers or 1}


def embedding_size(options: TrainOptions, vocab_size: int) -> int:
    """Return E: more for the many tokens of a large vocabulary."""
    if options.embedding_size is not None:
        return options.embedding_size
    return 64 if vocab_size < MANY_TOKENS else 128


def tied_output(options: TrainOptions, vocab_size: int) -> bool:
    """Return whether the output is made from the embedding: with many tokens, unless E is given."""
    planned = options.embedding_size is None and vocab_size >= TIED_TOKENS
    return options.tied_output or planned


def sized(
    options: TrainOptions,
    model: ModelConfig,
    train: TrainConfig,
    length: int,
    epoch: int,
    step: float,
    speed: Speed,
) -> tuple[ModelConfig, float, str]:
    """Return the model with its hidden size, the characters it will read, and the reason.

    Args:
        options: what the user asked for.
        model: the model but for its hidden size.
        train: the training.
        length: characters of the text, or of all pairs.
        epoch: those of them that an epoch reads.
        step: characters per update.
        speed: tells the characters per second.
    """
    limit = math.inf if train.epochs is None else train.epochs * epoch
    if train.steps is not None:
        limit = train.steps * step
    each = CHARACTERS_PER_PARAMETER if train.minutes else COUNTED_PER_PARAMETER

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
        size = layers(candidate)
        if characters and size > PARAMETERS_PER_CHARACTER * length:
            what = "these few pairs" if model.encoder else "this short text"
            reason = f"a larger network would overfit {what}"
            break
        reads = readable(candidate)
        if characters and reads < min(ENOUGH_EPOCHS * epoch, each * size):
            reason = "a larger network would read too little"
            reason += " in the time" if train.minutes else ""
            break
        chosen, characters = candidate, reads
    return chosen, characters, reason or "the largest size that is planned"


def layers(model: ModelConfig) -> int:
    """Count the parameters without embedding and output, of which many rows are rarely read.

    Of pairs only the output is left out, and of an ensemble the parameters of one network count.
    """
    one = model.member
    if one.encoder:
        return parameters.count(one) - parameters.count(one, "output.")
    return parameters.count(one, "layers.")


def overfitting(model: ModelConfig, epochs: float, length: int) -> float:
    """Return a measure of overfitting: repetitions times parameters of a network per character."""
    return max(0.0, epochs - 1) * parameters.count(model.member) / length


def planned_rates(
    options: TrainOptions,
    model: ModelConfig,
    epochs: float,
    length: int,
    known: int | None,
    power: float = 0.5,
) -> dict[str, Any]:
    """Return the peak learning rate and the dropout.

    Args:
        options: what the user asked for.
        model: the network.
        epochs: passes over the text.
        length: tokens of the text.
        known: tokens of the texts that the network has learned from; 0 if its file does not tell,
            None if the network is new.
        power: of length / known, which the rate is multiplied with.
    """
    share = min(1.0, (length / known) ** power if known else 1.0)
    share *= PAIRS_RATE if model.encoder else 1.0
    rate = _learning_rate(model.member, options.optimizer, share)
    part = 1.0 if known is None else TUNED_DROPOUT
    part *= PAIRS_DROPOUT if model.encoder else 1.0
    dropout = _dropout(options, overfitting(model, epochs, length), part)
    return {"learning_rate": options.learning_rate or rate, **dropout}


def _learning_rate(model: ModelConfig, optimizer: str, share: float) -> float:
    """Return the peak learning rate: the wider the network, the smaller; of that, a share."""
    family = cell_name(model.cell).partition("-")[0]
    family_rate = RATE_TIMES_WIDTH.get(family, 3.0)
    suited = RATE_TIMES_WIDTH.get(model.cell, family_rate) / model.hidden_size
    rate = min(MAX_RATE, share * suited)
    return rate * SGD_RATE if optimizer == "sgd" else rate


def _dropout(options: TrainOptions, repeated: float, part: float) -> dict[str, Any]:
    """Return no dropout while overfitting is unlikely, and more with size and epochs.

    Planned dropout is locked: drawing a mask for every step takes a third of the time without
    better results.

    Args:
        options: what the user asked for.
        repeated: `overfitting`.
        part: the dropout relative to that of a new network.
    """
    if options.dropout is not None:
        return {"dropout": options.dropout}
    wanted = DROPOUT * math.log(max(1.0, repeated / NO_OVERFITTING))
    wanted = part * min(MAX_DROPOUT, wanted)
    dropout = round(wanted, 2) if wanted >= MIN_DROPOUT else 0.0
    return {"dropout": dropout, "locked_dropout": options.locked_dropout or dropout > 0}


def window_bytes(model: ModelConfig, train: TrainConfig) -> int:
    """Return about how many bytes a window takes until its gradient is known.

    For every step, stream and unit these are each block's input, saved value and derivative, the
    parts of the state, and the outputs before and after dropout. Logits are computed for a part of
    a window at a time (`charrnn.network.loss`).
    """
    cell = find(model.cell)
    values = 3 * len(cell.blocks) + 2 * len(cell.states) + 3
    units = values * model.hidden_size * model.num_layers
    return 4 * train.batch_size * train.seq_len * units
