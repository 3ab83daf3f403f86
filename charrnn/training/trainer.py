"""The training loop: updates, validations, the best weights, and what to do about divergence.

The loop yields what happens. The weights that are best on the validation text are saved. A step
whose loss or gradient is not finite is not made: the training continues from the best weights with
a smaller learning rate. A training whose losses at its end are clearly worse than those of a guess
has diverged as well; see `Divergence`.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from charrnn.errors import DivergedError
from charrnn.storage import machine
from charrnn.training import learning_rate
from charrnn.training import validation as validations
from charrnn.training.best_weights import BestWeights
from charrnn.training.budget import RECENT, Budget, Clock, stopped
from charrnn.training.divergence import Divergence
from charrnn.training.events import Best, Metrics, Notice, Progress, Stop, Values, never
from charrnn.training.pair_validation import AnyValidation
from charrnn.training.training_step import Updater
from charrnn.training.validation import Estimate, InterruptedScoring

MAX_VALIDATIONS = 20  # per run
VALIDATION_SHARE = 0.05  # validation tokens read per character trained on, at most
EARLY = 0.1  # part of a run after which it is validated in any case, so that a model exists
REPORTS = 200  # lines of metrics per run
SCORING = 0.05  # part of the time that scoring at the end may take
WORTH = 0.01  # part of the time, at least, for which a training goes on that was about to end
MAX_ROLLBACKS = 3
ROLLBACK_RATE = 0.5  # each rollback multiplies the learning rate by this


@dataclass(frozen=True)
class SavePoint:
    """The training may be saved here; at the `last` one it must be.

    The last one comes before the last validation, which a resumed training makes again.
    """

    last: bool = False


@dataclass(frozen=True)
class Ended:
    """The loop has ended.

    Attributes:
        last: the metrics at the end.
        best: the metrics of the best weights.
        values: the best weights.
        interrupted: whether somebody stopped it; else the budget is used up.
    """

    last: Metrics
    best: Metrics
    values: Values
    interrupted: bool


LoopEvent = Progress | Best | Notice | SavePoint | Ended


class Trainer:
    """Trains a network until its budget is used up.

    Attributes:
        updater: makes the updates.
        validation: scores the network.
        best: the best weights so far.
        divergence: tells whether the training has diverged.
        start: when the training began (`time.perf_counter`).
        reported: reports made, out of `REPORTS` per run.
        validated: validations made.
        rollbacks: how often a step was not finite.
    """

    def __init__(self, updater: Updater, validation: AnyValidation) -> None:
        network, characters_per_token = updater.network, updater.batches.characters_per_token
        self.updater, self.validation = updater, validation
        self.best = BestWeights(network)
        self.divergence = Divergence(math.log(network.config.vocab_size) / characters_per_token)
        self.start = time.perf_counter()
        self.reported = self.validated = self.rollbacks = 0

    @property
    def seconds(self) -> float:
        """Seconds since the training began, without pauses."""
        return time.perf_counter() - self.start

    @seconds.setter
    def seconds(self, seconds: float) -> None:
        self.start = time.perf_counter() - seconds

    def run(self, budget: Budget, characters: float, stop: Stop = never) -> Iterator[LoopEvent]:
        """Train until the budget is used up or `stop` returns True; `Ended` is the last event.

        Args:
            budget: tells what part of the training is done.
            characters: how many the plan expects to read; decides how often to validate.
            stop: asked before each step and while a text is scored.

        Raises:
            DivergedError: the loss or the gradient was not finite more than `MAX_ROLLBACKS` times,
                or the losses at the end are worse than those of a guess.
        """
        self.updater.network.train()
        if isinstance(budget, Clock) and not self.updater.step:
            self.validation.seconds(self.updater.network, 0.0)  # compiles, which does not count
            budget.expect(self._scoring_seconds(budget))  # each validation measures it again
        count = self._validation_count(characters)
        fraction = budget.fraction(self.updater.step)
        self.reported = min(self.reported, int(fraction * REPORTS))
        self.validated = min(self.validated, _validations_due(fraction, count))
        while True:
            fraction = budget.fraction(self.updater.step)
            yield from self._leave_out_pause(budget)
            interrupted = stop()
            if self.updater.step and fraction >= 1 and isinstance(budget, Clock):
                self._expect_scoring(budget)
                again = budget.fraction(self.updater.step)
                fraction = again if again < 1 - WORTH else fraction
            if self.updater.step and (interrupted or fraction >= 1):
                yield SavePoint(last=True)
                yield from self._end(budget, fraction, interrupted)
                return
            if self.updater.step:
                try:
                    yield from self._report(budget, fraction, count, stop)
                except InterruptedScoring:
                    yield SavePoint(last=True)
                    yield from self._end(budget, fraction, True, validate=not self.best.metrics)
                    return
                yield SavePoint()
            made = self.updater.update(self.learning_rate(fraction))
            if math.isnan(self.divergence.first_nats) and not self.updater.step - made:
                self.divergence.first_nats = self._mean(self.updater.losses)
            if not made:
                yield self._roll_back()

    def _leave_out_pause(self, budget: Budget) -> Iterator[Notice]:
        """Say that the time of a pause does not count, if there was one."""
        if isinstance(budget, Clock) and budget.unsaid:
            self.start += budget.unsaid
            yield Notice(stopped(budget.unsaid))
            budget.unsaid = 0.0

    def learning_rate(self, fraction: float) -> float:
        """Return the learning rate when this part of the budget is used."""
        config = self.updater.config
        peak = config.learning_rate * ROLLBACK_RATE**self.rollbacks
        return learning_rate.schedule(fraction, config.last_rate) * peak

    def _validation_count(self, characters: float) -> int:
        """Return how often a run that reads this many characters is validated."""
        read = min(validations.VALID_CAP, self.validation.length)
        affordable = VALIDATION_SHARE * characters / max(1, read)
        return max(2, min(MAX_VALIDATIONS, int(affordable)))

    def _report(
        self, budget: Budget, fraction: float, count: int, stop: Stop
    ) -> Iterator[Best | Progress]:
        """Validate and report, where it is time for that."""
        if _validations_due(fraction, count) > self.validated:
            yield from self._results(self.metrics(fraction, *self.validate(budget, stop)))
            self.validated = _validations_due(fraction, count)
            self.reported = int(fraction * REPORTS)
        elif int(fraction * REPORTS) > self.reported:
            yield Progress(self.metrics(fraction), self.updater.network)
            self.reported = int(fraction * REPORTS)

    def _results(self, metrics: Metrics, last: bool = False) -> Iterator[Best | Progress]:
        if self.save_if_best(metrics, last):
            yield Best(metrics, self.best.values)
        yield Progress(metrics, self.updater.network)

    def _end(
        self, budget: Budget, fraction: float, interrupted: bool, validate: bool = True
    ) -> Iterator[Best | Progress | Ended]:
        """Validate once more, unless a validation was interrupted and there is a model already."""
        if validate:
            metrics = self.metrics(fraction, *self.validate(budget))
            yield from self._results(metrics, last=not interrupted)
        else:
            metrics = self.metrics(fraction)
            yield Progress(metrics, self.updater.network)
        best = self.best.metrics
        if not best or not interrupted:
            self.divergence.check_end(metrics, best)
        assert best
        yield Ended(metrics, best, self.best.values, interrupted)

    def _roll_back(self) -> Notice:
        """Continue from the best weights, or the initial ones, at a smaller learning rate.

        Raises:
            DivergedError: that was done `MAX_ROLLBACKS` times already, or cannot help.
        """
        updater, best = self.updater, self.best.metrics
        loss, norm = float(updater.losses.pop()), updater.norms.pop()
        if not updater.step and not best and not math.isfinite(loss):
            raise DivergedError(
                f"the loss of the first weights is {loss}: their numbers overflow, and no learning "
                "rate helps; start from other weights"
            )
        what = f"the training diverged at step {updater.step}: loss {loss}, gradient norm {norm}"
        if self.rollbacks == MAX_ROLLBACKS:
            raise DivergedError(
                f"{what}, after {MAX_ROLLBACKS} restarts at smaller learning rates; lower "
                "--learning-rate or --clip-norm"
            )
        self.rollbacks += 1
        updater.restart(self.best.values)
        weights = f"best weights (step {best.step})" if best else "initial weights"
        return Notice(f"{what}; restarting from the {weights} at half the learning rate")

    def validate(self, budget: Budget, stop: Stop = never) -> Estimate:
        """Return how good the network is on (part of) the validation text.

        A clock then reserves the time that scoring takes by now.

        Raises:
            InterruptedScoring: `stop` returned True.
        """
        if isinstance(budget, Clock):
            budget.expect(self._scoring_seconds(budget))
        with machine.freed_memory_given_back():  # windows without derivatives have other arrays
            return self.validation.estimate(self.updater.network, stop)

    def _expect_scoring(self, clock: Clock) -> None:
        """Measure anew how long the scoring at the end will take: several times, as one may err."""
        for _ in range(RECENT):
            clock.expect(self._scoring_seconds(clock))

    def _scoring_seconds(self, clock: Clock) -> float:
        return self.validation.seconds(self.updater.network, SCORING * clock.seconds)

    def metrics(
        self, fraction: float, valid_nats: float | None = None, valid_right: float | None = None
    ) -> Metrics:
        """Return the metrics now, and start to collect those of the next report."""
        updater = self.updater
        characters = updater.batches.characters
        losses, updater.losses = updater.losses, []
        norms, updater.norms = updater.norms, []
        return Metrics(
            step=updater.step,
            epoch=updater.batches.epochs,
            characters=round(updater.step * characters),
            fraction=min(fraction, 1.0),
            seconds=self.seconds,
            train_nats=self._mean(losses),
            valid_nats=valid_nats,
            learning_rate=updater.learning_rate,
            grad_norm=max(norms, default=0.0),
            clipped=sum(norm > updater.config.clip_norm for norm in norms) / max(1, len(norms)),
            chars_per_second=characters / statistics.median(updater.durations),
            valid_right=valid_right,
        )

    def _mean(self, losses: list[torch.Tensor]) -> float:
        """Return the mean per character of losses per token."""
        if not losses:
            return math.nan
        return float(torch.stack(losses).mean()) / self.updater.batches.characters_per_token

    def save_if_best(self, metrics: Metrics, last: bool = False) -> bool:
        """Save the weights if they are the best so far; return whether they are.

        Weights of a training that has diverged are not saved. `last`: they are those at the end of
        the budget.
        """
        best = self.best.metrics
        margin = self.validation.right_error(best.valid_right) if best and last else 0.0
        return not self.divergence.has_come(metrics) and self.best.take_if_better(metrics, margin)


def _validations_due(fraction: float, count: int) -> int:
    """Return how many of `count` validations are due by then: evenly spaced, and an early one."""
    return int(fraction * count) + (fraction >= EARLY)
