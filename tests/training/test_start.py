import hashlib
import json
import math
import os
import platform
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import strict_json
import torch
from following import Follower, train
from processors import needs_bf16

import charrnn
from charrnn import scoring
from charrnn.compiler import cache
from charrnn.config import TrainOptions
from charrnn.decoding.step import log_softmax
from charrnn.errors import CorpusError, OptionError, RunError
from charrnn.generator import Generator
from charrnn.model import model_file, parameters
from charrnn.model.model_file import MODEL_NAME
from charrnn.network.layers import Kernel, reference
from charrnn.network.module import CharRNN, choose_device
from charrnn.storage import machine
from charrnn.text import corpus
from charrnn.text.corpus import Corpus
from charrnn.text.open import Texts
from charrnn.training import setup, validation
from charrnn.training.control import Control
from charrnn.training.events import Metrics, Notice, Planned, Progress, Result
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
}
CLOCKED = {"seconds", "chars_per_second"}
TEXT = "the cat is home.\nthe café is near the sea.\n" * 80


def _corpus(text: str) -> Corpus:
    return corpus.from_text(text, "tiny")


def _train(text: str, out: Path, **options: Any) -> Result:
    """Return a finished training; keywords that are not options go to `train`."""
    more = {k: options.pop(k) for k in ("valid", "force", "follower") if k in options}
    return train(_corpus(text), TrainOptions(**{**SMALL, **options}), out=out, **more)


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = strict_json.loads(path.read_text("utf-8"))
    return content


def _metrics(folder: Path) -> list[dict[str, Any]]:
    rows = strict_json.rows(folder / "metrics.jsonl")
    return [{name: value for name, value in row.items() if name not in CLOCKED} for row in rows]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Return a training whose folder is only read."""
    return _train(TEXT, tmp_path_factory.mktemp("run") / "finished")


def test_a_run_leaves_these_files(finished: Result) -> None:
    names = {path.name for path in Path(finished.run_dir).iterdir()}
    files = {"config.json", "metrics.jsonl", "summary.json", "latest", ".lock", MODEL_NAME}
    files.add("corpus.txt")  # the text came from memory
    assert names == files | {"checkpoints"}


def test_the_summary_is_the_result(finished: Result) -> None:
    assert _json(Path(finished.run_dir) / "summary.json") == vars(finished)


def test_the_result_counts_what_was_done(finished: Result) -> None:
    config = Generator(model_file.load(Path(finished.model))).config
    assert finished.cell == config.cell == "lstm-coupled"
    assert finished.parameters == parameters.count(config)
    assert (finished.steps, finished.stopped_by) == (30, "steps")
    assert finished.characters == 30 * 8 * 4
    # 3,440 characters, of which 3,096 train: 774 in each stream, 96 windows of 8
    assert finished.epochs == pytest.approx(30 / 96)
    assert finished.seconds > 0
    assert finished.chars_per_second > 0


def test_the_result_has_the_scores_of_the_saved_model(finished: Result) -> None:
    model = charrnn.load(finished.model)
    valid = TEXT[-344:]  # a tenth
    score = model.score(valid)
    assert finished.valid_characters == score.characters == 344
    assert finished.valid_nats == pytest.approx(score.nats, abs=1e-5)
    assert finished.valid_bpc == pytest.approx(score.nats / math.log(2), abs=1e-5)
    assert finished.valid_bits_per_byte == pytest.approx(score.bits_per_byte, abs=1e-5)
    assert score.num_bytes > score.characters
    windows = scoring.window_nats(model.engine, model.tokenizer.encode(valid), model.tokenizer)
    assert finished.valid_window256_nats == pytest.approx(windows, abs=1e-5)


def test_the_config_says_what_was_planned_and_read(finished: Result) -> None:
    config = _json(Path(finished.run_dir) / "config.json")
    assert config["corpus"] == {
        "name": "tiny",
        "sha256": {"corpus": hashlib.sha256(TEXT.encode()).hexdigest()},
        "train_characters": 3096,
        "valid_characters": 344,
        "test_characters": 0,
        "split": "by position",
        "tokenizer": "char",
    }
    assert config["model"]["hidden_size"] == 8
    assert config["train"]["steps"] == 30
    assert config["text"]["newline"] == "keep"
    assert (config["train"]["seq_len"], config["train"]["update_every"]) == (8, 8)


def test_the_model_says_how_it_was_trained_without_any_clock_time(finished: Result) -> None:
    training = model_file.load(Path(finished.model)).training
    assert training["valid_nats"] == finished.valid_nats
    assert training["valid_window256_nats"] == finished.valid_window256_nats
    assert training["corpus"]["train_characters"] == 3096
    assert training["train"]["learning_rate"] > 0
    assert not [name for name in training if "second" in name or "time" in name]


def test_the_config_says_what_trained_the_run_and_when(finished: Result) -> None:
    config = _json(Path(finished.run_dir) / "config.json")
    assert config["versions"]["charrnn"] == charrnn.__version__
    assert config["versions"]["torch"] == torch.__version__
    assert config["versions"]["numpy"] == np.__version__
    assert config["versions"]["numba"] == numba.__version__
    assert config["machine"]["cores"] == os.cpu_count()
    assert config["machine"]["processor"]
    assert config["machine"]["platform"] == platform.platform()
    assert datetime.fromisoformat(config["date"]).tzinfo
    assert config["command"] is None  # of a training from Python
    assert TrainOptions(**config["options"]) == TrainOptions(cell="lstm-coupled", **SMALL)


def test_the_model_has_versions_but_no_date_command_or_path(finished: Result) -> None:
    training = model_file.load(Path(finished.model)).training
    assert training["versions"] == machine.versions()
    assert not training.keys() & {"date", "command", "machine", "options", "files"}
    assert str(Path(finished.run_dir).parent) not in json.dumps(training)


def test_metrics_are_one_line_per_report_up_to_the_end(finished: Result) -> None:
    lines = _metrics(Path(finished.run_dir))
    assert [line["step"] for line in lines] == [*range(1, 31)]
    assert lines[-1]["valid_nats"] is not None
    first, last = lines[0]["train_nats"], lines[-1]["train_nats"]
    assert last < first - 0.1  # it learns


def test_the_same_steps_give_the_same_bytes(tmp_path: Path) -> None:
    results = []
    for before, (name, seed) in enumerate((("one", 3), ("two", 3), ("three", 4))):
        torch.manual_seed(before)  # what happened before must not matter
        results.append(_train(TEXT, tmp_path / name, dropout=0.2, seed=seed))
    one, two, three = (Path(result.run_dir) for result in results)
    assert (one / MODEL_NAME).read_bytes() == (two / MODEL_NAME).read_bytes()
    configs = [_json(folder / "config.json") | {"date": ""} for folder in (one, two)]
    assert configs[0] == configs[1]
    assert _metrics(one) == _metrics(two)
    same = [set(vars(r).items()) for r in results[:2]]
    assert {name for name, _ in same[0] ^ same[1]} <= CLOCKED | {"run_dir", "model"}
    assert (one / MODEL_NAME).read_bytes() != (three / MODEL_NAME).read_bytes()


def test_the_model_saved_and_scored_is_the_best_not_the_last(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    text, valid = ("".join(rng.choice(list("abcd"), size)) for size in (160, 300))
    options = {"steps": 99, "hidden_size": 32, "learning_rate": 0.03, "dropout": 0.0}
    options["precision"] = "float32"  # of the losses along the way, too
    result = _train(text, tmp_path / "run", valid=_corpus(valid), **options)
    lines = [line for line in _metrics(tmp_path / "run") if line["valid_nats"] is not None]
    best = min(lines, key=lambda line: line["valid_nats"])
    assert lines[-1]["valid_nats"] > best["valid_nats"] + 0.5  # it learned the text by heart
    assert result.valid_nats == pytest.approx(best["valid_nats"], abs=1e-6)
    assert charrnn.load(result.model).score(valid).nats == pytest.approx(
        result.valid_nats, abs=1e-5
    )
    training = model_file.load(Path(result.model)).training
    assert training["steps"] == best["step"] < result.steps == 99


def test_hello_is_learned_to_certainty(tmp_path: Path) -> None:
    result = _train(
        "hello" * 40,
        tmp_path / "hello",
        cell="elman",
        num_layers=1,
        hidden_size=8,
        embedding_size=0,
        steps=500,
        learning_rate=0.03,
        dropout=0.0,
    )
    model = charrnn.load(result.model)
    assert model.tokenizer.alphabet == "ehlo"

    def certain(prompt: str, symbol: str) -> bool:
        p = np.exp(log_softmax(model.read(prompt).logits))[0]
        return bool(p[model.tokenizer.alphabet.index(symbol)] > 0.99)

    assert certain("hel", "l")  # the same letter before it: only the state knows
    assert certain("hell", "o")
    assert certain("hello", "h")
    assert model.greedy("h", length=14).text == "ellohellohello"
    assert result.valid_nats is not None
    assert result.valid_nats < 0.1


def test_a_model_exists_from_the_first_validation_on(tmp_path: Path) -> None:
    class Watching(Follower):
        def __init__(self) -> None:
            self.seen: list[tuple[bool, bool]] = []

        def progress(self, metrics: Metrics, network: Any) -> None:
            there = (tmp_path / "run" / MODEL_NAME).exists()
            self.seen.append((metrics.valid_nats is not None, there))
            if there:  # and can be used
                charrnn.load(tmp_path / "run").sample(length=3)

    watching = Watching()
    _train(TEXT, tmp_path / "run", follower=watching)
    validated = [index for index, (valid, _) in enumerate(watching.seen) if valid]
    there = [there for _, there in watching.seen]
    assert there == [False] * validated[0] + [True] * (len(there) - validated[0])
    assert len(validated) > 1


def test_an_interrupted_training_keeps_its_best_model(tmp_path: Path) -> None:
    class Impatient(Follower):
        step = 0

        def progress(self, metrics: Metrics, network: CharRNN) -> None:
            self.step = metrics.step

        def stop(self) -> bool:
            return self.step == 12

    result = _train(TEXT, tmp_path / "run", follower=Impatient(), precision="float32")
    # the stop comes while one more step is made
    assert (result.stopped_by, result.steps) == ("interrupt", 13)
    assert _json(tmp_path / "run" / "summary.json")["stopped_by"] == "interrupt"
    model = charrnn.load(tmp_path / "run")
    assert result.valid_nats == pytest.approx(model.score(TEXT[-344:]).nats, abs=1e-5)


def test_an_interrupted_training_scores_a_part_of_a_long_validation_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Impatient(Follower):
        def stop(self) -> str | None:
            return "interrupt"

    monkeypatch.setattr(validation, "VALID_CAP", 50)
    result = _train(TEXT, tmp_path / "run", follower=Impatient(), precision="float32")
    score = charrnn.load(result.model).score(TEXT[-344:][:50])
    assert result.valid_characters == 50
    assert result.valid_nats == pytest.approx(score.nats, abs=1e-5)
    assert result.valid_bits_per_byte == pytest.approx(score.bits_per_byte, abs=1e-5)
    assert result.valid_window256_nats is None


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Return a training with the backend and precision that are planned."""
    return _train(TEXT, tmp_path_factory.mktemp("planned") / "run", cell="lstm")


@pytest.mark.parametrize(
    ("backend", "precision"),
    [
        ("reference", "float32"),
        ("library", "float32"),
        ("fused", "float32"),
        pytest.param("fused", "bfloat16", marks=needs_bf16),
    ],
)
def test_every_backend_learns_the_same_and_losses_are_those_of_the_saved_model(
    tmp_path: Path, planned: Result, backend: str, precision: str
) -> None:
    options = {"cell": "lstm", "backend": backend, "precision": precision}
    result = _train(TEXT, tmp_path / "run", **options)
    config = _json(tmp_path / "run" / "config.json")
    recorded = {"fused": "scaffold"}.get(backend, backend)  # files use the older name
    assert config["kernel"] == {"backend": recorded, "precision": precision, "reason": "as asked"}
    assert result.valid_nats == pytest.approx(planned.valid_nats, abs=0.02)
    # in float32, even if the training used another precision
    score = charrnn.load(result.model).score(TEXT[-344:])
    assert result.valid_nats == pytest.approx(score.nats, abs=2e-6)


def test_the_older_name_of_a_backend_trains_the_same_model(tmp_path: Path) -> None:
    for name in ("fused", "scaffold"):
        _train(TEXT, tmp_path / name, cell="lstm", backend=name, precision="float32")
    ours, older = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("fused", "scaffold")
    )
    assert ours == older


PLAIN_LOOP = Kernel("reference", "float32", "for a test", reference)
SHAPE: dict[str, Any] = {"steps": 6, "cell": "elman"}


@pytest.fixture
def plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every network with the plain loop, which needs no compilation."""
    monkeypatch.setattr(setup, "select", lambda *given, **more: PLAIN_LOOP)


@pytest.mark.usefixtures("plain_loop")
def test_every_form_is_trained_saved_and_scored(tmp_path: Path, form: dict[str, Any]) -> None:
    _is_trained_saved_and_scored(tmp_path, "lstm", form)


@pytest.mark.usefixtures("plain_loop")
@pytest.mark.parametrize("form", ["plain", "recurrent_depth", "layer_norm", "all"], indirect=True)
def test_forms_of_a_cell_of_two_stages(tmp_path: Path, form: dict[str, Any]) -> None:
    _is_trained_saved_and_scored(tmp_path, "gru", form)


@pytest.mark.usefixtures("plain_loop")
@pytest.mark.parametrize("form", ["plain", "learned_start", "all"], indirect=True)
def test_forms_of_a_cell_that_feeds_its_output_back(tmp_path: Path, form: dict[str, Any]) -> None:
    _is_trained_saved_and_scored(tmp_path, "jordan", form)


def _is_trained_saved_and_scored(tmp_path: Path, cell: str, form: dict[str, Any]) -> None:
    # Options without an effect are refused: gru and jordan have one state, jordan has one layer.
    unused = {"gru": {"zoneout_cell"}, "jordan": {"zoneout_cell", "skip_connections"}}
    form = {name: form[name] for name in form.keys() - unused.get(cell, set())}
    layers = 1 if cell == "jordan" else 2
    options = {"steps": 12, "seq_len": 6, "update_every": 4, "num_layers": layers}
    result = _train(TEXT[:1500], tmp_path / "run", cell=cell, **options, **form)
    model = charrnn.load(result.model)
    described = _json(tmp_path / "run" / "config.json")["model"]
    assert {name: described[name] for name in form} == form
    assert {name: getattr(model.config, name) for name in form} == form
    assert result.parameters == parameters.count(model.config)
    assert result.valid_nats == pytest.approx(model.score(TEXT[1350:1500]).nats, abs=1e-5)
    assert len(model.sample(length=20, seed=1).text) == 20
    assert result.valid_nats < math.log(model.config.vocab_size)  # it learned something
    if form.get("learned_start"):
        assert all(value.any() for name, value in _values(result).items() if ".start." in name)


def test_a_learned_start_is_learned_within_an_epoch_and_predicts_how_a_text_begins(
    tmp_path: Path,
) -> None:
    text = "".join(f"whither {'so ' * (n % 5)}fast?\n" for n in range(400))
    options = {"steps": 150, "cell": "lstm", "backend": "library"}
    results = {
        learned: _train(text, tmp_path / str(learned), learned_start=learned, **options)
        for learned in (False, True)
    }
    assert results[True].epochs < 1
    starts = [v for name, v in _values(results[True]).items() if ".start." in name]
    assert all(np.abs(value).max() > 0.02 for value in starts)  # it was below 0.001
    losses = {n: charrnn.load(r.model).score("whither ").nats for n, r in results.items()}
    assert losses[True] < losses[False] - 0.5


def _values(result: Result) -> Any:
    return model_file.load(Path(result.model)).values


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[float, Result]:
    """Return a training without an option for each dropout that it is compared at."""
    folder = tmp_path_factory.mktemp("plain")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(setup, "select", lambda *given, **more: PLAIN_LOOP)
        return {
            dropout: _train(TEXT[:600], folder / f"{dropout}", **SHAPE, dropout=dropout)
            for dropout in (0.0, 0.3)
        }


@pytest.mark.usefixtures("plain_loop")
@pytest.mark.parametrize(
    "option",
    [
        {"dropout": 0.3},
        {"dropout": 0.3, "locked_dropout": True},
        {"weight_drop": 0.3},
        {"activation_penalty": 2.0},
        {"slowness_penalty": 1.0},
        {"omega": 0.5},
        {"weight_decay": 0.0},
        {"zoneout": 0.3},
        {"clip_norm": 0.01},
        {"init": "he"},
        {"state": "reset"},
        {"update_every": 3},
        {"seq_len": "full"},
    ],
)
def test_every_option_of_training_changes_what_is_learned(
    tmp_path: Path, plain: dict[float, Result], option: dict[str, Any]
) -> None:
    base = 0.3 if "locked_dropout" in option else 0.0
    given = {**SHAPE, "dropout": base, **option}
    other = _train(TEXT[:600], tmp_path / "other", **given)
    name = "layers.0.weight_hh"
    assert np.abs(_values(plain[base])[name] - _values(other)[name]).max() > 1e-5
    if option.keys() & {"dropout", "weight_drop", "zoneout"}:  # what is random can be repeated
        again = _train(TEXT[:600], tmp_path / "again", **given)
        assert _values(other)[name].tolist() == _values(again)[name].tolist()
    described = _json(tmp_path / "other" / "config.json")
    decided = described["train"] | described["model"]
    if option != {"seq_len": "full"}:
        assert {key: decided[key] for key in option} == option


@pytest.mark.usefixtures("plain_loop")
def test_the_forget_bias_is_an_initial_value(tmp_path: Path) -> None:
    rest = {"steps": 1, "learning_rate": 1e-6}
    result = _train(TEXT[:600], tmp_path / "run", forget_bias=-3.0, **rest)
    bias = _values(result)["layers.0.bias"]
    np.testing.assert_allclose(bias, [-3] * 8 + [0] * 16, atol=1e-4)


def test_omega_is_trained_by_the_plain_loop(tmp_path: Path) -> None:
    options = {"cell": "elman", "omega": 0.5, "steps": 2}
    _train(TEXT, tmp_path / "run", **options)
    kernel = _json(tmp_path / "run" / "config.json")["kernel"]
    assert (kernel["backend"], kernel["precision"]) == ("reference", "float32")


def test_a_second_layer_of_jordan_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"the cell jordan .*use `num_layers=1`"):
        _train(TEXT, tmp_path / "run", cell="jordan", num_layers=2)
    assert not (tmp_path / "run").exists()


def test_a_jordan_network_is_trained_and_generates(tmp_path: Path) -> None:
    result = _train(TEXT, tmp_path / "run", cell="jordan", steps=1)
    model = charrnn.load(result.model)
    assert _json(tmp_path / "run" / "config.json")["kernel"]["backend"] == "reference"
    assert len(model.sample("the", length=9).text) == 9
    assert result.valid_nats == pytest.approx(model.score(TEXT[-344:]).nats, abs=1e-5)


def _machine(monkeypatch: pytest.MonkeyPatch, **told: int) -> None:
    def sysconf(name: str) -> int:
        if name not in told:
            raise ValueError("unrecognized configuration name")
        return told[name]

    monkeypatch.setattr(os, "sysconf", sysconf, raising=False)


def test_a_window_larger_than_the_memory_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # an LSTM's unit takes 3 * 4 + 2 * 2 + 3 = 19 values of 4 bytes; 8 units, 8 steps and 4 streams
    # make 19,456 bytes
    _machine(monkeypatch, SC_PAGE_SIZE=19_455, SC_PHYS_PAGES=1)
    with pytest.raises(OptionError) as caught:
        _train(TEXT, tmp_path / "run", cell="lstm", num_layers=1)
    assert str(caught.value) == (
        "a window of 8 steps would take about 0 GB until its gradient is known, and the machine "
        "has 0: lower `seq_len`, `batch_size` or `hidden_size`"
    )
    assert not (tmp_path / "run").exists()
    _machine(monkeypatch, SC_PAGE_SIZE=19_456, SC_PHYS_PAGES=1)
    assert _train(TEXT, tmp_path / "run", cell="lstm", num_layers=1, steps=1).steps == 1


def test_the_message_about_memory_names_what_is_needed_and_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(monkeypatch, SC_PAGE_SIZE=4096, SC_PHYS_PAGES=2**21)  # 8.6 GB
    # 4 * 1 * 860,000 * 1000 * 19 bytes: 65 GB
    text = "ab" * 430_000
    size = {"num_layers": 1, "hidden_size": 1000, "seq_len": "full", "batch_size": 1}
    with pytest.raises(OptionError, match=r"860,000 steps .* about 65 GB .* machine has 9:"):
        _train(text, tmp_path / "run", cell="lstm", valid_fraction=0, **size)


def test_a_machine_of_unknown_memory_refuses_no_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(monkeypatch)
    assert _train(TEXT, tmp_path / "run", steps=1).steps == 1


@pytest.mark.usefixtures("ticking")
def test_minutes_end_a_training_by_the_clock(tmp_path: Path) -> None:
    result = _train(
        TEXT, tmp_path / "run", steps=None, minutes=0.03, cell="lstm", backend="library"
    )
    assert result.stopped_by == "minutes"
    assert result.steps > 1
    assert 1 < result.seconds < 2


def test_epochs_are_passes_over_the_text(tmp_path: Path) -> None:
    result = _train(TEXT[:400], tmp_path / "run", steps=None, epochs=2)
    assert (result.epochs, result.stopped_by) == (2, "epochs")


def test_without_a_validation_text_there_is_a_model_but_no_loss(tmp_path: Path) -> None:
    result = _train(TEXT, tmp_path / "run", valid_fraction=0)
    assert result.valid_nats is result.valid_bpc is result.valid_bits_per_byte is None
    assert result.valid_window256_nats is None
    assert result.valid_characters == 0
    assert len(charrnn.load(result.model).sample(length=5).text) == 5


def test_a_separate_validation_text_is_scored_whole(tmp_path: Path) -> None:
    valid = "a néw sea\n" * 30
    result = _train(TEXT, tmp_path / "run", valid=_corpus(valid))
    score = charrnn.load(result.model).score(valid)
    assert result.valid_characters == 300
    assert result.valid_nats == pytest.approx(score.nats, abs=1e-5)
    assert result.valid_bits_per_byte == pytest.approx(score.bits_per_byte, abs=1e-5)
    hashes = _json(tmp_path / "run" / "config.json")["corpus"]["sha256"]
    assert hashes["valid"] == hashlib.sha256(valid.encode()).hexdigest()


def test_a_long_validation_text_is_scored_whole_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "VALID_CAP", 50)
    result = _train(TEXT, tmp_path / "run")
    assert result.valid_characters == 344
    score = charrnn.load(result.model).score(TEXT[-344:])
    assert result.valid_nats == pytest.approx(score.nats, abs=1e-5)


def test_nothing_is_written_before_the_plan_is_reported(tmp_path: Path) -> None:
    out = tmp_path / "run"
    events = start(Texts(_corpus(TEXT)), TrainOptions(**SMALL), out=out)
    planned = next(event for event in events if isinstance(event, Planned))
    assert (planned.run_dir.path, planned.plan.model.hidden_size) == (out, 8)
    events.close()
    assert not out.exists()


def test_a_folder_that_holds_a_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    _train(TEXT, tmp_path / "run")
    before = (tmp_path / "run" / MODEL_NAME).read_bytes()
    with pytest.raises(OptionError, match=r"`out` .*run already holds a run: .*`force=True`"):
        _train(TEXT, tmp_path / "run", seed=2)
    assert (tmp_path / "run" / MODEL_NAME).read_bytes() == before


def test_force_replaces_a_run_and_nothing_else(tmp_path: Path) -> None:
    class Watching(Follower):
        first: set[str] | None = None

        def progress(self, metrics: Metrics, network: Any) -> None:
            self.first = self.first or {path.name for path in (tmp_path / "run").iterdir()}

    _train(TEXT, tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    before = (tmp_path / "run" / MODEL_NAME).read_bytes()
    watching = Watching()
    _train(TEXT, tmp_path / "run", seed=2, force=True, follower=watching)
    # no file of the old run is left
    assert watching.first == {"config.json", "metrics.jsonl", "notes.txt", "corpus.txt", ".lock"}
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "run" / MODEL_NAME).read_bytes() != before


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt(), RuntimeError("CUDA")])
def test_a_run_is_kept_until_the_first_step_of_the_next_one(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Updater, rate: float) -> bool:
        raise error

    run = tmp_path / "run"
    _train(TEXT, run, steps=2)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    monkeypatch.setattr(Updater, "update", fail)
    with pytest.raises(type(error)):
        _train(TEXT, run, seed=2, force=True)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_run_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written: Not a directory"):
        _train(TEXT, tmp_path / "file" / "run")


def test_a_text_too_short_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"tiny has 27 characters .* would fit"):
        _train("hello" * 6, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_text_that_is_just_long_enough_is_trained_on(tmp_path: Path) -> None:
    result = _train("hello" * 8, tmp_path / "run", steps=3, valid_fraction=0.2)  # 32 train
    assert result.epochs == 3


def test_without_sizes_a_short_text_gets_a_plan_that_runs(tmp_path: Path) -> None:
    result = train(_corpus("hello"), TrainOptions(steps=2, device="cpu"), out=tmp_path / "r")
    assert result.steps == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tpu", "'tpu' is not known: use auto, cpu, cuda or cuda:N"),
        ("cuda:x", "'cuda:x' is not known"),
        ("cuda:-1", "'cuda:-1' is not known"),
        ("cpu:", "'cpu:' is not known"),
        ("", "'' is not known"),
    ],
)
def test_unknown_devices_are_refused(name: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        choose_device(name)


def test_a_cuda_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(OptionError, match=r"`device` cuda:99: .*; use `device` cpu"):
        choose_device("cuda:99")


def test_the_device_auto_is_cuda_if_available() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device("auto").type == expected
    assert choose_device("cpu") == torch.device("cpu")


def test_threads_are_set_recorded_and_restored(tmp_path: Path) -> None:
    class Counting(Follower):
        threads = 0

        def progress(self, metrics: Metrics, network: CharRNN) -> None:
            self.threads = torch.get_num_threads()

    before, counting = torch.get_num_threads(), Counting()
    _train(TEXT, tmp_path / "run", steps=1, threads=before + 1, follower=counting)
    assert counting.threads == before + 1
    assert torch.get_num_threads() == before
    assert _json(tmp_path / "run" / "config.json")["threads"] == before + 1


@pytest.mark.parametrize("stop", [False, True])
def test_a_training_restores_generators_and_warning_filters(tmp_path: Path, stop: bool) -> None:
    generator, filters = torch.get_rng_state(), list(warnings.filters)
    if stop:
        events = start(Texts(_corpus(TEXT)), TrainOptions(**SMALL), out=tmp_path / "run")
        for event in events:
            if isinstance(event, Progress):
                break
        events.close()
    else:
        _train(TEXT, tmp_path / "run", dropout=0.2, steps=3)
    assert torch.equal(torch.get_rng_state(), generator)
    assert warnings.filters == filters


def test_from_python_in_a_few_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_model: Callable[..., Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text(TEXT, "utf-8")
    result = charrnn.train("corpus.txt", **SMALL)
    assert Path(result.model) == Path("runs/corpus-1") / MODEL_NAME
    assert len(charrnn.load(result.model).sample(prompt="the", temperature=0.8, length=9).text) == 9
    files = _json(Path(result.run_dir) / "config.json")["files"]
    assert corpus.read(files).text == TEXT
    with pytest.raises(OptionError, match="already holds a run"):
        charrnn.train("corpus.txt", out=result.run_dir, **SMALL)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (7, "tiny has only 7 characters: expect letters in a random order"),
        (3000, "tiny has only 3,000 characters: expect words that do not exist"),
        (30_000, None),
    ],
)
def test_a_short_text_is_trained_on_with_what_to_expect(length: int, expected: str | None) -> None:
    text = (TEXT * 10)[:length]
    events = list(_planned_events(text))
    notices = [event.sentence for event in events if isinstance(event, Notice)]
    assert [notice[: len(expected or "")] for notice in notices] == ([expected] * bool(expected))
    assert isinstance(events[-1], Planned)


def _planned_events(text: str) -> Iterator[Any]:
    """Yield the events of a training up to its plan."""
    with closing(start(Texts(_corpus(text)), TrainOptions(steps=1, hidden_size=8))) as events:
        for event in events:
            yield event
            if isinstance(event, Planned):
                return


def test_that_code_is_compiled_is_said_from_within_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    told: list[Callable[[], object]] = []

    @contextmanager
    def notify_compiling(notify: Callable[[], object]) -> Iterator[None]:
        told.append(notify)
        yield

    monkeypatch.setattr(cache, "notify_compiling", notify_compiling)
    control = Control(notify=said.append)
    events = start(Texts(_corpus(TEXT)), TrainOptions(**SMALL), out=tmp_path, control=control)
    with closing(events):
        assert isinstance(next(e for e in events if isinstance(e, Planned)), Planned)
        (compiles,) = told
        compiles()
        assert said == ["compiling for this machine: this takes some seconds, once"]


@pytest.mark.parametrize(("options", "said"), [({"minutes": 0.01}, True), ({"steps": 1}, False)])
def test_a_busy_machine_is_said_where_the_plan_depends_on_its_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, float], said: bool
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (99.0, 1.0, 1.0), raising=False)
    chosen = TrainOptions(
        **{**SMALL, "steps": None, "cell": "lstm", "backend": "library"} | options
    )
    events = start(Texts(_corpus(TEXT)), chosen, out=tmp_path / "run")
    with closing(events):
        sentences = []
        for event in events:
            if isinstance(event, Planned):
                break
            sentences += [event.sentence] if isinstance(event, Notice) else []
    busy = [sentence for sentence in sentences if "load 99.0" in sentence]
    assert bool(busy) is said
    assert all("planned for the speed that is left" in sentence for sentence in busy)
