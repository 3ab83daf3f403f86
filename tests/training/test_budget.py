import json
import math
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from following import Follower, train
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import TrainOptions
from charrnn.network.module import CharRNN
from charrnn.text.corpus import from_text
from charrnn.training import budget
from charrnn.training.budget import Clock, Steps
from charrnn.training.events import Metrics
from charrnn.training.learning_rate import WARM_UP, schedule


def test_the_rate_is_a_cosine_by_hand() -> None:
    # 0.02 + 0.98 * (1 + cos(pi x)) / 2: half way 0.02 + 0.98 / 2, at a quarter cos is 0.7071068
    assert schedule(0.5, 0.02) == pytest.approx(0.51)
    assert schedule(0.25, 0.02) == pytest.approx(0.02 + 0.98 * 0.8535534)
    assert schedule(0.75, 0.02) == pytest.approx(0.02 + 0.98 * 0.1464466)
    assert schedule(0.5) == pytest.approx(0.5)


def test_the_learning_rate_warms_up_linearly() -> None:
    def part_of_cosine(x: float) -> float:
        return schedule(x) / ((1 + math.cos(math.pi * x)) / 2)

    assert 0 < schedule(0) < 0.05
    low, middle, high = (part_of_cosine(WARM_UP * x) for x in (0.2, 0.4, 0.6))
    assert middle - low == pytest.approx(high - middle)
    assert part_of_cosine(WARM_UP) == 1


def test_the_cosine_ends_with_the_budget() -> None:
    assert schedule(1 - 1e-9) == pytest.approx(0)
    assert schedule(1) == schedule(1.5) == 0
    assert schedule(1 - 1e-9, 0.02) == pytest.approx(0.02)
    assert schedule(1, 0.02) == schedule(1.5, 0.02) == 0.02


@given(st.floats(0, 2), st.floats(0, 2))
def test_the_rate_never_rises_after_the_warm_up(one: float, other: float) -> None:
    early, late = sorted((one, other))
    assert 0 <= schedule(early) <= 1
    if early >= WARM_UP:
        assert schedule(late) <= schedule(early)


def test_steps_depend_on_the_step_alone() -> None:
    assert [Steps(4).fraction(step) for step in range(5)] == [0, 0.25, 0.5, 0.75, 1]


def test_a_clock_ends_at_its_deadline_minus_its_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(deadline=110.0, start=10.0)
    monkeypatch.setattr(budget.time, "perf_counter", lambda: 60.0)
    assert clock.fraction(0) == clock.fraction(999) == 0.5
    clock.expect(50.0)
    assert clock.fraction(0) == 1.0
    slow = Clock(deadline=110.0, start=10.0)
    slow.expect(75.0)  # 50 of 25 seconds are gone
    assert slow.fraction(0) == 2.0


def test_the_least_of_the_newest_samples_is_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(deadline=156.0, start=0.0)
    assert clock.reserve == 0.0
    for ending in (2.0, 2.1, 50.0):  # a slow moment at a validation
        clock.expect(ending)
    assert clock.reserve == 2.0
    monkeypatch.setattr(budget.time, "perf_counter", lambda: 108.0)
    assert clock.fraction(0) == pytest.approx(108 / 154)
    for ending in (4.0, 4.1, 4.2):  # the machine has become slower
        clock.expect(ending)
    assert clock.reserve == 4.0
    for ending in (90.0, 80.0, 85.0):  # for so long that all are too large
        clock.expect(ending)
    assert clock.reserve == pytest.approx(2.0 + 0.03 * 156)


def test_a_first_sample_that_was_far_too_long_is_forgotten() -> None:
    clock = Clock(deadline=150.0, start=0.0)
    clock.expect(150.0)
    clock.expect(1.0)
    assert clock.reserve == 1.0


def test_a_clock_without_time_is_used_up() -> None:
    assert Clock(deadline=0.0).fraction(0) >= 1


def test_a_clock_is_used_up_when_its_steps_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget.time, "perf_counter", lambda: 25.0)
    clock = Clock(deadline=100.0, steps=40, start=0.0)
    assert clock.fraction(4) == 0.25  # of the time, more than a tenth of the steps
    assert clock.fraction(20) == 0.5
    assert clock.fraction(40) == 1.0


@pytest.mark.parametrize(
    ("seconds", "busy", "before", "expected"),
    [
        (3600.5, 0.5, 0.5, 3600.0),  # Ctrl-Z, and an hour later fg
        (30.0, 0.1, 0.1, 29.9),
        (2.4, 0.0, 0.01, 0.0),  # too short to tell
        (2.6, 0.0, 0.01, 2.59),
        (60.0, 55.0, 0.5, 0.0),  # a validation
        (60.0, 6.0, 0.5, 0.0),  # a validation on a busy machine
        (60.0, 0.5, 58.0, 0.0),  # a machine so busy that each step takes so long
        (60.0, 0.5, math.inf, 0.0),  # the first step
    ],
)
def test_a_pause_is_a_long_step_without_work(
    seconds: float, busy: float, before: float, expected: float
) -> None:
    assert budget.pause(seconds, busy, before) == pytest.approx(expected)


def test_the_time_in_which_a_process_is_stopped_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(deadline=100.0, start=0.0)
    processor = 0.0
    for now, worked, expected in (
        (10.0, 1.0, 0.1),
        (11.0, 1.0, 0.11),
        (1012.0, 1.0, 0.12),  # 1,000 seconds of it stopped
        (1013.0, 1.0, 0.13),
        (1074.0, 61.0, 0.74),  # a validation
        (1075.0, 1.0, 0.75),
        (1176.0, 1.0, 0.76),  # stopped again, for 100 seconds
        (1200.0, 1.0, 1.0),
    ):
        processor += worked
        monkeypatch.setattr(budget.time, "perf_counter", lambda now=now: now)
        monkeypatch.setattr(budget.time, "process_time", lambda used=processor: used)
        assert clock.fraction(1) == pytest.approx(expected)
    assert clock.pauses.seconds == clock.unsaid == 1100.0


class _Stopped(Follower):
    """Stops the process for a while when a training has begun."""

    def __init__(self, stop_for: Callable[[], None]) -> None:
        self.stop_for, self.notices = stop_for, list[str]()

    def progress(self, metrics: Metrics, network: CharRNN) -> None:
        if metrics.fraction > 0.3:
            self.stop_for()

    def notice(self, sentence: str) -> None:
        self.notices.append(sentence)


def test_a_training_that_was_stopped_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, stopped = count(100_000), [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: next(looks) / 100 + sum(stopped))
    follower = _Stopped(lambda: stopped.append(0.0 if sum(stopped) else 1000.0))
    options = TrainOptions(
        minutes=1 / 6, hidden_size=4, seq_len=8, batch_size=4, cell="lstm", backend="library"
    )
    result = train(from_text("the cat is home.\n" * 40), options, out=tmp_path, follower=follower)
    assert result.stopped_by == "minutes"
    assert 5 < result.seconds < 11
    (said,) = [sentence for sentence in follower.notices if "was stopped" in sentence]
    assert said == (
        "the process was stopped for 1,000 seconds, which do not count as time of the training"
    )
    metrics = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["seconds"] < 11
