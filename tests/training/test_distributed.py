"""Several processes train as one does: the same numbers, decisions, files and sentences."""

from __future__ import annotations

import errno
import itertools
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ranks import together, values

import charrnn
from charrnn.config import ModelConfig, TrainConfig, TrainOptions
from charrnn.errors import OptionError
from charrnn.model import model_file, parameters
from charrnn.network.ensemble import network_of
from charrnn.network.module import CharRNN
from charrnn.network.pair_ensemble import pair_network
from charrnn.network.pair_module import PairRNN
from charrnn.run_dir import RunDir
from charrnn.storage import machine
from charrnn.text import corpus, dataset, streams
from charrnn.text.open import Texts
from charrnn.text.pairs import PairPart
from charrnn.text.tokenizer import CharTokenizer
from charrnn.training import background_writer
from charrnn.training.budget import Clock
from charrnn.training.control import Control
from charrnn.training.distributed import ALONE, LOST, World
from charrnn.training.events import Done, Progress
from charrnn.training.pair_batches import PairBatches
from charrnn.training.pair_validation import PairValidation
from charrnn.training.resume import resume
from charrnn.training.setup import updater_of
from charrnn.training.start import start
from charrnn.training.stream_batches import StreamBatches
from charrnn.training.trainer import Trainer
from charrnn.training.training_step import Updater
from charrnn.training.validation import Validation

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="tests fork the processes")

B, LENGTH, SYMBOLS, UPDATES = 5, 41, 4, 3
BASE: dict[str, Any] = {"batch_size": B, "seq_len": 4, "update_every": 4, "learning_rate": 0.05}
DROPPED: dict[str, Any] = {"dropout": 0.4}
# What is trained: the network's form, the training, and how the text is read.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    # Gradients are added by name: cells differ in nothing else here.
    **{cell: ({"cell": cell}, {}, "") for cell in ("elman", "jordan", "gru", "lstm-peephole")},
    "k1 < k2": ({}, {"update_every": 3, "seq_len": 7}, ""),
    "dropout": ({"num_layers": 2}, DROPPED, ""),
    "dropout, k1 < k2": ({}, DROPPED | {"update_every": 3, "seq_len": 7}, ""),
    "locked dropout": ({"num_layers": 2}, DROPPED | {"locked_dropout": True}, ""),
    "weight drop": ({}, {"weight_drop": 0.4}, ""),
    "zoneout": ({"zoneout": 0.3, "zoneout_cell": 0.2}, {}, ""),
    "penalties": ({}, {"activation_penalty": 2.0, "slowness_penalty": 3.0}, ""),
    "omega": ({"cell": "elman"}, {"omega": 1.0, "update_every": 3, "seq_len": 7}, ""),
    "reset": ({}, {"state": "reset"}, ""),
    "clipped": ({}, {"clip_norm": 1e-3, "optimizer": "sgd"}, ""),
    "documents": ({}, DROPPED, "documents"),
    "items": ({}, {"activation_penalty": 2.0}, "items"),
    "learned start": ({"learned_start": True}, {}, "lines"),
    "pairs": ({"encoder": "bidirectional", "context": "fixed"}, DROPPED, "pairs"),
    "pairs, hidden": (
        {"encoder": "bidirectional", "context": "attention"},
        {"source_dropout": 0.3},
        "pairs",
    ),
    "ensemble": ({"ensemble": 2, "hidden_size": 6}, DROPPED | {"locked_dropout": True}, ""),
    "ensemble of pairs": (
        {"encoder": "bidirectional", "context": "fixed", "ensemble": 2},
        DROPPED | {"source_dropout": 0.3},
        "pairs",
    ),
    "pairs, locked": (
        {"encoder": "forward", "context": "attention", "zoneout": 0.2},
        DROPPED | {"locked_dropout": True},
        "pairs",
    ),
    "pairs, penalties": (
        {"encoder": "bidirectional", "context": "attention", "num_layers": 2},
        {"activation_penalty": 2.0, "slowness_penalty": 3.0},
        "pairs",
    ),
}


def _exact(config: ModelConfig) -> dict[str, Any]:
    """Return parameters in float64, none of them zero."""
    rng = np.random.default_rng(3)
    shapes = parameters.shapes(config)
    return {name: 0.4 * rng.standard_normal(shape) for name, shape in shapes.items()}


def _updater(world: World, case: str) -> Updater:
    form, chosen, kind = CASES[case]
    size = SYMBOLS + (kind == "pairs")  # with the token that ends a target
    model = ModelConfig(size, **{"cell": "lstm", "hidden_size": 4, "embedding_size": 2, **form})
    config = TrainConfig(**BASE | chosen)
    rng = np.random.default_rng(5)
    if kind == "pairs":
        lengths = rng.integers(1, 6, (12, 2)).tolist()
        lengths += [[90, 2]]  # it has a batch of its own, which leaves nothing for other processes
        drawn = [
            tuple(rng.integers(0, SYMBOLS, n).astype(np.uint8) for n in each) for each in lengths
        ]
        part, tokenizer = PairPart.of(drawn), CharTokenizer("abcd")
        return updater_of(
            pair_network(model, _exact(model), regularizers=config),
            lambda network: PairBatches(network, part, tokenizer, config, world),
        )
    ids = rng.integers(0, SYMBOLS, B * LENGTH).astype(np.uint8)
    documents = np.array([0, 3, 4, 30, 37, 90, 91, 150], np.uint64)
    made = streams.make(
        ids,
        B,
        config.seq_len,
        model.start_token,
        1 if kind == "lines" else None,
        config.update_every,
        documents if kind in ("documents", "items") else None,
        7 if kind == "items" else None,
        begins_anew=kind == "lines",
    )
    return updater_of(
        network_of(model, _exact(model), regularizers=config),
        lambda network: StreamBatches(network, made, config, world=world),
    )


def _trained(world: World, case: str) -> dict[str, Any]:
    """Train a little; return every number that the rest of the training depends on."""
    torch.manual_seed(11)
    updater = _updater(world, case)
    updater.network.train()
    for number in range(UPDATES):
        assert updater.update(0.05 / (1 + number))
    numbers = {name: weight.detach().numpy() for name, weight in updater.network.weights().items()}
    numbers |= {f"state {name}": part for name, part in updater.position().carried.items()}
    numbers["losses"] = torch.stack(updater.losses).numpy()
    numbers["norms"] = np.array(updater.norms)
    numbers["random"] = torch.get_rng_state().numpy()
    return numbers


def _all_trained(world: World) -> dict[str, dict[str, Any]]:
    return {case: _trained(world, case) for case in CASES}


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Any]]:
    return _all_trained(ALONE)


@pytest.fixture(scope="module", params=[pytest.param(2, marks=pytest.mark.soak), 3])
def dealt(request: pytest.FixtureRequest) -> list[dict[str, dict[str, Any]]]:
    """Return what each of 3 processes has trained, of 2 in the long form, too.

    5 streams are dealt out unevenly.
    """
    return values(request.param, _all_trained)


@pytest.mark.parametrize("case", CASES)
def test_processes_train_as_one_does(
    case: str, alone: dict[str, dict[str, Any]], dealt: list[dict[str, dict[str, Any]]]
) -> None:
    for found in dealt:
        assert found[case].keys() == alone[case].keys()
        for name, wanted in alone[case].items():
            assert found[case][name].shape == wanted.shape
            np.testing.assert_allclose(
                found[case][name].astype(np.float64), wanted, rtol=0, atol=1e-10, err_msg=name
            )
        # Not only nearly: else the processes would drift apart.
        for name, first in dealt[0][case].items():
            assert np.array_equal(found[case][name], first)


@pytest.mark.parametrize(("count", "size"), [(5, 2), (5, 3), (32, 5), (7, 7), (3, 4)])
def test_streams_are_dealt_out_once_and_evenly(count: int, size: int) -> None:
    shares = [range(count)[World(rank, size).share(count)] for rank in range(size)]
    assert list(itertools.chain(*shares)) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert len(shares[0]) == max(map(len, shares))


def test_too_many_processes_for_the_streams_are_refused() -> None:
    World(0, 4).check_streams(4)
    with pytest.raises(OptionError, match="`batch_size=4` or more"):
        World(0, 4).check_streams(3)


# Scoring


def _scores(world: World) -> list[float | None]:
    """Return the scores of texts that fill many streams, one, and several documents; and pairs."""
    model = ModelConfig(SYMBOLS, "lstm", 1, 4, 2)
    network = CharRNN(model, _exact(model))
    tokenizer = CharTokenizer("abcd")
    rng = np.random.default_rng(8)
    found: list[float | None] = []
    for length, starts in ((5000, None), (300, None), (4000, [0, 700, 701, 2500])):
        ids = rng.integers(0, SYMBOLS, length).astype(np.uint8)
        documents = None if starts is None else np.array(starts, np.uint64)
        validation = Validation(ids, tokenizer, documents, world)
        found += validation.estimate(network, lambda: False)[:1]
        factors = validation.nats_by_factor(network, (0.7, 1.0), lambda: False)
        found += (factors / length).tolist()
        for limit in (None, 2000):
            score = validation.score(network, lambda: False, limit)
            found += [score.nats if score else None]
            found += [validation.window_nats(network, lambda: False, limit)]
    pairs = replace(model, vocab_size=SYMBOLS + 1, encoder="bidirectional", context="attention")
    drawn = [
        (rng.integers(0, SYMBOLS, n).astype(np.uint8), rng.integers(0, SYMBOLS, 3).astype(np.uint8))
        for n in (1, 5, 9, 2, 2, 7, 40)
    ]
    part = PairValidation(PairPart.of(drawn), tokenizer, world)
    score = part.score(PairRNN(pairs, _exact(pairs)), lambda: False)
    return [
        *found,
        *part.estimate(PairRNN(pairs, _exact(pairs)), lambda: False),
        score and score.nats,
    ]


def test_a_score_is_that_of_one_process() -> None:
    wanted = _scores(ALONE)
    assert sum(each is not None for each in wanted) >= 14
    first, *others = values(3, _scores)
    assert all(other == first for other in others)
    assert first == pytest.approx(wanted, rel=0, abs=1e-10)


# Whole trainings

TEXT = "the cat is home.\nthe dog is near the sea.\n" * 60
OPTIONS: dict[str, Any] = {
    "cell": "lstm",
    "backend": "library",
    "device": "cpu",
    "hidden_size": 8,
    "embedding_size": 4,
    "batch_size": 4,
    "seq_len": 16,
    "dropout": 0.3,
    "learning_rate": 0.02,
    "threads": 1,
}


def _done(events: Any, follow: Any = lambda event: None) -> Any:
    for event in events:
        follow(event)
        if isinstance(event, Done):
            return event.result
    raise AssertionError("a training ends with Done")


def _train(world: World, out: Path, stop: Any = lambda: False, **options: Any) -> Any:
    control = Control(stop, 5, world=world)
    texts = Texts(corpus.from_text(TEXT, "cats"))
    return _done(start(texts, TrainOptions(**OPTIONS | options), out=out, control=control))


def _resume(world: World, out: Path, **given: Any) -> Any:
    control = Control(checkpoint_every=5, world=world)
    return _done(resume(Texts(corpus.from_text(TEXT, "cats")), given, out=out, control=control))


def _rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of one process."""
    out = tmp_path_factory.mktemp("whole") / "run"
    _train(ALONE, out, steps=40)
    return out


def _alike(out: Path, whole: Path) -> None:
    found, wanted = _rows(out), _rows(whole)
    assert [row["step"] for row in found] == [row["step"] for row in wanted]
    for name in ("train_nats", "valid_nats", "learning_rate", "grad_norm", "epoch", "characters"):
        for mine, other in zip(found, wanted, strict=True):
            assert mine[name] == pytest.approx(other[name], abs=1e-4)
    mine, other = (json.loads((run / "summary.json").read_text()) for run in (out, whole))
    for name in ("valid_nats", "valid_window256_nats", "valid_characters", "steps"):
        assert mine[name] == pytest.approx(other[name], abs=1e-4)


def test_a_run_of_processes_is_that_of_one(tmp_path: Path, whole: Path) -> None:
    out = tmp_path / "run"
    results = values(3, lambda world: _train(world, out, steps=40))
    _alike(out, whole)
    assert len({result.valid_nats for result in results}) == 1
    assert json.loads((out / "config.json").read_text())["processes"] == 3
    assert "processes" not in json.loads((whole / "config.json").read_text())
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()}


def test_counts_of_several_processes_are_those_of_one(tmp_path: Path) -> None:
    def train(world: World) -> Any:
        return _train(world, tmp_path / f"{world.size}", steps=10, counts="on")

    one, (several, _) = train(ALONE), values(2, train)
    mine, other = (model_file.load(Path(each.model)).counts for each in (several, one))
    assert mine
    assert other
    assert mine.contexts == other.contexts > 10
    assert several.valid_counts_nats == pytest.approx(one.valid_counts_nats, abs=1e-3)
    assert several.valid_counts_nats < several.valid_nats


def test_a_run_goes_on_with_any_number_of_processes(tmp_path: Path, whole: Path) -> None:
    """It is stopped by a signal that one process gets, with 2, 3, 1 and 4 of them."""
    out = tmp_path / "run"

    def stopping(world: World) -> Any:
        asked = itertools.count()
        return _train(world, out, lambda: world.rank == 1 and next(asked) >= 12, steps=40)

    first, second = values(2, stopping)
    assert first.stopped_by == second.stopped_by == "interrupt"
    assert first.steps == second.steps
    assert 0 < first.steps < 40
    for size in (3, 1, 4):
        # A shorter budget would change the learning rate: the run is killed instead.
        def killed(world: World) -> None:
            steps = itertools.count()
            control = Control(lambda: next(steps) > 10 and os._exit(0) is None, 2, world=world)
            _done(resume(Texts(corpus.from_text(TEXT, "cats")), {}, out=out, control=control))

        before = RunDir(out).checkpoint_steps()[0]
        together(size, killed)
        assert before < RunDir(out).checkpoint_steps()[0] < 40
    (result, other) = values(2, lambda world: _resume(world, out))
    assert result.stopped_by == other.stopped_by == "steps"
    found, wanted = _rows(out)[-1], _rows(whole)[-1]
    assert found["step"] == wanted["step"]
    assert found["valid_nats"] == pytest.approx(wanted["valid_nats"], abs=1e-4)


def test_all_decide_by_the_clock_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks run at different speeds; all processes make the same steps at the same rates."""

    def train(world: World) -> tuple[int, list[float]]:
        looks = itertools.count(1000)
        monkeypatch.setattr(time, "perf_counter", lambda: next(looks) * 0.01 * (1 + world.rank))
        data = dataset.make(corpus.from_text(TEXT))
        config = TrainConfig(**BASE | {"minutes": 0.05})
        model = ModelConfig(data.tokenizer.vocab_size, "lstm", 1, 3, 2)
        network = CharRNN(model, parameters.initial(model, 1), regularizers=config)
        made = streams.make(data.train, B, 4, model.start_token, None)
        batches = StreamBatches(network, made, config, world=world)
        trainer = Trainer(Updater(batches), Validation(data.valid, data.tokenizer, world=world))
        clock = Clock(trainer.start + 3, start=trainer.start, world=world)
        events = trainer.run(clock, 1e9)
        rates = [e.metrics.learning_rate for e in events if isinstance(e, Progress)]
        return trainer.updater.step, rates

    first, second = values(2, train)
    assert first == second
    assert first[0] > 3
    assert len(first[1]) > 3


def test_divergence_is_decided_once_for_all(tmp_path: Path) -> None:
    def diverging(world: World) -> Any:
        return _train(world, tmp_path / "run", steps=40, learning_rate=900.0, clip_norm=1e9)

    ended = together(2, diverging)
    assert "diverged" in ended[0].error
    assert ended[0].error == ended[1].error
    assert sorted(each.said for each in ended) == [False, True]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["stopped_by"] == "diverged"


# What one process finds is said once, and ends all


def _sentence(ended: list[Any]) -> str:
    """Return the sentence that one of the processes says."""
    (said,) = [each.error for each in ended if each.error and not each.said]
    return str(said)


def test_a_process_with_another_text_is_found(tmp_path: Path) -> None:
    def train(world: World) -> Any:
        texts = Texts(corpus.from_text(TEXT[world.rank :], "cats"))
        options = TrainOptions(**OPTIONS, steps=3)
        return _done(start(texts, options, out=tmp_path / "run", control=Control(world=world)))

    sentence = _sentence(together(2, train))
    assert "the SHA-256 of the text is" in sentence
    assert "in process 1 on" in sentence
    assert not (tmp_path / "run").exists()


def test_a_process_with_other_options_is_found(tmp_path: Path) -> None:
    def train(world: World) -> Any:
        return _train(world, tmp_path / "run", steps=3, batch_size=4 + world.rank)

    assert "--batch-size is 4 in process 0 on" in _sentence(together(2, train))


def test_a_process_with_another_version_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def versions() -> dict[str, str]:
        return {"charrnn": f"9.{os.environ['RANK']}"}

    monkeypatch.setattr(machine, "versions", versions)
    sentence = _sentence(together(2, lambda world: None))
    assert "charrnn is 9.0 in process 0 on" in sentence
    assert "and 9.1 in process 1 on" in sentence


def test_a_full_disk_in_one_process_ends_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes are on different machines, and one of these cannot keep the dataset."""

    def train(world: World) -> Any:
        def full(self: object, folder: Path) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setenv("CHARRNN_DATASETS", str(tmp_path / f"datasets{world.rank}"))
        if world.rank:
            monkeypatch.setattr(dataset._Builder, "_write", full)
        apart = replace(world, local_rank=0, local_size=1)
        return _train(apart, tmp_path / "run", steps=3)

    ended = together(2, train)
    assert "No space left on device" in _sentence(ended)
    assert ended[0].error == ended[1].error


def test_a_full_disk_of_the_first_ends_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes for all; the others wait for it, and end with it."""
    for name, seconds in {"RETRY": 0.02, "LAST_PATIENCE": 0.1}.items():
        monkeypatch.setattr(background_writer, name, seconds)

    def train(world: World) -> Any:
        def full(descriptor: int, data: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def stop() -> bool:
            if world.is_first and (tmp_path / "run" / "model.safetensors").exists():
                monkeypatch.setattr(os, "write", full)
            return False

        return _train(world, tmp_path / "run", stop, steps=40)

    ended = together(2, train)
    assert "No space left on device" in _sentence(ended)
    assert ended[1].error == LOST


@pytest.mark.parametrize("machines", [1, 3])
def test_each_machine_makes_the_dataset_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machines: int
) -> None:
    """On one machine the first process makes it, and the others wait; else each its own."""
    written = dataset._Builder._write

    def train(world: World) -> int:
        made: list[Path] = []

        def write(self: Any, folder: Path) -> Any:
            made.append(folder)
            return written(self, folder)

        monkeypatch.setattr(dataset._Builder, "_write", write)
        if machines > 1:
            monkeypatch.setenv("CHARRNN_DATASETS", str(tmp_path / f"datasets{world.rank}"))
            world = replace(world, local_rank=0, local_size=1)
        else:
            monkeypatch.setenv("CHARRNN_DATASETS", str(tmp_path / "datasets"))
        _train(world, tmp_path / "run", steps=3)
        return len(made)

    assert values(3, train) == ([1, 0, 0] if machines == 1 else [1, 1, 1])


def test_a_process_that_dies_ends_the_others(tmp_path: Path) -> None:
    def train(world: World) -> Any:
        steps = itertools.count()

        def stop() -> bool:
            if world.rank == 1 and next(steps) == 12:
                os.kill(os.getpid(), 9)
            return False

        return _train(world, tmp_path / "run", stop, steps=10_000)

    ended = together(3, train)
    assert ended[1].code == -9
    assert [each.error for each in (ended[0], ended[2])] == [LOST, LOST]
    assert sorted(each.said for each in (ended[0], ended[2])) == [False, True]
    assert RunDir(tmp_path / "run").checkpoint_steps()


def test_only_the_first_process_prints_and_calls_back(tmp_path: Path) -> None:
    text = tmp_path / "cats.txt"
    text.write_text(TEXT)
    seen: list[object] = []

    def train(world: World) -> int:
        charrnn.train(
            text, out=tmp_path / "run", callback=seen.append, progress=True, steps=3, **OPTIONS
        )
        return len(seen)

    ended = together(2, train)
    assert [each.error for each in ended] == ["", ""]
    assert ended[0].value > 2
    assert ended[1].value == 0
    assert "cats" in ended[0].out
    assert ended[1].out == ""


def test_one_process_needs_no_torch_distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.distributed", None)
    assert ALONE.first(lambda: 3) == 3
    assert ALONE.all(lambda: 3) == [3]
    assert ALONE.in_turn(lambda: 3) == 3
    assert ALONE.any(True)
    assert not ALONE.any(False)
    assert ALONE.agreed(0.1) == 0.1


def test_texts_that_only_one_process_can_read_are_refused() -> None:
    with pytest.raises(OptionError, match="stdin"):
        World(0, 2).check_names(["a.txt", "-"])
    ALONE.check_names(["-"])


def test_several_runs_of_several_processes_are_refused() -> None:
    with pytest.raises(OptionError, match="seeds"):
        World(0, 2).check_one_run(3)
    World(0, 2).check_one_run(None)
    ALONE.check_one_run(3)


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 8)
    assert World(5, 8, 1, 4).threads(None, print) == 2
    assert World(5, 8, 1, 4).threads(3, print) == 3
    assert World(5, 16, 1, 16).threads(None, print) == 1
    assert ALONE.threads(None, print) is None
