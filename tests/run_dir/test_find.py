"""Choosing and reading the folder of a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from charrnn.errors import ModelError, OptionError
from charrnn.model.bases import BASES
from charrnn.model.model_file import MODEL_NAME
from charrnn.run_dir import (
    RunDir,
    choose_run_dir,
    choose_seed_base,
    find_model,
    find_run,
    lasting_name,
    runs_in,
    seeds_of,
)


def test_find_model_takes_a_file_a_folder_or_the_newest_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = Path("runs")
    for age, name in enumerate(["b", "c", "a"]):
        (runs / name).mkdir(parents=True)
        (runs / name / MODEL_NAME).touch()
        os.utime(runs / name / MODEL_NAME, (1000 - age, 1000 - age))
    (runs / "d").mkdir()  # a run without a model yet
    assert find_model(None) == runs / "b" / MODEL_NAME
    assert find_model(runs / "c") == runs / "c" / MODEL_NAME
    Path("any.file").touch()
    assert find_model(Path("any.file")) == Path("any.file")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of two runs, in ./runs: story-1, the newer one, and verse-1."""
    monkeypatch.chdir(tmp_path)
    for age, name in enumerate(["story-1", "verse-1"]):
        (Path("runs") / name).mkdir(parents=True)
        for file in (MODEL_NAME, "metrics.jsonl"):
            (Path("runs") / name / file).touch()
            os.utime(Path("runs") / name / file, (1000 - age, 1000 - age))
    return Path("runs")


def test_a_run_is_found_by_its_name(runs: Path) -> None:
    assert find_model(Path("verse-1")) == runs / "verse-1" / MODEL_NAME
    assert find_run(Path("verse-1")).path == runs / "verse-1"
    assert find_model(Path("verse-1", MODEL_NAME)) == runs / "verse-1" / MODEL_NAME


def test_a_folder_without_a_run_does_not_hide_a_run_of_its_name(runs: Path) -> None:
    Path("verse-1").mkdir()
    assert find_model(Path("verse-1")) == runs / "verse-1" / MODEL_NAME
    Path("verse-1", MODEL_NAME).touch()
    assert find_model(Path("verse-1")) == Path("verse-1", MODEL_NAME)


def test_a_base_model_is_found_by_its_name_unless_a_run_has_it(runs: Path) -> None:
    assert find_model(Path("english")) == BASES["english"]
    assert lasting_name(Path("english")) == "english"
    (runs / "english").mkdir()
    (runs / "english" / MODEL_NAME).touch()
    assert find_model(Path("english")) == runs / "english" / MODEL_NAME


def test_a_run_has_a_name_for_other_folders(runs: Path) -> None:
    assert lasting_name(Path("verse-1")) == str((runs / "verse-1").resolve())
    assert lasting_name(runs / "verse-1") == str((runs / "verse-1").resolve())


@pytest.mark.parametrize("find", [find_model, find_run])
def test_a_wrong_name_is_answered_with_a_similar_one(runs: Path, find: Any) -> None:
    with pytest.raises(ModelError, match=r"^stroy-1 does not exist, .*: did you mean story-1"):
        find(Path("stroy-1"))
    with pytest.raises(ModelError, match="no run of that name: 'charrnn runs' lists those"):
        find(Path("zzz"))


def test_without_runs_a_wrong_name_is_answered_with_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"^zzz does not exist: train a model with 'charrnn train"):
        find_model(Path("zzz"))
    with pytest.raises(ModelError, match=r"^englsh does not exist: did you mean english"):
        find_model(Path("englsh"))


def test_one_rule_says_which_run_is_the_newest(runs: Path) -> None:
    assert [run.path.name for run in runs_in()] == ["verse-1", "story-1"]
    assert find_model(None).parent == find_run(None).path == runs / "story-1"
    os.utime(runs / "verse-1" / "metrics.jsonl", (2000, 2000))  # it is trained further
    assert find_model(None).parent == find_run(None).path == runs / "verse-1"


def test_resume_finds_a_run_by_its_name(runs: Path) -> None:
    assert choose_run_dir("other", Path("verse-1"), resume=True).path == runs / "verse-1"
    assert choose_run_dir("other", Path("new"), resume=True).path == Path("new")
    assert choose_run_dir("other", Path("verse-1")).path == Path("verse-1")


def test_the_error_without_a_model_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ModelError, match=r"no model found in .*runs: train one with 'charrnn tr"
    ) as caught:
        find_model(None)
    assert str(tmp_path) in str(caught.value)


def test_a_folder_with_other_files_may_be_used(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert choose_run_dir("tiny", tmp_path) == RunDir(tmp_path)


def test_out_may_not_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match="is a file: name a folder"):
        choose_run_dir("tiny", tmp_path / "file", force=True)


def test_runs_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert choose_run_dir("tiny", None).path == Path("runs/tiny-1")
    Path("runs/tiny-1").mkdir(parents=True)
    Path("runs/tiny-3").mkdir()
    assert choose_run_dir("tiny", None).path == Path("runs/tiny-2")


def test_the_runs_of_several_seeds_take_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs/tiny-1-seed1").mkdir(parents=True)
    Path("runs/tiny-1-seed2").mkdir()
    assert choose_run_dir("tiny", None).path == Path("runs/tiny-2")


def test_resume_takes_the_newest_run_of_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("tiny-1", "tiny-2-seed3", "tiny-tim-1", "tiny-12x"):
        Path("runs", name).mkdir(parents=True)
        metrics = Path("runs", name, "metrics.jsonl")
        metrics.touch()
        os.utime(metrics, (1000 + len(name), 1000 + len(name)))
    assert choose_run_dir("tiny", None, resume=True).path == Path("runs/tiny-2-seed3")
    os.utime("runs/tiny-1/metrics.jsonl", (2000, 2000))
    assert choose_run_dir("tiny", None, resume=True).path == Path("runs/tiny-1")
    assert choose_run_dir("other", None, resume=True).path == Path("runs/other-1")


def test_several_seeds_are_found_by_how_their_folders_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for age, name in enumerate(("tiny-1-seed10", "tiny-1-seed2", "tiny-2", "tiny-3-seed1")):
        Path("runs", name).mkdir(parents=True)
        metrics = Path("runs", name, "metrics.jsonl")
        metrics.touch()
        os.utime(metrics, (1000 - age, 1000 - age))
    Path("runs/tiny-1-seed3").mkdir()  # empty
    runs = Path("runs")
    assert seeds_of(runs / "tiny-1") == [2, 10]
    assert seeds_of(runs / "tiny-2") == seeds_of(Path("nowhere", "tiny")) == []
    assert choose_seed_base("tiny", None) == runs / "tiny-4"
    assert choose_seed_base("tiny", None, resume=True) == runs / "tiny-1"
    assert choose_seed_base("other", None, resume=True) == runs / "other-1"
    for name in ("tiny-1", "tiny-1-seed2", "runs/tiny-1", "runs/tiny-1-seed2"):
        assert choose_seed_base("any", Path(name), resume=True) == runs / "tiny-1"
    assert choose_seed_base("any", Path("tiny-1")) == Path("tiny-1")
    assert choose_seed_base("any", Path("new"), resume=True) == Path("new")
