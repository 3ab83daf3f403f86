"""Values that every decoder shares: the special results, log-probabilities."""

from __future__ import annotations

import numpy as np

from charrnn.arrays import Floats, Floats64
from charrnn.inference.engine import check_finite

ENDED = -1  # instead of a token: the text ended before it
OVER = -2  # instead of a token: the text had already ended


def log_softmax(logits: Floats) -> Floats64:
    """Return log-probabilities (B, V) in float64.

    Raises:
        RunError: the best logit of a row is not finite.
    """
    peak = logits.max(-1, keepdims=True)  # NaN if any logit of the row is
    check_finite(peak)
    shifted = logits.astype(np.float64) - peak
    result: Floats64 = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result
