"""The choice of one text's next token: one function, which plain Python and compiled code run.

It applies the constraint, calls the filters, and records the result in the arrays of a `Batch`.
Like `charrnn.decoding.filters` it uses only what numba can compile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from charrnn.arrays import Floats, Floats64, Integers
from charrnn.config import SampleConfig
from charrnn.decoding.constraints import Constraint
from charrnn.decoding.filters import Mask
from charrnn.decoding.step import ENDED, OVER

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
        states: (B,) the texts' states in the constraint's automaton; -1: the text has ended.
        bounds: (B,) mirostat's limits on the surprisal, in bits.
        history: (B, N) ids of the prompt and the text; N is 0 if no filter reads them.
        used: (B,) how many tokens of the history there are.
        uniforms: (T, B) the random numbers of the choices.
        tokens: (T, B) the chosen ids, or ENDED or OVER; written.
        log_probs: (T, B) the log-probabilities of the choices in nats; written.
    """

    settings: SampleConfig
    bias: Floats64
    constraint: Constraint
    left: int
    states: Integers
    bounds: Floats64
    history: Integers
    used: Integers
    uniforms: Floats64
    tokens: Integers
    log_probs: Floats64


def choose_token(batch: Batch, t: int, b: int, logits: Floats, choose: Choose) -> None:
    """Make choice `t` of text `b`, from its logits (V,)."""
    batch.tokens[t, b], batch.log_probs[t, b] = OVER, 0.0
    state, constraint = batch.states[b], batch.constraint
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
            batch.tokens[t, b], batch.states[b] = ENDED, -1
            return
        if constraint.accepting[state]:
            possible = allowed | constraint.ends
    recent, uniform = batch.history[b, : batch.used[b]], batch.uniforms[t, b]
    token, log_prob, batch.bounds[b] = choose(
        logits, batch.settings, recent, batch.bias, possible, uniform, batch.bounds[b]
    )
    if constrained:
        if not allowed[token]:
            batch.tokens[t, b], batch.states[b] = ENDED, -1
            batch.log_probs[t, b] = total_log_prob(logits, constraint.ends & ~allowed)
            return
        batch.states[b] = constraint.next[state, token]
    batch.tokens[t, b], batch.log_probs[t, b] = token, log_prob
    if batch.history.shape[1] > 0:
        batch.history[b, batch.used[b]] = token
        batch.used[b] += 1


def total_log_prob(logits: Floats, tokens: Mask) -> float:
    """Return the log-probability in nats of drawing any of these tokens."""
    powers = np.exp(logits.astype(np.float64) - np.float64(logits.max()))
    return float(min(np.log(powers[tokens].sum() / powers.sum()), 0.0))
