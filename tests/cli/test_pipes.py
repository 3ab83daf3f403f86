from __future__ import annotations

import sys

import pytest

from .conftest import TITLE, Cli, Done, Run, Shown, needs_terminal, on_terminal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="lines of bash")


def quiet(done: Done) -> bool:
    """Return whether stderr has only the notes of a command that works."""
    return all(line.startswith(("seed: ", "model: ")) for line in done.err.splitlines())


def test_a_reader_that_stops_reading_ends_the_command_quietly(tiny: Run, cli: Cli) -> None:
    endless = 'charrnn sample -m "$1" -p "the old sea" --length 10000000'
    done = cli.shell(f"{endless} | head -c 10", tiny.folder)
    assert (done.code, done.out) == (0, "the old se")
    assert quiet(done)


@pytest.mark.parametrize(
    "command",
    [
        'sample -m "$1" --json',
        'sample -m "$1" --num-samples 3',
        'info "$1"',
        'eval -m "$1" --json',
        "cells",
    ],
)
def test_a_reader_that_reads_nothing_is_not_an_error(command: str, tiny: Run, cli: Cli) -> None:
    done = cli.shell(f"charrnn {command} | true", tiny.folder)
    assert done.code == 0
    assert quiet(done)


def test_training_continues_if_stderr_is_closed(tiny: Run, cli: Cli) -> None:
    """As in ``charrnn train corpus.txt 2>&1 | head -1``."""
    train = 'charrnn train "$1" --steps 2 --hidden-size 8 --cell lstm --backend library --out run'
    cli.shell(f"{train} 2>&1 | true", tiny.text)
    assert (cli.folder / "run" / "summary.json").is_file()


def test_writing_needs_no_standard_input(tiny: Run, cli: Cli) -> None:
    done = cli.shell('charrnn sample -m "$1" -n 10 <&-', tiny.folder)
    assert done.code == 0
    assert len(done.out) == 10


def test_a_closed_standard_input_is_empty(cli: Cli) -> None:
    done = cli.shell("charrnn train - <&-")
    assert done.code == 2
    assert "standard input" in done.sentence


@pytest.mark.parametrize("command", ["sample -n 10 -m $1", "eval --json -m $1", "--help"])
def test_a_text_for_a_closed_standard_output_is_lost_in_words(
    command: str, tiny: Run, cli: Cli
) -> None:
    done = cli.shell(f"charrnn {command} >&-", tiny.folder)
    assert done.code == 1
    assert done.sentence == "charrnn: the output: it is closed"


def test_what_writes_nothing_there_needs_no_standard_output(tiny: Run, cli: Cli) -> None:
    done = cli.shell('charrnn sample -n 10 -m "$1" --out text.txt >&- 2>&-', tiny.folder)
    assert done.code == 0
    assert len((cli.folder / "text.txt").read_text("utf-8")) == 10  # no other file had its number


def test_a_closed_standard_error_does_not_damage_the_text(tiny: Run, cli: Cli) -> None:
    done = cli.shell('charrnn sample -m "$1" -n 10 2>&-', tiny.folder)
    assert (done.code, len(done.out)) == (0, 10)


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
@pytest.mark.parametrize(
    "command", ["sample -n 10 -m $1", "eval --json -m $1", "--help", "train --help", "--version"]
)
def test_a_full_disk_is_reported(command: str, tiny: Run, cli: Cli) -> None:
    done = cli.shell(f"charrnn {command} > /dev/full", tiny.folder)
    assert done.code == 1
    assert "No space left" in done.sentence


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-16"])
def test_text_is_utf8_whatever_the_locale(encoding: str, tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder, "--seed", 1, "--length", 200, "-p", "日本 🙂")
    other = cli(*words, env={"PYTHONIOENCODING": encoding, "LC_ALL": "C"})
    assert other == cli(*words)


def test_a_pipe_gets_the_exact_text(watched: tuple[Run, Shown], cli: Cli) -> None:
    out = cli("greedy", "-m", watched[0].folder, "-p", TITLE, "-n", 4).out
    assert out == f"{TITLE} hi\r"


@needs_terminal
def test_a_terminal_gets_a_visible_text_and_a_line_end(
    watched: tuple[Run, Shown], cli: Cli
) -> None:
    shown = on_terminal(cli.folder, "greedy", "-m", watched[0].folder, "-p", TITLE, "-n", 4)
    assert shown.screen.endswith("␛]0;owned␇ hi␍\r\n")
