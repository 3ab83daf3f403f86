"""The weights of a training that are best so far."""

from __future__ import annotations

import math

import numpy as np

from charrnn.network.module import CharRNN
from charrnn.training.events import Metrics, Values


class BestWeights:
    """The first weights of a network, and the best so far.

    The loss on the validation text decides which are the best, or without one the training loss.

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
        nats = deciding_nats(metrics)
        if not math.isfinite(nats) or (self.metrics and not nats < deciding_nats(self.metrics)):
            return False
        values = self._network.values()
        if not all(np.isfinite(value).all() for value in values.values()):
            return False
        self.metrics, self.values = metrics, values
        return True


def deciding_nats(metrics: Metrics) -> float:
    """Return the loss that decides which weights are the best."""
    return metrics.train_nats if metrics.valid_nats is None else metrics.valid_nats
