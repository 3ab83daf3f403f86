from __future__ import annotations

import re
from typing import Any

import pytest

from cli.conftest import Cli, Run, needs_terminal, on_terminal

NEXT = ("inspect", "next", "--model")


def test_the_table_shows_the_next_symbol_under_default_settings(cli: Cli, tiny: Run) -> None:
    out = cli(*NEXT, tiny.folder, "--prompt", "the ", "--symbols", 3).out
    lines = out.splitlines()
    assert lines[0] == "after 'the '"
    assert re.split(r"\s\s+", lines[1].strip()) == [
        *("model", "temperature 0.5", "temperature 2", "top-k 5", "top-p 0.9")
    ]
    assert all("%" in line and "█" in line for line in lines[2:5])
    assert "the other" in lines[5]
    possible = lines[6].split()
    assert possible[3] == "5"
    assert "beam search of width 5: prefixes kept in 8 steps" in lines
    assert re.search(r"  1: -[\d.]+ nats$", out, re.M)


def test_given_settings_are_shown_alone_and_together(cli: Cli, tiny: Run) -> None:
    line = (*NEXT, tiny.folder, "--top-k", 3, "--temperature", 0.7, "--json")
    found = cli(*line).json
    assert list(found["choices"]) == ["model", "temperature 0.7", "top-k 3", "together"]
    assert found["prompt"] == ""
    for choice in found["choices"].values():
        assert sum(choice["probabilities"].values()) == pytest.approx(1)
        assert len(choice["probabilities"]) == choice["possible"]
    assert found["choices"]["together"]["possible"] == 3
    model = found["choices"]["model"]["probabilities"]
    assert list(model.values()) == sorted(model.values(), reverse=True)


def leaves(node: dict[str, Any], text: str = "") -> list[tuple[str, dict[str, Any]]]:
    text += node["symbol"]
    below = [leaf for child in node["children"] for leaf in leaves(child, text)]
    return below or [(text, node)]


def test_the_tree_ends_in_the_results_of_beam(cli: Cli, tiny: Run) -> None:
    line = ("--prompt", "old ", "--width", 3, "--length", 6, "--json")
    tree = cli(*NEXT, tiny.folder, *line).json["beam"]
    found = sorted((node["rank"], text) for text, node in leaves(tree) if node["rank"])
    written = cli("beam", "--model", tiny.folder, *line, "--num-return", 3).json["samples"]
    assert found == list(enumerate((sample["text"] for sample in written), start=1))


def test_the_picture_shows_bars_and_tree(cli: Cli, tiny: Run) -> None:
    line = (*NEXT, tiny.folder, "--prompt", "a $ea", "--plot", "next.svg", "--width", 2)
    assert "U+0024" in cli(*line, code=2).sentence
    line = (*NEXT, tiny.folder, "--prompt", "sea", "--plot", "next.svg", "--width", 2)
    done = cli(*line)
    assert "written: next.svg" in done.err
    texts = re.findall(r"<text[^>]*>([^<]+)</text>", (cli.folder / "next.svg").read_text("utf-8"))
    assert "the next token" in texts
    assert "'sea'" in [text.replace("&apos;", "'") for text in texts]
    assert sum(text.endswith(" nats") for text in texts) == 2
    assert "--force" in cli(*line, code=2).sentence
    cli(*line, "--force")


def test_symbols_without_a_glyph_are_reported(cli: Cli, tiny: Run) -> None:
    done = cli(*NEXT, tiny.folder, "--symbols", 40, "--plot", "next.png")
    assert "Glyph" not in done.err
    assert "some characters are not in the picture's font" in done.err


WRONG = [
    (("--width", 21), "too large to show"),
    (("--length", 101), "too large to show"),
    (("--top-p", 2), "top_p"),
    (("--plot", "a.txt"), ".png, .svg, .pdf"),
    (("--prompt", "Ж"), "U+0416"),
]


def test_wrong_options_are_errors(cli: Cli, tiny: Run) -> None:
    ended = cli.each(((*NEXT, tiny.folder, *words) for words, _ in WRONG), code=2)
    for done, (_, what) in zip(ended, WRONG, strict=True):
        assert what.replace("_", "-") in done.sentence.replace("_", "-")


@needs_terminal
def test_a_model_cannot_steer_the_terminal(watched: tuple[Run, Any]) -> None:
    run, _ = watched
    shown = on_terminal(run.folder.parent, *NEXT, run.folder, "--symbols", 30)
    assert shown.code == 0
    assert "␛" in shown.screen
    assert "\x1b" not in shown.screen
