"""A training whose losses end above that of a guess fails in words, and keeps usable weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import strict_json

import charrnn
from charrnn.errors import DivergedError
from charrnn.model import model_file
from cli.conftest import BY_LIBRARY, Cli, Run

SMALL = ("--hidden-size", 8, *BY_LIBRARY[2:], "--out", "run")


@pytest.fixture
def text(cli: Cli) -> Path:
    path = cli.folder / "text.txt"
    path.write_text("hello world\n" * 200)
    return path


def reports(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [strict_json.loads(line) for line in lines]


def test_the_best_weights_of_a_diverged_training_are_kept(cli: Cli, text: Path) -> None:
    done = cli(
        *("train", text, "--cell", "elman", "--steps", 3, "--learning-rate", 30, *SMALL, "--json"),
        code=1,
    )
    assert done.out == ""
    assert "the training diverged: at its end, step 3, the loss is" in done.sentence
    assert "that of a guess among all tokens is 2.197; lower --learning-rate" in done.sentence
    assert "the best weights (step 1) are in run/model.safetensors" in done.sentence
    assert "charrnn sample" not in done.err
    assert len(reports(cli.folder / "run")) == 3
    summary = strict_json.loads((cli.folder / "run" / "summary.json").read_text())
    assert summary["stopped_by"] == "diverged"
    assert model_file.load(cli.folder / "run" / "model.safetensors").training["steps"] == 1


def test_without_better_ones_the_first_weights_are_kept(cli: Cli, text: Path) -> None:
    rates = ("--learning-rate", 1000, "--clip-norm", "inf", "--input-depth", 2)
    done = cli("train", text, "--cell", "irnn", "--steps", 12, *rates, *SMALL, code=1)
    assert "after 3 restarts" in done.sentence
    assert "the first weights are in run/model.safetensors" in done.sentence
    found = model_file.load(cli.folder / "run" / "model.safetensors")
    assert (found.training["steps"], found.training["valid_nats"]) == (0, None)
    assert all(np.isfinite(value).all() for value in found.values.values())
    assert any(report["valid_nats"] is None for report in reports(cli.folder / "run"))
    # The weights are bad, and what is said about them is JSON.
    assert cli("eval", "-m", "run", "--json").json["nats"] > 9
    assert len(cli("sample", "-m", "run", "--length", 5).out) == 5


def test_in_python_a_diverged_training_is_an_error(cli: Cli, text: Path) -> None:
    with pytest.raises(DivergedError, match=r"lower `learning_rate` or `clip_norm`"):
        charrnn.train(
            text,
            cell="elman",
            steps=3,
            hidden_size=8,
            learning_rate=30,
            backend="library",
            out=cli.folder / "run",
        )
    assert charrnn.load(cli.folder / "run").sample(length=3)


def test_a_held_out_text_that_is_predicted_worse_than_by_a_guess_is_a_failure(cli: Cli) -> None:
    (cli.folder / "text.txt").write_text("ab" * 500 + "zyxw" + "ab" * 500)
    (cli.folder / "valid.txt").write_text("zyxwwxyz" * 20)
    words = ("train", "text.txt", "--valid", "valid.txt", "--cell", "lstm", "--steps", 150)
    done = cli(*words, "--learning-rate", 0.1, *SMALL, code=1)
    assert "the training failed: the loss on the held-out text is " in done.sentence
    assert "that of a guess among all tokens is 1.792; train longer, or check" in done.sentence
    assert "the best weights (step " in done.sentence
    assert "in run/model.safetensors" in done.sentence
    assert len(cli("sample", "-m", "run", "-n", 5).out.rstrip("\n")) == 5


@pytest.mark.parametrize("steps", [1, 5, 40])
def test_a_short_text_is_no_failure_for_a_loss_near_that_of_a_guess(cli: Cli, steps: int) -> None:
    """All its characters differ: those of the last tenth never occur before it."""
    (cli.folder / "text.txt").write_text("".join(map(chr, range(0x4E00, 0x4E00 + 300))), "utf-8")
    done = cli("train", "text.txt", "--cell", "lstm", "--steps", steps, *SMALL, "--json")
    assert 5.6 < done.json["valid_nats"] < 6.27  # ln 300 = 5.70
    if done.json["valid_nats"] > 5.7038:
        assert "the held-out text is predicted no better than by chance (5.7038 nats" in done.err


def test_seeds_that_diverge_are_counted_and_fail(cli: Cli, text: Path) -> None:
    rate = ("--cell", "elman", "--steps", 3, "--learning-rate", 30)
    done = cli("train", text, *rate, *SMALL, "--seeds", 2, "--json", code=1)
    assert (done.json["finished"], done.json["diverged"], done.json["runs"]) == (0, [1, 2], [])
    assert "seed 2 diverged: the training diverged: at its end, step 3" in done.err
    assert done.err.endswith("seeds    0 of 2 finished, 2 diverged\n")
    runs = cli("runs", ".", "--json").json["runs"]
    assert [(run["state"], run["steps"]) for run in runs] == [("diverged", 3)] * 2


def test_weights_that_overflow_are_no_score(cli: Cli, apart: Run) -> None:
    model = model_file.load(apart.model)
    huge = {name: np.full_like(value, 3e38) for name, value in model.values.items()}
    model_file.save(cli.folder / "huge.safetensors", replace(model, values=huge))
    text = apart.text
    for words in (("eval", text), ("score", text)):
        done = cli(*words, "-m", "huge.safetensors", "--json", code=1)
        assert "the numbers of this network overflow" in done.sentence
        assert (done.out, "Warning" in done.err) == ("", False)
