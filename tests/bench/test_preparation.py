"""``charrnn bench prepare``, on a small text and with a tiny training."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import strict_json
from typer.testing import CliRunner

from charrnn.bench import preparation, processes
from charrnn.cli.app import program
from charrnn.errors import RunError
from charrnn.text.corpus import from_text

# Ends when its memory was seen, however rarely a busy machine looks.
BIG = """
import os, sys, time
x = b"x" * 10**8
for _ in range(100_000):
    if os.path.exists(sys.argv[1]):
        break
    time.sleep(0.01)
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports private memory")


@pytest.fixture(scope="module")
def rows() -> list[preparation.Row]:
    few = ("--steps", 2, "--hidden-size", 4, "--cell", "lstm", "--backend", "library")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "TRAINING", few)
        patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # other tests measure them
        return list(preparation.prepare(from_text("the café is near the sea.\n" * 2000), 1, 1))


def test_everything_is_compared_with_a_baseline(rows: list[preparation.Row]) -> None:
    made = [(row.what, row.tokenizer, row.megabytes) for row in rows]
    assert made == [
        ("prepare", "char", 1.0),
        ("prepare", "byte", 1.0),
        ("prepare", "char", 0.1),
        ("encode", "sentencepiece", 1.0),
        ("train", "byte", 1.0),
    ]
    assert rows[0].baseline in ("wc -m", "copy")
    assert rows[4].baseline == "from 0.1 MB"
    for row in rows:
        ratio = row.chars_per_second / row.baseline_chars_per_second
        assert row.ratio == pytest.approx(ratio)
    # One of 26 characters takes two bytes, except in the lines between.
    for row in rows[:3]:
        assert row.mb_per_second
        assert row.chars_per_second / row.mb_per_second / 1e6 == pytest.approx(26 / 27, rel=1e-3)


@linux
def test_memory_is_the_private_memory_of_the_process(
    rows: list[preparation.Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rows[0].tenth_memory
    for row in rows[:3]:
        assert row.memory
        assert 10 < row.memory < 200  # numpy alone takes ten
    seen, measured = tmp_path / "seen", processes.own_memory

    def look(process: int) -> float | None:
        memory = measured(process)
        if memory and memory > 100:
            seen.touch()
        return memory

    monkeypatch.setattr(processes, "own_memory", look)
    big = processes.run(sys.executable, "-c", BIG, seen)
    assert big.memory
    assert 100 < big.memory < 120


def test_the_text_has_the_requested_size_and_ends_with_a_whole_character(tmp_path: Path) -> None:
    corpus = from_text("日本\n")
    for size in range(40, 60):
        text = preparation.write(corpus, tmp_path / "text", size)
        content = (tmp_path / "text").read_text("utf-8")
        assert size - 3 <= text.num_bytes <= size
        assert text.num_bytes == len(content.encode())
        assert text.characters == len(content)
    assert re.fullmatch(r"№ 1: .*\n日本\n№ 2: .*", content, re.DOTALL)


def test_a_failing_command_is_reported_in_one_sentence() -> None:
    with pytest.raises(
        RunError, match=r"charrnn prepare failed: charrnn: nothere.txt does not exist"
    ):
        processes.run(sys.executable, "-m", "charrnn", "prepare", "nothere.txt", "--out", "x")


def test_too_little_disk_space_is_reported_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preparation, "DISK_FACTOR", 10**9)
    with pytest.raises(RunError, match=r"MB free, but .* needed: choose a smaller `size`"):
        next(preparation.prepare(from_text("x" * 100)))


def test_the_command_prints_one_line_per_row(
    rows: list[preparation.Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def given(*what: Any) -> list[preparation.Row]:
        asked.append(what)
        return rows

    monkeypatch.setattr(preparation, "prepare", given)
    command = ["bench", "prepare", "--size", "7", "--rounds", "2"]
    head, *lines = CliRunner().invoke(program(), command).stdout.splitlines()
    assert head.split()[:4] == ["what", "tokenizer", "MB", "chars/s"]
    assert [line.split()[:3] for line in lines[:2]] == [
        ["prepare", "char", "1"],
        ["prepare", "byte", "1"],
    ]
    assert len({len(line) for line in (head, *lines)}) == 1
    fields = strict_json.loads(CliRunner().invoke(program(), [*command, "--json"]).stdout)
    assert [row["baseline"] for row in fields["rows"]] == [row.baseline for row in rows]
    assert asked[0][0].name == "tunes"
    assert asked[0][1:] == (7, 2)
