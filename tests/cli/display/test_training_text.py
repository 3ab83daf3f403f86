from __future__ import annotations

import dataclasses

import pytest

from charrnn.cli.display import training_text
from charrnn.training.events import Metrics


def metrics(fraction: float, seconds: float = 10.0, step: int = 1, characters: int = 1) -> Metrics:
    return Metrics(
        step=step,
        epoch=0.0,
        characters=characters,
        fraction=fraction,
        seconds=seconds,
        train_nats=1.0,
        valid_nats=None,
        learning_rate=1e-3,
        grad_norm=1.0,
        clipped=0.0,
        chars_per_second=50.0,
    )


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00"), (0.6, "0:01"), (59.6, "1:00"), (61, "1:01"), (3599, "59:59"), (3661, "1:01:01")],
)
def test_time_left_is_minutes_and_seconds(seconds: float, shown: str) -> None:
    assert training_text.clock(seconds) == shown


def test_by_the_clock_the_time_left_is_known_from_the_fraction_done() -> None:
    assert training_text.seconds_left(metrics(0.25, 10), by_clock=True) == 30
    assert training_text.seconds_left(metrics(1, 10), by_clock=True) == 0


def test_by_steps_the_time_left_is_that_of_usual_steps_and_not_that_of_compiling() -> None:
    some = metrics(0.25, seconds=1000, step=5, characters=500)
    assert training_text.seconds_left(some, by_clock=False) == 30  # 1,500 characters, 50/s
    line = training_text.progress_line(some, by_clock=False)
    assert line.endswith("  50 chars/s  0:30 left")


def test_no_speed_is_shown_before_it_is_true() -> None:
    line = training_text.progress_line(metrics(0.01, step=2), by_clock=False)
    assert line.endswith("  speed not known yet")
    assert "left" not in line
    line = training_text.progress_line(metrics(0.5, step=2), by_clock=True)
    assert line.endswith("  speed not known yet  0:10 left")


def test_right_labels_are_shown_beside_the_loss() -> None:
    some = dataclasses.replace(metrics(0.5), valid_nats=1.0, valid_right=0.8123)
    line = training_text.progress_line(some, by_clock=False)
    assert "  valid 1.0000 nats (1.443 bpc), 81.2% right  " in line
    never = dataclasses.replace(some, valid_right=0.0)
    assert "right" not in training_text.progress_line(never, by_clock=False)


def test_losses_and_norms_of_a_training_that_diverges_are_short() -> None:
    assert training_text.losses(1e30) == "1e+30 nats"
    assert training_text.losses(float("nan")) == "nan nats"


def test_losses_are_in_nats_and_bits() -> None:
    assert training_text.losses(1.0) == "1.0000 nats (1.443 bpc)"
    assert training_text.losses(None) == "-"
