"""The weights of a training that are best so far."""

from __future__ import annotations

import math

import numpy as np

from charrnn.network.module import CharRNN
from charrnn.training.events import Metrics, Values


class BestWeights:
    """The first weights of a network, and the best so far.

    The loss on the validation text decides which are the best, or without one the training loss.
    Of pairs with labels, it is the share of right answers, and the loss among equal ones: when the
    loss rises again because the network is too sure of itself, its answers still get better.

    Attributes:
        first: the weights before the first update.
        metrics: the metrics of the best weights; None before the first validation.
        values: the best weights; empty before the first validation.
    """

    def __init__(self, network: CharRNN) -> None:
        self._network = network
        self.first: Values = network.values()
        self.metrics: Metrics | None = None
        self.values: Values = {}

    def take_if_better(self, metrics: Metrics) -> bool:
        """Take the network's weights if they are finite and better; return whether they are."""
        if not math.isfinite(deciding_nats(metrics)):
            return False
        if self.metrics and not _rank(metrics) < _rank(self.metrics):
            return False
        values = self._network.values()
        if not all(np.isfinite(value).all() for value in values.values()):
            return False
        self.metrics, self.values = metrics, values
        return True


def _rank(metrics: Metrics) -> tuple[float, float]:
    """Return what is smaller for better weights."""
    return -(metrics.valid_right or 0.0), deciding_nats(metrics)


def deciding_nats(metrics: Metrics) -> float:
    """Return the loss that decides which weights are the best."""
    return metrics.train_nats if metrics.valid_nats is None else metrics.valid_nats
