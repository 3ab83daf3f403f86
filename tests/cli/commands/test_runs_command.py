"""``charrnn runs``."""

from __future__ import annotations

import csv
import io
import os
import re
from pathlib import Path

import pytest
import strict_json

from cli.conftest import Cli, Run, needs_terminal, on_terminal


@pytest.fixture
def listed(cli: Cli, tiny: Run) -> Cli:
    """Return the command in a folder whose ./runs holds the tiny run, twice."""
    runs = cli.folder / "runs"
    runs.mkdir()
    for age, name in enumerate(["story-1", "a-name-that-leaves-little-space-1"]):
        (runs / name).mkdir()
        for file in ("config.json", "metrics.jsonl", "summary.json", "model.safetensors"):
            (runs / name / file).write_bytes((tiny.folder / file).read_bytes())
            os.utime(runs / name / file, (1000 - age, 1000 - age))
    return cli


def test_the_list_has_a_line_for_each_run_the_newest_last(listed: Cli, tiny: Run) -> None:
    head, older, newer = listed("runs").out.splitlines()
    assert head.split() == ["run", "date", "network", "nats", "time", "state", "text"]
    nats = f"{tiny.done.json['valid_nats']:.4f}"
    date = re.escape(strict_json.loads((tiny.folder / "config.json").read_text())["date"][:10])
    line = rf" +{date} \d\d:\d\d +lstm 1x32 +{re.escape(nats)} +\d+:\d\d +finished +story"
    assert re.fullmatch(f"story-1{line}", newer)
    assert re.fullmatch(f"a-name-that-leaves-little-space-1{line}", older)


def test_csv_and_json_hold_the_same_values(listed: Cli, tiny: Run) -> None:
    rows = list(csv.DictReader(io.StringIO(listed("runs", "--csv").out)))
    runs = listed("runs", "--json").json["runs"]
    assert [run["name"] for run in runs] == [row["name"] for row in rows]
    for run, row in zip(runs, rows, strict=True):
        assert run.keys() == row.keys()
        assert {name: "" if run[name] is None else str(run[name]) for name in run} == row
    result = tiny.done.json
    for name in ("steps", "epochs", "seconds", "train_nats", "valid_nats", "parameters"):
        assert runs[1][name] == result[name]
    assert runs[1]["run_dir"] == str(Path("runs", "story-1"))


def test_another_folder_of_runs_is_listed_when_it_is_named(listed: Cli, cli: Cli) -> None:
    (cli.folder / "runs").rename(cli.folder / "archive")
    assert [run["name"] for run in cli("runs", "archive", "--json").json["runs"]] == [
        "a-name-that-leaves-little-space-1",
        "story-1",
    ]
    assert "none is not a folder" in cli("runs", "none", code=2).sentence


@pytest.mark.parametrize(
    ("option", "out"), [((), ""), (("--json",), '{"runs": []}\n'), (("--csv",), "name,run_dir,")]
)
def test_without_runs_it_says_what_to_do(cli: Cli, option: tuple[str], out: str) -> None:
    done = cli("runs", *option)
    assert done.err == f"no runs in {cli.folder / 'runs'}: train one with 'charrnn train FILE'\n"
    assert done.out.startswith(out)
    assert len(done.out.splitlines()) == len(option)


def test_one_format_at_a_time(cli: Cli) -> None:
    assert "give one of them" in cli("runs", "--csv", "--json", code=2).sentence


@needs_terminal
def test_the_list_fits_a_terminal(listed: Cli) -> None:
    shown = on_terminal(listed.folder, "runs", columns=80)
    lines = shown.screen.splitlines()
    assert all(len(line) <= 80 for line in lines)
    names = "".join(line.split(" ")[0] for line in lines[1:])
    assert names == "a-name-that-leaves-little-space-1story-1"  # whole, even if on two lines
    lines = on_terminal(listed.folder, "runs", columns=90).screen.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        "a-name-that-leaves-little-space-1",  # on one line where the rest leaves space for it
        "story-1",
    ]


def test_commands_find_a_run_by_its_name(listed: Cli) -> None:
    by_name = listed("sample", "-m", "story-1", "--length", 20, "--seed", 1).out
    by_path = listed("sample", "-m", "runs/story-1", "--length", 20, "--seed", 1).out
    assert by_name == by_path
    assert listed("info", "story-1", "--json").json["model"] == str(
        Path("runs", "story-1", "model.safetensors")
    )
    plotted = listed("plot", "story-1", "--json").json
    assert plotted["runs"][0]["run_dir"] == str(Path("runs", "story-1"))
    assert "did you mean story-1" in listed("sample", "-m", "story-2", code=2).sentence
    assert "did you mean story-1" in listed("plot", "stori-1", code=2).sentence


def test_a_run_is_removed_by_its_name_or_its_folder(listed: Cli) -> None:
    done = listed("runs", "remove", "story-1", "runs/a-name-that-leaves-little-space-1", "--yes")
    assert re.match(
        r"removed: runs/story-1: lstm 1x32, \d\.\d{4} nats, \d+:\d\d, finished, ", done.err
    )
    assert list((listed.folder / "runs").iterdir()) == []


def test_removal_asks_or_wants_to_be_told(listed: Cli) -> None:
    assert "give --yes" in listed("runs", "remove", "story-1", code=2).sentence
    assert "did you mean story-1" in listed("runs", "remove", "stroy-1", code=2).sentence
    (listed.folder / "mine").mkdir()
    assert "not a run" in listed("runs", "remove", "mine", "--yes", code=2).sentence
    # One wrong name, and nothing is removed.
    listed("runs", "remove", "story-1", "mine", "--yes", code=2)
    assert len(listed("runs", "--json").json["runs"]) == 2


@needs_terminal
@pytest.mark.parametrize(("answer", "left"), [("n\n", 2), ("y\n", 1), ("\n", 2)])
def test_a_person_is_asked(listed: Cli, answer: str, left: int) -> None:
    shown = on_terminal(listed.folder, "runs", "remove", "story-1", typed=answer)
    assert "runs/story-1: lstm 1x32" in shown.screen
    assert "Remove it? [y/N]" in shown.screen
    assert ("removed: runs/story-1\r\n" in shown.screen) == (left == 1)
    assert shown.code == 0
    assert len(listed("runs", "--json").json["runs"]) == left
