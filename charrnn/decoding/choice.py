"""The choice of one text's next token: one function, which plain Python and compiled code run.

It applies the constraint, calls the filters, and records the result in structured arrays. Like
`charrnn.decoding.filters` it uses only what numba can compile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats, Floats64, Integers
from charrnn.config import SampleConfig
from charrnn.decoding.constraints import Constraint
from charrnn.decoding.filters import Mask
from charrnn.decoding.step import ENDED, OVER

# What a text remembers: its state in the constraint's automaton (-1: the text has ended), the
# number of tokens in its history, and mirostat's bound.
TEXT = np.dtype([("state", np.int64), ("used", np.int64), ("bound", np.float64)])
# One choice: the random number it uses, and its result; a token is an id, ENDED or OVER.
CHOICE = np.dtype([("uniform", np.float64), ("token", np.int64), ("log_prob", np.float64)])

# `filters.choose` or `filters.choose_by_temperature`.
Choose = Callable[
    [Floats, SampleConfig, Integers, Floats64, Mask, float, float], tuple[int, float, float]
]


class Batch(NamedTuple):
    """All that T choices for each of B texts read and write.

    Attributes:
        settings: the filters.
        bias: (V,) added to the logits; or empty.
        constraint: what every text must match; one with no states allows every text.
        left: how many tokens a text may still get, before the first choice.
        texts: (B,) of `TEXT`.
        history: (B, N) ids of the prompt and the text; N is 0 if no filter reads them.
        choices: (T, B) of `CHOICE`.
    """

    settings: SampleConfig
    bias: Floats64
    constraint: Constraint
    left: int
    texts: NDArray[Any]
    history: Integers
    choices: NDArray[Any]


def choose_token(batch: Batch, t: int, b: int, logits: Floats, choose: Choose) -> None:
    """Make choice `t` of text `b`, from its logits (V,)."""
    text, choice, constraint = batch.texts[b], batch.choices[t, b], batch.constraint
    choice["token"], choice["log_prob"] = OVER, 0.0
    state = text["state"]
    if state < 0:
        return
    # `allowed` tokens can be written; `possible` ones can be drawn, as some end the text instead.
    allowed = possible = np.zeros(0, np.bool_)
    constrained = len(constraint.accepting) > 0
    if constrained:
        after = constraint.next[state]
        allowed = (after >= 0) & (constraint.distance[after] <= batch.left - t - 1)
        possible = allowed
        if not allowed.any():
            choice["token"], text["state"] = ENDED, -1
            return
        if constraint.accepting[state]:
            possible = allowed | constraint.ends
    token, log_prob, text["bound"] = choose(
        logits,
        batch.settings,
        batch.history[b, : text["used"]],
        batch.bias,
        possible,
        choice["uniform"],
        text["bound"],
    )
    if constrained:
        if not allowed[token]:
            choice["token"], text["state"] = ENDED, -1
            choice["log_prob"] = total_log_prob(logits, constraint.ends & ~allowed)
            return
        text["state"] = constraint.next[state, token]
    choice["token"], choice["log_prob"] = token, log_prob
    if batch.history.shape[1] > 0:
        batch.history[b, text["used"]] = token
        text["used"] += 1


def total_log_prob(logits: Floats, tokens: Mask) -> float:
    """Return the log-probability in nats of drawing any of these tokens."""
    powers = np.exp(logits.astype(np.float64) - np.float64(logits.max()))
    return float(min(np.log(powers[tokens].sum() / powers.sum()), 0.0))
