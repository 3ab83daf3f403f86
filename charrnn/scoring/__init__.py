"""How well a model predicts a text: one definition of nats, bits per character and surprisal.

- `measure`: reads texts and sums up; the protocols
- `results`: what that finds, token by token and as a whole
- `markup`: levels of surprise, their colors, and HTML for notebooks and pages
"""

from charrnn.scoring.measure import (
    MAX_STREAMS,
    MAX_WINDOWS,
    SHORT_CHUNK,
    WARM_UP,
    WINDOW,
    reset,
    score,
    spread,
    surprisals,
    window_nats,
)
from charrnn.scoring.results import Score, Surprisals, Surprise

__all__ = [
    "MAX_STREAMS",
    "MAX_WINDOWS",
    "SHORT_CHUNK",
    "WARM_UP",
    "WINDOW",
    "Score",
    "Surprisals",
    "Surprise",
    "reset",
    "score",
    "spread",
    "surprisals",
    "window_nats",
]
