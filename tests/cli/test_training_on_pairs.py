"""The command `charrnn train --pairs`."""

from __future__ import annotations

import itertools
import json
import shlex
from typing import Any

import pytest

from cli.conftest import BY_LIBRARY, Cli

SMALL = ("--hidden-size", 8, *BY_LIBRARY)
WORDS = ["".join(word) for word in itertools.product("abc", repeat=4)]


@pytest.fixture
def pairs(cli: Cli) -> str:
    """Return the name of a file of pairs."""
    lines = [f"{word} {word}\t{word[::-1]}\n" for word in WORDS]
    (cli.folder / "pairs.tsv").write_text("".join(lines))
    return "pairs.tsv"


def test_pairs_are_trained_on_and_the_next_command_answers(cli: Cli, pairs: str) -> None:
    done = cli("train", pairs, "--pairs", "--steps", 3, "--out", "my run", *SMALL)
    plan = done.err.replace("\n         ", " ")
    assert "bidirectional encoder, attention context" in plan
    assert "up to 9 pairs an update" in plan  # eight batches of the 73 pairs
    assert "characters of targets" in done.err
    command = done.err.splitlines()[-1].split(maxsplit=1)[1]
    words = shlex.split(command)
    assert words[:5] == ["charrnn", "beam", "--model", "my run", "--source"]
    assert set(words[5].split(" ")) < set(WORDS)
    assert cli(*words[1:], "--length", 5).code == 0
    shown = cli("info", "my run").out
    assert "bidirectional encoder, attention context" in shown
    assert "tokens     4: " in shown  # the space, a, b, c: the end is no character


def test_sources_that_train_and_test_share_are_counted(cli: Cli, pairs: str) -> None:
    known, *_ = (cli.folder / pairs).read_text().splitlines()
    (cli.folder / "test.tsv").write_text(f"{known}\nnew\tsource\n")
    words = ("train", pairs, "--pairs", "--test", "test.tsv", "--steps", 1, *SMALL)
    done = cli(*words, "--valid-fraction", 0)
    assert "1 of 2 test sources are in the training text too" in done.err
    assert cli("eval", "--part", "test", "--json").json["sources"] == 2


def test_a_stopped_training_on_pairs_is_resumed(cli: Cli, pairs: str) -> None:
    start = ("train", pairs, "--pairs", *SMALL, "--checkpoint-every", 2)
    cli(*start, "--steps", 6, "--out", "whole")
    cli(*start, "--steps", 4, "--out", "parts")
    done = cli("train", pairs, "--pairs", "--out", "parts", "--resume", "--steps", 6, "--json")
    assert json.loads(done.out.splitlines()[-1])["steps"] == 6
    assert "resumed  at step 4" in done.err
    for name in ("whole", "parts"):
        summary: dict[str, Any] = json.loads((cli.folder / name / "summary.json").read_text())
        assert summary["steps"] == 6


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--seq-len 8", "--seq-len cuts a text into windows, and pairs are read whole"),
        ("--window-state reset --update-every 2", "--update-every and --window-state cuts"),
        ("--learned-start", "--learned-start has no meaning for pairs"),
        ("--omega 1 --cell elman", "leave it out for pairs"),
        ("--cell jordan", "jordan feeds the network's output back"),
        ("--hidden-size 7", "--hidden-size 7 must be even"),
        ("--encoder backward", "--encoder 'backward' is not known"),
    ],
)
def test_options_without_meaning_are_refused(
    cli: Cli, pairs: str, options: str, sentence: str
) -> None:
    done = cli("train", pairs, "--pairs", "--steps", 2, *options.split(), code=2)
    assert sentence in done.err.replace("\n", " ")
    assert not (cli.folder / "runs").exists()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("p.tsv", b"a\tb\n\nno tab\n", "p.tsv, line 3: no tab in 'no tab'"),
        ("p.jsonl", b'{"source": "a", "target": "b"}\na\tb\n', "p.jsonl, line 2: 'a"),
        ("p.tsv", b"", "p.tsv is empty"),
        ("p.tsv", b"a\tb\n", "pairs of one source"),
        ("p.tsv", b"a\t\xff\n", "p.tsv"),
    ],
)
def test_files_that_hold_no_pairs_are_refused(
    cli: Cli, name: str, content: bytes, sentence: str
) -> None:
    (cli.folder / name).write_bytes(content)
    words = ("train", name, "--pairs", "--encoding", "utf-8", "--steps", 1, *SMALL)
    assert sentence in cli(*words, code=2).sentence
    assert not (cli.folder / "runs").exists()


@pytest.mark.parametrize("options", ["--encoder forward", "--context fixed", "--swap"])
def test_options_of_pairs_are_refused_for_a_text(cli: Cli, options: str) -> None:
    (cli.folder / "text.txt").write_text("abc\n" * 300)
    done = cli("train", "text.txt", "--steps", 2, *options.split(), code=2)
    assert options.split()[0] in done.err
