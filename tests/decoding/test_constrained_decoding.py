"""Decoders under a constraint, with networks whose probabilities are known."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from charrnn.config import BeamConfig, Limits, SampleConfig
from charrnn.decoding.beam import beam_search
from charrnn.decoding.constraints import Constraint, build
from charrnn.generator import Generator
from charrnn.model.model_file import Model

MakeChain = Callable[..., Any]
WriteTexts = Callable[..., list[Any]]
LETTERS = "abc"
REGEXES = ["a+b?", "[ab]{1,3}c?", "(?:ab|ba|c)*", "a(?:bc)?", "b*(?!aa)[ac]{2}", ""]


def constraint_of(regex: str, length: int) -> Constraint:
    made = build(LETTERS, Limits(regex=regex), length)
    assert made is not None
    return made


def endings(chain: Any, regex: str, length: int) -> dict[tuple[int, ...], float]:
    """Return every text and its probability by definition, without an automaton.

    At each step the model's probabilities are renormalized over the tokens that can still lead to
    a match; where the text is a match and can continue, also over all others, which end it.
    """
    matches = [
        ids
        for size in range(length + 1)
        for ids in itertools.product(range(3), repeat=size)
        if re.fullmatch(regex, "".join(LETTERS[v] for v in ids))
    ]
    result: dict[tuple[int, ...], float] = {}

    def follow(text: tuple[int, ...], p: float) -> None:
        after = {match[len(text)] for match in matches if match[: len(text)] == text != match}
        if not after:
            result[text] = p
            return
        older, last = (0, 0, *text)[-2:]
        chances = np.exp(chain.table[older, last])
        over = range(3) if text in matches else after
        whole = sum(chances[token] for token in over)
        for token in over:
            if token in after:
                follow((*text, token), p * chances[token] / whole)
            else:
                result[text] = result.get(text, 0.0) + p * chances[token] / whole
        return

    follow((), 1.0)
    return result


@pytest.mark.parametrize("regex", REGEXES)
def test_texts_are_drawn_with_the_defined_probabilities(
    make_chain: MakeChain, write_texts: WriteTexts, regex: str, times: Callable[[int, int], int]
) -> None:
    length, number = 4, times(1500, 4000)
    chain = make_chain(3, seed=5)
    expected = endings(chain, regex, length)
    assert sum(expected.values()) == pytest.approx(1)
    constraint = constraint_of(regex, length)
    texts = write_texts(chain, length, rows=number, seed=3, constraint=constraint)
    counts = Counter(text.ids for text in texts)
    assert counts.keys() <= expected.keys()
    for text, p in expected.items():
        assert abs(counts[text] - number * p) <= 5 * math.sqrt(number * p * (1 - p)) + 1e-6
    for written in texts:
        assert sum(written.log_probs) <= chain.log_prob(written.ids) + 1e-9


def test_the_log_probability_is_the_models_and_includes_the_ending(
    make_chain: MakeChain, write_texts: WriteTexts
) -> None:
    chain = make_chain([[[0.5, 0.3, 0.2]] * 3] * 3)
    texts = write_texts(chain, 9, rows=20, temperature=0.7, constraint=constraint_of("a*", 9))
    for text in texts:  # the probability of ending is that of the others, 0.3 + 0.2
        assert set(text.ids) <= {0}
        assert text.log_probs == pytest.approx([math.log(0.5)] * (len(text.ids) + text.ended))
        assert text.ended == (len(text.ids) < 9)
    assert any(text.ended for text in texts)


@pytest.mark.parametrize("regex", REGEXES)
@pytest.mark.parametrize("seed", range(3))
def test_greedy_takes_the_most_likely_allowed_token(
    make_chain: MakeChain, write_texts: WriteTexts, regex: str, seed: int
) -> None:
    chain, length = make_chain(3, seed), 5
    constraint = constraint_of(regex, length)
    (text,) = write_texts(chain, length, temperature=0.0, constraint=constraint)
    assert re.fullmatch(regex, "".join(LETTERS[token] for token in text.ids))
    state, older, last = 0, 0, 0
    for at in range(len(text.ids) + text.ended):
        choices = constraint.choices(state, length - at)
        best = np.where(choices, chain.table[older, last], -np.inf).argmax()
        if at == len(text.ids):  # it ended: no token is allowed, or the best one is not
            assert not constraint.allowed(state, length - at)[best]
            break
        assert best == text.ids[at]
        state, older, last = int(constraint.advance(state, best)), last, int(best)


def best_texts(chain: Any, regex: str, length: int) -> list[tuple[tuple[int, ...], float]]:
    """Return every text with its log-probability, including its ending, by enumeration."""
    constraint = constraint_of(regex, length)
    found = []
    for size in range(length + 1):
        for ids in itertools.product(range(3), repeat=size):
            if not re.fullmatch(regex, "".join(LETTERS[v] for v in ids)):
                continue
            state = 0
            for token in ids:
                state = constraint.advance(state, token)
            older, last = (0, 0, *ids)[-2:]
            goes_on = constraint.allowed(state, length - size)
            p = np.exp(chain.table[older, last])[~goes_on].sum() if goes_on.any() else 1.0
            if p > 0:
                found.append((ids, chain.log_prob(ids) + math.log(p)))
    return sorted(found, key=lambda item: -item[1])


@pytest.mark.parametrize("regex", REGEXES)
@pytest.mark.parametrize("seed", range(3))
def test_an_exhaustive_beam_finds_the_best_matches(
    make_chain: MakeChain, regex: str, seed: int
) -> None:
    chain = make_chain(3, seed)
    expected = best_texts(chain, regex, 4)[:5]
    config = BeamConfig(length=4, width=81, num_return=5, length_penalty=0.0)
    settled: list[Any] = []
    found = beam_search(
        chain, *chain.begin(), config, constraint=constraint_of(regex, 4), on_settled=settled.append
    )
    assert [h.log_prob for h in found] == pytest.approx([score for _, score in expected])
    assert {h.ids for h in found} == {ids for ids, _ in expected}
    for prefix in settled:
        assert found[0].ids[: len(prefix)] == tuple(prefix.tolist())


@pytest.fixture
def writer(make_model: Callable[..., Model]) -> Generator:
    return Generator(make_model("helo w\n", num_layers=2))


@pytest.mark.parametrize(
    "regex", [r"\w+", r"h[elo]{2,5}( w\w*)?", r"(?s:.){20}", r"(?:\w{2,4} ){2,9}\n", ""]
)
def test_every_decoder_writes_matches(writer: Generator, regex: str) -> None:
    config = SampleConfig(length=50, regex=regex, num_samples=9, seed=1, temperature=2.0)
    pieces: list[str] = []
    samples = writer.samples("he", config, pieces.append)
    assert "".join(pieces) == samples[0].text
    assert "".join(writer.stream("he", replace(config, num_samples=1))) == samples[0].text
    samples += [writer.greedy("he", length=50, regex=regex)]
    samples += writer.beams("he", BeamConfig(length=50, width=4, num_return=4, regex=regex))
    for sample in samples:
        assert re.fullmatch(regex, sample.text)
        assert sample.finished_by == ("constraint" if len(sample.text) < 50 else "length")


def test_sample_i_of_a_seed_does_not_depend_on_the_number_of_samples(writer: Generator) -> None:
    one, many = (
        writer.samples("h", SampleConfig(length=30, seed=5, num_samples=n, regex=r"[helo ]+"))
        for n in (1, 9)
    )
    assert one[0].text == many[0].text


def test_characters_and_lines(writer: Generator) -> None:
    text = writer.sample("h", length=300, seed=1, temperature=2.0, forbid=r"\w").text
    assert len(text) == 300
    assert set(text) == {" ", "\n"}
    text = writer.sample("h", length=300, seed=1, allow="a-h\n", max_lines=3).text
    assert set(text) <= {"e", "h", "\n"}
    assert text.count("\n") == 3
    assert text.endswith("\n")


def test_a_stop_string_still_ends_a_text(writer: Generator) -> None:
    (one,) = writer.samples("h", SampleConfig(length=300, seed=1, allow="hel", stop="ll"))
    assert one.finished_by == "stop"
    assert not set(one.text) - set("hel")
