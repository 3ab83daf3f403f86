"""Texts drawn without replacement under a constraint; what a search does besides searching."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from charrnn.config import BeamConfig, Limits
from charrnn.decoding.beam import beam_search
from charrnn.decoding.constraints import Constraint, build
from charrnn.decoding.hypotheses import PrefixTree
from charrnn.decoding.sampler import generator

MakeChain = Callable[..., Any]
Text = tuple[int, ...]
LENGTH = 4
REGEXES = ["a+b?", "[ab]{1,3}c?", "(?:ab|ba|c)*", "a(?:bc)?", ""]


def _constraint(regex: str) -> Constraint:
    made = build("abc", Limits(regex=regex), LENGTH)
    assert made is not None
    return made


def _promised(
    chain: Any, limits: Constraint, temperature: float, ids: Text = (), place: int = 0
) -> dict[Text, float]:
    """Every text's probability: each step's, over what may be chosen, some of which ends it."""
    left = LENGTH - len(ids)
    choices = limits.choices(place, left)
    if not choices.any():
        return {ids: 1.0}
    older, last = (0, 0, *ids)[-2:]
    powers = np.where(choices, np.exp(chain.table[older, last] / temperature), 0.0)
    found: Counter[Text] = Counter()
    for symbol in np.flatnonzero(choices).tolist():
        p = powers[symbol] / powers.sum()
        if limits.allowed(place, left)[symbol]:
            after = int(limits.advance(place, symbol))
            rest = _promised(chain, limits, temperature, (*ids, symbol), after)
            found.update({text: p * q for text, q in rest.items()})
        else:
            found[ids] += p
    return found


def _frequent(count: int, number: int, p: float) -> bool:
    """Whether so many of a number are what this probability explains, within five deviations."""
    return abs(count - number * p) <= 5 * math.sqrt(number * p * (1 - p)) + 1e-6


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("regex", REGEXES)
def test_under_a_constraint_pairs_are_drawn_with_their_exact_probabilities(
    make_chain: MakeChain, regex: str, temperature: float
) -> None:
    """The first text as if drawn alone, the second as if the first had been put aside."""
    chain, limits, number = make_chain(3, seed=5), _constraint(regex), 600
    p = _promised(chain, limits, temperature)
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


def test_the_log_probability_is_the_models_own_at_any_temperature(make_chain: MakeChain) -> None:
    chain, limits = make_chain(3, seed=5), _constraint("a+b?")
    config = BeamConfig(length=LENGTH, width=4, num_return=4, stochastic=True, temperature=3.0)
    found = beam_search(chain, *chain.begin(), config, constraint=limits, rng=generator(1, 0))
    assert len(found) == 4
    for h in found:
        place = 0
        for symbol in h.ids:
            place = limits.advance(place, symbol)
        older, last = (0, 0, *h.ids)[-2:]
        left = LENGTH - len(h.ids)
        goes_on = limits.allowed(place, left) if left else np.zeros(3, np.bool_)
        ending = np.exp(chain.table[older, last])[~goes_on].sum() if goes_on.any() else 1.0
        assert h.ended == ("constraint" if left else "length")
        assert h.log_prob == pytest.approx(chain.log_prob(h.ids) + math.log(ending))


def test_what_is_settled_is_looked_for_no_more_than_it_costs(
    make_chain: MakeChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups that never share a symbol must not be followed back to the start again and again."""
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
