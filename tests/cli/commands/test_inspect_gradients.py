from __future__ import annotations

import re
from pathlib import Path

from cli.conftest import Cli, Run

GRADIENTS = ("inspect", "gradients")
FEW = ("--lags", 12, "--windows", 2)


def test_a_model_is_measured_at_start_and_trained_beside_untrained_cells(
    cli: Cli, tiny: Run
) -> None:
    words = ("--model", tiny.folder, "--cell", "irnn:1.5", "--cell", "jordan", *FEW)
    done = cli(*GRADIENTS, tiny.text, *words, "--hidden-size", 8, "--plot", "a.svg", "--json")
    found = done.json
    assert [(one["name"], one["when"]) for one in found["networks"]] == [
        ("irnn × 1.5", "at start"),
        ("jordan", "at start"),
        ("story-1", "at start"),
        ("story-1", "trained"),
    ]
    exploding, jordan, start, trained = (one["layers"][0] for one in found["networks"])
    assert exploding["per_step"] > 1.3 > start["per_step"]
    assert exploding["eigenvalues"]["h"] == [[1.5, 0.0]] * 8
    assert jordan["eigenvalues"] == {}
    assert start["norms"] != trained["norms"]
    assert [len(values) for values in (trained["norms"], *trained["parts"].values())] == [13] * 3
    assert [one["lag"] for one in trained["products"]] == [1, 2, 5, 10, 12]
    assert len(trained["products"][0]["singular_values"]) == 64  # h and c of 32 units
    assert list(trained["eigenvalues"]) == ["i", "f", "g", "o"]
    assert trained["omega"] > 0
    drawn = (cli.folder / "a.svg").read_text("utf-8")
    for text in ("story-1, trained", "irnn × 1.5, at start", "the output is fed back", "block f"):
        assert text in drawn


def test_the_default_text_is_the_models_validation_text(cli: Cli, tiny: Run) -> None:
    done = cli(*GRADIENTS, "-m", tiny.folder, *FEW)
    lines = done.out.splitlines()
    assert re.split(r"\s\s+", lines[1].strip()) == [
        *("k = 0", "k = 1", "k = 10", "k = 12", "per step", "σ max", "ρ", "|λ(W)|", "Ω")
    ]
    assert [line.split("  ")[0] for line in lines[2:4]] == ["story-1, at start", "story-1, trained"]
    assert "over the lag k in tokens" in done.out
    assert "measuring story-1, trained" in done.err


def test_a_picture_is_overwritten_only_with_force(cli: Cli, tiny: Run) -> None:
    line = (
        *GRADIENTS,
        tiny.text,
        "--cell",
        "gru",
        "--num-layers",
        2,
        "--lags",
        3,
        "--plot",
        "a.png",
    )
    assert "gru layer 2, at start" in cli(*line).out
    assert "--force" in cli(*line, code=2).sentence


WRONG = [
    (("--cell", "lst"), "did you mean lstm?"),
    (("--cell", "irnn:x"), "as in irnn:1.1"),
    (("--cell", "irnn:-1"), "as in irnn:1.1"),
    (("--cell", "elman"), "name a text"),
    (("short.txt", "--cell", "elman"), "fewer lags"),
    (("empty.txt", "--cell", "elman"), "is empty"),
    (("strange.txt", "--model", "MODEL"), "story-1: the model has never seen"),
    (("--plot", "a.txt", "--cell", "elman"), ".png, .svg, .pdf"),
    (("--model", "nowhere"), "nowhere"),
]


def test_wrong_options_are_errors(cli: Cli, tiny: Run) -> None:
    for name, text in (("short", "abc"), ("empty", ""), ("strange", "\u20ac" * 300)):
        Path(cli.folder / f"{name}.txt").write_text(text, "utf-8")
    given = {"MODEL": str(tiny.folder)}
    lines = ((*GRADIENTS, *(given.get(word, word) for word in words)) for words, _ in WRONG)
    for done, (_, what) in zip(cli.each(lines, code=2), WRONG, strict=True):
        assert what in done.sentence
