"""A training that was interrupted and resumed gives the same files as one that was not."""

import hashlib
import json
import random
import shutil
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import strict_json
import torch
from following import Follower, resume, train
from processors import needs_bf16

import charrnn
from charrnn.config import TrainOptions, to_json
from charrnn.errors import DivergedError, ModelError, OptionError
from charrnn.model import model_file
from charrnn.model.model_file import MODEL_NAME, Model
from charrnn.network.module import CharRNN
from charrnn.run_dir import RunDir, checkpoints, run_text
from charrnn.text import alphabet, corpus, dataset
from charrnn.text.corpus import Corpus, from_text
from charrnn.text.open import Texts
from charrnn.training import learning_rate, resume_rules, state
from charrnn.training.budget import Clock
from charrnn.training.control import Control
from charrnn.training.events import Metrics, Result
from charrnn.training.resume import resume as resume_run
from charrnn.training.start import start
from charrnn.training.training_step import Updater

SMALL: dict[str, Any] = {
    "hidden_size": 8,
    "embedding_size": 4,
    "seq_len": 8,
    "batch_size": 4,
    "steps": 30,
    "learning_rate": 0.02,
    "device": "cpu",
    "cell": "lstm",
    "backend": "library",
    "dropout": 0.2,
}
CLOCKED = {"seconds", "chars_per_second"}
TEXT = "the cat is home.\nthe café is near the sea.\n" * 80


class Killed(Exception):  # noqa: N818
    """Raised in the middle of a training, like a power cut."""


class Watching(Follower):
    """Stops or kills a training at a step, and collects its notices."""

    def __init__(self, stop_at: int | None = None, kill_at: int | None = None) -> None:
        self.stop_at, self.kill_at = stop_at, kill_at
        self.asked = 0
        self.notices: list[str] = []

    def notice(self, sentence: str) -> None:
        self.notices.append(sentence)

    def progress(self, metrics: Metrics, network: Any) -> None:
        if self.kill_at is not None and metrics.step >= self.kill_at:
            raise Killed
        if self.stop_at is not None and metrics.step >= self.stop_at:
            self.asked = 1

    def stop(self) -> bool:
        return bool(self.asked)


def _corpus(text: str = TEXT) -> Corpus:
    return from_text(text, "tiny")


def _train(
    out: Path, follower: Follower | None = None, every: int | None = 5, **options: Any
) -> Result:
    chosen = TrainOptions(**{**SMALL, **options})
    return train(_corpus(), chosen, out=out, follower=follower, checkpoint_every=every)


def _resume(
    out: Path,
    follower: Follower | None = None,
    text: str = TEXT,
    every: int | None = 5,
    **changes: Any,
) -> Result:
    return resume(_corpus(text), changes, out=out, follower=follower, checkpoint_every=every)


def _same(one: Path, other: Path) -> bool:
    """Assert that model, metrics, summary and config are the same, except for times."""
    assert (one / MODEL_NAME).read_bytes() == (other / MODEL_NAME).read_bytes()
    assert _metrics(one) == _metrics(other)
    first, second = (_json(folder / "summary.json") for folder in (one, other))
    different = {name for name in first if first[name] != second[name]}
    assert different <= CLOCKED | {"run_dir", "model"}
    configs = (_json(folder / "config.json") for folder in (one, other))
    first, second = (config | {"date": "", "resumed": []} for config in configs)
    assert first == second
    return True


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = strict_json.loads(path.read_text("utf-8"))
    return content


def _metrics(folder: Path) -> list[dict[str, Any]]:
    rows = strict_json.rows(folder / "metrics.jsonl")
    return [{name: value for name, value in row.items() if name not in CLOCKED} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an uninterrupted training."""
    folder = tmp_path_factory.mktemp("resume") / "whole"
    _train(folder)
    return folder


@pytest.mark.parametrize("step", [1, 5, 6, 14, 15, 29, 30])
def test_stopped_and_resumed_is_the_same(tmp_path: Path, whole: Path, step: int) -> None:
    stopped = _train(tmp_path / "run", Watching(stop_at=step))
    assert (stopped.steps, stopped.stopped_by) == (min(step + 1, 30), "interrupt")
    torch.manual_seed(99)  # what happens in between must not matter
    watching = Watching()
    assert _resume(tmp_path / "run", watching).steps == 30
    assert _same(tmp_path / "run", whole)
    assert any(notice.startswith("resumed  at step") for notice in watching.notices)
    assert not [n for n in watching.notices if "not bit for bit" in n or "changed" in n]


def test_killed_again_and_again_is_the_same(tmp_path: Path, whole: Path) -> None:
    with pytest.raises(Killed):
        _train(tmp_path / "run", Watching(kill_at=8))
    for step in (12, 16, 17, 27):
        with pytest.raises(Killed):
            _resume(tmp_path / "run", Watching(kill_at=step))
    _resume(tmp_path / "run")
    assert _same(tmp_path / "run", whole)


VARIANTS: dict[str, dict[str, Any]] = {
    "fused": {"backend": "fused", "precision": "float32"},
    "bfloat16": {"backend": "fused", "precision": "bfloat16"},
    "layers": {"num_layers": 3, "skip_connections": True, "embedding_size": 0},
    "overlapping windows": {"update_every": 3, "learned_start": True, "backend": "reference"},
    "ensemble": {"ensemble": 2, "num_layers": 2, "locked_dropout": True},
    "tied": {"tied_output": True, "num_layers": 2, "skip_connections": True},
    "reset": {"state": "reset", "seq_len": 6},
    "full": {"seq_len": "full", "update_every": 100},
    "zoneout": {"cell": "gru", "zoneout": 0.2, "backend": "reference"},
    "weight drop": {"cell": "elman", "weight_drop": 0.3, "locked_dropout": True},
    "penalties": {"cell": "gru-reset-after", "activation_penalty": 2.0, "slowness_penalty": 1.0},
    "epochs": {"steps": None, "epochs": 0.15},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.5, "weight_decay": 1.0},
    "no validation": {"valid_fraction": 0.0},
    "clipped": {"clip_norm": 0.01, "omega": 0.5, "cell": "irnn", "backend": "reference"},
    "jordan": {"cell": "jordan", "backend": "reference"},
}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, id=name, marks=[needs_bf16] if name == "bfloat16" else [])
        for name, options in VARIANTS.items()
    ],
)
def test_every_kind_of_training_resumes_exactly(tmp_path: Path, options: dict[str, Any]) -> None:
    options = {"steps": 12, **options}
    _train(tmp_path / "whole", every=None, **options)
    with pytest.raises(Killed):
        _train(tmp_path / "run", Watching(kill_at=6), every=4, **options)
    torch.manual_seed(99)
    _resume(tmp_path / "run", every=4)
    assert _same(tmp_path / "run", tmp_path / "whole")
    one, two = (charrnn.load(tmp_path / name) for name in ("run", "whole"))
    assert one.sample(length=50, seed=1).text == two.sample(length=50, seed=1).text


@pytest.mark.parametrize(("then", "now"), [(100, 1), (1, 100)])
def test_a_run_keeps_the_alphabet_that_another_version_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: int, now: int
) -> None:
    rare = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    path = tmp_path / "text.txt"
    path.write_text(rare + TEXT * 6, "utf-8")

    def text() -> Corpus:
        return corpus.read([path], TrainOptions())

    def trained(name: str, stop_at: int) -> Model:
        options = TrainOptions(**SMALL | {"steps": 6})
        train(text(), options, out=tmp_path / name, follower=Watching(stop_at))
        return model_file.load(tmp_path / name / MODEL_NAME)

    monkeypatch.setattr(alphabet, "LEARNED", then)
    trained("whole", 7)  # never: whoever stops a training gets the weights as they are
    before = trained("run", 3).tokenizer
    monkeypatch.setattr(alphabet, "LEARNED", now)
    assert trained("other", 1).tokenizer != before
    resume(text(), {}, out=tmp_path / "run")
    whole, run = (model_file.load(tmp_path / name / MODEL_NAME) for name in ("whole", "run"))
    assert run.tokenizer == before
    assert all(np.array_equal(run.values[name], whole.values[name]) for name in whole.values)
    ids, _ = run_text.held_out(tmp_path / "run" / MODEL_NAME, before, "valid")
    assert before.decode(ids.tolist()) == (rare + TEXT * 6)[-len(ids) :]


def test_python_and_numpy_generators_do_not_matter(tmp_path: Path, whole: Path) -> None:
    """Only torch's is used, and so only its state must be saved."""

    def drawn() -> list[Any]:
        return [random.getstate(), np.random.get_state()[1].tolist()]  # noqa: NPY002

    before = drawn()
    _train(tmp_path / "run")
    assert drawn() == before
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002 - the one that everybody shares
    _train(tmp_path / "again")
    assert _same(tmp_path / "again", whole)


def test_resuming_a_finished_training_repeats_its_end(tmp_path: Path, whole: Path) -> None:
    run_dir = Path(shutil.copytree(whole, tmp_path / "run"))
    (run_dir / "summary.json").unlink()
    (run_dir / MODEL_NAME).unlink()
    _resume(run_dir)
    assert _same(run_dir, whole)


def test_without_a_checkpoint_it_starts_over_with_a_notice(tmp_path: Path, whole: Path) -> None:
    with pytest.raises(Killed):
        _train(tmp_path / "run", Watching(kill_at=4))
    watching = Watching()
    _resume(tmp_path / "run", watching)  # with the options that it was started with
    assert watching.notices[0].endswith("has no checkpoint: training starts from the beginning")
    assert _metrics(tmp_path / "run") == _metrics(whole)
    assert (tmp_path / "run" / MODEL_NAME).read_bytes() == (whole / MODEL_NAME).read_bytes()


def test_a_run_that_ended_without_checkpoints_is_not_overwritten(
    tmp_path: Path, whole: Path
) -> None:
    run_dir = Path(shutil.copytree(whole, tmp_path / "run"))
    shutil.rmtree(run_dir / "checkpoints")
    with pytest.raises(
        OptionError, match=r"finished run without a checkpoint.*use `force=True` to replace it"
    ):
        _resume(run_dir)
    assert (run_dir / MODEL_NAME).read_bytes() == (whole / MODEL_NAME).read_bytes()


# Damage


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    """Return a run that was killed at step 18, with checkpoints at 5, 10 and 15 steps."""
    with pytest.raises(Killed):
        _train(tmp_path / "run", Watching(kill_at=18))
    assert sorted(int(path.name) for path in (tmp_path / "run/checkpoints").iterdir()) == [
        5,
        10,
        15,
    ]
    assert (tmp_path / "run" / "latest").read_text() == "15\n"
    return tmp_path / "run"


@pytest.mark.parametrize(
    "name", ["manifest.json", "state.json", "tensors.safetensors", "metrics.jsonl"]
)
def test_a_damaged_checkpoint_is_skipped_with_a_notice(cut: Path, whole: Path, name: str) -> None:
    path = cut / "checkpoints" / "15" / name
    path.write_bytes(path.read_bytes()[:-20])
    watching = Watching()
    _resume(cut, watching)
    assert [n for n in watching.notices if str(path) in n and "damaged" in n]
    assert [n for n in watching.notices if n.startswith("resumed  at step 10")]
    assert _same(cut, whole)
    # the damaged one was replaced when the training reached its step again
    assert not [f for f in checkpoints.found(RunDir(cut)) if isinstance(f, ModelError)]


def test_without_a_good_checkpoint_nothing_is_overwritten(cut: Path) -> None:
    for folder in (cut / "checkpoints").iterdir():
        (folder / "state.json").write_text("{}")
    before = {path: path.read_bytes() for path in cut.rglob("*") if path.is_file()}
    with pytest.raises(ModelError, match=r"no checkpoint that can be used.*`force=True`"):
        _resume(cut)
    del before[cut / ".lock"]
    assert {path: path.read_bytes() for path in before} == before


def test_other_files_of_the_run_do_not_matter(cut: Path, whole: Path) -> None:
    (cut / "metrics.jsonl").write_bytes(b"\x00garbage")
    (cut / "config.json").write_bytes(b"")
    (cut / "latest").write_bytes(b"../../etc\n")
    (cut / MODEL_NAME).unlink()
    (cut / "checkpoints" / ".99.1234.tmp").mkdir()
    (cut / "checkpoints" / ".99.1234.tmp" / "state.json").write_text("half")
    (cut / "checkpoints" / "notes").mkdir()
    _resume(cut)
    assert _same(cut, whole)
    names = {path.name for path in (cut / "checkpoints").iterdir()}
    assert names == {"20", "25", "30", "notes"}


@pytest.mark.parametrize(
    "change",
    [
        {"step": 14},
        {"step": -1},
        {"epoch": "x"},
        {"window": 10**6},
        {"best": {}},
        {"best": {"step": 1}},
        {"best": 3},
        {"rollbacks": None},
        {"seconds": "x"},
        {"learning_rate": None},
    ],
)
def test_an_impossible_state_is_skipped(cut: Path, whole: Path, change: dict[str, Any]) -> None:
    folder = cut / "checkpoints" / "15"
    state = _json(folder / "state.json")
    state["trainer"] |= change
    _rewrite(folder, "state.json", json.dumps(state).encode())
    watching = Watching()
    _resume(cut, watching)
    assert [n for n in watching.notices if n.startswith("not used: ") and "damaged" in n]
    assert _same(cut, whole)


def test_a_state_whose_best_report_had_no_loss_is_used(cut: Path, whole: Path) -> None:
    """Nothing is trained between the last report and the end: JSON holds null for no loss."""
    folder = cut / "checkpoints" / "15"
    state = _json(folder / "state.json")
    state["trainer"]["best"] |= {"train_nats": None, "grad_norm": None}
    _rewrite(folder, "state.json", json.dumps(state).encode())
    watching = Watching()
    _resume(cut, watching)
    assert not [notice for notice in watching.notices if notice.startswith("not used")]
    assert _same(cut, whole)


# What must be the same, and what may change


def test_every_difference_is_listed(cut: Path) -> None:
    changes = {"hidden_size": 16, "cell": "gru", "seq_len": 9, "seed": 2, "embedding_size": 4}
    with pytest.raises(OptionError) as caught:
        _resume(cut, text=TEXT.replace("cat", "dog"), **changes)
    message = str(caught.value)
    for words in (
        "the text has SHA-256",
        "`hidden_size` was 8, now 16",
        "`cell` was lstm, now gru",
        "`seq_len` was 8, now 9",
        "`seed` was 1, now 2",
    ):
        assert words in message
    assert "embedding" not in message
    assert "\n" not in message


def test_a_longer_text_is_another_text(cut: Path) -> None:
    with pytest.raises(OptionError, match=r"the text has SHA-256 .*345 valid characters, not 344"):
        _resume(cut, text=TEXT + "!")


def test_a_changed_learning_rate_is_used_and_reported(cut: Path, whole: Path) -> None:
    watching = Watching()
    _resume(cut, watching, learning_rate=0.001, dropout=0.2, weight_decay=0.0)
    changed = [notice for notice in watching.notices if notice.startswith("changed")]
    assert sorted(changed) == [
        "changed  learning_rate: 0.02 -> 0.001",
        "changed  weight_decay: 0.1 -> 0.0",
    ]
    rows = _metrics(cut)
    assert rows[:15] == _metrics(whole)[:15]
    assert rows[16]["learning_rate"] == pytest.approx(_metrics(whole)[16]["learning_rate"] / 20)
    config = _json(cut / "config.json")
    assert config["changes"] == [{"step": 15, "learning_rate": 0.001, "weight_decay": 0.0}]
    assert config["train"]["learning_rate"] == 0.001


def test_more_steps_continue_from_the_end(tmp_path: Path, whole: Path) -> None:
    run_dir = Path(shutil.copytree(whole, tmp_path / "run"))
    watching = Watching()
    result = _resume(run_dir, watching, steps=60)
    assert result.steps == 60
    assert "changed  steps: 30 -> 60" in watching.notices
    (rise,) = [sentence for sentence in watching.notices if sentence.startswith("learning rate")]
    peak = SMALL["learning_rate"]
    last, now = (peak * learning_rate.schedule(part) for part in (29 / 30, 30 / 60))
    assert f"it had fallen to {last:.2g} and rises to {now:.2g}" in rise
    rows, before = _metrics(run_dir), _metrics(whole)
    assert rows[:29] == before[:29]
    assert rows[29]["step"] == 30
    assert rows[29]["valid_nats"] == before[29]["valid_nats"]  # also of the end reached before
    assert result.valid_nats is not None
    assert result.valid_nats < before[29]["valid_nats"]


def test_another_backend_is_reported(cut: Path) -> None:
    watching = Watching()
    _resume(cut, watching, backend="reference")
    assert "not bit for bit reproducible: backend was library, now reference" in (watching.notices)


def test_another_random_generator_is_reported(cut: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        """A torch whose generator has a state of seven bytes."""

        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

        def get_rng_state(self) -> torch.Tensor:
            return torch.zeros(7, dtype=torch.uint8)

    monkeypatch.setattr(state, "torch", Other())
    watching = Watching()
    _resume(cut, watching)
    assert [n for n in watching.notices if "this torch has another random generator" in n]


@pytest.mark.usefixtures("ticking")
def test_resumed_minutes_use_the_time_left(tmp_path: Path) -> None:
    options = {"steps": None, "minutes": 1e4, "hidden_size": 8}
    _train(tmp_path / "run", Watching(stop_at=3), **options)
    for path in (tmp_path / "run" / "checkpoints").glob("*/state.json"):
        content = _json(path)
        assert 0 < content["seconds"] < 100
        spent = 60 * 1e4 - 2.5  # as though nearly all had been spent
        content |= {"seconds": spent, "reserve": 0.1}
        content["trainer"]["seconds"] = spent
        _rewrite(path.parent, path.name, json.dumps(content).encode())
    result = _resume(tmp_path / "run")
    assert result.stopped_by == "minutes"
    assert 60 * 1e4 - 2.5 < result.seconds < 60 * 1e4 + 30
    assert result.steps > 3
    assert _metrics(tmp_path / "run")[-1]["fraction"] == 1.0


def test_a_resumed_clock_continues_at_its_fraction() -> None:
    """Of 80 s, 30 were used before a long pause: the fraction is 30/80 after it, too."""
    before = Clock(deadline=1080.0, start=1000.0)
    assert before.fraction_at(1030.0, 1) == 30 / 80
    resumed = Clock(deadline=5000.0 + 80 - 30, start=5000.0 - 30)
    assert resumed.fraction_at(5000.0, 1) == 30 / 80


def _rewrite(folder: Path, name: str, data: bytes) -> None:
    """Replace a file's content and its manifest entry."""
    (folder / name).write_bytes(data)
    manifest = _json(folder / "manifest.json")
    manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


# Loss or gradient that are not finite


@pytest.fixture
def wild(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Return a set of steps at which the weights become NaN, once each."""
    steps: set[int] = set()
    update = Updater.update

    def updated(updater: Updater, learning_rate: float) -> bool:
        if updater.step in steps:
            steps.remove(updater.step)
            with torch.no_grad():
                updater.network.weights()["output.bias"][0] = torch.nan
        return update(updater, learning_rate)

    monkeypatch.setattr(Updater, "update", updated)
    return steps


def test_a_diverged_training_restarts_from_good_weights(tmp_path: Path, wild: set[int]) -> None:
    wild |= {2, 20}
    watching = Watching()
    result = _train(tmp_path / "run", watching)
    assert (result.steps, result.stopped_by) == (30, "steps")
    first, second = (n for n in watching.notices if "diverged" in n)
    assert "diverged at step 2: loss nan" in first
    assert "restarting from the initial weights at half the learning rate" in first
    assert "diverged at step 20" in second
    assert "restarting from the best weights (step 15) at half" in second
    rows = _metrics(tmp_path / "run")
    assert [row["step"] for row in rows] == [*range(1, 31)]
    assert all(np.isfinite(row["train_nats"]) for row in rows)
    whole = learning_rate.schedule(25 / 30) * 0.02
    assert rows[25]["learning_rate"] == pytest.approx(whole / 4)


@pytest.mark.parametrize("optimizer", ["nadamw", "adamw", "sgd"])
def test_a_rollback_repeats_when_resumed(tmp_path: Path, wild: set[int], optimizer: str) -> None:
    wild |= {3, 12}
    _train(tmp_path / "whole", optimizer=optimizer)
    wild |= {3, 12}
    with pytest.raises(Killed):
        _train(tmp_path / "run", Watching(kill_at=9), optimizer=optimizer)
    _resume(tmp_path / "run")
    assert _same(tmp_path / "run", tmp_path / "whole")


def test_after_three_restarts_it_ends_with_the_best_model_saved(
    tmp_path: Path, wild: set[int]
) -> None:
    wild |= {3, 9, 10, 17}
    watching = Watching()
    with pytest.raises(DivergedError, match=r"diverged at step 17: .*, after 3 restarts .*are in "):
        _train(tmp_path / "run", watching)
    assert len([n for n in watching.notices if "diverged" in n]) == 3
    assert len(charrnn.load(tmp_path / "run").sample(length=5).text) == 5
    summary = _json(tmp_path / "run" / "summary.json")
    assert (summary["stopped_by"], summary["steps"]) == ("diverged", 17)
    assert "diverged at step 17" in summary["error"]
    wild.clear()
    assert _resume(tmp_path / "run", learning_rate=0.001).steps == 30
    assert _json(tmp_path / "run" / "summary.json")["stopped_by"] == "steps"


def test_a_resumed_run_keeps_its_first_date_and_command(tmp_path: Path) -> None:
    def part(command: str, *, more: bool) -> dict[str, Any]:
        watching = Watching(stop_at=None if more else 12)
        texts = Texts(_corpus())
        control = Control(watching.stop, 5, command=["charrnn", command])
        run = tmp_path / "run"
        events = (
            resume_run(texts, {}, out=run, control=control)
            if more
            else start(texts, TrainOptions(**SMALL), out=run, control=control)
        )
        watching.follow(events)
        return _json(run / "config.json")

    first, second = part("one", more=False), part("two", more=True)
    assert (first["command"], second["command"]) == (["charrnn", "one"],) * 2
    assert first["date"] == second["date"]
    (again,) = second["resumed"]
    assert (again["step"], again["command"]) == (13, ["charrnn", "two"])
    assert datetime.fromisoformat(again["date"]) >= datetime.fromisoformat(first["date"])


def test_a_resume_removes_the_result_of_the_part_before(tmp_path: Path) -> None:
    _train(tmp_path / "run", Watching(stop_at=12))
    with pytest.raises(Killed):
        _resume(tmp_path / "run", Watching(kill_at=20))
    assert not (tmp_path / "run" / "summary.json").exists()


def test_only_packages_that_a_checkpoint_names_are_compared() -> None:
    state = {"threads": 2, "torch": "1.0"}
    record: Any = SimpleNamespace(machine=state)
    now = {"threads": 2, "torch": "2.0", "numba": "0.6"}
    assert resume_rules.machine_changes(record, now) == ["torch was 1.0, now 2.0"]


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    class Spoiling(Watching):
        def progress(self, metrics: Metrics, network: Any) -> None:
            with torch.no_grad():
                if metrics.step == 10:
                    network.weights()["output.bias"][0] = torch.nan

    _train(tmp_path / "run", Spoiling(), every=10, steps=11)
    kept = list(checkpoints.found(RunDir(tmp_path / "run")))
    assert len(kept) == 2
    for found in kept:
        assert isinstance(found, checkpoints.Found)
        arrays = found.arrays(charrnn.load(tmp_path / "run").config, 4)
        assert all(np.isfinite(value).all() for value in arrays.values())


# Stopping


class Scoring(Watching):
    """Stops in the middle of a validation."""

    def __init__(self, validation: int) -> None:
        super().__init__()
        self.validation = validation

    def begin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        nats = CharRNN.nats_by_factor

        def counted(network: Any, *window: Any, **how: Any) -> Any:
            self.validation -= 1
            self.asked = int(self.validation <= 0)
            return nats(network, *window, **how)

        monkeypatch.setattr(CharRNN, "nats_by_factor", counted)


@pytest.mark.parametrize("after", [1, 2, 3, 4, 5, 6])
def test_stopping_during_a_validation_saves_at_once(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    with monkeypatch.context() as patched:
        scoring = Scoring(after)
        scoring.begin(patched)
        result = _train(tmp_path / "run", scoring)
    assert result.stopped_by == "interrupt"
    assert charrnn.load(tmp_path / "run").score(TEXT[-344:]).nats == pytest.approx(
        result.valid_nats, abs=1e-5
    )
    _resume(tmp_path / "run")
    assert _same(tmp_path / "run", whole)


def test_a_checkpoint_has_the_options_as_given(cut: Path) -> None:
    state = _json(cut / "checkpoints" / "15" / "state.json")
    assert state["options"] == json.loads(json.dumps(to_json(TrainOptions(**SMALL))))


@pytest.mark.parametrize("kind", ["byte", "sentencepiece"])
def test_other_tokenizers_resume_exactly(kind: str, tmp_path: Path) -> None:
    _train(tmp_path / "whole", tokenizer=kind)
    _train(tmp_path / "cut", Watching(stop_at=9), tokenizer=kind)
    _resume(tmp_path / "cut")
    assert _same(tmp_path / "whole", tmp_path / "cut")


def test_a_run_is_resumed_with_a_prepared_dataset(tmp_path: Path) -> None:
    _train(tmp_path / "cut", Watching(stop_at=9))
    dataset.make(_corpus(), TrainOptions(**SMALL), folder=tmp_path / "prepared")
    prepared = dataset.load(tmp_path / "prepared")
    again = resume(prepared, {}, out=tmp_path / "cut")
    assert again.steps == SMALL["steps"]
    assert _json(tmp_path / "cut" / "config.json")["files"] == [str(tmp_path / "prepared")]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"tokenizer": "byte"}, "the tokens differ \\(byte\\)"),
        ({"valid_fraction": 0.3}, "train characters, not"),
        ({"test_fraction": 0.1}, "test characters, not 0"),
    ],
)
def test_a_dataset_prepared_differently_is_refused(
    changed: dict[str, Any], words: str, tmp_path: Path
) -> None:
    _train(tmp_path / "cut", Watching(stop_at=9))
    options = TrainOptions(**{**SMALL, **changed})
    prepared = dataset.make(_corpus(), options, folder=tmp_path / "prepared")
    with pytest.raises(OptionError, match=words):
        resume(prepared, {}, out=tmp_path / "cut")


def test_tokenizer_options_cannot_change(tmp_path: Path) -> None:
    _train(tmp_path / "cut", Watching(stop_at=9), tokenizer="byte")
    with pytest.raises(OptionError, match="`split` was position, now hash; `tokenizer` was byte"):
        _resume(tmp_path / "cut", tokenizer="char", split="hash")
    assert _resume(tmp_path / "cut", tokenizer="byte").steps == SMALL["steps"]


def test_a_run_goes_on_with_its_files_in_the_order_in_which_it_read_them(tmp_path: Path) -> None:
    """Files of a folder were once sorted by name: ch10 before ch2."""
    book, moved, run = tmp_path / "book", tmp_path / "moved", tmp_path / "run"
    book.mkdir()
    paths = [book / name for name in ("ch1.txt", "ch10.txt", "ch2.txt")]
    for path in paths:
        path.write_text(f"This is all of {path.stem}, line by line.\n" * 20)
    train(corpus.read(paths), TrainOptions(**SMALL | {"steps": 4}), out=run)
    for folder, steps in ((book, 6), (moved, 8)):
        if folder is moved:
            book.rename(moved)
        text = corpus.read([folder])
        assert text.text.index("ch2") < text.text.index("ch10")
        follower = Watching()
        assert resume(text, {"steps": steps}, out=run, follower=follower).steps == steps
        said = "the files are read in the order in which the run read them"
        assert said in follower.notices
