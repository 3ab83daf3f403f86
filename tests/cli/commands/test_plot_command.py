from __future__ import annotations

import csv
import json
import re
import struct
from pathlib import Path
from typing import Any

import pytest

from charrnn.errors import ModelError, OptionError
from charrnn.run_dir import COLUMNS, RunDir
from cli.conftest import Cli, modules_in, needs_terminal, on_terminal


def report(step: int, **fields: Any) -> dict[str, Any]:
    """Return a line of metrics.jsonl."""
    valid = 2.0 + 1 / step if step % 4 == 0 else None
    return {
        "step": step,
        "epoch": step / 10,
        "characters": 64 * step,
        "fraction": step / 40,
        "seconds": 3.0 * step,
        "train_nats": 1.9 + 2 / step,
        "valid_nats": valid,
        "learning_rate": 0.01 / step,
        "grad_norm": 5 / step,
        "clipped": 0.0,
        "chars_per_second": 100_000.0 + step,
        **fields,
    }


def make_run(folder: Path, *rows: dict[str, Any], ended: bool = True) -> Path:
    folder.mkdir(parents=True)
    lines = [json.dumps(row) + "\n" for row in rows or [report(step) for step in range(1, 41)]]
    (folder / "metrics.jsonl").write_text("".join(lines))
    (folder / "config.json").write_text(json.dumps({"train": {"clip_norm": 1.0}}))
    if ended:
        (folder / "summary.json").write_text(json.dumps({"valid_nats": 2.0125}))
    return folder


def test_a_run_is_read_into_columns(tmp_path: Path) -> None:
    course = RunDir(make_run(tmp_path / "one")).course()
    assert course.name == "one"
    assert (course.clip_norm, course.valid_nats) == (1.0, 2.0125)
    assert course.columns["step"].tolist() == list(range(1, 41))
    valid = course.columns["valid_nats"]
    assert [i + 1 for i in range(40) if valid[i] == valid[i]] == list(range(4, 41, 4))
    assert course.axis("minutes")[-1] == 2.0
    with pytest.raises(OptionError, match="choose from step, epoch, characters, minutes"):
        course.axis("hours")


def test_a_run_in_training_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ended=False)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 41, "epo')
    course = RunDir(run).course()
    assert course.columns["step"][-1] == 40
    assert course.valid_nats is None
    (run / "metrics.jsonl").write_text("")
    with pytest.raises(ModelError, match="no report yet"):
        RunDir(run).course()


def test_steps_repeated_after_a_resume_count_once(tmp_path: Path) -> None:
    rows = [report(step) for step in (1, 2, 3, 4, 5, 3, 4)]
    rows[5]["train_nats"] = 7.0
    course = RunDir(make_run(tmp_path / "run", *rows)).course()
    assert course.columns["step"].tolist() == [1, 2, 3, 4]
    assert course.columns["train_nats"][2] == 7.0


@pytest.mark.parametrize(
    "line", ["{", "[]", "{}", '{"step": "x"}', json.dumps(report(1, epoch=[]))]
)
def test_an_error_names_the_damaged_line(tmp_path: Path, line: str) -> None:
    run = make_run(tmp_path / "run", report(1))
    with (run / "metrics.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ModelError, match=r"metrics\.jsonl, line 2 is damaged"):
        RunDir(run).course()


def test_charts_in_a_pipe_are_plain_and_name_the_runs(cli: Cli) -> None:
    for name in ("lstm", "elman"):
        make_run(cli.folder / "runs" / name)
    out = cli("plot", "runs/lstm", "runs/elman").out
    assert "\x1b" not in out
    for title in ("loss, nats per character, over step", "gradient norm", "learning rate"):
        assert title in out
    assert "characters per second" in out
    assert "++ lstm train   xx lstm valid   oo elman train   ** elman valid" in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_newest_run_is_the_default(cli: Cli) -> None:
    make_run(cli.folder / "runs" / "old")
    make_run(cli.folder / "runs" / "new")
    assert f"run: {Path('runs', 'new')}\n" in cli("plot", "--over", "minutes").err


def test_a_picture_shows_all_runs(cli: Cli) -> None:
    one, two = make_run(cli.folder / "one"), make_run(cli.folder / "two <b>", ended=False)
    assert cli("plot", one, two, "--out", "a.svg").err == "written: a.svg\n"
    picture = (cli.folder / "a.svg").read_text("utf-8")
    texts = re.findall(r"<text[^>]*>([^<]+)</text>", picture)
    assert "one valid, final 2.0125" in texts
    assert "two &lt;b&gt; valid" in texts
    assert {"bpc", "loss, nats per character", "learning rate", "step"} <= set(texts)
    assert {"#0072b2", "#d55e00"} <= set(re.findall(r"stroke: (#\w+)", picture))
    cli("plot", one, two, "--out", "b.svg")
    assert (cli.folder / "b.svg").read_text("utf-8") == picture
    cli("plot", one, "--out", "a.png", "--over", "epoch")
    data = (cli.folder / "a.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert struct.unpack(">LL", data[16:24]) == (1300, 910)


def test_a_file_is_overwritten_only_with_force(cli: Cli) -> None:
    run = make_run(cli.folder / "run")
    (cli.folder / "a.svg").write_text("mine")
    assert "--force" in cli("plot", run, "--out", "a.svg", code=2).sentence
    assert (cli.folder / "a.svg").read_text() == "mine"
    cli("plot", run, "--out", "a.svg", "--force")
    assert ".png, .svg, .pdf" in cli("plot", run, "--out", "a.gif", code=2).sentence


def test_wrong_runs_are_errors(cli: Cli) -> None:
    assert "charrnn train FILE" in cli("plot", code=2).sentence
    assert "nowhere does not exist" in cli("plot", "nowhere", code=2).sentence
    (cli.folder / "empty").mkdir()
    assert "empty is not a run" in cli("plot", "empty", code=2).sentence
    run = make_run(cli.folder / "run")
    assert "choose from step, epoch" in cli("plot", run, "--over", "hours", code=2).sentence


def test_json_has_all_columns(cli: Cli) -> None:
    run = make_run(cli.folder / "run")
    (found,) = cli("plot", run, "--json").json["runs"]
    assert found["run_dir"] == str(run)
    assert found["final_valid_nats"] == 2.0125
    assert found["valid_nats"][:4] == [None, None, None, 2.25]
    assert set(COLUMNS) < found.keys()


@pytest.mark.parametrize("rows", [[report(1)], [report(1, valid_nats=None), report(2)]], ids=len)
def test_a_run_of_few_reports_can_be_charted(cli: Cli, rows: list[dict[str, Any]]) -> None:
    run = make_run(cli.folder / "run", *rows)
    assert "loss" in cli("plot", run).out


@pytest.mark.parametrize(
    ("words", "package"), [((), "uniplot"), (("--out", "a.png"), "matplotlib")]
)
def test_an_error_names_the_missing_extra(cli: Cli, words: tuple[str, ...], package: str) -> None:
    run = make_run(cli.folder / "run")
    (cli.folder / "absent").mkdir()
    code = f"raise ModuleNotFoundError('no', name={package!r})"
    (cli.folder / "absent" / f"{package}.py").write_text(code)
    done = cli("plot", run, *words, code=2, env=modules_in(cli.folder / "absent"))
    hint = "run pip install '.[plot]' in a clone of charrnn"
    assert done.sentence == f"charrnn: drawing needs {package}: {hint}"


@needs_terminal
def test_a_terminal_gets_colors(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    shown = on_terminal(tmp_path, "plot", "run")
    assert shown.code == 0
    assert "\x1b[38;2;0;114;178m" in shown.screen
    assert any("\u2800" < symbol <= "\u28ff" for symbol in shown.screen)


def test_csv_has_every_report_of_every_run_and_needs_no_package(cli: Cli) -> None:
    one = make_run(cli.folder / "run")
    other = make_run(cli.folder / "other" / "run")
    cli("plot", one, other, "--out", "curves.csv")
    with (cli.folder / "curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0]] == ["run", *COLUMNS]
    assert {row["run"] for row in rows} == {str(one), str(other)}  # their names are the same
    plotted = cli("plot", one, "--json").json["runs"][0]
    of_one = [row for row in rows if row["run"] == str(one)]
    for name in COLUMNS:
        values = [None if row[name] == "" else float(row[name]) for row in of_one]
        assert values == plotted[name]
    assert of_one[0]["step"] == str(int(plotted["step"][0]))
