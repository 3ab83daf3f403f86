from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import strict_json

from charrnn.model import model_file
from charrnn.model.model_file import Model
from cli.conftest import Cli, Run, needs_terminal, on_terminal

CELLS = ("inspect", "cells", "--model")


def test_the_table_shows_trackers_and_gates(cli: Cli, tiny: Run) -> None:
    out = cli(*CELLS, tiny.folder).out
    assert re.search(r"^last letter of a word( +1\.[hc]\.\d+ [+-][01]\.\d{3}){3}$", out, re.M)
    assert "too rare in this text: inside quotes" in out
    assert re.search(r"^1\.f +[\d.]+% left +[\d.]+% right +\d+ units left", out, re.M)


def test_json_has_trackers_gates_and_values(cli: Cli, tiny: Run) -> None:
    line = ("--length", 400, "--unit", "1.f.32", "--json")
    found = cli(*CELLS, tiny.folder, tiny.text, *line).json
    assert found["symbols"] == len(found["values"]) == len(found["text"]) == 400
    assert "".join(found["text"]) == tiny.text.read_text("utf-8")[:400]
    assert all(0 < value < 1 for value in found["values"])
    assert [(one["layer"], one["gate"]) for one in found["gates"]] == [(1, g) for g in "ifo"]
    assert {len(one["left_saturated"]) for one in found["gates"]} == {32}
    assert found["gates"][1]["right_saturated"][31] == pytest.approx(
        sum(value > 0.9 for value in found["values"]) / 400
    )
    assert {len(one) for one in found["trackers"]} == {4}


def test_without_colors_digits_show_the_activation(cli: Cli, tiny: Run) -> None:
    out = cli(*CELLS, tiny.folder, "--prompt", "the 日本\nsea", "--unit", "1.5").out
    title, legend, _, first, below, _, second, under, *_ = out.splitlines()
    assert title == "unit 1.c.5 of story-1 after each token"
    assert re.fullmatch(r"-[\d.]+ 0123456789 [\d.]+", legend)
    assert (first, second) == ("the 日本↵", "sea")
    assert re.fullmatch(r"\d{4}(\d)\1(\d)\2\d", below)
    assert re.fullmatch(r"\d{3}", under)


@needs_terminal
def test_a_terminal_gets_colors_but_no_control_characters_of_the_text(
    watched: tuple[Run, Any],
) -> None:
    run, _ = watched
    words = (*CELLS, run.folder, run.text, "--length", 30, "--unit", "1.h.3")
    shown = on_terminal(run.folder.parent, *words)
    assert shown.code == 0
    assert "\x1b]" not in shown.screen
    assert "\x07" not in shown.screen
    assert "␛" in shown.screen
    assert re.search(r"\x1b\[30;48[;\d]+m", shown.screen)


def test_the_page_needs_no_other_file(cli: Cli, make_model: Any) -> None:
    model: Model = make_model("a</script>&\x1b \n", cell="gru", num_layers=2)
    model_file.save(cli.folder / "model.safetensors", model)
    (cli.folder / "text.txt").write_text("</script>\x1b & a\n" * 30)
    line = (*CELLS, "model.safetensors", "text.txt", "--html", "a.html", "--unit", "2.z.4")
    cli(*line)
    page = (cli.folder / "a.html").read_text("utf-8")
    assert "\x1b" not in page
    assert page.count("</script>") == 2
    assert not re.search(r"(?:src|href)=|url\(|import ", page)
    (data,) = re.findall(r'type="application/json">(.*?)</script>', page)
    found = strict_json.loads(data)
    assert "".join(found["symbols"][:15]) == "</script>␛ & a↵\n"
    assert [*found["parts"]] == ["h", "r", "z", "n"]
    assert found["first"] == [2, "z", 4]
    assert "--force" in cli(*line, code=2).sentence


@pytest.mark.parametrize("cell", ["gru", "elman"])
def test_the_picture_shows_trackers_parts_and_gates(cell: str, cli: Cli, make_model: Any) -> None:
    model: Model = make_model("a$(b)\n", cell=cell, num_layers=2)
    model_file.save(cli.folder / "model.safetensors", model)
    (cli.folder / "text.txt").write_text("a$(b$)\n" * 60)
    out = cli(*CELLS, "model.safetensors", "text.txt", "--plot", "a.svg").out
    assert ("this cell has no gates" in out) == (cell == "elman")
    picture = (cli.folder / "a.svg").read_text("utf-8")
    texts = re.findall(r"<text[^>]*>([^<]+)</text>", picture)
    assert any(re.match(r"inside brackets: \d\.h\.\d", text) for text in texts)
    assert {"h of layer 2", "tokens read", "↵"} <= set(texts)
    assert ("gate z" in texts) == (cell == "gru")


WRONG = [
    (("--unit", "x"), "as 1.c.37"),
    (("--unit", "2.1"), "layers of this model are 1 to 1"),
    (("--unit", "1.33"), "units 1 to 32"),
    (("--unit", "1.x.3"), "has h, c, i, f, g, o"),
    (("--prompt", ""), "is empty"),
    (("--prompt", "Ж"), "U+0416"),
    (("text.txt", "--prompt", "a"), "give one of them"),
    (("--html", "a.png"), ".html"),
    (("--plot", "a.html"), ".png"),
]


def test_wrong_options_are_errors(cli: Cli, tiny: Run) -> None:
    Path(cli.folder / "text.txt").write_text("the sea")
    ended = cli.each(((*CELLS, tiny.folder, *words) for words, _ in WRONG), code=2)
    for done, (_, what) in zip(ended, WRONG, strict=True):
        assert what in done.sentence


def test_a_short_text_is_shown_but_not_searched(cli: Cli, tiny: Run) -> None:
    out = cli(*CELLS, tiny.folder, "--prompt", "the sea").out
    assert "too short to search" in out
    assert "1.o" in out
