"""Commands whose files are devices and pipes."""

from __future__ import annotations

import os
import socket
import stat
import sys
import threading

import pytest
from waiting import HANGS

from .conftest import TINY, Cli, Run

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


@pytest.mark.parametrize(
    "words",
    [
        ("sample", "--prompt-file", "/dev/zero"),
        ("sample", "--prompts", "/dev/zero"),
        ("compress", "/dev/zero", "out"),
        ("decompress", "/dev/zero", "out"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_no_command_reads_a_device_without_end(words: tuple[str, ...], tiny: Run, cli: Cli) -> None:
    done = cli(*words, "--model", tiny.model, code=2)
    assert "/dev/zero is a device, which may never end: name a " in done.sentence
    assert not (cli.folder / "out").exists()


def test_a_socket_is_no_text(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(cli.folder)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert "socket is a socket: name a text file" in cli("train", "socket", code=2).sentence


def test_what_a_command_waits_for_is_said(tiny: Run, cli: Cli) -> None:
    """Each way to name a file that is read whole."""
    pipe = cli.folder / "pipe"
    os.mkfifo(pipe)
    text = tiny.text.read_text("utf-8")
    for words, content in (
        (("sample", "--length", 1, "--prompt-file", "pipe"), text[:9]),
        (("sample", "--length", 1, "--prompts", "pipe"), text[:9]),
        (("compress", "pipe", "compressed", "--force"), text[:9]),
    ):
        writer = threading.Thread(target=pipe.write_text, args=[content, "utf-8"], daemon=True)
        writer.start()
        done = cli(*words, "--model", tiny.model)
        writer.join(HANGS)
        assert "reading the pipe pipe, until whatever writes to it ends" in done.err


@pytest.mark.skipif(not os.path.exists("/proc/cpuinfo"), reason="no /proc")  # noqa: PTH110
def test_a_file_that_the_system_makes_is_read_once(cli: Cli) -> None:
    """Its text may differ each time: the run keeps a copy, so that it can be resumed."""
    done = cli("train", "/proc/cpuinfo", *TINY, "--out", "run")
    assert "reading /proc/cpuinfo, until the system ends it" in done.err
    assert "flags" in (cli.folder / "run" / "corpus.txt").read_text("utf-8")
    cli("train", "run/corpus.txt", "--out", "run", "--resume", "--steps", 50)


def test_a_device_is_no_text(cli: Cli) -> None:
    done = cli("corpora", "stats", "/dev/zero", code=2)
    assert "/dev/zero is a device, which may never end: name a text file" in done.sentence
    assert "/dev/null is empty" in cli("corpora", "stats", "/dev/null", code=2).sentence


def test_a_text_may_come_through_a_pipe(cli: Cli) -> None:
    pipe = cli.folder / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=["to and fro\n" * 100], daemon=True)
    writer.start()
    done = cli("corpora", "stats", "pipe")
    writer.join(HANGS)
    assert "reading the pipe pipe, until whatever writes to it ends" in done.err
    assert "1,100 characters" in done.out
