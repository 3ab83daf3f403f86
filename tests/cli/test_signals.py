from __future__ import annotations

import signal
import subprocess
import sys
from typing import IO

import pytest
import strict_json
from waiting import HANGS, wait_until

from .conftest import BY_LIBRARY, Cli, Run, needs_terminal, on_terminal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
ENDLESS = ("--steps", 10**9, "--out", "run", "--json")
SMALL = ("--hidden-size", 16, *BY_LIBRARY)


def test_sigterm_saves_the_best_weights(tiny: Run, cli: Cli) -> None:
    running = cli.start("train", tiny.text, *ENDLESS, *SMALL)
    running.wait_for("run ")
    running.signal(signal.SIGTERM)
    done = running.end()

    assert done.code == 143
    assert "best weights so far are saved" in done.err
    assert "charrnn sample --model run" in done.err
    assert done.json["stopped_by"] == "interrupt"
    assert done.json["steps"] >= 1
    assert done.json["valid_nats"] > 0
    assert summary(cli) == done.json


@needs_terminal
def test_ctrl_c_in_the_live_display_saves_the_best_weights(tiny: Run, cli: Cli) -> None:
    shown = on_terminal(cli.folder, "train", tiny.text, *ENDLESS, *SMALL, stop_at="run   ")
    assert shown.code == 130
    assert "best weights so far are saved" in shown.screen
    assert summary(cli)["stopped_by"] == "interrupt"
    assert len(cli("sample", "-m", "run", "-n", 20).out) == 20


def summary(cli: Cli) -> dict[str, object]:
    return strict_json.loads((cli.folder / "run" / "summary.json").read_text("utf-8"))


def test_a_second_ctrl_c_ends_at_once_without_partial_files(tiny: Run, cli: Cli) -> None:
    slow = ("--hidden-size", 256, "--batch-size", 8, "--seq-len", 1024)
    running = cli.start("train", tiny.text, *ENDLESS, *slow)
    running.wait_for("run ")
    running.signal(signal.SIGINT)
    running.wait_for("stopping")
    running.signal(signal.SIGINT)
    assert running.end().code == 130
    assert [path.name for path in (cli.folder / "run").rglob(".*")] == [".lock"]


def test_ctrl_c_while_reading_is_an_interrupt(cli: Cli) -> None:
    running = cli.start("train", "-")
    assert running.process.stdin
    running.process.stdin.write(b"a line\n" * 2**18)
    pipe = running.process.stdin
    wait_until(lambda: unread(pipe) == 0)  # it now waits for more
    running.signal(signal.SIGINT)
    done = running.end()
    assert (done.code, done.out) == (130, "")


def unread(pipe: IO[bytes]) -> int:
    """Return how many bytes are in a pipe."""
    import fcntl
    import termios

    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_ctrl_c_while_writing_ends_the_text(tiny: Run, cli: Cli) -> None:
    prompt = "the old sea"
    running = cli.start("sample", "-m", tiny.folder, "--length", 10**9, "--prompt", prompt)
    assert running.process.stdout
    assert running.process.stdout.read(len(prompt)) == prompt.encode()
    running.signal(signal.SIGINT)
    assert running.end().code == 130


@needs_terminal
def test_ctrl_c_while_writing_on_a_terminal_ends_the_line(tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder, "--length", 10**9, "--prompt", "the old sea")
    shown = on_terminal(cli.folder, *words, stop_at="the old sea")
    assert shown.code == 130
    assert shown.screen.endswith("\n")


def test_ctrl_c_ends_the_training_of_several_seeds_with_what_there_is(tiny: Run, cli: Cli) -> None:
    running = cli.start("train", tiny.text, *ENDLESS, *SMALL, "--seeds", 3, "--seed", 4)
    running.wait_for("run ")
    running.signal(signal.SIGINT)
    done = running.end()

    assert done.code == 130
    assert "seeds    0 of 3 finished\n" in done.err
    assert done.err.endswith(f"resume   charrnn train {tiny.text} --seeds 3 --out run --resume\n")
    told = done.json
    assert (told["asked"], told["finished"], told["mean_valid_nats"]) == (3, 0, None)
    (run,) = told["runs"]
    assert (run["seed"], run["run_dir"], run["stopped_by"]) == (4, "run-seed4", "interrupt")
    assert cli("runs", ".", "--json").json["runs"][0]["state"] == "stopped"

    # The printed command goes on with all of them; here they need not go far.
    words = ("--seeds", 3, "--out", "run", "--resume", "--steps", 2, "--json")
    done = cli("train", tiny.text, *words)
    assert "seeds    3 of 3 finished: valid " in done.err
    assert [run["seed"] for run in done.json["runs"]] == [4, 5, 6]
    assert done.json["spread_valid_nats"] > 0


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_in_a_finalizer_is_not_lost(name: str) -> None:
    """Python drops what is raised there, and would go on."""
    script = (
        "import signal, time\n"
        "from charrnn.cli import app\n"
        "class Last:\n"
        "    def __del__(self):\n"
        f"        signal.raise_signal(signal.{name})\n"
        "def use():\n"
        "    Last()\n"
        f"    time.sleep({HANGS})\n"
        "app.program = lambda first: use\n"
        "from charrnn.__main__ import main\n"
        "main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert ended.returncode == {"SIGTERM": 143, "SIGINT": 130}[name]
    assert (ended.stdout, ended.stderr) == (b"", b"")
