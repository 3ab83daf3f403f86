"""The draw, by plain and by compiled code, and the log-probability of its result."""

import ctypes
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import sample_settings
from filter_definitions import P, defined, logits_of, normalized
from numpy.typing import NDArray

from charrnn.config import SampleConfig
from charrnn.decoding import compiled
from charrnn.decoding.choice import Batch
from charrnn.decoding.constraints import UNCONSTRAINED
from charrnn.decoding.filters import (
    ALL_ALLOWED,
    NO_BIAS,
    choose,
    draw,
    log_prob,
)
from charrnn.decoding.step import log_softmax


def many(logits: Any, settings: SampleConfig, recent: Any, points: Any) -> NDArray[np.int64]:
    """Return what each of these numbers draws, by the compiled function: a text for each."""
    logits, history, count = np.array(logits, np.float32), np.array(recent), len(points)
    ids = np.zeros(count, np.int64)
    batch = Batch(
        settings=settings,
        bias=NO_BIAS,
        constraint=UNCONSTRAINED,
        left=1,
        states=np.zeros(count, np.int64),
        bounds=np.full(count, 2.0 * settings.mirostat_ent),
        history=np.tile(np.append(history, 0), (count, 1)),  # with space for the chosen token
        used=np.full(count, len(history)),
        uniforms=points[None],
        tokens=np.zeros((1, count), np.int64),
        log_probs=np.zeros((1, count)),
    )
    arguments = np.array(compiled.pack([batch], logits.ctypes.data, 0, len(logits)))
    context = np.array([0, 1, count, ids.ctypes.data, 0, 0, 0, 0])
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(compiled.by_filters.address)
    function(context.ctypes.data, arguments.ctypes.data)
    assert (ids == batch.tokens[0]).all()
    return ids


EVERYTHING = {
    "temperature": 0.9,
    "top_k": 12,
    "typical_p": 0.95,
    "top_p": 0.9,
    "min_p": 0.05,
    "xtc_probability": 0.3,
    "xtc_threshold": 0.2,
    "repeat_penalty": 1.2,
    "presence_penalty": 0.3,
    "frequency_penalty": 0.1,
    "no_repeat_ngram_size": 3,
}
EACH: dict[str, dict[str, Any]] = {
    "neutral": {},
    "greedy": {"temperature": 0.0},
    **{name: {name: value} for name, value in EVERYTHING.items()},
    "everything": EVERYTHING,
    "mirostat": {"mirostat_ent": 0.95},
}


# The 99.9 % points of chi-square for 1 to 5 degrees of freedom, from any table.
CHI_SQUARE = {0: 0.0, 1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47, 5: 20.52}


@pytest.mark.parametrize("name", [name for name in EACH if name != "greedy"])
def test_many_draws_have_the_exact_frequencies(name: str, times: Callable[[int, int], int]) -> None:
    p = [0.05, 0.3, 0.0, 0.25, 0.28, 0.12]
    fields = {**EACH[name], "top_k": 3} if name in ("top_k", "everything") else EACH[name]
    f = sample_settings(**fields)
    logits, recent = logits_of(p), [3, 1, 4, 3, 1]
    exact = defined(logits.tolist(), f, recent, [], [])
    if f.xtc_probability:
        exact = _with_xtc(exact, f)
    if f.mirostat_ent:  # of surprises 1.74, 2, 1.84, 3.06 and 4.32 those up to 1.9
        exact = normalized({s: q for s, q in exact.items() if q and -math.log2(q) <= 1.9})
        assert len(exact) == 2
    number = times(40_000, 1_000_000)
    points = np.random.default_rng(11).random(number)
    counts = np.bincount(many(logits, f, recent, points), minlength=6)
    possible = [token for token, q in exact.items() if q]
    assert counts[possible].sum() == number
    wanted = number * np.array([exact[token] for token in possible])
    chi_square = ((counts[possible] - wanted) ** 2 / wanted).sum()
    assert chi_square <= CHI_SQUARE[len(possible) - 1]


def _with_xtc(p: dict[int, float], f: SampleConfig) -> dict[int, float]:
    """Return the mixture of the distributions with and without the most likely tokens."""
    likely = sorted((q, s) for s, q in p.items() if q >= f.xtc_threshold)
    without = normalized({s: q for s, q in p.items() if (q, s) not in likely[1:]})
    return {
        s: f.xtc_probability * without.get(s, 0.0) + (1 - f.xtc_probability) * q
        for s, q in p.items()
    }


@pytest.mark.parametrize("p", [[0, 0.3, 0.7, 0], [0, 0, 1, 0], [0.1] * 10 + [0], [0, 5e-324, 0]])
def test_the_lowest_and_highest_numbers_draw_possible_tokens(p: list[float]) -> None:
    possible = [token for token, value in enumerate(p) if value]
    weights = np.array(p)
    assert (draw(weights, 0.0), draw(weights, 1 - 2**-53)) == (possible[0], possible[-1])


def test_draw_inverts_the_cumulative_sum() -> None:
    weights = np.array([0.25, 0.25, 0.5])
    points = [0.0, 0.2499, 0.25, 0.4999, 0.5]
    assert [draw(weights, point) for point in points] == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("name", EACH)
def test_nan_logits_neither_hang_nor_yield_invalid_tokens(
    name: str,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logits in (np.full(4, np.nan), np.array([1, np.nan, 2, 3]), np.full(4, -np.inf)):
            given_ = (logits, sample_settings(**EACH[name]), np.array([1, 2]), NO_BIAS, ALL_ALLOWED)
            assert 0 <= choose(*given_, 0.5, 1.0)[0] < 4
            assert 0 <= many(*given_[:3], np.array([0.5]))[0] < 4


def test_the_log_probability_is_the_models() -> None:
    logits = logits_of(P)
    fields: dict[str, Any] = {"temperature": 0.3, "top_k": 2, "presence_penalty": 9.0}
    chosen = choose(
        logits, sample_settings(**fields), np.array([1]), NO_BIAS, ALL_ALLOWED, 0.5, 1.0
    )
    assert chosen == (3, pytest.approx(math.log(0.3)), 1.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_prob_agrees_with_log_softmax(dtype: Any) -> None:
    logits = (9 * np.random.default_rng(1).standard_normal(50)).astype(dtype)
    every = log_softmax(logits[None])[0]
    for token in range(50):
        assert log_prob(logits, token) == pytest.approx(every[token], rel=1e-12)
