"""What is known about each run."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from charrnn.config import ModelConfig, to_json
from charrnn.errors import ModelError
from charrnn.model import parameters
from charrnn.run_dir import COLUMNS, RunDir, lock
from charrnn.run_dir.account import account, accounts

MODEL = ModelConfig(20, cell="gru", num_layers=2, hidden_size=8)
CONFIG: dict[str, Any] = {
    "format": 1,
    "corpus": {"name": "story", "sha256": {"corpus": "ab12"}},
    "model": to_json(MODEL),
    "train": {"seed": 7},
    "date": "2026-01-02T03:04:05+00:00",
    "versions": {"charrnn": "0.1.0"},
}
SUMMARY = {
    "steps": 40,
    "epochs": 2.5,
    "characters": 800,
    "seconds": 61.5,
    "train_nats": 2.0,
    "valid_nats": 2.125,
    "stopped_by": "steps",
}


def _report(step: int, **values: float | None) -> dict[str, float | None]:
    return {**dict.fromkeys(COLUMNS, 1.0), "step": step, **values}


def _run(
    folder: Path,
    config: dict[str, Any] | None = CONFIG,
    summary: dict[str, Any] | None = None,
    reports: list[dict[str, Any]] | None = None,
) -> RunDir:
    run = RunDir(folder)
    folder.mkdir(parents=True)
    if config is not None:
        run.config.write_text(json.dumps(config))
    if summary is not None:
        run.summary.write_text(json.dumps(summary))
    run.metrics.write_text("".join(f"{json.dumps(report)}\n" for report in reports or ()))
    return run


def test_a_finished_run_is_described_by_its_plan_and_its_result(tmp_path: Path) -> None:
    found = account(_run(tmp_path / "one", summary=SUMMARY))
    assert (found.name, found.run_dir) == ("one", str(tmp_path / "one"))
    assert (found.state, found.stopped_by, found.date) == ("finished", "steps", CONFIG["date"])
    assert (found.text, found.text_sha256, found.seed) == ("story", "ab12", 7)
    assert (found.cell, found.num_layers, found.hidden_size) == ("gru", 2, 8)
    assert found.parameters == parameters.count(MODEL)
    assert (found.steps, found.epochs, found.characters, found.seconds) == (40, 2.5, 800, 61.5)
    assert (found.train_nats, found.valid_nats, found.version) == (2.0, 2.125, "0.1.0")


def test_a_run_that_was_killed_is_described_by_its_reports(tmp_path: Path) -> None:
    reports = [
        _report(1, valid_nats=3.0, seconds=2.0),
        _report(2, valid_nats=2.5, seconds=4.0),
        _report(3, valid_nats=None, seconds=6.0, train_nats=2.25, characters=96, epoch=0.5),
    ]
    found = account(_run(tmp_path / "one", reports=reports))
    assert (found.state, found.stopped_by) == ("stopped", None)
    assert (found.steps, found.seconds, found.characters, found.epochs) == (3, 6.0, 96, 0.5)
    assert (found.valid_nats, found.train_nats) == (2.5, 2.25)


@pytest.mark.parametrize(
    ("stopped_by", "state"),
    [
        *(("minutes", "finished"), ("epochs", "finished"), ("steps", "finished")),
        *(("interrupt", "stopped"), ("diverged", "diverged")),
    ],
)
def test_the_state_is_what_ended_the_training(tmp_path: Path, stopped_by: str, state: str) -> None:
    run = _run(tmp_path / "one", summary=SUMMARY | {"stopped_by": stopped_by})
    assert account(run).state == state
    with lock.held(run):
        assert account(run).state == "running"
    assert account(run).state == state


def test_a_run_without_a_date_has_that_of_its_plan(tmp_path: Path) -> None:
    run = _run(tmp_path / "old", {name: CONFIG[name] for name in ("corpus", "model", "train")})
    os.utime(run.config, (1_000_000_000, 1_000_000_000))
    when = datetime.fromisoformat(account(run).date)
    assert when.timestamp() == 1_000_000_000
    assert when.tzinfo


@pytest.mark.parametrize(
    "config",
    [
        {"corpus": [], "model": 3, "train": None, "date": 7, "versions": "x"},
        {"corpus": {"name": 1, "sha256": []}, "model": {"cell": [], "hidden_size": True}},
        {"corpus": {}, "model": {"cell": "gru", "vocab_size": -1}, "train": {"seed": "1"}},
        None,
    ],
)
def test_files_of_another_kind_are_unknown_and_not_errors(
    tmp_path: Path, config: dict[str, Any] | None
) -> None:
    summary = {"steps": "many", "seconds": float("nan"), "valid_nats": True, "stopped_by": 1}
    found = account(_run(tmp_path / "one", config, summary))
    assert found.text is found.parameters is found.seed is found.steps is None
    assert found.seconds is found.valid_nats is found.stopped_by is None
    assert datetime.fromisoformat(found.date)


def test_the_list_has_every_run_in_a_folder_the_newest_last(tmp_path: Path) -> None:
    for age, name in enumerate(["c", "a", "b"]):
        run = _run(tmp_path / name, summary=SUMMARY)
        for path in run.path.iterdir():
            os.utime(path, (1000 - age, 1000 - age))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").touch()
    (tmp_path / "file").touch()
    assert [run.name for run in accounts(tmp_path)] == ["b", "a", "c"]


def test_a_model_of_another_program_is_not_listed(tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert", "hidden_size": 768}')
    (folder / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    assert accounts(tmp_path) == []


def test_a_folder_of_runs_must_exist_but_for_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert accounts() == []
    with pytest.raises(ModelError, match=r"^none is not a folder: name one that holds runs"):
        accounts(Path("none"))
