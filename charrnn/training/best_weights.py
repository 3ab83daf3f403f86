"""The weights of a training that are best so far."""

from __future__ import annotations

import math

import numpy as np

from charrnn.network.module import CharRNN
from charrnn.training.events import Metrics, Values

MOST = 0.5  # of the answers, from which on their share decides


class BestWeights:
    """The best weights of a network so far: the first ones, until a validation finds better ones.

    The loss on the validation text decides which are the best, or without one the training loss.
    Of pairs, most of which are answered right (labels, spellings and sounds), it is the share of
    right answers, and the loss among equal ones: when the loss rises again because the network is
    too sure of itself, its answers still get better. The largest of many shares is partly luck. So
    the last weights, whose learning rate has come down, are taken if their share is less by the
    chance of the sample only (`margin`).

    Attributes:
        metrics: the metrics of the best weights; None before the first validation.
        values: the best weights.
    """

    def __init__(self, network: CharRNN) -> None:
        self._network = network
        self.metrics: Metrics | None = None
        self.values: Values = network.values()

    def take_if_better(self, metrics: Metrics, margin: float = 0.0) -> bool:
        """Take the network's weights if they are finite and better; return whether they are.

        `margin` is how much smaller their share of right answers may be.
        """
        if not math.isfinite(deciding_nats(metrics)):
            return False
        if self.metrics and not _is_better(metrics, self.metrics, margin):
            return False
        values = self._network.values()
        if not all(np.isfinite(value).all() for value in values.values()):
            return False
        self.metrics, self.values = metrics, values
        return True


def _is_better(metrics: Metrics, best: Metrics, margin: float) -> bool:
    """Return whether weights are better than the best so far."""
    right, best_right = _deciding_right(metrics), _deciding_right(best)
    if margin and right and right >= best_right - margin:
        return True
    return (-right, deciding_nats(metrics)) < (-best_right, deciding_nats(best))


def _deciding_right(metrics: Metrics) -> float:
    """Return the share of right answers if most of them are; else 0: the loss decides."""
    right = metrics.valid_right or 0.0
    return right if right > MOST else 0.0


def deciding_nats(metrics: Metrics) -> float:
    """Return the loss that decides which weights are the best."""
    return metrics.train_nats if metrics.valid_nats is None else metrics.valid_nats
