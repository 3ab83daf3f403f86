"""Sum up a training that has ended: the score of its best weights, and its result."""

from __future__ import annotations

from dataclasses import dataclass, replace

from charrnn.config import TrainConfig, cell_name
from charrnn.model import parameters
from charrnn.model.parameters import with_scaled_logits
from charrnn.network.module import CharRNN
from charrnn.run_dir import INTERRUPTED
from charrnn.scoring import Score
from charrnn.training import calibration
from charrnn.training import validation as validations
from charrnn.training.count_model import Counts
from charrnn.training.events import Metrics, Result, Stop
from charrnn.training.pair_validation import AnyValidation
from charrnn.training.setup import Setup
from charrnn.training.trainer import Ended
from charrnn.training.validation import InterruptedScoring


@dataclass(frozen=True)
class FinalScore:
    """The score of the best weights on the validation text.

    Attributes:
        score: of the whole text; of a part of it, if the whole would take too much of the time; of
            the part that was read while training, if somebody stopped the training; None without
            a text.
        window_nats: the nats in windows of 256; None where they are not known.
        interrupted: whether somebody stopped the training.
        whole: whether the whole text was scored.
        limit: about how many tokens were scored; None: all.
    """

    score: Score | None
    window_nats: float | None
    interrupted: bool
    whole: bool
    limit: int | None = None


def final_score(
    network: CharRNN, validation: AnyValidation, ended: Ended, stop: Stop, seconds: float | None
) -> FinalScore:
    """Return the score of a network that holds the best weights.

    Args:
        network: the network.
        validation: the text.
        ended: how the training ended.
        stop: whether to stop scoring.
        seconds: about how long it may take; None: as long as the whole text takes.
    """
    score, window_nats = validation.estimated(ended.best.valid_nats), None
    whole = validation.length <= validations.VALID_CAP
    if ended.interrupted:
        return FinalScore(score, window_nats, True, whole)
    try:
        limit = None if seconds is None else validation.affordable(network, seconds)
        score, whole = validation.score(network, stop, limit), limit is None
        window_nats = validation.window_nats(network, stop, limit)
    except InterruptedScoring:
        return FinalScore(score, window_nats, True, whole)
    return FinalScore(score, window_nats, False, whole, limit)


def calibrated(
    network: CharRNN, validation: AnyValidation, ended: Ended, stop: Stop
) -> tuple[Ended, float]:
    """Return how a training ended, with calibrated weights, and by what logits were multiplied.

    The network has the weights that are calibrated.
    """
    if ended.interrupted:
        return ended, 1.0
    try:
        factor = calibration.factor(network, validation, stop)
    except InterruptedScoring:
        return ended, 1.0
    return replace(ended, values=with_scaled_logits(ended.values, factor)), factor


def scored_part(scored: FinalScore) -> dict[str, int]:
    """Return what the model file says about a text that was not scored as a whole."""
    if scored.whole or scored.score is None:
        return {}
    return {"valid_scored_characters": scored.score.characters}


def result(
    setup: Setup, ended: Ended, scored: FinalScore, seconds: float, counts: Counts | None
) -> Result:
    """Return the result of a training that took this many seconds; `counts` are in its model."""
    model, score = setup.plan.model, scored.score
    used = _used_budget(setup.plan.train, ended.last)
    return Result(
        run_dir=str(setup.run_dir.path),
        model=str(setup.run_dir.model),
        cell=cell_name(model.cell),
        parameters=parameters.count(model),
        steps=ended.last.step,
        epochs=ended.last.epoch,
        characters=ended.last.characters,
        seconds=seconds,
        chars_per_second=ended.last.chars_per_second,
        train_nats=ended.best.train_nats,
        valid_nats=score.nats if score else None,
        valid_bpc=score.bpc if score else None,
        valid_bits_per_byte=score.bits_per_byte if score else None,
        valid_window256_nats=scored.window_nats,
        valid_characters=score.characters if score else 0,
        stopped_by=INTERRUPTED if scored.interrupted else used,
        valid_whole=scored.whole,
        valid_counts_nats=counts.score.nats if counts and counts.score else None,
        valid_right=ended.best.valid_right,
    )


def _used_budget(train: TrainConfig, last: Metrics) -> str:
    """Return which budget is used up."""
    if train.steps is not None:
        return "steps"
    if train.minutes is None or (train.epochs is not None and last.epoch >= train.epochs):
        return "epochs"
    return "minutes"
