"""How one symbol is chosen from a row of logits: every filter, once, over plain numbers.

The functions run on numpy as they stand, and keep to what numba compiles, so that a compiled loop
and the plain one choose by the same lines. They act in this order:

    logit bias, penalties (repetition; presence and frequency), what is allowed, no-repeat n-gram:
        change the logits, or forbid symbols;
    temperature, top-k, typical, top-p, min-p, exclude-top-choices (XTC), mirostat:
        leave the most suitable symbols, each with its weight;
    one draw.

Shapes: V symbols. Weights are probabilities but for a common factor, and 0 for what is cut off.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats, Floats64, Integers

Mask = NDArray[np.bool_]

NO_BIAS: Floats64 = np.zeros(0)
ALL_ALLOWED: Mask = np.zeros(0, np.bool_)


class Filters(NamedTuple):
    """What a choice depends on besides the logits; the defaults are neutral.

    Attributes:
        temperature: what differences of logits are divided by; 0: the most likely symbol.
        top_k: how many of the most likely symbols stay; 0: all.
        typical_p: probability of the most typical symbols that stay; 1: all.
        top_p: probability of the most likely symbols that stay; 1: all.
        min_p: share of the best symbol's probability that a symbol needs to stay; 0: none.
        xtc_probability: how often the likeliest of several likely symbols are left out; 0: never.
        xtc_threshold: the probability from which a symbol is likely.
        mirostat_ent: bits of surprise that symbols are to have in the mean; 0: neutral.
        mirostat_lr: how fast the bound on a symbol's surprise follows.
        repeat_penalty: divides positive logits of recent symbols, multiplies others; 1: neutral.
        presence_penalty: taken from the logit of each recent symbol, once; 0: neutral.
        frequency_penalty: the same, for every time that it occurs; 0: neutral.
        repeat_last_n: how many symbols are recent; -1: all.
        no_repeat_ngram_size: runs of so many symbols occur once only; 0: neutral.
    """

    temperature: float = 1.0
    top_k: int = 0
    typical_p: float = 1.0
    top_p: float = 1.0
    min_p: float = 0.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    mirostat_ent: float = 0.0
    mirostat_lr: float = 0.1
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repeat_last_n: int = 64
    no_repeat_ngram_size: int = 0


def choose(
    logits: Floats,
    filters: Filters,
    recent: Integers,
    bias: Floats64,
    allowed: Mask,
    point: float,
    bound: float,
) -> tuple[int, float, float]:
    """The next symbol, the log-probability in nats that the model itself gives it, and the bound.

    Args:
        logits: (V,), float32 or float64.
        filters: how to choose.
        recent: ids of the text so far, what was read included, oldest first.
        bias: (V,), is added to the logits; or empty.
        allowed: (V,), of which at least one is true; or empty: every symbol.
        point: the randomness, uniform in [0, 1); unused at temperature 0.
        bound: mirostat's, on a symbol's surprise in bits; what comes back is the next choice's.
    """
    scores = rescored(logits, filters, recent, bias, allowed)
    if filters.temperature == 0:
        symbol = int(np.argmax(scores))
    else:
        weights = weighed(scores, filters)
        if filters.xtc_probability > 0:
            # One number decides twice: where it falls, and where within that part.
            if point < filters.xtc_probability:
                weights = without_top_choices(weights, filters.xtc_threshold)
                point = point / filters.xtc_probability
            else:
                point = (point - filters.xtc_probability) / (1 - filters.xtc_probability)
        if filters.mirostat_ent > 0:
            weights = unsurprising(weights, bound)
        symbol = draw(weights, point)
        if filters.mirostat_ent > 0:
            surprise = np.log2(weights.sum() / weights[symbol])
            bound = max(0.0, bound - filters.mirostat_lr * (surprise - filters.mirostat_ent))
    return symbol, log_prob(logits, symbol), bound


def choose_by_temperature(
    logits: Floats, temperature: float, allowed: Mask, point: float
) -> tuple[int, float]:
    """What `choose` chooses where all filters but the temperature are neutral."""
    scores = logits.astype(np.float64)
    if len(allowed) > 0:
        scores[~allowed] = -np.inf
    if temperature == 0:
        symbol = int(np.argmax(scores))
    else:
        symbol = draw(np.exp((scores - scores.max()) / temperature), point)
    return symbol, log_prob(logits, symbol)


def log_prob(logits: Floats, symbol: int) -> float:
    """The log-probability of a symbol, in nats."""
    shifted = logits.astype(np.float64) - np.float64(logits.max())
    return float(shifted[symbol] - np.log(np.sum(np.exp(shifted))))


def draw(weights: Floats64, point: float) -> int:
    """The symbol at this part of the cumulative sum; never one of weight 0."""
    totals = np.cumsum(weights)
    # Rounding must not reach the whole: past it there is no symbol.
    target = min(point * totals[-1], np.nextafter(totals[-1], 0.0))
    return min(int(np.searchsorted(totals, target, side="right")), len(weights) - 1)


def rescored(
    logits: Floats, filters: Filters, recent: Integers, bias: Floats64, allowed: Mask
) -> Floats64:
    """The logits, changed by bias and penalties; -inf where a symbol is forbidden."""
    scores = logits.astype(np.float64)
    if len(bias) > 0:
        scores += bias
    if (
        filters.repeat_penalty != 1
        or filters.presence_penalty != 0
        or filters.frequency_penalty != 0
    ):
        penalise(scores, filters, recent)
    if len(allowed) > 0:
        scores[~allowed] = -np.inf
    if filters.no_repeat_ngram_size > 0:
        left = scores.copy()
        left[repeating(recent, filters.no_repeat_ngram_size)] = -np.inf
        if left.max() > -np.inf:  # else every symbol would repeat one: the text goes on
            scores = left
    return scores


def penalise(scores: Floats64, filters: Filters, recent: Integers) -> None:
    """Make recent symbols less likely, in place.

    Repetition as in CTRL (Keskar et al. 2019), with llama.cpp's treatment of negative logits, which
    grow more negative; presence and frequency as OpenAI defines them.
    """
    if filters.repeat_last_n >= 0:
        recent = recent[max(len(recent) - filters.repeat_last_n, 0) :]
    counts = np.bincount(recent, minlength=len(scores))
    seen = np.flatnonzero(counts)
    before = scores[seen]
    factor = filters.repeat_penalty
    repeated = np.maximum(before, 0.0) / factor + np.minimum(before, 0.0) * factor
    scores[seen] = repeated - filters.presence_penalty - filters.frequency_penalty * counts[seen]


def repeating(recent: Integers, size: int) -> Integers:
    """The symbols after which the last `size` would be a run that occurred before."""
    last = len(recent) - 1
    if last < size - 1:
        return recent[:0]
    if size == 1:
        return recent
    # Where the last size - 1 symbols occurred before: first their last one, then the others.
    ends = np.flatnonzero(recent[size - 2 : last] == recent[last]) + (size - 2)
    for back in range(1, size - 1):
        ends = ends[recent[ends - back] == recent[last - back]]
    return recent[ends + 1]


def weighed(scores: Floats64, filters: Filters) -> Floats64:
    """Each symbol's weight after temperature, top-k, typical, top-p and min-p.

    With temperature t alone exactly ``p_i^(1/t)``, but for the factor.
    """
    weights: Floats64 = np.exp((scores - scores.max()) / filters.temperature)
    if 0 < filters.top_k < len(weights):
        weights = likeliest(weights, filters.top_k, np.inf)
    if filters.typical_p < 1:
        weights = most_typical(weights, filters.typical_p * weights.sum())
    if filters.top_p < 1:
        weights = likeliest(weights, len(weights), filters.top_p * weights.sum())
    if filters.min_p > 0:
        weights = weights * (weights >= filters.min_p * weights.max())
    return weights


def likeliest(weights: Floats64, count: int, mass: float) -> Floats64:
    """Of the largest weights `count`, or fewer where fewer have `mass` together.

    The latter are the nucleus of Holtzman et al. (2020).
    """
    bound = weights.max()
    ids = np.flatnonzero(weights >= bound)
    # What must be sorted is found without sorting all: the alphabet may be large.
    while bound > 0 and len(ids) < count and weights[ids].sum() < mass:
        bound /= 8
        ids = np.flatnonzero(weights >= bound)
    return first(weights, ids, -weights[ids], count, mass)


def most_typical(weights: Floats64, mass: float) -> Floats64:
    """The fewest that have `mass` and whose surprisals are nearest to their mean, the entropy.

    The locally typical set of Meister et al. (2023); the most likely symbol may be outside.
    """
    ids = np.flatnonzero(weights)
    inside = weights[ids]
    logs = np.log(inside)  # the common factor shifts surprisals and their mean alike
    distances = np.abs(logs - np.sum(inside * logs) / inside.sum())
    return first(weights, ids, distances, len(ids), mass)


def first(weights: Floats64, ids: Integers, keys: Floats64, count: int, mass: float) -> Floats64:
    """Weights of the `ids` with the lowest keys: `count` of them, or fewer that have `mass`.

    Of equals the lowest ids.
    """
    order = ids[np.argsort(keys, kind="mergesort")]  # the stable kind that numba knows
    enough = int(np.searchsorted(np.cumsum(weights[order]), mass)) + 1
    stays = order[: min(count, enough)]
    kept = np.zeros_like(weights)
    kept[stays] = weights[stays]
    return kept


def without_top_choices(weights: Floats64, threshold: float) -> Floats64:
    """Of several symbols with probability `threshold` only the least likely stays (XTC).

    Of equals the highest id, which is last in order. All less likely symbols stay as well.
    """
    likely = weights >= threshold * weights.sum()
    if np.count_nonzero(likely) < 2:
        return weights
    least = weights[likely].min()
    kept: Floats64 = weights * ~likely
    kept[np.flatnonzero(weights == least)[-1]] = least
    return kept


def unsurprising(weights: Floats64, bound: float) -> Floats64:
    """The symbols whose surprise, -log2 p, is at most `bound`, and the most likely ones.

    Mirostat (Basu et al. 2021) in its second form: after each draw the bound moves against the
    difference between the symbol's surprise, among those that were left, and the one wanted; below
    0 it would leave no less.
    """
    least = min(weights.sum() * 2.0**-bound, weights.max())
    kept: Floats64 = weights * (weights >= least)
    return kept
