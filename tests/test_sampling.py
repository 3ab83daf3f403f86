import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from charrnn.config import SampleConfig
from charrnn.decoding import sampling
from charrnn.decoding.filters import NO_BIAS, Filters
from charrnn.decoding.sampling import filters_of, generator
from charrnn.decoding.step import ends_with, log_softmax

Rows = list[list[tuple[int, int, float]]]


def test_each_sample_has_its_own_randomness() -> None:
    numbers = {(s, i): generator(s, i).random() for s in (0, 1, 2**63 - 1) for i in (0, 1)}
    assert len(set(numbers.values())) == 6
    assert numbers[1, 1] == generator(1, 1).random()


def test_numbers_get_the_types_that_are_compiled() -> None:
    """A whole number given for a fraction must not be another function to a compiler."""
    made = filters_of(SampleConfig(temperature=1, top_k=3, presence_penalty=2, min_p=0))
    assert made == Filters(top_k=3, presence_penalty=2.0)
    kinds = [type(value) for value in made]
    assert kinds == [type(value) for value in Filters()]


def _sample(
    chain: Any,
    stops: Any = (),
    rows: int = 1,
    read: Any = (),
    bias: Any = NO_BIAS,
    **config: Any,
) -> Rows:
    generators = [generator(7, index) for index in range(rows)]
    made = SampleConfig(**{"temperature": 1.0, **config})
    ids = np.array(read, np.int64)
    return list(
        sampling.sample(chain, *chain.begin(), made, generators, stops, read=ids, bias=bias)
    )


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


@pytest.mark.parametrize(
    "penalty", [{"presence_penalty": 100.0}, {"frequency_penalty": 100.0}, {"repeat_last_n": 3}]
)
def test_penalties_see_what_was_read_and_what_was_written(
    make_chain: Callable[..., Any], penalty: dict[str, Any]
) -> None:
    chain = make_chain(5, seed=2)
    penalty = {"presence_penalty": 100.0, "repeat_last_n": 4, **penalty}
    last_n = penalty["repeat_last_n"]
    steps = _sample(chain, rows=4, length=30, read=[4, 3], **penalty)
    for text in _texts(steps, 4):
        whole = [4, 3, *text]
        for end in range(2, 32):
            assert whole[end] not in whole[max(end - last_n, 0) : end]


def test_no_run_occurs_twice_even_with_the_prompt(make_chain: Callable[..., Any]) -> None:
    chain = make_chain(4, seed=2)
    (text,) = _texts(_sample(chain, length=40, read=[0, 1, 2], no_repeat_ngram_size=3), 1)
    whole = [0, 1, 2, *text]
    runs = [tuple(whole[i : i + 3]) for i in range(len(whole) - 2)]
    assert len(set(runs)) == len(runs)


def test_a_bias_of_minus_100_forbids_and_of_100_compels(make_chain: Callable[..., Any]) -> None:
    chain = make_chain(3, seed=2)
    (text,) = _texts(_sample(chain, length=50, bias=np.array([0.0, -100.0, 0.0])), 1)
    assert set(text) == {0, 2}
    (text,) = _texts(_sample(chain, length=50, bias=np.array([0.0, 100.0, 0.0])), 1)
    assert set(text) == {1}


def test_a_tiny_temperature_warns_of_nothing(make_chain: Callable[..., Any]) -> None:
    chain = make_chain(4, seed=3)
    cold, coldest = (_texts(_sample(chain, length=9, temperature=t), 1) for t in (5e-324, 0.0))
    assert cold == coldest


def test_long_texts_are_kept_whole(make_chain: Callable[..., Any]) -> None:
    """Their room grows: what penalties and stop strings see must not be lost."""
    chain = make_chain(4, seed=0)
    read, written = list(range(4)) * 100, 700
    (text,) = _texts(_sample(chain, length=written, read=read, no_repeat_ngram_size=6), 1)
    whole = [*read, *text]
    runs = {tuple(whole[i : i + 6]) for i in range(394, len(whole) - 5)}
    assert len(runs) == written + 1


def test_a_stop_string_begins_after_the_prompt(make_chain: Callable[..., Any]) -> None:
    chain = make_chain(np.full((1, 1, 1), 1.0))
    (text,) = _texts(_sample(chain, [(0, 0, 0)], length=9, read=[0, 0]), 1)
    assert len(text) == 3


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
