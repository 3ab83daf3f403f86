"""A researcher trains with three seeds, compares the runs, and takes the figures along as CSV."""

from __future__ import annotations

import csv
import io
import statistics
from pathlib import Path
from typing import Any

import pytest
import strict_json
from cli.conftest import Cli, story

SMALL = ("--steps", 12, "--hidden-size", 12, "--cell", "lstm", "--backend", "library")
Study = tuple[Cli, dict[str, Any]]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Return the folder of three trainings, and what the command said about them."""
    cli = Cli(tmp_path_factory.mktemp("study"))
    (cli.folder / "prose.txt").write_text(story(4000), "utf-8", newline="")
    done = cli("train", "prose.txt", *SMALL, "--seeds", 3, "--json")
    lines = done.err.splitlines()
    assert any(line.startswith("seeds    3 of 3 finished: valid ") for line in lines)
    assert "compare  charrnn info runs/prose-1-seed1 runs/prose-1-seed2 runs/prose-1-seed3" in lines
    return cli, done.json


def _reports(run: Path) -> list[dict[str, Any]]:
    return [strict_json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_three_seeds_give_three_runs_their_mean_and_their_spread(study: Study) -> None:
    cli, told = study
    assert [run["seed"] for run in told["runs"]] == [1, 2, 3]
    losses = []
    for run in told["runs"]:
        assert run["run_dir"] == f"runs/prose-1-seed{run['seed']}"
        summary = strict_json.loads((cli.folder / run["run_dir"] / "summary.json").read_text())
        assert {**summary, "seed": run["seed"]} == run
        losses.append(summary["valid_nats"])
    assert len(set(losses)) == 3
    assert told["mean_valid_nats"] == pytest.approx(statistics.fmean(losses))
    assert told["spread_valid_nats"] == pytest.approx(statistics.stdev(losses))
    assert (told["asked"], told["finished"], told["diverged"]) == (3, 3, [])


def test_the_runs_are_listed_as_csv(study: Study) -> None:
    cli, told = study
    rows = list(csv.DictReader(io.StringIO(cli("runs", "--csv").out)))
    listed = {row["name"]: row for row in rows}
    for run in told["runs"]:
        row = listed[f"prose-1-seed{run['seed']}"]
        assert (row["state"], row["text"], int(row["seed"])) == ("finished", "prose", run["seed"])
        for name in ("valid_nats", "train_nats", "seconds", "epochs"):
            assert float(row[name]) == run[name]


def test_the_curves_are_written_as_csv(study: Study) -> None:
    cli, told = study
    names = [Path(run["run_dir"]).name for run in told["runs"]]
    cli("plot", *names, "--out", "curves.csv")
    with (cli.folder / "curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name in names:
        of_run = [row for row in rows if row["run"] == name]
        reports = _reports(cli.folder / "runs" / name)
        assert len(of_run) == len(reports) > 3
        for row, report in zip(of_run, reports, strict=True):
            assert int(row["step"]) == report["step"]
            for metric in ("epoch", "train_nats", "learning_rate", "grad_norm", "seconds"):
                assert float(row[metric]) == report[metric]
            valid = report["valid_nats"]
            assert row["valid_nats"] == ("" if valid is None else repr(valid))
    assert any(row["valid_nats"] == "" for row in rows)
    assert "--force" in cli("plot", names[0], "--out", "curves.csv", code=2).sentence


def test_two_runs_are_compared(study: Study) -> None:
    cli, told = study
    names = ["prose-1-seed1", "prose-1-seed3"]
    head, *lines = cli("info", *names).out.splitlines()
    assert head.split() == names
    shown = {line.split()[0]: line.split()[1:] for line in lines}
    one, _, other = told["runs"]
    assert shown["valid_nats"] == [f"{run['valid_nats']:.4f}" for run in (one, other)]
    assert shown["parameters"] == [f"{one['parameters']:,}"] * 2
    assert shown["train.seed"] == ["1", "3"]
    assert "train.learning_rate" not in shown  # it is the same
    models = cli("info", *names, "--json").json["models"]
    assert [model["training"]["train"]["seed"] for model in models] == [1, 3]
    assert [model["seconds"] for model in models] == [one["seconds"], other["seconds"]]


def test_a_run_is_repeated_byte_for_byte(study: Study) -> None:
    cli, _ = study
    done = cli("train", "--config", "prose-1-seed2", "--out", "again")
    assert "the result may differ" not in done.err
    first, again = cli.folder / "runs" / "prose-1-seed2", cli.folder / "again"
    model = "model.safetensors"
    assert (again / model).read_bytes() == (first / model).read_bytes()
    config = strict_json.loads((again / "config.json").read_text())
    assert config["command"] == ["charrnn", "train", "--config", "prose-1-seed2", "--out", "again"]
    assert config["versions"]["charrnn"] in cli("--version").out


def test_a_run_is_repeated_with_one_thing_changed(study: Study) -> None:
    cli, told = study
    config = Path("runs", "prose-1-seed1", "config.json")
    done = cli("train", "--config", config, "--seed", 3, "--out", "changed", "--json").json
    assert done["valid_nats"] == told["runs"][2]["valid_nats"]
