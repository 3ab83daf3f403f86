from __future__ import annotations

import re

import pytest

from cli.conftest import Cli, Run

MEMORY = ("inspect", "memory")


def test_models_are_scored_after_contexts(cli: Cli, tiny: Run) -> None:
    line = ("-m", tiny.folder, "--longest", 64, "--symbols", 256)
    (found,) = cli(*MEMORY, *line, "--json", "--plot", "a.svg").json["models"]
    assert (found["name"], found["characters"]) == ("story-1", 256)
    assert found["contexts"] == [1, 2, 4, 8, 16, 32, 64]
    assert found["nats"][0] > found["nats"][-1] + 0.2
    assert found["excess"][0] == pytest.approx(found["nats"][0] - found["nats"][-1])
    assert found["standard_error"][-1] == 0
    drawn = (cli.folder / "a.svg").read_text("utf-8")
    for text in ("the same 256 characters", "nats per character", "context, tokens", "story-1"):
        assert text in drawn
    out = cli(*MEMORY, *line, tiny.text).out
    assert re.search(r"^context  story-1\n +1   \d\.\d{4}$", out, re.M)
    assert "over log2 of the context in tokens" in out


def test_small_networks_are_trained_on_tasks(cli: Cli) -> None:
    small = ("--steps", 2, "--hidden-size", 4, "--longest", 2, "--threads", 1, "--json")
    both = ("--cell", "elman", "--cell", "gru", "--task", "copy", "--task", "adding")
    found = cli(*MEMORY, *both, *small).json
    assert [(one["task"], one["guessed"]) for one in found["tasks"]] == [
        ("copy", 1 / 64),
        ("adding", 0.1),
    ]
    for task in found["tasks"]:
        assert [(one["cell"], one["lags"]) for one in task["cells"]] == [
            ("elman", [1, 2]),
            ("gru", [1, 2]),
        ]
    words = ("--cell", "elman", "--task", "copy", "--seeds", 2, "--plot", "a.svg")
    done = cli(*MEMORY, *words, *small)
    ((one,),) = (task["cells"] for task in done.json["tasks"])
    assert [training["seed"] for training in one["each"]] == [1, 2]
    successes = [training["success"] for training in one["each"]]
    means = [sum(shares) / 2 for shares in zip(*successes, strict=True)]
    assert one["success"] == pytest.approx(means)
    assert max(means) < 0.5
    assert "training elman on copy, seed 2" in done.err
    drawn = (cli.folder / "a.svg").read_text("utf-8")
    for text in ("copy: share of 200 new lines answered correctly", "guessing", "lag, tokens"):
        assert text in drawn


WRONG = [
    (("--task", "coppy"), "did you mean copy?"),
    (("--task", "copy", "--cell", "lst"), "did you mean lstm?"),
    (("--task", "copy", "--model", "MODEL"), "no model, no text"),
    (("--task", "copy", "--longest", "513"), "512 at most"),
    (("--model", "MODEL", "--cell", "lstm"), "add --task"),
    (("--model", "MODEL", "--longest", "4096"), "shorter context"),
    (("--model", "MODEL", "--plot", "a.txt"), ".png"),
    (("--model", "nowhere"), "nowhere"),
]


def test_wrong_options_are_errors(cli: Cli, tiny: Run) -> None:
    given = {"MODEL": str(tiny.folder)}
    lines = ((*MEMORY, *(given.get(word, word) for word in words)) for words, _ in WRONG)
    for done, (_, what) in zip(cli.each(lines, code=2), WRONG, strict=True):
        assert what in done.sentence
