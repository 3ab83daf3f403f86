"""How well a model predicts a text: one definition of nats, bits per character and surprisal.

- `measure`: reads texts and sums up; the protocols
- `results`: what that finds, token by token and as a whole
- `text_scorer`: scores a text with a model, read as the text of its training was
- `markup`: levels of surprise, their colors, and HTML for notebooks and pages
"""

from charrnn.scoring.measure import (
    MAX_STREAMS,
    MAX_WINDOWS,
    SHORT_CHUNK,
    WARM_UP,
    WINDOW,
    apart,
    reset,
    score,
    spread,
    surprisals,
    total_nats,
    window_nats,
)
from charrnn.scoring.results import Score, Scored, ScoredText, Surprisals, Surprise, total
from charrnn.scoring.text_scorer import TextScorer

__all__ = [
    "MAX_STREAMS",
    "MAX_WINDOWS",
    "SHORT_CHUNK",
    "WARM_UP",
    "WINDOW",
    "Score",
    "Scored",
    "ScoredText",
    "Surprisals",
    "Surprise",
    "TextScorer",
    "apart",
    "reset",
    "score",
    "spread",
    "surprisals",
    "total",
    "total_nats",
    "window_nats",
]
