from __future__ import annotations

from charrnn.cells import CELLS
from cli.conftest import Cli

SMALL = ("--hidden-size", 8, "--batch-size", 2, "--seq-len", 4, "--rounds", 1, "--threads", 1)


def test_training_is_compared_with_the_baseline(cli: Cli) -> None:
    rows = cli("bench", "train", "--cell", "lstm", "--cell", "gru", *SMALL, "--json").json["rows"]
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


def test_the_table_has_a_line_per_cell_with_its_backend(cli: Cli) -> None:
    wish = ("--precision", "float32", "--backend", "reference", "--parts")
    head, line, parts = cli("bench", "train", "--cell", "elman", *SMALL, *wish).out.splitlines()
    assert head.split()[:2] == ["cell", "size"]
    assert line.split()[:6] == ["elman", "2x8", "2", "4", "float32", "reference"]
    assert "torch.nn.RNN" in line
    assert "output and loss" in parts


def test_pairs_are_compared_with_a_text(cli: Cli) -> None:
    words = ("bench", "train", "--pairs", "--cell", "lstm", *SMALL, "--backend", "library")
    (row,) = cli(*words, "--json").json["rows"]
    assert row["baseline"] == f"a text, {row['dtype']}"


def test_invalid_cases_are_refused(cli: Cli) -> None:
    sentence = cli("bench", "train", "--cell", "lsmt", *SMALL, code=2).sentence
    assert "--cell 'lsmt' is not known" in sentence
    wish = ("--cell", "gru", "--backend", "library")
    assert "--backend library has no gru" in cli("bench", "train", *wish, *SMALL, code=2).sentence


def test_the_default_table_has_every_cell() -> None:
    from charrnn.bench.training import CASES

    assert {case.cell for case in CASES} == set(CELLS)
