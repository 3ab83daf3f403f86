import math
from typing import Any

import numpy as np
import pytest
from conftest import sample_settings
from filter_definitions import P, defined, logits_of
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import SampleConfig
from charrnn.decoding import compiled
from charrnn.decoding.choice import Batch
from charrnn.decoding.constraints import UNCONSTRAINED
from charrnn.decoding.filters import (
    ALL_ALLOWED,
    FIELDS,
    NO_BIAS,
    SETTINGS,
    adjust_logits,
    choose,
    exclude_top_choices,
    filter_tokens,
    limit_surprisal,
    only_temperature,
    repeated_ngrams,
)

NEVER = np.zeros(0, np.int64)


def _from(p: Any, **fields: Any) -> list[float]:
    """Return the distribution that is drawn from if the model's is `p`."""
    weights = filter_tokens(logits_of(p), sample_settings(**fields))
    return list((weights / weights.sum()).tolist())


def _rescored(
    logits: Any, recent: Any = (), bias: Any = (), allowed: Any = (), **fields: Any
) -> Any:
    return adjust_logits(
        np.array(logits, np.float64),
        sample_settings(**fields),
        np.array(recent, np.int64),
        np.array(bias, np.float64),
        np.array(allowed, np.bool_),
    ).tolist()


def test_neutral_filters_change_nothing() -> None:
    assert _from(P) == pytest.approx(P)
    assert _rescored([1.0, -2.0], [0, 1, 1]) == [1.0, -2.0]


def test_the_defaults_of_the_config_are_neutral_except_for_the_temperature() -> None:
    neutral = SampleConfig(temperature=1.0)
    weights = filter_tokens(logits_of(P), neutral)
    assert (weights / weights.sum()).tolist() == pytest.approx(P)
    assert adjust_logits(
        np.array([1.0, -2.0]), neutral, np.array([0, 1, 1]), NO_BIAS, ALL_ALLOWED
    ).tolist() == [1.0, -2.0]
    assert only_temperature(neutral)
    assert only_temperature(SampleConfig())
    assert only_temperature(sample_settings(repeat_last_n=3))


@pytest.mark.parametrize("name", FIELDS)
def test_every_other_setting_turns_the_filters_on(name: str) -> None:
    changed = sample_settings(**{name: getattr(SampleConfig, name) + 1})
    assert only_temperature(changed) is (name in ("temperature", "repeat_last_n"))


def test_numbers_get_the_types_that_are_compiled() -> None:
    """An integer given for a fraction reaches compiled code as a fraction."""
    config = SampleConfig(temperature=1, top_k=3, presence_penalty=2, min_p=0)
    batch = Batch(config, NO_BIAS, UNCONSTRAINED, 1, *np.zeros((7, 1, 1)))
    arguments = np.array([compiled.pack([batch], 0, 0, 4)]).view(compiled.ARGUMENTS)
    settings = arguments["settings"][0, 0]
    assert {name: settings[name] for name in FIELDS} == {
        name: getattr(config, name) for name in FIELDS
    }
    kinds = {name: SETTINGS[name] for name in FIELDS}
    assert kinds == {name: np.dtype(type(getattr(SampleConfig, name))) for name in FIELDS}
    assert kinds["temperature"] == kinds["presence_penalty"] == np.float64
    assert kinds["top_k"] == kinds["repeat_last_n"] == np.int64


# Temperature


@pytest.mark.parametrize("temperature", [0.1, 0.5, 0.8, 1.0, 2.0, 10.0])
def test_temperature_is_the_renormalized_power(temperature: float) -> None:
    powers = np.array(P) ** (1 / temperature)
    assert _from(P, temperature=temperature) == pytest.approx(powers / powers.sum(), rel=1e-12)


def test_temperature_by_hand() -> None:
    # p^2 = 0.01, 0.16, 0.04, 0.09; their sum is 0.3
    assert _from(P, temperature=0.5) == pytest.approx([1 / 30, 16 / 30, 4 / 30, 9 / 30])


def _chosen(logits: Any, point: float = 0.5, **fields: Any) -> int:
    return choose(
        np.asarray(logits), sample_settings(**fields), NEVER, NO_BIAS, ALL_ALLOWED, point, 0.0
    )[0]


def test_temperature_zero_is_the_most_likely_token_and_the_lowest_id_among_equals() -> None:
    assert _chosen(logits_of(P), temperature=0) == 1
    assert _chosen(logits_of([0.2, 0.4, 0.4]), temperature=0, point=0.99) == 1


@pytest.mark.parametrize("temperature", [1e-6, 1e-300, 5e-324])
def test_a_tiny_temperature_is_like_zero(temperature: float) -> None:
    with np.errstate(over="ignore"):
        assert _from(P, temperature=temperature) == [0, 1, 0, 0]
        assert _from([0.2, 0.4, 0.4], temperature=temperature) == [0, 0.5, 0.5]


def test_a_huge_temperature_is_a_uniform_draw() -> None:
    assert _from(P, temperature=1e6) == pytest.approx([0.25] * 4, abs=1e-6)


@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_distant_logits_do_not_overflow(scale: float) -> None:
    weights = filter_tokens(np.array([0.0, scale]), sample_settings(temperature=0.5))
    assert sorted(weights.tolist()) == [0, 1]


# Filters


@pytest.mark.parametrize(
    ("k", "kept"),
    [
        (1, [0, 1, 0, 0]),
        (2, [0, 4 / 7, 0, 3 / 7]),
        (3, [0, 4 / 9, 2 / 9, 3 / 9]),
        (4, P),
        (5, P),
        (10**9, P),
        (0, P),
    ],
)
def test_top_k_keeps_the_k_most_likely(k: int, kept: Any) -> None:
    assert _from(P, top_k=k) == pytest.approx(list(kept))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k_keeps_the_k_lowest_ids_among_equals(k: int) -> None:
    assert _from([0.25] * 4, top_k=k) == pytest.approx([1 / k] * k + [0] * (4 - k))


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [
        # in order 0.4, 0.3, 0.2, 0.1: a token stays while those before it have less than top_p
        (1e-9, [0, 1, 0, 0]),
        (0.39, [0, 1, 0, 0]),
        (0.41, [0, 4 / 7, 0, 3 / 7]),
        (0.69, [0, 4 / 7, 0, 3 / 7]),
        (0.71, [0, 4 / 9, 2 / 9, 3 / 9]),
        (0.91, P),
        (1.0, P),
    ],
)
def test_top_p_keeps_the_fewest_tokens_with_this_total_probability(top_p: float, kept: Any) -> None:
    assert _from(P, top_p=top_p) == pytest.approx(list(kept))


def test_typical_by_hand() -> None:
    # Entropy 1.280 nats; surprisals of P: 2.30, 0.92, 1.61, 1.20. In order of distance from the
    # entropy: 0.3 (0.08), 0.2 (0.33), 0.4 (0.36), 0.1 (1.02).
    assert _from(P, typical_p=0.29) == [0, 0, 0, 1]
    assert _from(P, typical_p=0.31) == pytest.approx([0, 0, 0.4, 0.6])
    assert _from(P, typical_p=0.51) == pytest.approx([0, 4 / 9, 2 / 9, 3 / 9])
    assert _from(P, typical_p=0.91) == pytest.approx(P)


def test_among_equally_typical_tokens_the_lowest_ids_stay() -> None:
    assert _from([0.25] * 4, typical_p=0.5) == [0.5, 0.5, 0, 0]


@pytest.mark.parametrize(
    ("min_p", "kept"),
    [
        # relative to the most likely, 0.4: 0.74 is 0.296, 0.76 is 0.304
        (0.24, P),
        (0.26, [0, 4 / 9, 2 / 9, 3 / 9]),
        (0.74, [0, 4 / 7, 0, 3 / 7]),
        (0.76, [0, 1, 0, 0]),
        (1.0, [0, 1, 0, 0]),
    ],
)
def test_min_p_is_relative_to_the_most_likely_token(min_p: float, kept: Any) -> None:
    assert _from(P, min_p=min_p) == pytest.approx(list(kept))


def test_order_of_the_filters() -> None:
    # top_k = 2 leaves 4/7 and 3/7; of these the first alone has 0.5 (before top_k it had 0.4)
    assert _from(P, top_k=2, top_p=0.5) == [0, 1, 0, 0]
    # temperature 1/2 first: 16/30 has 0.5 (at temperature 1 it needs two)
    assert _from(P, temperature=0.5, top_p=0.5) == [0, 1, 0, 0]
    # typical leaves 0.2 and 0.3 (by hand above), of which min_p measures from the best left
    assert _from(P, typical_p=0.31, min_p=0.6) == pytest.approx([0, 0, 0.4, 0.6])
    assert _from(P, typical_p=0.31, min_p=0.7) == [0, 0, 0, 1]
    assert _from(P, typical_p=0.31, top_p=0.5) == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("threshold", "kept"),
    [
        (0.05, [1, 0, 0, 0]),  # all are likely: the least likely stays
        (0.15, [1 / 3, 0, 2 / 3, 0]),
        (0.25, [0.1 / 0.6, 0, 0.2 / 0.6, 0.3 / 0.6]),
        (0.35, P),  # one alone is likely
        (0.5, P),
    ],
)
def test_xtc_keeps_the_least_likely_of_the_likely_tokens(threshold: float, kept: Any) -> None:
    always = {"xtc_probability": 1.0, "xtc_threshold": threshold}
    points = (np.arange(600) + 0.5) / 600
    drawn = np.bincount([_chosen(logits_of(P), point, **always) for point in points], minlength=4)
    assert drawn / 600 == pytest.approx(np.array(kept), abs=2e-3)


def test_xtc_keeps_one_of_equals() -> None:
    assert _from([0.25] * 4) == [0.25] * 4
    kept = exclude_top_choices(np.array([0.4, 0.2, 0.2, 0.2]), 0.2)
    assert kept.tolist() == [0, 0, 0, 0.2]


# Mirostat


def _mirostat(bound: float, point: float, **fields: Any) -> tuple[int, float, float]:
    filters = sample_settings(**{"mirostat_ent": 2.0, "mirostat_lr": 0.5, **fields})
    return choose(logits_of(P), filters, NEVER, NO_BIAS, ALL_ALLOWED, point, bound)


def test_mirostat_by_hand() -> None:
    # surprises of 0.1, 0.4, 0.2, 0.3: 3.32, 1.32, 2.32 and 1.74 bits
    for bound, left in ((4.0, P), (3.0, [0, 0.4, 0.2, 0.3]), (2.0, [0, 0.4, 0, 0.3])):
        weights = limit_surprisal(np.array(P), bound)
        assert weights.tolist() == left
    assert limit_surprisal(np.array(P), 0.0).tolist() == [0, 0.4, 0, 0]
    # among 0.4 and 0.3 the second has log2(7 / 3) = 1.222 bits: less than 2, the bound rises
    *chosen, bound = _mirostat(2.0, 0.9)
    assert chosen == [3, pytest.approx(math.log(0.3))]
    assert bound == pytest.approx(2.0 - 0.5 * (math.log2(7 / 3) - 2.0))
    # alone, a token has no surprise: the bound rises by half of the 2 bits that are wanted
    assert _mirostat(1.0, 0.5) == (1, pytest.approx(math.log(0.4)), pytest.approx(2.0))
    # what is equally likely stays, however surprising; the bound falls to 0 and no further
    equal = (
        np.zeros(64),
        sample_settings(mirostat_ent=1.0, mirostat_lr=1.0),
        NEVER,
        NO_BIAS,
        ALL_ALLOWED,
    )
    assert choose(*equal, 0.999, 2.0) == (63, pytest.approx(-math.log(64)), 0.0)
    # without it the bound is what it was
    assert _mirostat(0.3, 0.99, mirostat_ent=0.0) == (3, pytest.approx(math.log(0.3)), 0.3)


@pytest.mark.parametrize("wanted", [0.5, 1.0, 1.5])
def test_mirostat_holds_the_surprisal_at_its_target(wanted: float) -> None:
    rng = np.random.default_rng(3)
    filters = sample_settings(mirostat_ent=wanted, mirostat_lr=0.1)
    bound, surprises = 2 * wanted, []
    for _ in range(4000):
        logits = 1.5 * rng.standard_normal(30)
        weights = limit_surprisal(np.exp(logits), bound)
        given = (logits, filters, NEVER, NO_BIAS, ALL_ALLOWED, rng.random())
        token, _, bound = choose(*given, bound)
        surprises.append(-math.log2(weights[token] / weights.sum()))
    assert np.mean(surprises) == pytest.approx(wanted, abs=0.02)


# Bias and penalties


def test_repetition_divides_positive_logits_and_multiplies_others() -> None:
    logits = [2.0, -2.0, 0.0, 3.0, -math.inf]
    assert _rescored(logits, [0, 1, 1, 2, 4], repeat_penalty=2.0) == [1, -4, 0, 3, -math.inf]


def test_presence_counts_once_and_frequency_every_time() -> None:
    logits = [0.0, 0.0, 0.0]
    assert _rescored(logits, [1, 2, 2], presence_penalty=0.5) == [0, -0.5, -0.5]
    assert _rescored(logits, [1, 2, 2], frequency_penalty=0.5) == [0, -0.5, -1]
    assert _rescored(logits, [1, 2, 2], frequency_penalty=-1, presence_penalty=3) == [0, -2, -1]


@pytest.mark.parametrize(
    ("last_n", "hit"), [(1, [3]), (2, [2, 3]), (9, [0, 1, 2, 3]), (-1, [0, 1, 2, 3])]
)
def test_penalties_apply_to_the_last_tokens(last_n: int, hit: list[int]) -> None:
    changed = _rescored([0.0] * 4, [0, 1, 2, 3], presence_penalty=1, repeat_last_n=last_n)
    assert [token for token, score in enumerate(changed) if score] == hit


def test_bias_comes_before_penalties_and_these_before_the_mask() -> None:
    changed = _rescored(
        [1.0, 1.0, 1.0],
        [0, 2],
        [1.0, 0.0, 0.0],
        [True, True, False],
        repeat_penalty=2,
        presence_penalty=0.5,
    )
    assert changed == [(1 + 1) / 2 - 0.5, 1, -math.inf]


@pytest.mark.parametrize(
    ("text", "size", "banned"),
    [
        ([], 1, []),
        ([0, 1], 1, [0, 1]),
        ([0, 1], 2, []),
        ([0, 1, 0], 2, [1]),
        ([0, 1, 0, 2, 0], 2, [1, 2]),
        ([0, 1, 2, 0, 1], 3, [2]),
        ([0, 1, 2, 3, 1], 3, []),
        ([0, 0, 0], 3, [0]),
        ([0], 10**9, []),
    ],
)
def test_repeated_ngrams_by_hand(text: list[int], size: int, banned: list[int]) -> None:
    assert sorted(repeated_ngrams(np.array(text, np.int64), size).tolist()) == banned


@given(st.lists(st.integers(0, 2), max_size=30), st.integers(1, 6))
def test_a_token_is_banned_if_it_completes_an_earlier_ngram(text: list[int], size: int) -> None:
    runs = {tuple(text[i : i + size]) for i in range(len(text) - size + 1)}
    wanted = {s for s in range(3) if tuple([*text, s][-size:]) in runs}
    assert set(repeated_ngrams(np.array(text, np.int64), size).tolist()) == wanted


def test_if_every_token_would_repeat_an_ngram_all_are_allowed() -> None:
    assert _rescored([1.0, 2.0], [0, 1], no_repeat_ngram_size=1) == [1.0, 2.0]
    # of what is allowed nothing would be left: what is allowed counts
    forbidden = _rescored([1.0, 2.0], [0], allowed=[True, False], no_repeat_ngram_size=1)
    assert forbidden == [1.0, -math.inf]


# Numbers of few digits: ties are frequent, and no two of them nearly equal.
COARSE = st.integers(-12, 12).map(lambda n: n / 4)
FILTERS = st.builds(
    sample_settings,
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
    top_k=st.integers(0, 8),
    typical_p=st.sampled_from([1.0, 0.23, 0.61, 0.93]),
    top_p=st.sampled_from([1.0, 0.17, 0.53, 0.87]),
    min_p=st.sampled_from([0.0, 0.07, 0.41]),
    repeat_penalty=st.sampled_from([1.0, 0.5, 2.0]),
    presence_penalty=st.sampled_from([0.0, 0.5, -1.0]),
    frequency_penalty=st.sampled_from([0.0, 0.25, -0.5]),
    repeat_last_n=st.sampled_from([-1, 1, 4]),
    no_repeat_ngram_size=st.integers(0, 3),
)


@st.composite
def _situations(draw: Any) -> tuple[Any, ...]:
    size = draw(st.integers(1, 7))
    column = st.lists(COARSE, min_size=size, max_size=size)
    masks = st.lists(st.booleans(), min_size=size, max_size=size).filter(any)
    return (
        draw(column),
        draw(FILTERS),
        draw(st.lists(st.integers(0, size - 1), max_size=9)),
        draw(st.just([]) | column),
        draw(st.just([]) | masks),
    )


@given(_situations())
def test_filters_follow_their_definitions(situation: tuple[Any, ...]) -> None:
    logits, f, recent, bias, allowed = situation
    wanted = defined(*situation)
    scores = _rescored(logits, recent, bias, allowed, **vars(f))
    weights = filter_tokens(np.array(scores), f)
    found = dict(enumerate((weights / weights.sum()).tolist()))
    found = {token: q for token, q in found.items() if q}
    if found.keys() != wanted.keys() and f.typical_p < 1:
        assert _equally_typical(scores, f)
    else:
        assert found == pytest.approx({token: q for token, q in wanted.items() if q}, rel=1e-9)


def _equally_typical(scores: list[float], f: SampleConfig) -> bool:
    """Return whether rounding decides which of two tokens is closer to the entropy."""
    weights = filter_tokens(
        np.array(scores),
        sample_settings(**vars(f) | {"typical_p": 1.0, "top_p": 1.0, "min_p": 0.0}),
    )
    q = weights[weights > 0] / weights.sum()
    distances = np.sort(np.abs(np.log(q) - (q * np.log(q)).sum()))
    return bool((np.diff(distances) < 1e-9).any())
