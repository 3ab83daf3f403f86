from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import strict_json
from typer.testing import CliRunner

from charrnn.bench import measuring
from charrnn.cells import CELLS
from charrnn.cli.app import program
from cli.conftest import Cli

SMALL = ("--hidden-size", 8, "--batch-size", 2, "--seq-len", 4, "--rounds", 1, "--threads", 1)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return what runs ``charrnn bench train WORDS`` in this process, with short measurements."""
    monkeypatch.setattr(measuring, "STEP_SECONDS", 0.01)

    def run(*words: object) -> str:
        line = ["bench", "train", *map(str, words)]
        done = CliRunner().invoke(program("bench"), line, catch_exceptions=False)
        assert done.exit_code == 0, done.stderr
        return done.stdout

    return run


def _rows(out: str) -> Any:
    assert out.count("\n") == 1
    return strict_json.loads(out)["rows"]


def test_training_is_compared_with_the_baseline(bench: Callable[..., str]) -> None:
    rows = _rows(bench("--cell", "lstm", "--cell", "gru", *SMALL, "--json"))
    assert [(row["cell"], row["baseline"]) for row in rows] == [
        ("lstm", "torch.nn.LSTM float32"),
        ("gru", "plain loop float32"),
    ]
    for row in rows:
        assert (row["num_layers"], row["hidden_size"], row["batch_size"]) == (2, 8, 2)
        assert (row["what"], row["seq_len"], row["threads"]) == ("train", 4, 1)
        assert row["dtype"] in ("float32", "bfloat16")
        ratio = row["chars_per_second"] / row["baseline_chars_per_second"]
        assert abs(row["ratio"] / ratio - 1) < 1e-9
        assert 0 < row["share_of_limit"] < 1


def test_the_table_has_a_line_per_cell_with_its_backend(bench: Callable[..., str]) -> None:
    wish = ("--precision", "float32", "--backend", "reference", "--parts")
    head, line, parts = bench("--cell", "elman", *SMALL, *wish).splitlines()
    assert head.split()[:2] == ["cell", "size"]
    assert line.split()[:6] == ["elman", "2x8", "2", "4", "float32", "reference"]
    assert "torch.nn.RNN" in line
    assert "output and loss" in parts


def test_pairs_are_compared_with_a_text(bench: Callable[..., str]) -> None:
    words = ("--pairs", "--cell", "lstm", *SMALL, "--backend", "library")
    (row,) = _rows(bench(*words, "--json"))
    assert row["baseline"] == f"a text, {row['dtype']}"


def test_invalid_cases_are_refused(cli: Cli) -> None:
    sentence = cli("bench", "train", "--cell", "lsmt", *SMALL, code=2).sentence
    assert "--cell 'lsmt' is not known" in sentence
    wish = ("--cell", "gru", "--backend", "library")
    assert "--backend library has no gru" in cli("bench", "train", *wish, *SMALL, code=2).sentence


def test_the_default_table_has_every_cell() -> None:
    from charrnn.bench.training import CASES

    assert {case.cell for case in CASES} == set(CELLS)
