"""Situations of public bug reports, three more of each kind than those they were found with.

The line above each test says what a user meant; the tests of the kinds themselves lie where their
subjects do.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import charrnn
from charrnn.errors import CharRNNError

from .conftest import BY_LIBRARY, Cli, Run

LINE = "The dog sleeps near the house."
QUICK = ("--steps", 1, "--hidden-size", 4, "--num-layers", 1, *BY_LIBRARY)


# A file whose lines do not end in LF.
@pytest.mark.parametrize(
    ("end", "name"), [("\u2029", "U+2029"), ("\x85", "NEL"), ("\u2028", "U+2028")]
)
def test_a_line_end_is_counted_and_converted(end: str, name: str, cli: Cli) -> None:
    (cli.folder / "a.txt").write_text((LINE + end) * 300, "utf-8", newline="")
    shown = cli("corpora", "stats", "a.txt").out
    assert "300 lines, the longest of 30 characters" in shown
    assert f"300 lines end in {name}" in shown
    converted = cli("corpora", "stats", "a.txt", "--newline", "lf", "--json").json
    assert converted["characters"] == 300 * (len(LINE) + 1)


# A Western text that Windows saved.
@pytest.mark.parametrize(
    "line",
    ["Die Straße führt über die Brücke.", "A maçã não está no chão.", "It’s “late” – €5, please…"],
)
def test_a_western_text_is_read_as_it_was_written(line: str, cli: Cli) -> None:
    (cli.folder / "a.txt").write_bytes(f"{line}\n".encode("cp1252") * 200)
    found = cli("corpora", "stats", "a.txt", "--json").json
    assert {symbol["symbol"] for symbol in found["symbols"]} >= set(line) - {" "}


# A text in an encoding that no command can guess for certain.
@pytest.mark.parametrize("command", ["score", "inspect memory", "eval"])
def test_the_advised_encoding_is_an_option_of_the_command(
    command: str, tiny: Run, cli: Cli
) -> None:
    (cli.folder / "a.txt").write_bytes(
        "Съешь же ещё этих французских булок\n".encode("cp1251") * 99
    )
    line = (*command.split(), "a.txt", "-m", tiny.folder)
    assert "--encoding in which" in cli(*line, code=2).sentence
    assert "the model has never seen 'С'" in cli(*line, "--encoding", "cp1251", code=2).sentence


# A service without a home folder.
@pytest.mark.parametrize("command", ["runs", "corpora path tunes", "cells"])
def test_a_home_that_cannot_be_written_stops_no_command(command: str, cli: Cli) -> None:
    nowhere = {"HOME": "/proc/nobody", "XDG_CACHE_HOME": ""}
    done = cli(*command.split(), env=nowhere)
    assert done.out or "no runs in" in done.err


# A run in a folder whose name a shell would take apart.
@pytest.mark.parametrize(
    ("name", "quoted"),
    [("it's", """'it'"'"'s'"""), ("a&b", "'a&b'"), ("$HOME *", "'$HOME *'")],
)
def test_the_printed_command_is_quoted(name: str, quoted: str, cli: Cli) -> None:
    (cli.folder / "a.txt").write_text("hello world\n" * 200)
    done = cli("train", "a.txt", *QUICK, "--out", name)
    assert done.err.endswith(f"charrnn sample --model {quoted}\n")
    assert cli.shell(f"charrnn sample --model {quoted} -n 3").code == 0


# A stop text with escapes.
@pytest.mark.parametrize(("stop", "meant"), [(r".\n", ".\n"), (r"\x20", " "), (r"\u0061", "a")])
def test_an_escape_in_a_stop_text_is_its_character(
    stop: str, meant: str, tiny: Run, cli: Cli
) -> None:
    words = ("sample", "-m", tiny.folder, "--seed", 5, "-n", 300)
    whole = cli(*words).out
    assert meant in whole
    assert cli(*words, "--stop", stop).out.rstrip("\n") == whole.split(meant)[0].rstrip("\n")


# Items, one a line, into a file.
@pytest.mark.parametrize(
    "line",
    [
        "sample --num-samples 3 --max-lines 1",
        r"sample --num-samples 3 --stop \n --seed 2",
        "beam --num-return 3 --max-lines 1 --length 20",
    ],
)
def test_items_of_one_line_are_lines_of_a_pipe(line: str, tiny: Run, cli: Cli) -> None:
    out = cli(*line.split(), "-m", tiny.folder).out
    assert out.count("\n") == 3
    assert "===" not in out


# A model of separate documents writes one.
@pytest.mark.parametrize("line", ["sample --seed 1", "greedy", "beam --length 40"])
def test_a_model_of_documents_writes_one(line: str, apart: Run, cli: Cli) -> None:
    text = cli(*line.split(), "-m", apart.folder).out.rstrip("\n")
    assert "\n" not in text
    assert 0 < len(text) < 30


# A text where its file's name belongs.
@pytest.mark.parametrize("given", [LINE * 400, LINE.encode() * 400, None])
def test_python_says_that_a_text_is_no_file(given: object, tmp_path: Path) -> None:
    with pytest.raises(CharRNNError) as caught:
        charrnn.train(given, steps=1, out=tmp_path / "run")  # type: ignore[arg-type]
    assert len(str(caught.value)) < 400
    assert not (tmp_path / "run").exists()


# What a text has that is odd.
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ((LINE + " ") * 4000, "124,000 characters"),
        ("Cafe\u0301 a\u0300 la carte.\n" * 300, "accents"),
        ("The har\u00adbour is old.\n" * 300, "300 soft hyphens"),
    ],
)
def test_train_says_what_stats_says(text: str, words: str, cli: Cli) -> None:
    (cli.folder / "a.txt").write_text(text, "utf-8")
    described = cli("corpora", "stats", "a.txt").out
    said = cli("train", "a.txt", "--dry-run", *QUICK).err
    lines = described.partition("suspicious\n")[2].partition("\n\n")[0].splitlines()
    found = [line.strip() for line in lines if words in line]
    assert found
    assert words in said


# The same of pairs: both sides count, as what they say.
@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("a.tsv", "house{}\tHA\0US\n", "% of it is NUL: this is not text"),
        ("a.tsv", "caf\u00c3\u00a9{}\tcoffee\n", "200 places look like UTF-8 read as another"),
        ("a.tsv", "so\u00adme{}\tsome\x1b\n", "200 control characters: 200 U+001B ESCAPE"),
        (
            "a.jsonl",
            '{{"source": "a{}", "target": "b\\u0085"}}\n',
            "200 lines end in NEL (U+0085)\n",
        ),
    ],
)
def test_train_says_of_pairs_what_stats_says(name: str, line: str, words: str, cli: Cli) -> None:
    (cli.folder / name).write_text("".join(map(line.format, range(200))), "utf-8", newline="")
    described = cli("corpora", "stats", name, "--pairs").out
    assert words in described.partition("suspicious\n")[2].partition("\n\n")[0] + "\n"
    assert words in cli("train", name, "--pairs", "--dry-run", *QUICK).err
    signs = cli("corpora", "stats", name, "--pairs", "--json").json["signs"]
    assert any(words.strip() in sign["text"] for sign in signs)


# A text that changed since the run was trained.
@pytest.mark.parametrize("change", ["shorter", "other", "longer"])
def test_a_changed_text_is_trained_on_from_the_old_weights(
    change: str, tiny: Run, cli: Cli
) -> None:
    shutil.copytree(tiny.folder, cli.folder / "run")
    text = tiny.text.read_text("utf-8")
    changed = {"shorter": text[:-40], "other": text.replace("old", "sea"), "longer": text + text}
    (cli.folder / "story.txt").write_text(changed[change], "utf-8")
    done = cli("train", "story.txt", "--out", "run", "--resume", code=2)
    assert done.sentence.endswith("charrnn train story.txt --init-from run")


# A checkpoint in the place of a model.
@pytest.mark.parametrize("line", ["info", "greedy -n 20 -m", "beam --length 9 -m"])
def test_a_checkpoint_is_read_as_a_model(line: str, tiny: Run, cli: Cli) -> None:
    (step,) = [path for path in (tiny.folder / "checkpoints").iterdir() if path.name.isdigit()]
    assert cli(*line.split(), step).out


# The training text is somewhere else now.
@pytest.mark.parametrize(
    "line", ["--novelty", "--new --num-samples 2", "--novelty --num-samples 2"]
)
def test_the_moved_training_text_can_be_named(line: str, tiny: Run, cli: Cli) -> None:
    shutil.copytree(tiny.folder, cli.folder / "run")
    shutil.copy(tiny.text, cli.folder / "moved.txt")
    words = ("sample", "-m", "run", "-n", 30, "--seed", 1, *line.split())
    assert cli(*words, "--training-text", "moved.txt").out
