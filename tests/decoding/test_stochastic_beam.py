"""Stochastic beam search: sampling without replacement, and reports of settled tokens."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from brute_force import Stops, Text, all_texts, ended

from charrnn.config import BeamConfig, Limits
from charrnn.decoding.beam import beam_search
from charrnn.decoding.constraints import Constraint, build
from charrnn.decoding.hypotheses import Hypothesis, PrefixTree
from charrnn.decoding.sampler import generator

MakeChain = Callable[..., Any]
WriteTexts = Callable[..., list[Any]]
LENGTH = 4
REGEXES = ["a+b?", "[ab]{1,3}c?", "(?:ab|ba|c)*", "a(?:bc)?", ""]


def _constraint(regex: str) -> Constraint:
    made = build("abc", Limits(regex=regex), LENGTH)
    assert made is not None
    return made


def _defined(
    chain: Any, limits: Constraint, temperature: float, ids: Text = (), state: int = 0
) -> dict[Text, float]:
    """Return every text's probability: each step is renormalized over the possible tokens."""
    left = LENGTH - len(ids)
    choices = limits.choices(state, left)
    if not choices.any():
        return {ids: 1.0}
    older, last = (0, 0, *ids)[-2:]
    powers = np.where(choices, np.exp(chain.table[older, last] / temperature), 0.0)
    found: Counter[Text] = Counter()
    for token in np.flatnonzero(choices).tolist():
        p = powers[token] / powers.sum()
        if limits.allowed(state, left)[token]:
            after = int(limits.advance(state, token))
            rest = _defined(chain, limits, temperature, (*ids, token), after)
            found.update({text: p * q for text, q in rest.items()})
        else:
            found[ids] += p
    return found


def _frequent(count: int, number: int, p: float) -> bool:
    """Return whether a count is within five standard deviations of its expectation."""
    return abs(count - number * p) <= 5 * math.sqrt(number * p * (1 - p)) + 1e-6


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("regex", REGEXES)
def test_pairs_under_a_constraint_are_drawn_with_their_exact_probabilities(
    make_chain: MakeChain, regex: str, temperature: float, times: Callable[[int, int], int]
) -> None:
    """The first text is drawn as if alone, the second as if the first were removed."""
    chain, limits, number = make_chain(3, seed=5), _constraint(regex), times(200, 600)
    p = _defined(chain, limits, temperature)
    assert sum(p.values()) == pytest.approx(1)
    config = BeamConfig(
        length=LENGTH, width=2, num_return=2, stochastic=True, temperature=temperature
    )
    firsts: Counter[Text] = Counter()
    seconds: Counter[Text] = Counter()
    for seed in range(number):
        found = beam_search(
            chain, *chain.begin(), config, constraint=limits, rng=generator(seed, 0)
        )
        assert len(found) == min(2, len(p))
        firsts[found[0].ids] += 1
        seconds.update(h.ids for h in found[1:])
    assert firsts.keys() | seconds.keys() <= p.keys()
    for text, q in p.items():
        second = sum(other * q / (1 - other) for name, other in p.items() if name != text)
        assert _frequent(firsts[text], number, q)
        assert _frequent(seconds[text], number, second)


def test_the_log_probability_is_the_models_at_any_temperature(make_chain: MakeChain) -> None:
    chain, limits = make_chain(3, seed=5), _constraint("a+b?")
    config = BeamConfig(length=LENGTH, width=4, num_return=4, stochastic=True, temperature=3.0)
    found = beam_search(chain, *chain.begin(), config, constraint=limits, rng=generator(1, 0))
    assert len(found) == 4
    for h in found:
        state = 0
        for token in h.ids:
            state = limits.advance(state, token)
        older, last = (0, 0, *h.ids)[-2:]
        left = LENGTH - len(h.ids)
        goes_on = limits.allowed(state, left) if left else np.zeros(3, np.bool_)
        ending = np.exp(chain.table[older, last])[~goes_on].sum() if goes_on.any() else 1.0
        assert h.ended == ("constraint" if left else "length")
        assert h.log_prob == pytest.approx(chain.log_prob(h.ids) + math.log(ending))


def test_checks_for_settled_tokens_have_bounded_cost(
    make_chain: MakeChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups that never share a token must not be followed back to the start repeatedly."""
    looks: list[int] = []
    shared = PrefixTree.common_prefix

    def counted(tree: Any, nodes: Any, leaf: Any, start: int) -> tuple[int, int]:
        looks.append(len(tree._parents) - start)
        return shared(tree, nodes, leaf, start)

    monkeypatch.setattr(PrefixTree, "common_prefix", counted)
    chain = make_chain(np.tile([0.6, 0.4], (2, 2, 1)))
    config = BeamConfig(length=1000, width=2, groups=2, diversity=9.0)
    settled: list[int] = []
    beam_search(chain, *chain.begin(), config, on_settled=settled.extend)
    assert settled == []
    assert sum(looks) < 2 * 1000


# Without a constraint


def _drawn(chain: Any, seed: int, stops: Stops | None = None, **config: Any) -> list[Hypothesis]:
    made = BeamConfig(**config, stochastic=True, stop=["?"] * len(stops or []))
    rng = generator(seed, 0)
    return beam_search(chain, *chain.begin(), made, stops=stops or [], rng=rng)


@pytest.mark.parametrize("stops", [[], [(0,)], [(1, 2)]])
def test_samples_are_distinct_and_have_the_models_log_probability(
    make_chain: MakeChain, stops: Stops
) -> None:
    chain = make_chain(3, seed=4)
    for seed in range(20):
        found = _drawn(chain, seed, stops, length=5, width=6, num_return=6, temperature=2.0)
        assert len({h.ids for h in found}) == 6
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
        for h in found:
            assert h.log_prob == pytest.approx(chain.log_prob(h.ids), rel=1e-9)
            assert h.ended == ended(h.ids, stops)
    assert found == _drawn(chain, 19, stops, length=5, width=6, num_return=6, temperature=2.0)


def test_a_wide_enough_beam_draws_every_text(make_chain: MakeChain) -> None:
    found = _drawn(make_chain(3, seed=4), 1, length=2, width=20, num_return=20)
    assert sorted(h.ids for h in found) == sorted(itertools.product(range(3), repeat=2))


def _orders(p: dict[Text, float], count: int) -> dict[tuple[Text, ...], float]:
    """Return the exact probability of drawing these texts in order without replacement."""
    if not count:
        return {(): 1.0}
    found = {}
    for first, q in p.items():
        rest = {text: value / (1 - q) for text, value in p.items() if text != first}
        for order, value in _orders(rest, count - 1).items():
            found[first, *order] = q * value
    return found


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize(
    ("stops", "min_length"), [([], 0), ([(0,)], 0), ([(0,)], 1)], ids=["length", "stop", "min"]
)
def test_texts_are_drawn_with_the_exact_probabilities(
    make_chain: MakeChain,
    stops: Stops,
    min_length: int,
    temperature: float,
    times: Callable[[int, int], int],
) -> None:
    """Compare ordered pairs of texts: neither the width of the beam nor pruning may matter."""
    chain = make_chain(np.tile([[0.5, 0.5], [0.3, 0.7]], (2, 1, 1)))
    p = {text: _probability(chain, text, temperature) for text in all_texts(2, 2, stops)}
    if min_length:
        p = {(1, s): _probability(chain, (1, s), temperature, given=1) for s in (0, 1)}
    exact = _orders(p, 2)
    wanted = {"length": 2, "min_length": min_length, "width": 2, "num_return": 2}
    number = times(400, 3000)
    counts = dict.fromkeys(exact, 0)
    for seed in range(number):
        pair = _drawn(chain, seed, stops, **wanted, temperature=temperature)
        counts[tuple(h.ids for h in pair)] += 1
    chi_square = sum((counts[o] - number * q) ** 2 / (number * q) for o, q in exact.items())
    assert chi_square < CHI_SQUARE[len(exact) - 1]


# The 99.9 % points of chi-square, from any table.
CHI_SQUARE = {1: 10.83, 5: 20.52, 11: 31.26}


def _probability(chain: Any, text: Text, temperature: float, given: int = 0) -> float:
    """Return the log-probability of a text at a temperature, after its first `given` tokens."""
    total, older, last = 1.0, 0, 0
    for place, token in enumerate(text):
        powers = np.exp(chain.table[older, last] / temperature)
        if place >= given:
            total *= float(powers[token] / powers.sum())
        older, last = last, token
    return total


def test_a_tiny_temperature_draws_the_greedy_text(
    make_chain: MakeChain, write_texts: WriteTexts
) -> None:
    chain = make_chain(4, seed=5)
    (best,) = _drawn(chain, 1, length=8, width=3, temperature=1e-300)
    assert best.ids == write_texts(chain, 8, temperature=0.0)[0].ids
