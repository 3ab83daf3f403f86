import pytest

from charrnn.training import timing
from charrnn.training.timing import Samples


def test_the_best_sample_and_how_far_the_usual_one_is_from_it() -> None:
    samples = Samples((4.0, 2.0, 3.0, 9.0, 3.0))
    assert (samples.best, samples.spread) == (2.0, 1.5)
    assert samples.last(2) == Samples((9.0, 3.0))
    assert Samples((7.0,)).spread == 1.0


def test_steps_are_timed_together_until_a_window_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    now, durations = 0.0, iter([0.05, 0.03, 0.04, 9.0])

    def step() -> None:
        nonlocal now
        now += next(durations)

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now)
    assert timing.sample(step) == pytest.approx(0.12 / 3)
    assert list(durations) == [9.0]


def test_the_steps_of_a_training_are_divided_into_windows_of_about_equal_time() -> None:
    slow_start = [3.0] + [0.1] * 120  # 15 seconds: windows end after 3, 6, 9, 12 and 15
    samples = timing.windows(slow_start)
    assert len(samples.seconds) == 5
    assert samples.best == pytest.approx(0.1)
    assert samples.seconds[0] > 1
    assert timing.windows([0.5]) == Samples((0.5,))
    assert timing.windows([9.0, 0.1]).best == pytest.approx(0.1)
    assert timing.windows([2.0] * 3).best == 2.0
