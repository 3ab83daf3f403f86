import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn import parameters, streams
from charrnn.config import ModelConfig, TrainConfig, TrainOptions
from charrnn.training import plan
from charrnn.training.plan import (
    CHARACTERS_PER_PARAMETER,
    ENOUGH_EPOCHS,
    HIDDEN_SIZES,
    PARAMETERS_PER_CHARACTER,
)

MEGABYTE = 1_000_000


def _unasked(model: ModelConfig, train: TrainConfig) -> float:
    raise AssertionError("the machine's speed must not matter")


def _speed(model: ModelConfig, train: TrainConfig) -> float:
    """A machine of so many parameters times characters per second."""
    return 2e10 / parameters.count(model)


def test_what_was_asked_is_kept() -> None:
    asked: dict[str, Any] = {
        "cell": "elman",
        "num_layers": 3,
        "hidden_size": 17,
        "embedding_size": 0,
        "seq_len": 11,
        "batch_size": 5,
        "steps": 9,
        "learning_rate": 0.5,
        "weight_decay": 0.0,
        "dropout": 0.0,
        "clip_norm": 7.0,
        "seed": 13,
    }
    made = plan.make(TrainOptions(**asked), 1000, 30, _unasked)
    decided = dataclasses.asdict(made.model) | dataclasses.asdict(made.train)
    assert {name: decided[name] for name in asked} == asked
    assert (made.model.vocab_size, made.train.minutes, made.train.epochs) == (30, None, None)
    assert made.characters == 9 * 11 * 5
    assert made.reason == "the size is as asked"


@pytest.mark.parametrize("budget", [{"steps": 1000}, {"epochs": 2.5}])
def test_without_a_clock_the_plan_is_a_function_of_text_and_options(
    budget: dict[str, Any],
) -> None:
    options = TrainOptions(**budget)
    assert plan.make(options, MEGABYTE, 65, _unasked) == plan.make(options, MEGABYTE, 65, _unasked)


def test_epochs_are_counted_in_whole_windows() -> None:
    # 1003 characters in 10 streams of 100, of which windows of 30 fill 90: 900 per epoch
    options = TrainOptions(epochs=2.0, batch_size=10, seq_len=30)
    assert plan.make(options, 1003, 30, _unasked).characters == 1800


@pytest.mark.parametrize(
    ("length", "minutes"), [(10**8, 5.0), (10**6, 5.0), (250_000, 2.5), (10_000, 0.5), (100, 0.2)]
)
def test_without_a_budget_minutes_grow_with_the_root_of_the_text(
    length: int, minutes: float
) -> None:
    assert plan.make(TrainOptions(), length, 65, _speed).train.minutes == minutes


@pytest.mark.parametrize("minutes", [0.1, 1.0, 5.0, 60.0, 1e5])
def test_the_size_is_the_largest_that_time_and_text_can_feed(minutes: float) -> None:
    made = plan.make(TrainOptions(minutes=minutes), MEGABYTE, 65, _speed)
    window = made.train.batch_size * made.train.seq_len
    enough = ENOUGH_EPOCHS * (MEGABYTE // window) * window

    def fed(hidden_size: int) -> bool:
        model = dataclasses.replace(made.model, hidden_size=hidden_size)
        size = parameters.count(model)
        reads = min(enough, _speed(model, made.train) * minutes * 60)
        return reads >= min(enough, CHARACTERS_PER_PARAMETER * size) and (
            size <= PARAMETERS_PER_CHARACTER * MEGABYTE
        )

    largest = max([size for size in HIDDEN_SIZES if fed(size)], default=HIDDEN_SIZES[0])
    assert made.model.hidden_size == largest
    expected = min(enough, _speed(made.model, made.train) * minutes * 60)
    assert made.characters == pytest.approx(expected)


def test_the_reason_says_what_kept_the_network_small() -> None:
    def reason(length: int, minutes: float) -> str:
        return plan.make(TrainOptions(minutes=minutes), length, 65, _speed).reason

    assert "by heart" in reason(10_000, 1e5)
    assert "too little in the time" in reason(10**9, 0.1)
    assert "the largest" in reason(10**9, 1e7)


def test_a_faster_machine_trains_a_larger_network() -> None:
    def size(factor: float) -> int:
        def speed(model: ModelConfig, train: TrainConfig) -> float:
            return factor * _speed(model, train)

        return plan.make(TrainOptions(minutes=1), 10**7, 65, speed).model.hidden_size

    assert size(0.1) < size(1.0) < size(10.0)


@given(st.integers(2, 20_000))
def test_the_planned_batch_and_window_always_fit(length: int) -> None:
    train = plan.make(TrainOptions(steps=1), length, 30, _unasked).train
    streams.check_fit(length, train.batch_size, train.seq_len, "text")


def test_a_long_text_is_read_in_many_streams_of_long_windows() -> None:
    train = plan.make(TrainOptions(steps=1), MEGABYTE, 30, _unasked).train
    assert train.batch_size >= 32
    assert train.seq_len >= 32


def test_dropout_comes_with_repetition() -> None:
    def dropout(epochs: float, **options: Any) -> float:
        chosen = TrainOptions(epochs=epochs, **options)
        return plan.make(chosen, MEGABYTE, 65, _unasked).train.dropout

    assert dropout(1) == 0
    assert 0 < dropout(10) < dropout(100) < 1
    assert dropout(100, dropout=0.0) == 0


def test_wider_networks_make_smaller_steps() -> None:
    rates = [
        plan.make(TrainOptions(steps=1, hidden_size=size), MEGABYTE, 65, _unasked).train
        for size in (128, 512, 2048)
    ]
    assert rates[0].learning_rate > rates[1].learning_rate > rates[2].learning_rate > 0


def test_a_large_alphabet_gets_a_larger_embedding() -> None:
    small, large = (
        plan.make(TrainOptions(steps=1), MEGABYTE, size, _unasked).model for size in (65, 5000)
    )
    assert 0 < small.embedding_size < large.embedding_size


def test_measure_is_the_best_of_several_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    durations = iter([9.0, 4.0, 2.0, 3.0, 5.0])  # the first is the warm-up's

    def step() -> None:
        nonlocal now
        now += next(durations)

    monkeypatch.setattr(plan.time, "perf_counter", lambda: now)
    assert plan.measure(step, characters=100, seconds=9.0) == 50  # 4 + 2 + 3 seconds; 100 / 2
    assert list(durations) == [5.0]


def test_minutes_end_early_when_a_text_has_been_read_often_enough() -> None:
    made = plan.make(TrainOptions(minutes=5.0), 10_000, 65, _speed)
    assert (made.train.minutes, made.train.epochs) == (5.0, ENOUGH_EPOCHS)
    assert plan.make(TrainOptions(steps=5), 10_000, 65, _speed).train.epochs is None
