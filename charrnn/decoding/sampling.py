"""Random sampling: temperature, top-k, top-p and min-p, then one draw per row.

The filters act in this order: temperature, top-k, top-p, min-p. A row's randomness is its own
counter-based generator, and a draw takes one number from it, so what a row writes does not depend
on the other rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SampleConfig
from charrnn.decoding.constraints import ENDED, Constraint
from charrnn.decoding.step import Floats, Network, State, ends_with, log_softmax


def generator(seed: int, index: int, drawn: int = 0) -> np.random.Generator:
    """The randomness of sample `index` under `seed`: Philox, a counter under the key (seed, i).

    It goes on behind the first `drawn` numbers; one step of the counter gives four.
    """
    bits = np.random.Philox(key=np.array([seed, index], np.uint64))
    bits.advance(drawn // 4)
    rng = np.random.Generator(bits)
    rng.random(drawn % 4)
    return rng


def probabilities(logits: Floats, config: SampleConfig) -> NDArray[np.float64]:
    """What is drawn from: logits (B, V) -> probabilities (B, V).

    With temperature t alone exactly ``p_i^(1/t) / sum_j p_j^(1/t)``; t = 0 is the limit: all
    probability on the most likely symbol (the lowest id among equals).
    """
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    if config.temperature == 0:
        return np.asarray(np.eye(logits.shape[-1])[shifted.argmax(-1)])
    with np.errstate(over="ignore"):  # a tiny temperature makes -inf of a far logit: exp gives 0
        p = np.exp(shifted / config.temperature)
    p /= p.sum(-1, keepdims=True)
    if 0 < config.top_k < p.shape[-1]:
        p = _keep(p, _ranks(p) < config.top_k)
    if config.top_p < 1:
        p = _keep(p, _mass_before(p) < config.top_p)
    if config.min_p > 0:
        p = _keep(p, p >= config.min_p * p.max(-1, keepdims=True))
    return np.asarray(p)


def _keep(p: NDArray[np.float64], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    p = np.where(kept, p, 0.0)
    return np.asarray(p / p.sum(-1, keepdims=True))


def _order(p: NDArray[np.float64]) -> NDArray[np.intp]:
    """Symbols from the most to the least likely, the lower id first among equals."""
    return np.argsort(-p, axis=-1, kind="stable")


def _ranks(p: NDArray[np.float64]) -> NDArray[np.intp]:
    """Each symbol's place in that order; ties have places of their own, so k means k."""
    ranks = np.empty(p.shape, np.intp)
    np.put_along_axis(ranks, _order(p), np.arange(p.shape[-1])[None, :], -1)
    return ranks


def _mass_before(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each symbol the probability of all more likely ones: 0 for the first, so one stays."""
    order = _order(p)
    in_order = np.take_along_axis(p, order, -1)
    before = np.zeros_like(p)
    np.put_along_axis(before, order, np.cumsum(in_order, -1) - in_order, -1)
    return before


def draw(p: NDArray[np.float64], generators: Sequence[np.random.Generator]) -> NDArray[np.intp]:
    """One symbol per row of probabilities (B, V), by inverting the cumulative sum."""
    totals = np.cumsum(p, -1)
    whole = totals[:, -1]
    points = np.array([rng.random() for rng in generators]) * whole
    # Rounding must not reach the whole: past it there is no symbol.
    points = np.minimum(points, np.nextafter(whole, 0))
    # The number of totals at or below the point: never a symbol of probability zero.
    return np.asarray((totals <= points[:, None]).sum(-1))


def sample(
    network: Network,
    logits: Floats,
    state: State,
    config: SampleConfig,
    generators: Sequence[np.random.Generator],
    stops: Sequence[tuple[int, ...]] = (),
    constraint: Constraint | None = None,
) -> Iterator[list[tuple[int, int, float]]]:
    """Write `length` symbols in as many rows as there are generators, one batch.

    Args:
        network: reads and selects rows.
        logits: (1, V) for the first symbol, after the prompt.
        state: the state that gave them, one row.
        config: temperature, filters, length.
        generators: the randomness of each row.
        stops: ids of the strings that end a row; it then leaves the batch.
        constraint: what every row must be.

    Yields:
        per step (row, symbol, log-probability under the model) of every row still writing; the
        symbol ENDED where the constraint ends it.
    """
    alive = np.arange(len(generators))
    logits, state = logits[alive * 0], network.select(state, alive * 0)
    written = np.zeros((len(generators), 0), np.int64)
    longest = max(map(len, stops), default=0)
    states = np.zeros(len(alive), np.int64)
    for position in range(config.length):
        left = config.length - position
        if constraint is not None:
            over = ~constraint.choices(states, left).any(-1)
            if over.any():
                yield [(row, ENDED, 0.0) for row in alive[over].tolist()]
                alive, states, written = alive[~over], states[~over], written[~over]
                logits, state = logits[~over], network.select(state, ~over)
            if not len(alive):
                return
            offered = constraint.masked(logits, states, left)
        else:
            offered = logits
        symbols = draw(probabilities(offered, config), [generators[row] for row in alive.tolist()])
        log_softmaxes = log_softmax(logits)
        log_probs = log_softmaxes[np.arange(len(alive)), symbols]
        going_on = np.full(len(alive), True)
        if constraint is not None:
            going_on = constraint.allowed(states, left)[np.arange(len(alive)), symbols]
            ending = constraint.ending(log_softmaxes, states, left)
            log_probs = np.where(going_on, log_probs, ending)
            states = constraint.advance(states, symbols)
            symbols = np.where(going_on, symbols, ENDED)
        yield list(zip(alive.tolist(), symbols.tolist(), log_probs.tolist(), strict=True))
        if stops:
            written = np.concatenate([written, symbols[:, None]], 1)[:, -longest:]
            going_on &= [not ends_with(ids, stops) for ids in written]
        if not going_on.all():
            alive, symbols, written = alive[going_on], symbols[going_on], written[going_on]
            states, state = states[going_on], network.select(state, going_on)
        if not len(alive) or position == config.length - 1:
            return
        logits, state = network.step(symbols, state)
