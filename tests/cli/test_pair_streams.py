"""Models of pairs and of gaps with pipes, devices, closed streams and signals."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import HANGS

from charrnn.model import model_file
from charrnn.model.model_file import Model

from .conftest import BY_LIBRARY, Cli

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such files and signals")
SMALL = ("--hidden-size", 8, "--num-layers", 1, *BY_LIBRARY)
PAIRS = [(f"{first}{last}", last) for first in "abcab" for last in "abccba"]
WRITING = [
    "beam --source ab -n 5",
    "beam --source-file sources -n 5",
    "sample --source ab -n 5",
    "eval p.tsv",
    "score p.tsv",
    "inspect attention --source ab",
]


@pytest.fixture
def pairs(make_pair_model: Callable[..., Model], cli: Cli) -> Path:
    """Return a file of pairs; a model of them, and sources, are in its folder, too."""
    model_file.save(cli.folder / "pairs.safetensors", make_pair_model("abc"))
    (cli.folder / "sources").write_text("ab\nc\n")
    file = cli.folder / "p.tsv"
    file.write_text("".join(f"{source}\t{target}\n" for source, target in PAIRS))
    return file


def _write(path: Path, text: str) -> threading.Thread:
    writer = threading.Thread(target=path.write_text, args=[text], daemon=True)
    writer.start()
    return writer


def test_pairs_come_through_a_pipe_and_stay_in_the_run(pairs: Path, cli: Cli) -> None:
    """Its name says that they are JSON; the name of the copy does not."""
    lines = [json.dumps({"source": source, "target": target}) for source, target in PAIRS]
    text = "".join(f"{line}\n" for line in lines)
    os.mkfifo(cli.folder / "p.jsonl")
    writer = _write(cli.folder / "p.jsonl", text)
    done = cli("train", "p.jsonl", "--pairs", "--steps", 2, *SMALL, "--out", "run")
    writer.join(HANGS)
    assert "reading the pipe p.jsonl, until whatever writes to it ends" in done.err
    assert (cli.folder / "run" / "corpus.txt").read_text() == text
    assert cli("eval", "-m", "run", "--json").json["pairs"] > 0
    piped = cli(
        *("train", "-", "--pairs", "--resume", "--out", "run", "--steps", 3), stdin=text.encode()
    )
    assert "resumed  at step 2" in piped.err


def test_sources_come_through_a_pipe(pairs: Path, cli: Cli) -> None:
    model = ("-m", "pairs.safetensors", "-n", 5)
    os.mkfifo(cli.folder / "pipe")
    writer = _write(cli.folder / "pipe", "ab\nc\n")
    done = cli("beam", "--source-file", "pipe", *model)
    writer.join(HANGS)
    assert done.out == cli("beam", "--source-file", "sources", *model).out
    refused = cli("beam", "--source-file", "sources", "--out", "pipe", *model, code=1)
    assert "pipe could not be written: no program reads from it" in refused.sentence


@pytest.mark.parametrize(
    "words", ["beam --source-file /dev/zero", "eval /dev/zero", "train /dev/zero --pairs"]
)
def test_no_device_is_read_without_end(words: str, pairs: Path, cli: Cli) -> None:
    model = () if words.startswith("train") else ("-m", "pairs.safetensors")
    done = cli(*words.split(), *model, code=2)
    assert "/dev/zero is a device, which may never end: name a text file" in done.sentence


def test_answers_for_closed_and_full_outputs_are_lost_in_words(pairs: Path, cli: Cli) -> None:
    lines = [f"charrnn {words} -m pairs.safetensors" for words in WRITING[:1] + WRITING[3:4]]
    lines.append("charrnn corpora stats p.tsv --pairs")
    for line in lines:
        closed = cli.shell(f"cd {shlex.quote(str(cli.folder))}; {line} >&-")
        assert (closed.code, closed.sentence) == (1, "charrnn: the output: it is closed")
    if sys.platform == "linux":
        full = cli.shell(f"cd {shlex.quote(str(cli.folder))}; {lines[0]} > /dev/full")
        assert (full.code, full.sentence) == (1, "charrnn: the output: No space left on device")


def test_answers_need_no_other_stream(pairs: Path, cli: Cli) -> None:
    line = "charrnn {} -m pairs.safetensors <&- 2>&-; charrnn {} -m pairs.safetensors | true"
    whole = "; ".join(line.format(words, words) for words in (WRITING[1], WRITING[4]))
    done = cli.shell(f"cd {shlex.quote(str(cli.folder))}; set -e; {whole}")
    assert done.code == 0, done.err
    assert done.err == ""
    assert len(done.out.splitlines()) > 2


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_answers_at_once(name: str, code: int, pairs: Path, cli: Cli) -> None:
    running = cli.start("beam", "--source-file", "-", "-m", pairs.parent / "pairs.safetensors")
    assert running.process.stdin
    assert running.process.stdout
    running.process.stdin.write(b"ab\n")
    running.process.stdin.flush()
    assert running.process.stdout.readline().endswith(b"\n")  # it waits for the next source
    running.signal(signal.Signals[name])
    done = running.end()
    assert (done.code, done.out, done.err.strip()) == (code, "", "")


@pytest.mark.parametrize("words", [("p.tsv", "--pairs", "--swap"), ("text", "--fill")])
def test_a_stopped_training_is_resumed_by_the_printed_command(
    words: tuple[str, ...], pairs: Path, cli: Cli
) -> None:
    (cli.folder / "text").write_text("one two three four five six. " * 40)
    running = cli.start("train", *words, "--steps", 10**9, *SMALL, "--out", "run")
    running.wait_for("run ")
    running.signal(signal.SIGINT)
    done = running.end()
    assert done.code == 130
    command = done.err.splitlines()[-1]
    assert command.split(maxsplit=1)[0] == "resume"
    again = shlex.split(command)[2:]
    assert ("--pairs" in again) == ("--pairs" in words)
    steps = summary(cli)["steps"]
    assert f"resumed  at step {steps:,}," in cli(*again, "--steps", steps + 1).err
    assert summary(cli)["steps"] == steps + 1


def summary(cli: Cli) -> dict[str, int]:
    found: dict[str, int] = json.loads((cli.folder / "run" / "summary.json").read_text("utf-8"))
    return found
