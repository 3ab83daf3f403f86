"""Beam search: the k most probable prefixes are kept, extended by every symbol, and cut to k again.

All beams are one batch: a step reads B rows, and the state's rows are gathered by the parents that
survived. The prompt is read once, before. A hypothesis is finished when a stop string ends it or
when it has its length; finished ones are ranked by ``log p / length^alpha``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from charrnn.config import BeamConfig
from charrnn.decoding.constraints import Constraint
from charrnn.decoding.step import Floats, Network, State, ends_with, log_softmax

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Hypothesis:
    """A finished text.

    Attributes:
        ids: its symbols, a stop string included.
        log_prob: the sum of their log-probabilities, in nats.
        score: log_prob / length^alpha, by which hypotheses are ranked.
        stopped: ended by a stop string, not by its length.
        ended: ended by the constraint.
    """

    ids: tuple[int, ...]
    log_prob: float
    score: float
    stopped: bool
    ended: bool = False


@dataclass(frozen=True)
class _Beams:
    ids: Integers  # (B, t) live texts, best first
    log_probs: NDArray[np.float64]  # (B,)


def beam_search(
    network: Network,
    logits: Floats,
    state: State,
    config: BeamConfig,
    *,
    stops: Sequence[tuple[int, ...]] = (),
    constraint: Constraint | None = None,
    on_settled: Callable[[Integers], None] = lambda ids: None,
) -> list[Hypothesis]:
    """The `num_return` best hypotheses, best first.

    Args:
        network: reads and gathers rows.
        logits: (1, V) for the first symbol, after the prompt.
        state: the state that gave them, one row.
        config: width, length, length penalty, number returned.
        stops: ids of the strings that end a text.
        constraint: what every text must be.
        on_settled: called after every step with the prefix that no longer depends on what comes:
            the one that all live and finished texts share; may raise.
    """
    beams = _Beams(np.zeros((1, 0), np.int64), np.zeros(1))
    finished: list[Hypothesis] = []
    states = np.zeros(1, np.int64)  # of the constraint
    for length in range(1, config.length + 1):
        log_probs = log_softmax(logits)
        allowed = None
        if constraint is not None:
            left = config.length - length + 1
            allowed = constraint.allowed(states, left)
            finished += _ended(beams, constraint.ending(log_probs, states, left), config)
            if not allowed.any():
                return _best(finished, config)
        rows, symbols, beams = _extend(beams, log_probs, config.width, allowed)
        states = states[rows] if constraint is None else constraint.advance(states[rows], symbols)
        alive = np.array([not ends_with(ids, stops) for ids in beams.ids])
        finished += _finish(beams, ~alive, config, stopped=True)
        beams, states = _Beams(beams.ids[alive], beams.log_probs[alive]), states[alive]
        on_settled(_shared(beams, _best(finished, config)))
        if not alive.any() or _settled(finished, beams.log_probs[0], config):
            return _best(finished, config)
        if length < config.length:
            state = network.select(state, rows[alive])
            logits, state = network.step(symbols[alive], state)
    finished += _finish(beams, np.full(len(beams.ids), True), config, stopped=False)
    return _best(finished, config)


def _extend(
    beams: _Beams,
    log_probs: NDArray[np.float64],
    width: int,
    allowed: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.intp], _Beams]:
    """The `width` best of all extensions: their parents' rows, their symbols, the new beams.

    Among equals the better parent and then the lower id comes first, as in greedy decoding.
    """
    totals = (beams.log_probs[:, None] + log_probs).ravel()
    if allowed is not None:
        totals[~allowed.ravel()] = -np.inf
    if len(totals) > width:  # sort only what can be among the best
        candidates = np.flatnonzero(totals >= np.partition(totals, -width)[-width])
    else:
        candidates = np.arange(len(totals))
    best = candidates[np.argsort(-totals[candidates], kind="stable")[:width]]
    if allowed is not None:
        best = best[allowed.ravel()[best]]
    rows, symbols = np.divmod(best, log_probs.shape[1])
    ids = np.concatenate([beams.ids[rows], symbols[:, None]], 1)
    return rows, symbols, _Beams(ids, totals[best])


def _finish(
    beams: _Beams, chosen: NDArray[np.bool_], config: BeamConfig, *, stopped: bool
) -> list[Hypothesis]:
    """The chosen beams as finished hypotheses."""
    length = beams.ids.shape[1]
    penalty = max(length, 1) ** config.length_penalty
    return [
        Hypothesis(tuple(ids.tolist()), float(log_prob), float(log_prob) / penalty, stopped)
        for ids, log_prob in zip(beams.ids[chosen], beams.log_probs[chosen], strict=True)
    ]


def _ended(beams: _Beams, ending: NDArray[np.float64], config: BeamConfig) -> list[Hypothesis]:
    """The beams that the constraint lets end here, with the log-probability of ending."""
    chosen = np.isfinite(ending)
    found = _finish(_Beams(beams.ids, beams.log_probs + ending), chosen, config, stopped=False)
    return [replace(hypothesis, ended=True) for hypothesis in found]


def _settled(finished: list[Hypothesis], best_alive: float, config: BeamConfig) -> bool:
    """Whether no live beam can still rank among the hypotheses to be returned.

    A log-probability only falls, and dividing by the full length is the kindest penalty.
    """
    if len(finished) < config.num_return:
        return False
    bound = best_alive / config.length**config.length_penalty
    return bool(_best(finished, config)[-1].score >= bound)


def _best(finished: list[Hypothesis], config: BeamConfig) -> list[Hypothesis]:
    return sorted(finished, key=lambda h: (-h.score, h.ids))[: config.num_return]


def _shared(beams: _Beams, finished: list[Hypothesis]) -> Integers:
    """The longest prefix of all live and finished texts."""
    first = beams.ids[0] if len(beams.ids) else np.array(finished[0].ids)
    others = [*beams.ids, *(np.array(h.ids) for h in finished)]
    end = len(first)
    for other in others:
        end = min(end, len(other))
        differs = np.flatnonzero(first[:end] != other[:end])
        end = int(differs[0]) if len(differs) else end
    return first[:end]
