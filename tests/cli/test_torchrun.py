"""`torchrun` and ``--processes``: real programs that are started, killed and stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ranks import values
from waiting import HANGS, wait_until

import charrnn
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
        "20",
    ),
    *("--cell", "lstm", "--hidden-size", "8", "--batch-size", "4", "--seq-len", "16"),
    *("--dropout", "0.2", "--backend", "library", "--threads", "1"),
)


ERRORS = "errors.txt"
HERE = ("--standalone", "--nproc-per-node", "2")


def _torchrun(
    folder: Path, steps: int, restarts: int, where: tuple[str, ...] = HERE, **env: str
) -> subprocess.Popen[bytes]:
    more = ("--max-restarts", str(restarts), "-m", "charrnn", "train", "--steps", str(steps))
    with (folder / ERRORS).open("wb") as errors:  # a pipe would fill while nobody reads it
        return subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *where, *more, *WORDS],
            cwd=folder,
            env=environment() | env,
            stdout=subprocess.PIPE,
            stderr=errors,
        )


def test_a_killed_process_is_started_again_and_nothing_is_lost(
    tmp_path: Path,
    times: Callable[[int, int], int],
    report_trials: Callable[[str, int], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In the end, every row of metrics is that of a training that nothing has interrupted."""
    kills = times(1, 100)
    steps = 150 + 100 * kills  # it must not end before the last kill
    (tmp_path / "cats.txt").write_text(TEXT)
    whole, run = RunDir(tmp_path / "whole"), RunDir(tmp_path / "run")
    values(2, lambda world: charrnn.train(tmp_path / "cats.txt", out=whole.path, **_options(steps)))
    chance = random.Random(kills)
    process = _torchrun(tmp_path, steps, kills)
    try:
        for survived in range(kills):
            before = max(run.checkpoint_steps(), default=0)
            _wait_for_a_checkpoint(process, run, before)
            if survived and survived % 10 == 0:
                with capsys.disabled():
                    sys.stdout.write(f"{survived} of {kills} kills survived, step {before:,}\n")
            time.sleep(chance.random() * 0.2)
            workers = children(process.pid)
            assert len(workers) == 2
            os.kill(chance.choice(workers), signal.SIGKILL)
        out, _ = process.communicate(timeout=HANGS)
    finally:
        process.kill()
    assert process.returncode == 0, (tmp_path / ERRORS).read_text()
    result = json.loads(out)  # one process prints it, once
    assert (result["steps"], result["stopped_by"]) == (steps, "steps")
    rows, wanted = _rows(run), _rows(whole)
    assert [row["step"] for row in rows] == [row["step"] for row in wanted]
    assert rows[-1]["step"] == steps
    for name in ("train_nats", "valid_nats", "grad_norm", "epoch", "characters"):
        assert [row[name] for row in rows] == [row[name] for row in wanted]
    assert run.model.read_bytes() == whole.model.read_bytes()
    report_trials("SIGKILL of one of several processes", kills)


def _wait_for_a_checkpoint(process: subprocess.Popen[bytes], run: RunDir, before: int) -> None:
    def ended() -> bool:
        return process.poll() is not None

    wait_until(lambda: max(run.checkpoint_steps(), default=0) > before or ended())
    assert not ended()


@pytest.mark.soak
def test_two_machines_train_together(tmp_path: Path) -> None:
    """Each has its own folder, text and dataset; the first process's machine gets the run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ("--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "7")
    where = (*where, "--rdzv-endpoint", f"127.0.0.1:{port}", "--local-addr", "127.0.0.1")
    machines = [tmp_path / "one", tmp_path / "two"]
    agents = []
    for machine in machines:
        machine.mkdir()
        (machine / "cats.txt").write_text(TEXT)
        own = str(machine / "datasets")
        agents.append(_torchrun(machine, 40, 0, where, CHARRNN_DATASETS=own))
    try:
        ended = [agent.communicate(timeout=HANGS) for agent in agents]
    finally:
        for agent in agents:
            agent.kill()
    said = [(machine / ERRORS).read_text() for machine in machines]
    assert [agent.returncode for agent in agents] == [0, 0], said
    (result,) = [json.loads(out) for out, _ in ended if out]
    assert result["steps"] == 40
    assert [(machine / "datasets").is_dir() for machine in machines] == [True, True]
    (run,) = [RunDir(machine / "run") for machine in machines if (machine / "run").exists()]
    whole, text = RunDir(tmp_path / "whole"), machines[0] / "cats.txt"
    values(2, lambda world: charrnn.train(text, out=whole.path, **_options(40)))
    assert run.model.read_bytes() == whole.model.read_bytes()


def _options(steps: int) -> dict[str, Any]:
    """Return what `WORDS` ask for, in Python's words."""
    numbers = {"hidden_size": 8, "batch_size": 4, "seq_len": 16, "dropout": 0.2, "threads": 1}
    return {**numbers, "cell": "lstm", "backend": "library", "device": "cpu", "steps": steps}


def _rows(run: RunDir) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


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
    wrong = cli("train", *WORDS, "--processes", 2, "--seed", 4, code=2)
    assert "seed was 1, now 4" in wrong.sentence
