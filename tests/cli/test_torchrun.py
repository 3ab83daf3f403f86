"""`torchrun` and ``--processes``: real programs that are started, killed and stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import HANGS, wait_until

from charrnn.run_dir import RunDir

from .conftest import Cli, children, environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")

TEXT = "the cat is home.\nthe dog is near the sea.\n" * 60
WORDS = (
    *(
        "cats.txt",
        "--out",
        "run",
        "--resume",
        "--json",
        "--device",
        "cpu",
        "--checkpoint-every",
        "5",
    ),
    *("--cell", "lstm", "--hidden-size", "8", "--batch-size", "4", "--seq-len", "16"),
    *("--dropout", "0.2", "--backend", "library", "--threads", "1"),
)


def _torchrun(folder: Path, steps: int, restarts: int) -> subprocess.Popen[bytes]:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    more = ("--max-restarts", str(restarts), "-m", "charrnn", "train", "--steps", str(steps))
    return subprocess.Popen(
        [sys.executable, *launcher, *more, *WORDS],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_killed_process_is_started_again_and_nothing_is_lost(
    tmp_path: Path,
    times: Callable[[int, int], int],
    report_trials: Callable[[str, int], None],
) -> None:
    kills = times(1, 100)
    (tmp_path / "cats.txt").write_text(TEXT)
    run = RunDir(tmp_path / "run")
    chance = random.Random(kills)
    steps = 400 * kills
    process = _torchrun(tmp_path, steps, kills)
    try:
        for _ in range(kills):
            before = max(run.checkpoint_steps(), default=0)
            wait_until(lambda: max(run.checkpoint_steps(), default=0) > before)  # noqa: B023
            time.sleep(chance.random() * 0.2)
            workers = children(process.pid)
            assert len(workers) == 2
            os.kill(chance.choice(workers), signal.SIGKILL)
        out, err = process.communicate(timeout=HANGS)
    finally:
        process.kill()
    assert process.returncode == 0, err.decode()
    result = json.loads(out)  # one process prints it, once
    assert (result["steps"], result["stopped_by"]) == (steps, "steps")
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [row["step"] for row in rows] == sorted({row["step"] for row in rows})
    assert rows[-1]["step"] == steps
    report_trials("SIGKILL of one of several processes", kills)


def test_processes_of_this_machine(cli: Cli) -> None:
    """Ctrl-C ends all of them after the same step; a mistake is one sentence and its exit code."""
    (cli.folder / "cats.txt").write_text(TEXT)
    running = cli.start("train", *WORDS, "--processes", 2, "--steps", 10**6)
    wait_until(RunDir(cli.folder / "run").checkpoint_steps)
    running.signal(signal.SIGINT)
    ended = running.end()
    assert ended.code == 130
    assert ended.json["stopped_by"] == "interrupt"
    assert RunDir(cli.folder / "run").checkpoint_steps()[0] == ended.json["steps"]
    wrong = cli.start("train", *WORDS, "--processes", 2, "--seed", 4).end()
    assert wrong.code == 2
    assert "seed was 1, now 4" in wrong.sentence
