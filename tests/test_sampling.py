import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from charrnn.config import SampleConfig
from charrnn.decoding import sampling
from charrnn.decoding.sampling import draw, generator, probabilities
from charrnn.decoding.step import ends_with, log_softmax

P = np.array([0.1, 0.4, 0.2, 0.3])
Rows = list[list[tuple[int, int, float]]]


def _from(p: Any, **filters: Any) -> list[float]:
    """What is drawn from where the model says `p`."""
    with np.errstate(divide="ignore"):
        logits = np.log(np.asarray(p, np.float64))[None] + 5.0  # a constant changes nothing
    row: list[float] = probabilities(logits, SampleConfig(**{"temperature": 1.0, **filters}))[
        0
    ].tolist()
    return row


@pytest.mark.parametrize("temperature", [0.1, 0.5, 0.8, 1.0, 2.0, 10.0])
def test_temperature_is_the_power_renormalised(temperature: float) -> None:
    powers = P ** (1 / temperature)
    assert _from(P, temperature=temperature) == pytest.approx(powers / powers.sum(), rel=1e-12)


def test_temperature_by_hand() -> None:
    # p^2 = 0.01, 0.16, 0.04, 0.09; their sum is 0.3
    assert _from(P, temperature=0.5) == pytest.approx([1 / 30, 16 / 30, 4 / 30, 9 / 30])


def test_temperature_zero_is_the_most_likely_symbol_the_lowest_among_equals() -> None:
    assert _from(P, temperature=0) == [0, 1, 0, 0]
    assert _from([0.2, 0.4, 0.4], temperature=0) == [0, 1, 0]


@pytest.mark.parametrize("temperature", [1e-6, 1e-300, 5e-324])
def test_a_tiny_temperature_is_as_zero_and_warns_of_nothing(temperature: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _from(P, temperature=temperature) == [0, 1, 0, 0]
        assert _from([0.2, 0.4, 0.4], temperature=temperature) == [0, 0.5, 0.5]


def test_a_huge_temperature_is_an_even_draw() -> None:
    assert _from(P, temperature=1e6) == pytest.approx([0.25] * 4, abs=1e-6)


def test_float32_logits_are_filtered_in_float64() -> None:
    logits = np.log(P).astype(np.float32)[None]
    assert probabilities(logits, SampleConfig(temperature=1.0)).dtype == np.float64


@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_far_logits_do_not_overflow(scale: float) -> None:
    logits = np.array([[0.0, scale]], np.float32)
    p = probabilities(logits, SampleConfig(temperature=0.5))[0]
    assert sorted(p.tolist()) == [0, 1]


def test_rows_are_filtered_each_for_itself() -> None:
    logits = np.log(np.array([P, P[::-1]]))
    p = probabilities(logits, SampleConfig(temperature=1.0, top_k=2, top_p=0.9, min_p=0.1))
    assert p[0].tolist() == pytest.approx([0, 4 / 7, 0, 3 / 7])
    assert p[1].tolist() == p[0, ::-1].tolist()


@pytest.mark.parametrize(
    ("k", "kept"),
    [
        (1, [0, 1, 0, 0]),
        (2, [0, 4 / 7, 0, 3 / 7]),
        (3, [0, 4 / 9, 2 / 9, 3 / 9]),
        (4, P),
        (5, P),
        (0, P),
    ],
)
def test_top_k_keeps_the_k_most_likely(k: int, kept: Any) -> None:
    assert _from(P, top_k=k) == pytest.approx(list(kept))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k_keeps_exactly_k_of_equals_the_lowest_ids(k: int) -> None:
    assert _from([0.25] * 4, top_k=k) == pytest.approx([1 / k] * k + [0] * (4 - k))


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [
        # in order 0.4, 0.3, 0.2, 0.1: a symbol stays while those before it have less than top_p
        (1e-9, [0, 1, 0, 0]),
        (0.39, [0, 1, 0, 0]),
        (0.41, [0, 4 / 7, 0, 3 / 7]),
        (0.69, [0, 4 / 7, 0, 3 / 7]),
        (0.71, [0, 4 / 9, 2 / 9, 3 / 9]),
        (0.91, P),
        (1.0, P),
    ],
)
def test_top_p_keeps_the_fewest_that_have_this_probability(top_p: float, kept: Any) -> None:
    assert _from(P, top_p=top_p) == pytest.approx(list(kept))


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
def test_min_p_is_a_share_of_the_most_likely(min_p: float, kept: Any) -> None:
    assert _from(P, min_p=min_p) == pytest.approx(list(kept))


def test_filters_act_in_their_order() -> None:
    # top_k = 2 leaves 4/7 and 3/7; of these the first alone has 0.5 (before top_k it had 0.4)
    assert _from(P, top_k=2, top_p=0.5) == [0, 1, 0, 0]
    # temperature 1/2 first: 16/30 has 0.5 (at temperature 1 it needs two)
    assert _from(P, temperature=0.5, top_p=0.5) == [0, 1, 0, 0]


@given(
    st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=12),
    st.floats(0, 1e6),
    st.integers(0, 13),
    st.floats(0, 1, exclude_min=True),
    st.floats(0, 1),
)
def test_any_filters_leave_a_distribution(
    logits: list[float], temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    config = SampleConfig(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    values = np.array([logits], np.float32)
    (p,) = probabilities(values, config)
    assert p.min() >= 0
    assert p.sum() == pytest.approx(1)
    assert p[values[0].argmax()] == p.max() > 0  # the most likely symbol always stays
    if top_k:
        assert np.count_nonzero(p) <= top_k


# The 99.9 % points of chi-square for 1 to 5 degrees of freedom, from any table.
CHI_SQUARE = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47, 5: 20.52}


@pytest.mark.parametrize(
    "filters", [{}, {"temperature": 0.5}, {"top_k": 3}, {"top_p": 0.6}, {"min_p": 0.3}]
)
def test_draws_have_the_exact_frequencies(filters: dict[str, Any]) -> None:
    p = [0.05, 0.3, 0.0, 0.25, 0.3, 0.1]
    expected = np.array(_from(p, **filters))
    number = 20_000
    drawn = draw(np.tile(expected, (number, 1)), [generator(11, i) for i in range(number)])
    counts = np.bincount(drawn, minlength=6)
    possible = expected > 0
    assert not counts[~possible].any()
    wanted = number * expected[possible]
    chi_square = ((counts[possible] - wanted) ** 2 / wanted).sum()
    assert chi_square < CHI_SQUARE[int(possible.sum()) - 1]


class Fixed(np.random.Generator):
    """Randomness whose next number is known: the ends of the interval come up too rarely."""

    def __init__(self, number: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.number = number

    def random(self, *args: Any, **kwargs: Any) -> float:
        return self.number


@pytest.mark.parametrize("p", [[0, 0.3, 0.7, 0], [0, 0, 1, 0], [0.1] * 10 + [0], [0, 5e-324, 0]])
def test_the_first_and_the_last_number_draw_no_impossible_symbol(p: list[float]) -> None:
    possible = [symbol for symbol, value in enumerate(p) if value]
    first, last = (draw(np.array([p]), [Fixed(number)]) for number in (0.0, 1 - 2**-53))
    assert (int(first[0]), int(last[0])) == (possible[0], possible[-1])


def test_the_number_drawn_inverts_the_cumulative_sum() -> None:
    p = np.tile([0.25, 0.25, 0.5], (5, 1))
    points = [0.0, 0.2499, 0.25, 0.4999, 0.5]
    assert draw(p, [Fixed(point) for point in points]).tolist() == [0, 0, 1, 1, 2]


def test_each_sample_has_its_own_randomness() -> None:
    numbers = {(s, i): generator(s, i).random() for s in (0, 1, 2**63 - 1) for i in (0, 1)}
    assert len(set(numbers.values())) == 6
    assert numbers[1, 1] == generator(1, 1).random()


def _sample(chain: Any, stops: Any = (), rows: int = 1, **config: Any) -> Rows:
    logits, state = chain.begin()
    generators = [generator(7, index) for index in range(rows)]
    made = SampleConfig(**{"temperature": 1.0, **config})
    return list(sampling.sample(chain, logits, state, made, generators, stops))


def _texts(steps: Rows, rows: int) -> list[tuple[int, ...]]:
    return [tuple(s for step in steps for r, s, _ in step if r == row) for row in range(rows)]


def test_sample_i_is_the_same_however_many_are_written(make_chain: Callable[..., Any]) -> None:
    chain = make_chain(4, seed=0)
    alone, three, ten = (_texts(_sample(chain, rows=n, length=40), n) for n in (1, 3, 10))
    assert ten[:3] == three
    assert three[:1] == alone
    assert len(set(ten)) == 10


def test_a_sample_does_not_depend_on_what_stopped_beside_it(
    make_chain: Callable[..., Any],
) -> None:
    chain = make_chain(3, seed=1)
    free = _texts(_sample(chain, rows=8, length=30), 8)
    stops = [(0, 0), (2, 1, 2)]
    stopped = _texts(_sample(chain, stops, rows=8, length=30), 8)
    for whole, text in zip(free, stopped, strict=True):
        ends = [e for e in range(1, 31) if any(whole[:e][-len(s) :] == s for s in stops)]
        assert text == whole[: ends[0] if ends else 30]
    assert len({len(text) for text in stopped}) > 3


def test_a_row_that_stopped_leaves_the_batch(make_chain: Callable[..., Any]) -> None:
    chain = make_chain(3, seed=1)
    steps = _sample(chain, [(0,)], rows=8, length=30)
    assert chain.batches == [len(step) for step in steps[1:]]
    assert len(steps) < 30
    assert len(steps[-1]) < 8


def test_log_probs_are_the_models_not_those_of_the_filters(
    make_chain: Callable[..., Any],
) -> None:
    chain = make_chain(4, seed=2)
    steps = _sample(chain, rows=3, length=12, temperature=0.3, top_k=2)
    for row, text in enumerate(_texts(steps, 3)):
        total = sum(log_prob for step in steps for r, _, log_prob in step if r == row)
        assert total == pytest.approx(chain.log_prob(text), rel=1e-12)


@pytest.mark.parametrize("length", [0, 1, 5])
def test_nothing_is_read_after_the_last_symbol(make_chain: Callable[..., Any], length: int) -> None:
    chain = make_chain(3, seed=0)
    assert len(_sample(chain, length=length)) == length
    assert len(chain.batches) == max(length - 1, 0)


def test_log_softmax_by_hand() -> None:
    # logits 0, ln 3: p = 1/4, 3/4; a constant changes nothing, far logits neither overflow
    for constant in (0.0, 1e4, -1e4):
        logits: NDArray[Any] = np.array([[0.0, math.log(3)]]) + constant
        assert np.exp(log_softmax(logits))[0].tolist() == pytest.approx([0.25, 0.75], rel=1e-9)


@pytest.mark.parametrize(
    ("ids", "stops", "ended"),
    [
        ([1, 2, 3], [(3,)], True),
        ([1, 2, 3], [(2, 3)], True),
        ([1, 2, 3], [(9,), (1, 2, 3)], True),
        ([1, 2, 3], [(2,), (1, 2), (1, 3)], False),
        ([3], [(2, 3)], False),
        ([1], [], False),
    ],
)
def test_ends_with(ids: list[int], stops: list[tuple[int, ...]], ended: bool) -> None:
    assert ends_with(ids, stops) is ended
    assert ends_with(np.array(ids), stops) is ended
