"""A slow definition of all filters, to compare the fast functions with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SampleConfig

P = [0.1, 0.4, 0.2, 0.3]


def logits_of(p: Any) -> NDArray[np.float64]:
    """Return logits of these probabilities."""
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(p, np.float64)) + 5.0  # a constant offset has no effect


def _ranked(p: dict[int, float], key: Callable[[int], float], mass: float) -> dict[int, float]:
    """Return the first tokens by `key`, then by id, until they have `mass`."""
    kept: dict[int, float] = {}
    for token in sorted(p, key=lambda s: (key(s), s)):
        if kept and sum(kept.values()) >= mass:
            break
        kept[token] = p[token]
    return kept


def normalized(p: dict[int, float]) -> dict[int, float]:
    total = math.fsum(p.values())
    return {token: value / total for token, value in p.items()}


def defined(
    logits: list[float], f: SampleConfig, recent: list[int], bias: list[float], allowed: list[bool]
) -> dict[int, float]:
    """Return tokens and probabilities by the definitions, one filter after the other."""
    scores = dict(enumerate(logits))
    for token, value in enumerate(bias):
        scores[token] += value
    window = recent if f.repeat_last_n < 0 else recent[-f.repeat_last_n :]
    for token in set(window):
        score = scores[token]
        score = score / f.repeat_penalty if score > 0 else score * f.repeat_penalty
        scores[token] = score - f.presence_penalty - f.frequency_penalty * window.count(token)
    if allowed:
        scores = {token: score for token, score in scores.items() if allowed[token]}
    n = f.no_repeat_ngram_size
    if n:
        runs = [recent[i : i + n] for i in range(len(recent) - n + 1)]
        left = {s: score for s, score in scores.items() if [*recent, s][-n:] not in runs}
        scores = left or scores
    peak = max(scores.values())
    p = normalized({s: math.exp((score - peak) / f.temperature) for s, score in scores.items()})
    if f.top_k:
        p = normalized(dict(sorted(p.items(), key=lambda item: (-item[1], item[0]))[: f.top_k]))
    if f.typical_p < 1:
        entropy = -math.fsum(q * math.log(q) for q in p.values() if q)
        alive = {s: q for s, q in p.items() if q}
        p = normalized(_ranked(alive, lambda s: abs(-math.log(alive[s]) - entropy), f.typical_p))
    if f.top_p < 1:
        likely = p
        p = normalized(_ranked(p, lambda s: -likely[s], f.top_p))
    if f.min_p:
        best = max(p.values())
        p = normalized({s: q for s, q in p.items() if q >= f.min_p * best})
    return p
