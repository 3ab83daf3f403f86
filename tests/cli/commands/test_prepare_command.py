"""Make datasets of all kinds of texts."""

from __future__ import annotations

import bz2
import gzip
import lzma
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import strict_json
from waiting import HANGS, wait_until

import charrnn
from charrnn.config import BeamConfig
from charrnn.text import dataset
from cli.conftest import BY_LIBRARY, PROGRAM, Cli, environment, needs_terminal, on_terminal, story

STORY = story(6000)
QUICK: dict[str, Any] = {
    "steps": 3,
    "hidden_size": 8,
    "cell": "lstm",
    "backend": "library",
    "device": "cpu",
}


@pytest.fixture
def text(cli: Cli) -> Path:
    path = cli.folder / "story.txt"
    path.write_text(STORY, "utf-8", newline="")
    return path


def _text(folder: Path) -> str:
    data = dataset.load(folder)
    parts = (data.train, data.valid, data.test)
    return "".join(data.tokenizer.decode(part.tolist()) for part in parts)


def _prepared(cli: Cli, *words: object, stdin: bytes = b"") -> tuple[Any, str]:
    done = cli("prepare", *words, "--out", "data", "--force", "--json", stdin=stdin)
    return done.json, done.err


def test_json_describes_the_dataset(cli: Cli, text: Path) -> None:
    made, err = _prepared(cli, text, "--test-fraction", 0.05)
    assert made["parts"]["train"] == {
        "ids": 5100,
        "characters": 5100,
        "documents": 1,
        "bytes": len(STORY[:5100].encode()),
    }
    assert [made["parts"][name]["ids"] for name in ("valid", "test")] == [600, 300]
    assert (made["tokenizer"], made["id_type"], made["split"]) == ("char", "uint8", "by position")
    assert made["vocab_size"] == len(set(STORY))
    assert made["bytes_per_second"] > 0
    assert err == ""
    assert _text(cli.folder / "data") == STORY


def test_lines_describe_the_dataset(cli: Cli, text: Path) -> None:
    done = cli("prepare", text, "--out", "data", "--tokenizer", "byte")
    size = len(STORY.encode())
    assert "256 (byte), as uint8" in done.out
    assert "train 5,400, valid 600 characters (by position)" in done.out
    assert f"{size / 1e6:,.1f} MB in " in done.err


@pytest.mark.parametrize("kind", ["char", "byte", "sentencepiece"])
def test_training_on_a_dataset_equals_training_on_its_text(cli: Cli, text: Path, kind: str) -> None:
    cli("prepare", text, "--out", "data", "--tokenizer", kind)
    from_text = charrnn.train(text, **QUICK, tokenizer=kind, out=cli.folder / "one")
    from_data = charrnn.train(cli.folder / "data", **QUICK, out=cli.folder / "two")
    for name in ("valid_nats", "train_nats", "valid_bits_per_byte", "valid_characters"):
        assert getattr(from_text, name) == getattr(from_data, name), name
    for run in ("one", "two"):  # eval finds the run's own text
        scored = cli("eval", "-m", run, "--json").json
        assert (scored["tokenizer"], scored["characters"]) == (kind, 600)
        assert scored["bytes"] == len(STORY[-600:].encode())
        assert scored["nats"] == pytest.approx(from_text.valid_nats, abs=1e-5)
    score = charrnn.load(cli.folder / "one").score(STORY[-600:])
    assert score.nats == pytest.approx(from_text.valid_nats, abs=1e-5)


@pytest.mark.parametrize("kind", ["byte", "sentencepiece"])
def test_length_counts_characters_for_every_tokenizer(cli: Cli, text: Path, kind: str) -> None:
    charrnn.train(text, **QUICK, tokenizer=kind, out=cli.folder / "run")
    written = cli("sample", "-m", "run", "-n", 50, "-p", "日本é\u2581", "--seed", 1, "--json").json
    (sample,) = written["samples"]
    assert len(sample["text"]) == 50
    assert sample["finished_by"] == "length"
    shown = cli("sample", "-m", "run", "-n", 50, "-p", "日本é\u2581", "--seed", 1).out
    assert shown == "日本é\u2581" + sample["text"]
    model = charrnn.load(cli.folder / "run")
    pieces = list(model.stream(length=50, seed=1))
    assert "".join(pieces) == model.sample(length=50, seed=1).text
    stop = model.sample(length=200, seed=1).text[20:23]
    cut = model.sample(length=200, seed=1, stop=stop).text
    assert cut == model.sample(length=200, seed=1).text.partition(stop)[0]
    assert len(model.greedy(length=7).text) == 7
    assert model.beams("", BeamConfig(length=7, width=2))[0].text
    assert kind in cli("info", "run").out


def test_the_test_part_is_scored_when_asked(cli: Cli, text: Path) -> None:
    charrnn.train(text, **QUICK, test_fraction=0.2, out=cli.folder / "run")
    assert cli("eval", "-m", "run", "--part", "test", "--json").json["characters"] == 1200
    assert cli("eval", "-m", "run", "--json").json["characters"] == 600
    wrong = cli("eval", "-m", "run", "--part", "tests", code=2).sentence
    assert "did you mean test?" in wrong
    charrnn.train(text, **QUICK, out=cli.folder / "other")
    missing = cli("eval", "-m", "other", "--part", "test", code=2).sentence
    assert "without a test text" in missing


def test_text_options_for_a_dataset_are_refused(cli: Cli, text: Path) -> None:
    cli("prepare", text, "--out", "data")
    sentence = cli("train", "data", "--tokenizer", "byte", code=2).sentence
    assert "--tokenizer was decided when it was prepared" in sentence
    assert "name it alone" in cli("train", "data", text, code=2).sentence
    assert "dataset already" in cli("prepare", "data", "--out", "new", code=2).sentence


def test_force_replaces_a_dataset(cli: Cli, text: Path) -> None:
    cli("prepare", text, "--out", "data")
    assert "already holds a dataset" in cli("prepare", text, "--out", "data", code=2).sentence
    cli("prepare", text, "--out", "data", "--tokenizer", "byte", "--force")
    assert dataset.load(cli.folder / "data").tokenizer.kind == "byte"
    (cli.folder / "mine").mkdir()
    (cli.folder / "mine" / "notes").write_text("mine")
    cli("prepare", text, "--out", "mine", "--force", code=2)
    assert (cli.folder / "mine" / "notes").read_text() == "mine"


def test_force_keeps_the_old_dataset_until_the_new_one_is_whole(cli: Cli, text: Path) -> None:
    cli("prepare", text, "--out", "data")
    before = {path.name: path.read_bytes() for path in (cli.folder / "data").iterdir()}
    (cli.folder / "bad.txt").write_bytes(b"\xff\xfe\x00")
    (cli.folder / "pairs.tsv").write_text("a b\n")
    for words in (
        ("missing.txt",),
        ("bad.txt", "--encoding", "utf-8"),
        ("pairs.tsv", "--pairs"),
        (text, "--valid", "missing.txt"),
        (text, "--items", "%%"),
        ("data",),
    ):
        cli("prepare", *words, "--out", "data", "--force", code=2)
        assert {path.name: path.read_bytes() for path in (cli.folder / "data").iterdir()} == before
    (cli.folder / "data" / "notes.md").write_text("mine")
    refused = cli("prepare", text, "--out", "data", "--force", code=2).sentence
    assert "files that charrnn did not write" in refused
    assert "notes.md" in refused
    assert dataset.load(cli.folder / "data").tokenizer.kind == "char"
    assert not list(cli.folder.glob(".*"))


def test_a_link_to_a_dataset_stays_a_link(cli: Cli, text: Path) -> None:
    cli("prepare", text, "--out", "data")
    (cli.folder / "link").symlink_to("data")
    cli("prepare", text, "--out", "link", "--tokenizer", "byte", "--force")
    assert (cli.folder / "link").is_symlink()
    assert dataset.load(cli.folder / "data").tokenizer.kind == "byte"
    assert sorted(path.name for path in cli.folder.iterdir()) == ["data", "link", "story.txt"]


def test_the_current_folder_is_not_replaced(cli: Cli, text: Path) -> None:
    (cli.folder / "empty").mkdir()
    refused = Cli(cli.folder / "empty")("prepare", text, "--out", ".", code=2).sentence
    assert "--out . is the folder you are in: name a new folder in it" in refused


# texts that are odd but valid
TAKEN = {
    "a mark": ("\ufeffsome text", (), "some text", ["byte order mark", "dropped"]),
    "CR LF": ("a\r\nb", (), "a\r\nb", ["CR LF", "--newline lf"]),
    "CR LF made LF": ("a\r\nb", ("--newline", "lf"), "a\nb", ["were converted to LF"]),
    "one symbol": ("aaaaaa", (), "aaaaaa", ["one character over and over"]),
    "NULs": ("a\x00b\x00", (), "a\x00b\x00", ["50.0% of it is NUL"]),
    "escapes": ("a\x1b[0m", (), "a\x1b[0m", ["1 control character: 1 U+001B ESCAPE"]),
}


@pytest.mark.parametrize(("given", "flags", "read", "words"), TAKEN.values(), ids=TAKEN)
def test_odd_texts_are_accepted_and_reported(
    cli: Cli, given: str, flags: tuple[str, ...], read: str, words: list[str]
) -> None:
    (cli.folder / "odd.txt").write_bytes(given.encode())
    _, err = _prepared(cli, "odd.txt", *flags)
    assert [word for word in words if word not in err] == []
    assert _text(cli.folder / "data") == read


def test_compressed_texts_folders_and_patterns(cli: Cli) -> None:
    folder = cli.folder / "texts"
    folder.mkdir()
    (folder / "a.gz").write_bytes(gzip.compress(b"one "))
    (folder / "b.bz2").write_bytes(bz2.compress(b"two "))
    (folder / "c.xz").write_bytes(lzma.compress(b"three "))
    (folder / "d.md").write_bytes(b"four")
    made, _ = _prepared(cli, "texts")
    assert _text(cli.folder / "data") == "one two three four"
    assert made["parts"]["train"]["documents"] == 4
    _prepared(cli, "texts/*.?z*")
    assert _text(cli.folder / "data") == "one two three "
    _prepared(cli, "texts", "--exclude", "*.md", "--include", "*.bz2", "--include", "*.xz")
    assert _text(cli.folder / "data") == "two three "


def test_other_encodings(cli: Cli) -> None:
    text = "Crème brûlée à la carte, déjà vu. " * 9
    (cli.folder / "old.txt").write_bytes(text.encode("cp1252"))
    _, err = _prepared(cli, "old.txt")
    assert 'old.txt is not UTF-8 and is read as cp1252, such as "Crème brûlée' in err
    assert _text(cli.folder / "data") == text
    strictly = ("prepare", "old.txt", "--out", "new", "--encoding", "utf-8")
    sentence = cli(*strictly, code=2).sentence
    assert "old.txt is not UTF-8: byte e8 at offset 2, line 1" in sentence
    _prepared(cli, "old.txt", "--encoding", "mac-roman")
    assert _text(cli.folder / "data").startswith("CrËme")
    _, err = _prepared(cli, "old.txt", "--encoding", "utf-8", "--errors", "replace")
    assert "became U+FFFD" in err


def test_documents_in_two_parts_are_reported(cli: Cli) -> None:
    (cli.folder / "doc.txt").write_text("one\n\ntwo\n\none\n\n")
    split = ("--split", "document", "--document-separator", r"\n\n", "--valid-fraction", 0.3)
    out = cli("prepare", "doc.txt", "--out", "data", *split).out
    assert "train 10, valid 5 characters (by document)" in out
    assert "1 of 1 valid documents are in the training text too" in out


def test_a_text_from_a_pipe_can_be_read_again(cli: Cli) -> None:
    flags = ("--steps", 3, "--hidden-size", 8, *BY_LIBRARY, "--out", "run")
    cli("train", "-", *flags, stdin=STORY.encode())
    kept = cli.folder / "run" / "corpus.txt"
    assert kept.read_bytes() == STORY.encode()
    config = strict_json.loads((cli.folder / "run" / "config.json").read_text())
    assert config["files"] == ["corpus.txt"]
    assert cli("eval", "-m", "run", "--json").json["characters"] == 600


def test_an_interrupt_leaves_no_files(cli: Cli) -> None:
    (cli.folder / "long.txt").write_bytes(
        STORY.encode() * 10_000
    )  # 60 MB: long enough to interrupt
    command = [PROGRAM, "prepare", "long.txt", "--out", "data"]
    process = subprocess.Popen(command, cwd=cli.folder, env=environment(), stderr=subprocess.PIPE)
    wait_until(lambda: list(cli.folder.glob(".data.*.tmp")) or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    assert process.wait(HANGS) == 130
    assert process.stderr
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    assert [path.name for path in cli.folder.iterdir()] == ["long.txt"]


@needs_terminal
def test_a_terminal_shows_progress(cli: Cli) -> None:
    (cli.folder / "long.txt").write_bytes(STORY.encode() * 10_000)
    shown = on_terminal(cli.folder, "prepare", "long.txt", "--out", "data")
    assert shown.code == 0
    assert "MB" in shown.screen


def test_prepare_splits_pairs_by_their_sources(cli: Cli) -> None:
    pairs = [f"{number}\t{-number}\n{number}\t{2 * number}\n" for number in range(60)]
    (cli.folder / "p.tsv").write_text("".join(pairs))
    found = cli("prepare", "p.tsv", "--pairs", "--out", "data", "--json").json
    assert found["pairs"] is True
    assert found["split"] == "by hash of the source"
    assert [found["parts"][part]["documents"] for part in ("train", "valid")] == [216, 24]
    (cli.folder / "test.tsv").write_text("7\t49\n")
    given = ("p.tsv", "--pairs", "--swap", "--test", "test.tsv")
    out = cli("prepare", *given, "--out", "other").out
    assert "train 108, valid 12, test 1 pairs of source and target" in out


def test_prepare_names_the_line_that_is_no_pair(cli: Cli) -> None:
    (cli.folder / "p.tsv").write_text("a\tb\na b\n")
    done = cli("prepare", "p.tsv", "--pairs", "--out", "data", code=2)
    assert "p.tsv, line 2: no tab in 'a b'" in done.sentence
