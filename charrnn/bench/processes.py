"""Runs commands in processes of their own, and measures their time and memory."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from charrnn.errors import RunError

_POLL_SECONDS = 0.005  # between two looks at a process's memory


@dataclass(frozen=True)
class Ran:
    """What a command took.

    Attributes:
        seconds: from its start to its end.
        memory: its peak of private memory in MB; None where the system does not report it.
        out: what it printed.
    """

    seconds: float
    memory: float | None = None
    out: str = ""


def in_turns(ways: Sequence[Callable[[], Ran]], rounds: int) -> list[Ran]:
    """Run every way once per round; return the median run of each, with its highest memory."""
    turns = [[way() for way in ways] for _ in range(rounds)]
    return [_median(runs) for runs in zip(*turns, strict=True)]


def _median(runs: Sequence[Ran]) -> Ran:
    middle = sorted(runs, key=lambda ran: ran.seconds)[len(runs) // 2]
    known = [ran.memory for ran in runs if ran.memory is not None]
    return replace(middle, memory=max(known, default=None))


def timed(call: Callable[[], object]) -> Ran:
    """Measure a call in this process."""
    began = time.perf_counter()
    call()
    return Ran(time.perf_counter() - began)


def run(*words: object) -> Ran:
    """Run a command to its end, and sample its memory meanwhile.

    Raises:
        RunError: the command failed.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        list(map(str, words)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
    )
    peak: float | None = None
    over = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(_POLL_SECONDS):
            sizes = (peak, own_memory(process.pid))
            peak = max((size for size in sizes if size), default=None)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        out, err = process.communicate()
        seconds = time.perf_counter() - began
    finally:
        process.kill()  # in case we were interrupted
        over.set()
        watcher.join()
    if process.returncode:
        last_line = err.decode(errors="replace").strip().splitlines()[-1:]
        name = " ".join([Path(str(words[0])).name, *map(str, words[1:4])])
        raise RunError(f"{name} failed: {''.join(last_line)}")
    return Ran(seconds, peak, out.decode())


def own_memory(process: int) -> float | None:
    """Return RssAnon of a process in MB; None where unknown, or if the process has ended.

    That is its private memory, without pages of mapped files, which the system may reclaim.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    match = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
    return int(match[1]) * 1024 / 1e6 if match else None
