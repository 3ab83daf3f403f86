"""What ``--config`` names: a TOML file with options, or a run to repeat."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from following import train

import charrnn
from charrnn.config import RunOptions, TextOptions, TrainOptions
from charrnn.errors import CorpusError, ModelError, OptionError
from charrnn.run_dir import RunDir
from charrnn.run_dir.recipe import Recipe, recipe
from charrnn.storage import machine
from charrnn.text import corpus

GOLDEN = Path(__file__).parents[1] / "golden" / "1"
TEXT = "to be, or not to be.\r\n" * 60
ASKED = TrainOptions(
    cell="lstm",
    backend="library",
    steps=3,
    hidden_size=6,
    seq_len=8,
    newline="lf",
    clip_norm=math.inf,
    skip_connections=True,
    num_layers=2,
)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "hamlet.txt"
    path.write_text(TEXT, newline="")
    return path


@pytest.fixture(scope="module")
def trained(text: Path) -> Path:
    """Return a run's folder, which is only read."""
    run = text.parent / "run"
    train(corpus.read([text], ASKED), ASKED, out=run)
    return run


def _recipe(run: Path, *names: str, given: dict[str, Any] | None = None, **named: Any) -> Recipe:
    return recipe(names, RunOptions(config=run, **named), given or {})


def test_a_run_is_repeated_with_what_was_asked_for_and_planned(trained: Path, text: Path) -> None:
    found = _recipe(trained)
    assert (list(found.names), found.source, found.notes) == ([str(text)], RunDir(trained), ())
    made = TrainOptions(**found.options)
    config = RunDir(trained).read_config()
    for name in ("steps", "hidden_size", "seq_len", "newline", "num_layers", "cell", "backend"):
        assert getattr(made, name) == getattr(ASKED, name)
    for name in ("batch_size", "learning_rate", "dropout", "weight_decay", "seed"):
        assert getattr(made, name) == config["train"][name]
    assert (made.embedding_size, made.skip_connections) == (config["model"]["embedding_size"], True)
    assert (made.clip_norm, made.update_every) == (math.inf, None)
    assert (made.minutes, made.epochs, made.threads) == (None, None, config["threads"])


@pytest.mark.parametrize("name", [".", "config.json", "model.safetensors"])
def test_a_run_is_named_by_its_folder_or_a_file_in_it(trained: Path, name: str) -> None:
    assert _recipe(trained / name).options == _recipe(trained).options


def test_a_run_in_runs_is_named_by_its_name(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, "runs/hamlet-1")
    assert _recipe(Path("hamlet-1")).options["hidden_size"] == 6
    with pytest.raises(OptionError, match=r"hamlet-2 does not exist, .*did you mean hamlet-1"):
        _recipe(Path("hamlet-2"))


@pytest.mark.parametrize(
    "asked",
    [
        {"items": "lines"},
        {"window_state": "reset", "clip_norm": math.inf, "dropout": 0.2, "valid_fraction": 0.3},
        {"document_separator": "\r\n", "reset_at_documents": True, "seq_len": 8},
        {"tokenizer": "byte", "update_every": 4, "seq_len": 8},
    ],
    ids=lambda asked: next(iter(asked)),
)
def test_a_repeated_run_has_the_same_bytes(tmp_path: Path, asked: dict[str, Any]) -> None:
    text = tmp_path / "list.txt"
    text.write_text("".join(f"item {number * 7919}\r\n" for number in range(150)), newline="")
    sizes = {"steps": 2, "hidden_size": 4, "cell": "lstm", "backend": "library"}
    first = charrnn.train(text, out=tmp_path / "first", **sizes, **asked)
    again = charrnn.train(config=tmp_path / "first", out=tmp_path / "again")
    assert Path(again.model).read_bytes() == Path(first.model).read_bytes()


def test_a_run_that_started_from_a_model_is_repeated_from_it(text: Path, tmp_path: Path) -> None:
    sizes = {"steps": 2, "hidden_size": 4, "cell": "lstm", "backend": "library"}
    base = charrnn.train(text, out=tmp_path / "base", **sizes)
    options = {"steps": 3, "backend": "library", "seed": 5}
    first = charrnn.train(text, init_from=base.model, out=tmp_path / "first", **options)
    again = charrnn.train(config=tmp_path / "first", out=tmp_path / "again")
    assert Path(again.model).read_bytes() == Path(first.model).read_bytes()


def test_given_options_replace_those_of_the_run_and_a_budget_all_budgets(trained: Path) -> None:
    found = _recipe(trained, given={"epochs": 2.0, "seed": 9, "seq_len": 4})
    made = TrainOptions(**found.options)
    assert (made.epochs, made.steps, made.minutes) == (2.0, None, None)
    assert (made.seed, made.seq_len, made.hidden_size) == (9, 4, 6)


def test_the_texts_are_read_again_as_the_run_read_them(trained: Path, text: Path) -> None:
    found = _recipe(trained)
    data = found.dataset(TrainOptions(**found.options))
    assert data.name == "hamlet"
    assert data.sha256 == RunDir(trained).read_config()["corpus"]["sha256"]
    assert "\r" not in data.tokenizer.decode(data.train)
    other = found.dataset(TextOptions(newline="lf", valid_fraction=0.5))
    assert len(other.valid) > 2 * len(data.valid)


def test_another_text_may_be_named(trained: Path) -> None:
    found = _recipe(trained, "other.txt", valid=Path("valid.txt"))
    assert (found.names, found.source) == (("other.txt",), None)
    assert found.options["hidden_size"] == 6
    with pytest.raises(OptionError, match="name the text to train on, too"):
        _recipe(trained, valid=Path("valid.txt"))


def test_a_text_that_changed_is_an_error(trained: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    config = RunDir(run).read_config()
    (tmp_path / "hamlet.txt").write_text(TEXT + "more")
    _write(run, config | {"files": [str(tmp_path / "hamlet.txt")]})
    found = _recipe(run)
    with pytest.raises(CorpusError, match=r"changed since the training; to train on another text"):
        found.dataset(TextOptions())


def test_other_versions_are_one_note(trained: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    config = RunDir(run).read_config()
    _write(run, config | {"versions": machine.versions() | {"torch": "1.0", "numpy": "1.1"}})
    (note,) = _recipe(run).notes
    now = machine.versions()
    assert f"torch 1.0, now {now['torch']}; numpy 1.1, now {now['numpy']}" in note
    assert note.endswith("the result may differ")


def test_the_model_that_a_run_started_from_is_part_of_it(trained: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    config = RunDir(run).read_config() | {"init_from": {"steps": 3, "symbols": ""}}
    _write(run, config | {"init_from_file": "/models/base.safetensors"})
    assert _recipe(run).run.init_from == Path("/models/base.safetensors")
    assert _recipe(run, init_from=Path("mine")).run.init_from == Path("mine")
    _write(run, config | {"init_from_file": None})
    with pytest.raises(OptionError, match="started from a model: name that with `init_from`"):
        _recipe(run)


def test_a_run_by_the_clock_is_repeated_by_the_clock(trained: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    config = RunDir(run).read_config()
    config["options"]["steps"] = None  # planned: 5 minutes, and a maximum of epochs
    config["train"] |= {"steps": None, "minutes": 5.0, "epochs": 40.0}
    _write(run, config)
    made = TrainOptions(**_recipe(run).options)
    assert (made.minutes, made.epochs, made.steps) == (5.0, None, None)


def test_a_run_of_the_first_version_can_be_repeated() -> None:
    found = _recipe(GOLDEN / "run", str(GOLDEN / "text.txt"))
    made = TrainOptions(**found.options)
    config = RunDir(GOLDEN / "run").read_config()
    assert (made.hidden_size, made.cell) == (
        config["model"]["hidden_size"],
        config["model"]["cell"],
    )
    assert made.learning_rate == config["train"]["learning_rate"]
    assert "charrnn unknown" in found.notes[0]


@pytest.mark.parametrize(
    "change",
    [{"train": 3}, {"files": []}, {"files": None}, {"options": [1]}, {"versions": "x"}],
)
def test_a_damaged_run_is_a_sentence(trained: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    _write(run, RunDir(run).read_config() | change)
    with pytest.raises(ModelError, match=r"config\.json is damaged"):
        _recipe(run)


def test_what_is_neither_a_file_nor_a_run_is_refused(tmp_path: Path, trained: Path) -> None:
    with pytest.raises(OptionError, match="is neither a TOML file nor a run"):
        _recipe(tmp_path)
    with pytest.raises(OptionError, match="leave out `config`"):
        _recipe(trained, resume=True)


def test_a_file_of_options_is_read_as_toml(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text("hidden-size = 5\nminutes = 2\n")
    found = recipe(["a.txt"], RunOptions(config=tmp_path / "small.toml"), {"steps": 7})
    assert (found.options, found.source) == ({"hidden_size": 5, "steps": 7}, None)


def _write(run: Path, config: dict[str, Any]) -> None:
    (run / "config.json").write_text(json.dumps(config))
