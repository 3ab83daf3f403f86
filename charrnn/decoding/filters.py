"""Choose the next token from a row of logits: bias, penalties, filters and the draw.

Every function runs on numpy as it is and uses only what numba can compile, so that compiled and
plain code choose by the same lines. They act in this order:

    logit bias, penalties (repetition; presence and frequency), allowed tokens, no-repeat n-gram:
        change logits or forbid tokens;
    temperature, top-k, typical, top-p, min-p, exclude-top-choices (XTC), mirostat:
        keep some tokens, each with a weight;
    one draw.

Shapes: V tokens. Weights are unnormalized probabilities; a removed token has weight 0. `settings`
is a `SampleConfig`; in compiled code it is a record of `SETTINGS`, which has the same field names.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats, Floats64, Integers
from charrnn.config import SampleConfig

Mask = NDArray[np.bool_]

NO_BIAS: Floats64 = np.zeros(0)
ALL_ALLOWED: Mask = np.zeros(0, np.bool_)

# The fields of SampleConfig that a choice depends on.
FIELDS = (
    *("temperature", "top_k", "typical_p", "top_p", "min_p", "xtc_probability", "xtc_threshold"),
    *("mirostat_ent", "mirostat_lr", "repeat_penalty", "presence_penalty", "frequency_penalty"),
    *("repeat_last_n", "no_repeat_ngram_size"),
)
SETTINGS = np.dtype([(name, type(getattr(SampleConfig, name))) for name in FIELDS])


def only_temperature(settings: SampleConfig) -> bool:
    """Return whether every filter and penalty but the temperature is off."""
    return all(
        getattr(settings, name) == getattr(SampleConfig, name)
        for name in FIELDS
        if name not in ("temperature", "repeat_last_n")
    )


def choose(
    logits: Floats,
    settings: SampleConfig,
    recent: Integers,
    bias: Floats64,
    allowed: Mask,
    uniform: float,
    bound: float,
) -> tuple[int, float, float]:
    """Return the next token, the model's log-probability of it in nats, and mirostat's new bound.

    Args:
        logits: (V,), float32 or float64.
        settings: how to choose.
        recent: ids of the prompt and the text so far, oldest first.
        bias: (V,), added to the logits; or empty.
        allowed: (V,), at least one of which is true; or empty: every token.
        uniform: a random number in [0, 1); unused at temperature 0.
        bound: mirostat's limit on a token's surprisal, in bits.
    """
    scores = adjust_logits(logits, settings, recent, bias, allowed)
    if settings.temperature == 0:
        token = int(np.argmax(scores))
    else:
        weights = filter_tokens(scores, settings)
        if settings.xtc_probability > 0:
            # One number decides twice: whether XTC acts, and, rescaled within that part, the draw.
            if uniform < settings.xtc_probability:
                weights = exclude_top_choices(weights, settings.xtc_threshold)
                uniform = uniform / settings.xtc_probability
            else:
                uniform = (uniform - settings.xtc_probability) / (1 - settings.xtc_probability)
        if settings.mirostat_ent > 0:
            weights = limit_surprisal(weights, bound)
        token = draw(weights, uniform)
        if settings.mirostat_ent > 0:
            surprisal = np.log2(weights.sum() / weights[token])
            bound = max(0.0, bound - settings.mirostat_lr * (surprisal - settings.mirostat_ent))
    return token, log_prob(logits, token), bound


def choose_by_temperature(
    logits: Floats,
    settings: SampleConfig,
    recent: Integers,
    bias: Floats64,
    allowed: Mask,
    uniform: float,
    bound: float,
) -> tuple[int, float, float]:
    """Return what `choose` returns where all filters are off; it compiles much faster."""
    scores = logits.astype(np.float64)
    if len(allowed) > 0:
        scores[~allowed] = -np.inf
    if settings.temperature == 0:
        token = int(np.argmax(scores))
    else:
        token = draw(np.exp((scores - scores.max()) / settings.temperature), uniform)
    return token, log_prob(logits, token), bound


def log_prob(logits: Floats, token: int) -> float:
    """Return the log-probability of a token, in nats."""
    shifted = logits.astype(np.float64) - np.float64(logits.max())
    return float(shifted[token] - np.log(np.sum(np.exp(shifted))))


def draw(weights: Floats64, uniform: float) -> int:
    """Return the token at this fraction of the cumulative sum; never one of weight 0."""
    totals = np.cumsum(weights)
    # Rounding must not reach the total: no token lies beyond it.
    target = min(uniform * totals[-1], np.nextafter(totals[-1], 0.0))
    return min(int(np.searchsorted(totals, target, side="right")), len(weights) - 1)


def adjust_logits(
    logits: Floats, settings: SampleConfig, recent: Integers, bias: Floats64, allowed: Mask
) -> Floats64:
    """Return the logits after bias and penalties; -inf where a token is forbidden."""
    scores = logits.astype(np.float64)
    if len(bias) > 0:
        scores += bias
    if (
        settings.repeat_penalty != 1
        or settings.presence_penalty != 0
        or settings.frequency_penalty != 0
    ):
        apply_penalties(scores, settings, recent)
    if len(allowed) > 0:
        scores[~allowed] = -np.inf
    if settings.no_repeat_ngram_size > 0:
        left = scores.copy()
        left[repeated_ngrams(recent, settings.no_repeat_ngram_size)] = -np.inf
        if left.max() > -np.inf:  # else every token would repeat an n-gram: allow them all
            scores = left
    return scores


def apply_penalties(scores: Floats64, settings: SampleConfig, recent: Integers) -> None:
    """Lower the logits of recent tokens, in place.

    The repetition penalty is CTRL's (Keskar et al. 2019) with llama.cpp's treatment of negative
    logits, which it multiplies; presence and frequency penalties are OpenAI's.
    """
    if settings.repeat_last_n >= 0:
        recent = recent[max(len(recent) - settings.repeat_last_n, 0) :]
    counts = np.bincount(recent, minlength=len(scores))
    seen = np.flatnonzero(counts)
    before = scores[seen]
    factor = settings.repeat_penalty
    repeated = np.maximum(before, 0.0) / factor + np.minimum(before, 0.0) * factor
    scores[seen] = repeated - settings.presence_penalty - settings.frequency_penalty * counts[seen]


def repeated_ngrams(recent: Integers, size: int) -> Integers:
    """Return the tokens that would complete an n-gram of this size that already occurred."""
    last = len(recent) - 1
    if last < size - 1:
        return recent[:0]
    if size == 1:
        return recent
    # Find where the last size - 1 tokens occurred before: compare the last one, then the others.
    ends = np.flatnonzero(recent[size - 2 : last] == recent[last]) + (size - 2)
    for back in range(1, size - 1):
        ends = ends[recent[ends - back] == recent[last - back]]
    return recent[ends + 1]


def filter_tokens(scores: Floats64, settings: SampleConfig) -> Floats64:
    """Return each token's weight after temperature, top-k, typical, top-p and min-p.

    With temperature t alone the weights are proportional to ``p_i^(1/t)``.
    """
    weights: Floats64 = np.exp((scores - scores.max()) / settings.temperature)
    if 0 < settings.top_k < len(weights):
        weights = keep_largest(weights, settings.top_k, np.inf)
    if settings.typical_p < 1:
        weights = keep_typical(weights, settings.typical_p * weights.sum())
    if settings.top_p < 1:
        weights = keep_largest(weights, len(weights), settings.top_p * weights.sum())
    if settings.min_p > 0:
        weights = weights * (weights >= settings.min_p * weights.max())
    return weights


def keep_largest(weights: Floats64, count: int, mass: float) -> Floats64:
    """Keep the `count` largest weights, or fewer if these have `mass` together.

    The latter is the nucleus of Holtzman et al. (2020).
    """
    bound = weights.max()
    ids = np.flatnonzero(weights >= bound)
    # Sort only the candidates: the vocabulary may be large.
    while bound > 0 and len(ids) < count and weights[ids].sum() < mass:
        bound /= 8
        ids = np.flatnonzero(weights >= bound)
    return keep_first(weights, ids, -weights[ids], count, mass)


def keep_typical(weights: Floats64, mass: float) -> Floats64:
    """Keep the fewest tokens that have `mass` and whose surprisal is closest to the entropy.

    This is the locally typical set of Meister et al. (2023); it may exclude the most likely token.
    """
    ids = np.flatnonzero(weights)
    inside = weights[ids]
    logs = np.log(inside)  # normalizing would shift surprisals and their mean alike
    distances = np.abs(logs - np.sum(inside * logs) / inside.sum())
    return keep_first(weights, ids, distances, len(ids), mass)


def keep_first(
    weights: Floats64, ids: Integers, keys: Floats64, count: int, mass: float
) -> Floats64:
    """Keep the weights of the `count` ids with the lowest keys, or of fewer that have `mass`.

    Among equal keys the lowest ids come first.
    """
    order = ids[np.argsort(keys, kind="mergesort")]  # the stable sort that numba supports
    enough = int(np.searchsorted(np.cumsum(weights[order]), mass)) + 1
    chosen = order[: min(count, enough)]
    result = np.zeros_like(weights)
    result[chosen] = weights[chosen]
    return result


def exclude_top_choices(weights: Floats64, threshold: float) -> Floats64:
    """Remove all tokens with probability `threshold` or more except the least likely one (XTC).

    Among equally likely ones the highest id stays. All less likely tokens stay as well.
    """
    likely = weights >= threshold * weights.sum()
    if np.count_nonzero(likely) < 2:
        return weights
    least = weights[likely].min()
    result: Floats64 = weights * ~likely
    result[np.flatnonzero(weights == least)[-1]] = least
    return result


def limit_surprisal(weights: Floats64, bound: float) -> Floats64:
    """Keep the tokens whose surprisal, -log2 p, is at most `bound`, and the most likely ones.

    This is version 2 of mirostat (Basu et al. 2021): after each draw the bound moves against the
    difference between the token's surprisal among the remaining tokens and the target. A bound
    below 0 would keep the same tokens as 0.
    """
    least = min(weights.sum() * 2.0**-bound, weights.max())
    result: Floats64 = weights * (weights >= least)
    return result
