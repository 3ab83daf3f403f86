import numpy as np
import pytest
import torch

from charrnn.bench import generation, measuring, training
from charrnn.bench.training import Case
from charrnn.cli.display.bench_tables import generation_line
from charrnn.config import EngineOptions, ModelConfig, TrainOptions
from charrnn.config.bench import GenerationBench, TrainingBench
from charrnn.model import parameters
from charrnn.storage import machine
from charrnn.training import plan


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each measurement be short: tests look at what is measured, not at how exactly."""
    monkeypatch.setattr(measuring, "STEP_SECONDS", 0.01)


def test_operations_are_counted_by_hand() -> None:
    # elman, V = 3, H = 2, E = 5: matrices 2 x 5, 2 x 2 and 3 x 2: 20 weights, 6 operations each
    model = ModelConfig(3, "elman", 1, 2, 5)
    assert training.operations(model) == 6 * (10 + 4 + 6)


def test_every_case_gives_a_row_with_its_shape() -> None:
    cases = [Case("elman", 1, 4, 2, 3, precision="float32"), Case("jordan", 1, 4, 2, 3)]
    rows = list(training.train(cases, rounds=1))
    assert [(row.cell, row.backend) for row in rows] == [
        ("elman", "fused"),
        ("jordan", "reference"),
    ]
    assert [row.baseline for row in rows] == ["torch.nn.RNN float32", "plain loop float32"]
    assert all(row.seq_len == 3 and row.batch_size == 2 for row in rows)


@pytest.mark.parametrize("cell", ["lstm", "lstm-coupled"])
def test_the_writing_of_an_ensemble_is_measured(monkeypatch: pytest.MonkeyPatch, cell: str) -> None:
    monkeypatch.setattr(generation, "TEXT_SECONDS", 1e-4)
    monkeypatch.setattr(generation, "bandwidth", lambda *given: 1e9)
    options = GenerationBench(cell=(cell,), hidden_size=8, rounds=1, ensemble=2)
    (row,) = generation.measure_generation(options, EngineOptions(threads=1), str)
    assert (row.ensemble, row.hidden_size) == (2, 8)
    assert generation_line(row).split()[:3] == ["2", cell, "2x4"]
    assert row.ratio == pytest.approx(row.chars_per_second / row.baseline_chars_per_second)


def test_the_operations_of_pairs_are_halved_between_encoder_and_decoder() -> None:
    # encoder: 2 directions of 1 x 5 and 1 x 1; decoder: 2 x 5 and 2 x 2; attention: 2 x 2, and the
    # output map reads 4 values for 3 tokens
    form = {"encoder": "bidirectional", "context": "attention"}
    model = ModelConfig(3, "elman", 1, 2, 5, **form)
    assert training.operations(model) == 6 * (2 * (5 + 1) + 10 + 4 + 4 + 12) / 2


def test_pairs_are_compared_with_as_many_characters_of_a_text() -> None:
    case = Case("lstm", 1, 4, 3, 8, precision="float32", backend="library", pairs=True)
    made = training.pairs(case)
    assert set(made.source_lengths) == set(made.target_lengths) == {4}
    assert len(made) == 4 * 3
    (row,) = training.train([case], rounds=1)
    assert (row.baseline, row.backend) == ("a text, float32", "library")
    assert row.ratio == pytest.approx(row.chars_per_second / row.baseline_chars_per_second)


def test_a_measurement_gives_the_threads_of_torch_back() -> None:
    before = torch.get_num_threads()
    options = TrainingBench(cell=("elman",), hidden_size=4, batch_size=2, seq_len=3, rounds=1)
    kernel = TrainOptions(precision="float32", backend="reference", threads=before + 1)
    sentences: list[str] = []
    (row,) = training.measure_training(options, kernel, sentences.append)
    assert (row.backend, row.num_layers, row.hidden_size, row.seq_len) == ("reference", 2, 4, 3)
    assert row.threads == min(before + 1, machine.cores())
    assert torch.get_num_threads() == before


def test_the_parts_of_a_step_make_up_its_time() -> None:
    case = Case("lstm", 1, 4, 2, 3, precision="float32", backend="fused", dropout=0.5)
    (row,) = training.train([case], rounds=1, parts=True)
    assert row.parts
    assert sum(row.parts.values()) == pytest.approx(1)
    assert min(row.parts.values()) >= 0
    assert [*row.parts.values()] == sorted(row.parts.values(), reverse=True)
    layers = {"layers, forward", "layers, backward", "gradients' products"}
    assert layers | {"embedding", "output and loss", "clipping", "update"} <= row.parts.keys()


def test_what_would_be_planned_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_timer", lambda *_: lambda: 1e-5)  # 100,000 characters a second
    options = TrainOptions(minutes=1.0, precision="float32", backend="fused")
    (case,) = training.planned(options, [1.0])
    made = plan.make(options, training.PLANNED_CHARACTERS, 65, lambda model, train: 1e5)
    assert case == Case(
        "lstm-coupled",
        2,
        made.model.hidden_size,
        made.train.batch_size,
        made.train.seq_len,
        "float32",
        "fused",
        skip_connections=True,
        dropout=made.train.dropout or 0.0,
    )
    assert training.model_of(case) == made.model


@pytest.mark.parametrize("cell", training.MODULES)
def test_the_baseline_has_the_parameters_of_our_network(cell: str) -> None:
    # The same number of parameters as ours, except the second bias that torch.nn always has.
    model = ModelConfig(measuring.VOCAB_SIZE, cell, 2, 6, 5)
    plain = sum(weight.numel() for weight in training.Plain(model).parameters())
    blocks = {"lstm": 4, "gru-reset-after": 0}.get(cell, 1)
    assert plain == parameters.count(model) + 2 * blocks * 6


def test_in_turns_gives_the_median_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.arange(0.0, 1e6, 0.5))  # half a second passes between two readings
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: float(next(clock)))
    calls: list[str] = []
    ours, theirs = measuring.in_turns(
        [lambda: calls.append("a"), lambda: calls.append("b")], rounds=3
    )
    assert (ours, theirs) == (0.5, 0.5)
    assert "".join(calls) == "aabb" + "ab" * 3


def test_the_peak_is_the_speed_of_a_matrix_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "PEAK_SIZES", (64,))
    monkeypatch.setattr(measuring, "STEP_SECONDS", 0.0)
    monkeypatch.setattr(measuring, "seconds", lambda run, duration: 2.0)
    assert measuring.peak(torch.float32) == 64**3
