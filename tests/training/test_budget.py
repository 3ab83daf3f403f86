import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.training import budget
from charrnn.training.budget import Clock, Steps
from charrnn.training.learning_rate import LAST_RATE, WARM_UP, schedule


def test_the_rate_is_a_cosine_by_hand() -> None:
    # 0.02 + 0.98 * (1 + cos(pi x)) / 2: half way 0.02 + 0.98 / 2, at a quarter cos is 0.7071068
    assert schedule(0.5) == pytest.approx(0.51)
    assert schedule(0.25) == pytest.approx(0.02 + 0.98 * 0.8535534)
    assert schedule(0.75) == pytest.approx(0.02 + 0.98 * 0.1464466)


def test_the_learning_rate_warms_up_linearly() -> None:
    def part_of_cosine(x: float) -> float:
        return schedule(x) / (LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * x)) / 2)

    assert 0 < schedule(0) < 0.05
    low, middle, high = (part_of_cosine(WARM_UP * x) for x in (0.2, 0.4, 0.6))
    assert middle - low == pytest.approx(high - middle)
    assert part_of_cosine(WARM_UP) == 1


def test_the_cosine_ends_with_the_budget() -> None:
    assert schedule(1 - 1e-9) == pytest.approx(LAST_RATE)
    assert schedule(1) == schedule(1.5) == LAST_RATE


@given(st.floats(0, 2), st.floats(0, 2))
def test_the_rate_never_rises_after_the_warm_up(one: float, other: float) -> None:
    early, late = sorted((one, other))
    assert 0 < schedule(early) <= 1
    if early >= WARM_UP:
        assert schedule(late) <= schedule(early)


def test_steps_depend_on_the_step_alone() -> None:
    assert [Steps(4).fraction(step) for step in range(5)] == [0, 0.25, 0.5, 0.75, 1]


def test_a_clock_ends_at_its_deadline_minus_its_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(deadline=110.0, start=10.0)
    monkeypatch.setattr(budget.time, "perf_counter", lambda: 60.0)
    assert clock.fraction(0) == clock.fraction(999) == 0.5
    clock.reserve = 50.0
    assert clock.fraction(0) == 1.0
    clock.reserve = 75.0  # 50 of 25 seconds are gone
    assert clock.fraction(0) == 2.0


def test_a_clock_without_time_is_used_up() -> None:
    assert Clock(deadline=0.0).fraction(0) >= 1


def test_a_clock_is_used_up_when_its_steps_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget.time, "perf_counter", lambda: 25.0)
    clock = Clock(deadline=100.0, steps=40, start=0.0)
    assert clock.fraction(4) == 0.25  # of the time, more than a tenth of the steps
    assert clock.fraction(20) == 0.5
    assert clock.fraction(40) == 1.0
