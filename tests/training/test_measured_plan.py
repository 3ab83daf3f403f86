"""Plans for the speed of a machine: none of these tests looks at a real clock."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from charrnn.config import ModelConfig, TrainConfig, TrainOptions
from charrnn.network.layers import Kernel, reference
from charrnn.text import corpus, dataset
from charrnn.training import measured_plan, plan, timing
from charrnn.training.budget import Pauses
from charrnn.training.measured_plan import Speeds, choose_cell, measured
from charrnn.training.plan import Plan, Speed
from charrnn.training.timing import Samples

ENWIK8 = 3_600_000  # characters of its first 4 MB that are trained on, in bytes
SPEED = 2e10  # parameters times characters per second


class Machine:
    """A machine with a clock of its own; it is `busy` so many times as slow at a time."""

    def __init__(self, patch: pytest.MonkeyPatch, busy: Callable[[float], float]) -> None:
        self.now, self.busy, self.measured = 0.0, busy, list[int]()
        self.networks = set[int]()
        self.starts = 0.0
        patch.setattr(timing.time, "perf_counter", lambda: self.now)
        patch.setattr(timing.time, "process_time", lambda: self.now)

    def timer_for(self, model: ModelConfig, train: TrainConfig) -> Callable[[], float]:
        characters = train.batch_size * train.update_every

        def step() -> None:
            networks = model.ensemble * plan.layers(model)
            self.now += self.busy(self.now) * characters * networks / SPEED

        def timer() -> float:
            self.measured.append(model.member.hidden_size)
            self.networks.add(model.ensemble)
            return timing.sample(step) / characters / model.ensemble

        step()
        return timer

    def plan(self, length: int = ENWIK8, votes: bool = False, **options: Any) -> Plan:
        def make(speed: Speed) -> Plan:
            return plan.make(TrainOptions(**options), length, 256, speed, votes=votes)

        return measured(make, self.timer_for, options.get("hidden_size", 128), Pauses())


def _quiet(now: float) -> float:
    return 1.0


def test_a_quiet_machine_gets_the_plan_for_its_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, _quiet)
    made = machine.plan(minutes=1.0)

    def speed(model: ModelConfig, train: TrainConfig) -> float:
        return SPEED / plan.layers(model)

    exact = plan.make(TrainOptions(minutes=1.0), ENWIK8, 256, speed)
    assert made.model == exact.model
    assert made.characters == pytest.approx(exact.characters, rel=0.1)
    assert made.update_seconds == pytest.approx(exact.update_seconds, rel=0.1)
    assert made.spread == pytest.approx(1.0)


def test_the_speed_is_measured_for_a_second_in_several_windows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch, _quiet)
    made = machine.plan(minutes=1.0)
    assert 1.0 <= machine.now < 2.0
    around = [size for size in (256, 512) if size <= 2 * made.model.hidden_size]
    assert all(machine.measured.count(size) >= 3 for size in around)
    assert len(set(machine.measured)) <= 3  # the sizes between share these measurements


def test_a_short_training_is_measured_for_a_shorter_time(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, _quiet)
    machine.plan(minutes=0.1, hidden_size=64)
    assert 0.3 <= machine.now < 0.5
    assert set(machine.measured) == {64}


@pytest.mark.parametrize("begins", [0.0, 0.3, 0.7])
def test_a_machine_that_is_busy_for_a_moment_gets_the_same_plan(
    monkeypatch: pytest.MonkeyPatch, begins: float
) -> None:
    """The case of enwik8: fifty times as slow for 0.15 s, it got 2 x 32 for a minute."""
    quiet = Machine(monkeypatch, _quiet).plan(minutes=1.0)
    machine = Machine(monkeypatch, lambda now: 50.0 if begins <= now < begins + 0.3 else 1.0)
    made = machine.plan(minutes=1.0)
    assert made.model == quiet.model
    assert made.update_seconds == pytest.approx(quiet.update_seconds, rel=0.05)
    assert machine.now < 6


def test_a_machine_that_is_busy_all_the_time_gets_a_smaller_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quiet = Machine(monkeypatch, _quiet).plan(minutes=1.0)
    made = Machine(monkeypatch, lambda now: 10.0).plan(minutes=1.0)
    assert made.model.hidden_size < quiet.model.hidden_size


def test_speeds_that_change_all_the_time_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, lambda now: 1.0 if int(now * 5) % 4 else 3.0)
    assert machine.plan(minutes=1.0).spread >= 1.0
    slow = Machine(monkeypatch, lambda now: 3.0 if int(now * 5) % 4 else 1.0)
    assert slow.plan(minutes=1.0).spread > 1.5


def test_many_networks_are_planned_by_the_speed_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, _quiet)
    made = machine.plan(10**5, votes=True, minutes=60.0)

    def speed(model: ModelConfig, train: TrainConfig) -> float:
        return SPEED / plan.layers(model) / model.ensemble

    exact = plan.make(TrainOptions(minutes=60.0), 10**5, 256, speed, votes=True)
    assert made.model == exact.model
    assert (made.model.ensemble, machine.networks) == (max(plan.VOTES), {2})
    assert made.characters == pytest.approx(exact.characters, rel=0.1)


def test_the_speed_of_other_sizes_lies_between_those_measured() -> None:
    speeds = Speeds({(1, 64): Samples((1e-5, 2e-5)), (1, 256): Samples((8e-5,))})
    train = TrainConfig()

    def seconds(size: int) -> float:
        return 1 / speeds(ModelConfig(9, "lstm", 2, size, 4), train)

    assert seconds(64) == pytest.approx(1e-5)
    assert seconds(256) == pytest.approx(8e-5)
    assert seconds(128) == pytest.approx((1e-5 * 8e-5) ** 0.5)
    assert seconds(32) == pytest.approx(1e-5)  # at least as fast
    assert seconds(512) == pytest.approx(32e-5)  # four times the weights
    four = ModelConfig(9, "lstm", 2, 256, 16, ensemble=4)
    assert 1 / speeds(four, train) == pytest.approx(4e-5)  # while nothing else is known
    both = speeds.add(dataclasses.replace(four, ensemble=2, hidden_size=128), 0.7e-5)
    assert 1 / both(four, train) == pytest.approx(2.8e-5)
    larger = dataclasses.replace(four, hidden_size=1024)
    assert 1 / both(larger, train) == pytest.approx(4 * 8e-5)  # as of one
    assert seconds(64) == pytest.approx(1e-5)


def _kernel(backend: str, precision: str = "float32") -> Kernel:
    return Kernel(backend, precision, "faked", reference)


@pytest.mark.parametrize(
    ("seconds", "precision", "options", "expected"),
    [
        # seconds per character of (lstm-coupled compiled here, torch's own lstm)
        ((9e-6, 1e-6), "float32", {}, "lstm"),  # as cuDNN's beside a compiled loop
        ((1.6e-5, 2.1e-5), "float32", {}, "lstm-coupled"),  # as on a CPU with AVX-512
        ((1.2e-6, 1e-6), "float32", {}, "lstm-coupled"),  # hardly faster
        ((9e-6, 1e-6), "bfloat16", {}, "lstm-coupled"),
        ((9e-6, 1e-6), "float32", {"cell": "lstm-coupled"}, "lstm-coupled"),
        ((9e-6, 1e-6), "float32", {"cell": "gru"}, "gru"),
        ((9e-6, 1e-6), "float32", {"minutes": None, "steps": 9}, "lstm-coupled"),
        ((9e-6, 1e-6), "float32", {"layer_norm": True}, "lstm-coupled"),  # torch has no such
    ],
)
def test_the_planned_cell_is_what_this_machine_trains_fastest(
    monkeypatch: pytest.MonkeyPatch,
    seconds: tuple[float, float],
    precision: str,
    options: dict[str, Any],
    expected: str,
) -> None:
    def kernel(options: TrainOptions, device: torch.device) -> Kernel:
        library = options.cell == "lstm" and not options.layer_norm
        return _kernel("library") if library else _kernel("fused", precision)

    def timer(model: ModelConfig, train: TrainConfig, **more: Any) -> Callable[[], float]:
        times = iter([1.0, seconds[model.cell == "lstm"], 2.0])  # the best of them counts
        return partial(next, times)

    monkeypatch.setattr(measured_plan, "choose_kernel", kernel)
    monkeypatch.setattr(measured_plan, "_timer", timer)
    data = dataset.make(corpus.from_text("the cat is home.\n" * 90), TrainOptions())
    asked = TrainOptions(**{"minutes": 1.0} | options)
    chosen, runs = choose_cell(asked, data, torch.device("cpu"))
    assert chosen.cell == expected
    assert runs.backend == ("library" if expected == "lstm" else "fused")
