from __future__ import annotations

import csv
import html
import io
import math
import random
import re
from pathlib import Path

import pytest
import strict_json

import charrnn
from cli.conftest import TITLE, Cli, Run, needs_terminal, on_terminal, story

LINES = "the harbour was old.\nthe sea was café.\nbbbbbbbbbbb.\nand quiet 日本 🙂 sea.\n"


@pytest.fixture
def texts(tiny: Run, cli: Cli) -> list[str]:
    """Write files of several lengths."""
    chance = random.Random(3)
    names = []
    for number in range(30):
        names.append(f"{number}.txt")
        text = story(12_000)[chance.randrange(5000) :][: 1 + 17 * number]
        (cli.folder / names[-1]).write_text(text, "utf-8", newline="")
    return names


@pytest.fixture
def known(tiny: Run, cli: Cli) -> str:
    """Write a text of four lines with known characters; the third line is unusual."""
    (cli.folder / "text.txt").write_text(LINES, "utf-8", newline="")
    return LINES


def test_scores_match_eval(tiny: Run, cli: Cli) -> None:
    model = ("-m", tiny.folder, tiny.text, "--json")
    scored = cli("score", *model, "--by", "document").json
    evaluated = cli("eval", *model, "--exact").json
    for field in ("characters", "bytes", "nats", "bpc", "bits_per_byte"):
        assert scored[field] == pytest.approx(evaluated[field], rel=1e-9), field
    assert (scored["tokenizer"], scored["weights"]) == ("char", "float32")


def test_many_texts_score_as_each_alone(tiny: Run, cli: Cli, texts: list[str]) -> None:
    found = cli("score", "-m", tiny.folder, *texts, "--json").json
    assert found["by"] == "document"
    assert [text["file"] for text in found["documents"]] == texts
    for text in found["documents"][::7]:
        alone = cli("eval", "-m", tiny.folder, text["file"], "--exact", "--json").json
        assert text["nats"] == pytest.approx(alone["nats"], abs=1e-6)
        assert text["bytes"] == alone["bytes"]
    total = math.fsum(text["nats"] * text["characters"] for text in found["documents"])
    assert found["nats"] * found["characters"] == pytest.approx(total)


def test_characters_lines_and_texts_add_up(tiny: Run, cli: Cli, known: str) -> None:
    model = ("score", "-m", tiny.folder, "text.txt", "--json", "--by")
    (text,) = cli(*model, "character").json["documents"]
    assert "".join(text["symbols"]) == known
    lines = cli(*model, "line").json["lines"]
    assert [line["line"] for line in lines] == [1, 2, 3, 4]
    bounds = [0, *(at + 1 for at, symbol in enumerate(known) if symbol == "\n")]
    for line, start, end in zip(lines, bounds, bounds[1:], strict=False):
        assert line["characters"] == end - start
        total = math.fsum(text["symbol_nats"][start:end])
        assert line["nats"] * line["characters"] == pytest.approx(total, abs=1e-5)
    assert max(lines, key=lambda line: line["bpc"])["line"] == 3
    worst = text["worst"][0]
    assert worst["line"] == 3
    assert set(worst["text"]) <= set("b.\n")
    assert len(worst["expected"]) == 3
    assert worst["probability"] < min(worst["expected"].values())


def test_without_colors_marks_are_printed_below(tiny: Run, cli: Cli, known: str) -> None:
    done = cli("score", "-m", tiny.folder, "text.txt")
    shown = done.out.splitlines()
    assert "bbbbbbbbbbb." in shown
    below = shown[shown.index("bbbbbbbbbbb.") + 1]
    assert set(below) <= set(" ▁▂▄▆█")
    assert "█" in below
    assert "bits per character: ▁ 1 to 2, ▂ 2 to 4" in done.out
    assert "most surprising:\n  line 3, column 1" in done.out
    result = cli("eval", "-m", tiny.folder, "text.txt", "--exact").out
    assert done.out.endswith("".join(result.splitlines(keepends=True)[:3]))
    assert "\x1b" not in done.out


def test_marks_stay_below_their_characters_in_long_lines(tiny: Run, cli: Cli) -> None:
    (cli.folder / "text.txt").write_text("日本" * 60 + "quiet", "utf-8")
    shown = cli("score", "-m", tiny.folder, "text.txt").out.splitlines()
    assert shown[0] == "日本" * 20  # 80 columns
    assert len(shown[1]) <= 80
    assert len(shown[1].rstrip()) % 2 == 0


def test_lines_are_ranked(tiny: Run, cli: Cli, known: str) -> None:
    rows = cli("score", "-m", tiny.folder, "text.txt", "--by", "line").out.splitlines()
    assert rows[0].split() == ["bpc", "characters", "line"]
    assert re.fullmatch(r" *\d+\.\d{3} +13  text.txt:3  bbbbbbbbbbb\.↵?", rows[1])
    measured = [float(row.split()[0]) for row in rows[1:5]]
    assert measured == sorted(measured, reverse=True)


def test_a_separator_makes_lines_documents(tiny: Run, cli: Cli, known: str) -> None:
    words = ("score", "-m", tiny.folder, "text.txt", "--document-separator", "\\n", "--json")
    found = cli(*words).json["documents"]
    assert [text["file"] for text in found] == [f"text.txt:{n}" for n in (1, 2, 3, 4)]
    model = charrnn.load(tiny.folder)
    for text, line in zip(found, known.splitlines(keepends=True), strict=True):
        assert text["nats"] == pytest.approx(model.score(line, exact=True).nats, abs=1e-6)


@needs_terminal
def test_a_table_on_a_terminal_cannot_steer_it(tiny: Run, tmp_path: Path) -> None:
    (tmp_path / "a\x1b[31m.txt").write_text("the sea", "utf-8")
    words = ("score", "-m", tiny.folder, "a\x1b[31m.txt", "--by", "document")
    shown = on_terminal(tmp_path, *words, "--csv", "-")
    assert shown.code == 0
    assert "a␛[31m.txt,7,7" in shown.screen
    assert "\x1b[31m" not in shown.screen


@pytest.mark.parametrize("by", ["character", "line", "document"])
def test_csv_tables_add_up(by: str, tiny: Run, cli: Cli, known: str) -> None:
    words = ("score", "-m", tiny.folder, "text.txt", "--by", by)
    cli(*words, "--csv", "table.csv")
    written = (cli.folder / "table.csv").read_text("utf-8")
    assert written == cli(*words, "--csv", "-").out
    rows = list(csv.DictReader(io.StringIO(written)))
    total = sum(float(row["nats"]) * int(row.get("characters", 1)) for row in rows)
    scored = cli("score", "-m", tiny.folder, "text.txt", "--by", by, "--json").json
    assert total / len(known) == pytest.approx(scored["nats"], abs=1e-6)
    if by == "character":
        assert "".join(row["symbol"] for row in rows) == known
        columns = [row["column"] for row in rows if row["line"] == "3"]
        assert columns == [str(column) for column in range(1, 14)]
    if by == "line":
        assert [row["text"] for row in rows] == known.splitlines()


def test_the_page_has_the_text_and_no_scripts(tiny: Run, cli: Cli, known: str) -> None:
    (cli.folder / "<i>.txt").write_text("the sea.\n", "utf-8")
    words = ("score", "-m", tiny.folder, "text.txt", "<i>.txt", "--html", "page.html")
    cli(*words)
    page = (cli.folder / "page.html").read_text("utf-8")
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=\"(?!#)", page)
    assert '<h2 id="t1">&lt;i&gt;.txt</h2>' in page
    text = re.search(r"<pre>\n(.*?)</pre>", page, re.DOTALL)
    assert text
    bare = html.unescape(re.sub(r"</?i[^>]*>", "", text[1]))
    assert bare.replace("↵\n", "\n") == known
    assert re.search(r'title="[\d.]+ bits, [\d.%]+; expected &#x27;', page)
    assert "page.html exists" in cli(*words, code=2).sentence
    cli(*words, "--force")


def test_markup_in_a_text_is_escaped() -> None:
    import numpy as np

    from charrnn.cli.display.surprisal_page import surprisal_page
    from charrnn.scoring import Surprise

    text = '<script>"&\x1b[1m'
    nats = np.linspace(0, 9, len(text))
    likeliest = np.zeros((len(text), 1), np.int32)
    found = (nats, likeliest, likeliest.astype(np.float32))
    surprise = Surprise("<b>", list(text), *found, ["<i>'"])
    made = surprisal_page([surprise], "<s>")
    body = made.split("</head>")[1] + made.split("<title>")[1].split("</title>")[0]
    tags = set(re.findall(r"<(\w+)", body))
    assert tags == {"body", "h1", "p", "span", "h2", "pre", "i"}
    assert "\x1b" not in made
    assert "expected &#x27;&lt;i&gt;&#x27;&#x27; 100%" in made


def test_unknown_characters_are_refused_replaced_or_skipped(tiny: Run, cli: Cli) -> None:
    (cli.folder / "text.txt").write_text("thé ſea", "utf-8")
    words = ("score", "-m", tiny.folder, "text.txt", "--by", "document")
    sentence = cli(*words, code=2).sentence
    assert "'ſ' (U+017F)" in sentence
    assert "--unknown nearest" in sentence
    done = cli(*words, "--unknown", "nearest", "--json")
    assert "unknown characters: 'ſ' (U+017F)" in done.err
    assert done.json["characters"] == 7
    assert cli(*words, "--unknown", "skip", "--json").json["characters"] == 6
    (cli.folder / "text.txt").write_text("ſſſ", "utf-8")
    assert "no character of the text is left" in cli(*words, "--unknown", "skip", code=2).sentence


def test_wrong_options_are_errors(tiny: Run, cli: Cli) -> None:
    model = ("-m", tiny.folder, tiny.text)
    assert "did you mean line?" in cli("score", *model, "--by", "lines", code=2).sentence
    assert "choose from" in cli("score", *model, "--unknown", "?", code=2).sentence
    assert "missing.txt" in cli("score", "-m", tiny.folder, "missing.txt", code=2).sentence
    assert cli("score", "-m", tiny.folder, code=2).err


def test_a_long_text_is_not_shown_in_full(tiny: Run, cli: Cli, tmp_path: Path) -> None:
    (cli.folder / "long.txt").write_bytes(tiny.text.read_bytes() * 2)
    done = cli("score", "-m", tiny.folder, "long.txt")
    assert "24,000 characters are too many to show here" in done.out
    assert "most surprising:" in done.out
    assert done.out.count("\n") < 30


@needs_terminal
def test_a_terminal_gets_colors_but_no_control_characters_of_the_text(
    tiny: Run, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text(f"the sea\nbbbb{TITLE}", "utf-8")
    done = on_terminal(tmp_path, "score", "-m", tiny.folder, "text.txt", "--unknown", "nearest")
    assert done.code == 0
    assert "\x1b[38;5;231;48;5;52m" in done.screen  # the highest level
    assert TITLE not in done.screen
    assert "\x1b]" not in done.screen


def test_json_of_several_texts_by_character(tiny: Run, cli: Cli, texts: list[str]) -> None:
    found = cli("score", "-m", tiny.folder, *texts[:3], "--by", "character", "--json")
    for text, name in zip(strict_json.loads(found.out)["documents"], texts, strict=False):
        assert "".join(text["symbols"]) == (cli.folder / name).read_text("utf-8")
    shown = cli("score", "-m", tiny.folder, *texts[:3], "--by", "character").out
    assert re.findall(r"^== (.*)", shown, re.MULTILINE) == texts[:3]


def test_scoring_while_learning_finds_what_eval_does(tiny: Run, cli: Cli) -> None:
    (cli.folder / "short.txt").write_text(story(3000), "utf-8")
    scored = cli("score", "-m", tiny.folder, "short.txt", "--dynamic", "--json").json
    found = cli("eval", "-m", tiny.folder, "short.txt", "--dynamic", "--json").json
    assert scored["dynamic"] is True
    assert scored["nats"] == pytest.approx(found["nats"], rel=1e-12)
    (document,) = scored["documents"]
    assert len(document["symbol_nats"]) == scored["characters"]
    assert all(0 < sum(p["expected"].values()) <= 1 for p in document["worst"])
