"""Tell by its losses whether a training has diverged: they are clearly worse than a guess's."""

from __future__ import annotations

import math
from dataclasses import dataclass

from charrnn.errors import DivergedError
from charrnn.training.best_weights import deciding_nats
from charrnn.training.events import Metrics

# A training diverged if its loss is this many times that of a guess: windows differ by less. In the
# first updates the loss is compared with that of the initial weights, if that is larger.
DIVERGED = 1.1
FIRST_UPDATES = 100


@dataclass
class Divergence:
    """The losses that those of a training are compared with.

    Attributes:
        chance_nats: the nats per character of a guess among all tokens.
        first_nats: those of the first weights on the first batch; NaN before it was read.
    """

    chance_nats: float
    first_nats: float = math.nan

    def has_come(self, metrics: Metrics) -> bool:
        """Return whether training and validation loss are clearly worse than that of a guess.

        In the first updates, also worse than that of the first weights. Only one of the losses may
        be large for another reason, see `has_learned_nothing`.
        """
        limit = self.chance_nats
        if metrics.step < FIRST_UPDATES and math.isfinite(self.first_nats):
            limit = max(limit, self.first_nats)
        return _are_above(metrics, DIVERGED * limit)

    def check_end(self, end: Metrics, best: Metrics | None) -> None:
        """Refuse a training whose last losses, or whose best weights, are worse than a guess.

        Args:
            end: of the last weights.
            best: of the best weights; None if no weights had a finite loss.

        Raises:
            DivergedError: says what to do about it.
        """
        guess = f"that of a guess among all tokens is {self.chance_nats:.4g}"
        if best is None or self.has_come(end):
            raise DivergedError(
                f"the training diverged: at its end, step {end.step}, the loss is "
                f"{deciding_nats(end):.4g} nats per character, and {guess}; lower --learning-rate "
                "or --clip-norm"
            )
        if self.has_learned_nothing(best, end.step):
            raise DivergedError(
                f"the training failed: the loss on the held-out text is {best.valid_nats:.4g} nats "
                f"per character at best, and {guess}; train longer, or check that the held-out "
                "text is like the rest"
            )

    def has_learned_nothing(self, best: Metrics, steps: int) -> bool:
        """Return whether even the best weights predict the validation text worse than a guess.

        A little above the loss of a guess is not a failure: random texts, and short ones whose last
        tenth has other characters, end up to 5 % above it. Nor are a few updates.

        Args:
            best: of the best weights.
            steps: all updates of the training.
        """
        nats = best.valid_nats
        return steps >= FIRST_UPDATES and nats is not None and nats > DIVERGED * self.chance_nats


def _are_above(metrics: Metrics, limit: float) -> bool:
    """Return whether all losses that are known are above a limit, or not numbers."""
    known = [metrics.valid_nats] if metrics.valid_nats is not None else []
    if not math.isnan(metrics.train_nats):  # it is if no update was made since the last report
        known.append(metrics.train_nats)
    return bool(known) and not any(nats <= limit for nats in known)
