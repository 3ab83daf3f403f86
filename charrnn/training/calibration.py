"""Calibrates a network: finds by what to multiply its logits so that it is as sure as it is right.

A network that has read a text often is too sure of what it says about a new one. One factor for all
logits (temperature scaling: Guo et al., On Calibration of Modern Neural Networks, 2017) is fitted
on a part of the validation text, as the best weights are chosen there. It becomes a part of the
output layer, so what reads a model need not know of it.
"""

from __future__ import annotations

from collections.abc import Callable

from charrnn.network.module import CharRNN
from charrnn.training.events import Stop
from charrnn.training.pair_validation import AnyValidation
from charrnn.training.validation import Validation

MIN_TOKENS = 1000  # of a text that says enough about a factor
_FEWEST, _MOST = 7, 13  # tenths: the smallest and the largest factor


def factor(network: CharRNN, validation: AnyValidation, stop: Stop) -> float:
    """Return the factor that suits the validation text; 1 of a short text, or of pairs.

    Args:
        network: scores the text.
        validation: the text.
        stop: whether to stop scoring.

    Raises:
        InterruptedScoring: `stop` returned True.
    """
    if not isinstance(validation, Validation) or validation.length < MIN_TOKENS:
        return 1.0
    factors = tuple(tenths / 10 for tenths in range(_FEWEST, _MOST + 1))
    nats = validation.nats_by_factor(network, factors, stop)
    return lowest(dict(zip(factors, nats.tolist(), strict=True)).__getitem__)


def lowest(nats: Callable[[float], float]) -> float:
    """Return the factor with the lowest loss, in hundredths, as a parabola through three tells it.

    Args:
        nats: the loss by the factor, which is convex.
    """

    def loss(tenths: int) -> float:
        return nats(tenths / 10)

    step, best = (-1 if loss(9) < loss(10) else 1), 10
    while _FEWEST < best < _MOST and loss(best + step) < loss(best):
        best += step
    if not _FEWEST < best < _MOST:
        return best / 10
    below, middle, above = (loss(best + k) for k in (-1, 0, 1))
    bend = below + above - 2 * middle
    return round((best + ((below - above) / (2 * bend) if bend else 0)) / 10, 2)
