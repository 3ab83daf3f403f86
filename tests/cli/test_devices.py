"""Commands whose files are devices and pipes."""

from __future__ import annotations

import os
import stat
import sys
import threading

import pytest

from .conftest import Cli, Run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such files")
TEXT = object()  # stands for the file that the model was trained on


@pytest.mark.parametrize(
    "words",
    [
        ("sample", "--length", 5, "--out", "pipe"),
        ("score", TEXT, "--csv", "pipe"),
        ("compress", TEXT, "pipe"),
    ],
    ids=lambda words: words[0],
)
def test_a_pipe_without_reader_is_not_waited_for(
    words: tuple[object, ...], tiny: Run, cli: Cli
) -> None:
    os.mkfifo(cli.folder / "pipe")
    words = tuple(tiny.text if word is TEXT else word for word in words)
    done = cli(*words, "--model", tiny.model, code=1)
    assert "pipe could not be written: no program reads from it" in done.sentence
    assert stat.S_ISFIFO((cli.folder / "pipe").stat().st_mode)


def test_a_text_goes_to_a_device(tiny: Run, cli: Cli) -> None:
    done = cli("sample", "--model", tiny.model, "--length", 5, "--out", "/dev/stdout")
    assert len(done.out) == 5


@pytest.mark.parametrize("option", ["--save-state", "--load-state"])
def test_a_state_is_no_pipe(option: str, tiny: Run, cli: Cli) -> None:
    os.mkfifo(cli.folder / "pipe")
    done = cli("sample", "--model", tiny.model, "--length", 5, option, "pipe", code=2)
    assert "pipe" in done.sentence
    assert stat.S_ISFIFO((cli.folder / "pipe").stat().st_mode)


def test_a_model_is_no_pipe(cli: Cli) -> None:
    os.mkfifo(cli.folder / "pipe")
    for command in ("sample", "info"):
        words = (command, "--model", "pipe") if command == "sample" else (command, "pipe")
        assert "pipe is a device or a pipe: name a file" in cli(*words, code=2).sentence


def test_a_device_is_no_text(cli: Cli) -> None:
    done = cli("corpora", "stats", "/dev/zero", code=2)
    assert "/dev/zero is a device, which may never end: name a text file" in done.sentence
    assert "/dev/null is empty" in cli("corpora", "stats", "/dev/null", code=2).sentence


def test_a_text_may_come_through_a_pipe(cli: Cli) -> None:
    pipe = cli.folder / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=["to and fro\n" * 100])
    writer.start()
    done = cli("corpora", "stats", "pipe")
    writer.join()
    assert "reading the pipe pipe, until whatever writes to it ends" in done.err
    assert "1,100 characters" in done.out
