"""What the page is told about runs: their curves and newest samples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from charrnn.run_dir import RunDir

from .conftest import Running, running, save_model

COLUMNS = ("epoch", "characters", "seconds", "learning_rate", "grad_norm", "clipped")


def report(step: int) -> str:
    losses = {"train_nats": 2.0, "valid_nats": 1.5 if step % 700 == 0 else None}
    shared = dict.fromkeys((*COLUMNS, "chars_per_second"), float(step))
    return json.dumps({"step": step, **shared, **losses}) + "\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("training")
    run = folder / "runs" / "long run"
    save_model(run / "model.safetensors")
    (run / "metrics.jsonl").write_text("".join(map(report, range(1, 3001))))
    (folder / "runs" / "notes").mkdir()
    (folder / "runs" / "notes" / "config.json").write_text("{}")
    with running(folder) as found:
        yield found


def test_runs_are_listed_and_other_folders_are_not(server: Running) -> None:
    found = server.ask("/v1/runs").json["data"]
    assert [run["name"] for run in found] == ["long run"]
    assert found[0]["steps"] == 3000
    for name in ("notes", "..", "%2e%2e", "nothing"):
        assert server.ask(f"/v1/runs/{name}").status == 404


def test_long_curves_are_thinned_and_keep_each_validation(server: Running) -> None:
    curves = server.ask("/v1/runs/long%20run").json["curves"]
    assert {len(column) for column in curves.values()} == {len(curves["step"])}
    assert 400 <= len(curves["step"]) <= 404
    assert (curves["step"][0], curves["step"][-1]) == (1, 3000)
    pairs = zip(curves["step"], curves["valid_nats"], strict=True)
    valid = [step for step, value in pairs if value is not None]
    assert valid == [700, 1400, 2100, 2800]


def test_a_line_that_is_being_written_is_left_out(server: Running) -> None:
    metrics = server.folder / "runs" / "long run" / "metrics.jsonl"
    with metrics.open("a") as file:
        file.write('{"step": 3001, "epo')
    assert server.ask("/v1/runs/long%20run").json["curves"]["step"][-1] == 3000


def test_the_newest_sample_is_the_last_one(tmp_path: Path, server: Running) -> None:
    run = RunDir(tmp_path)
    assert run.newest_sample() is None
    run.write_sample(10, "first\n=== not a step ===\n")
    assert run.newest_sample() == (10, "first\n=== not a step ===")
    run.write_sample(20, "x" * 40_000)
    run.write_sample(30, "second")
    assert run.newest_sample() == (30, "second")
    run.samples.write_text("somebody else's file")
    assert run.newest_sample() is None
    assert server.ask("/v1/runs/long%20run").json["sample"] is None
