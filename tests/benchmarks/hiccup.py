"""Measure what a busy start costs a training: busy loops on every core during its first seconds.

    python tests/benchmarks/hiccup.py CORPUS --minutes 1 --seeds 3

It trains with and without them in turns, each time in a process of its own with the next seed, and
prints a row of a table for each seed: nats per character of both, and the planned networks.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

BUSY = "import time\nend = time.monotonic() + {seconds}\nwhile time.monotonic() < end: pass"


def train(corpus: str, minutes: float, seed: int, busy: float) -> dict[str, Any]:
    """Train while busy loops run for so many seconds on every core; return the result."""
    loop = [sys.executable, "-c", BUSY.format(seconds=busy)]
    loops = [subprocess.Popen(loop) for _ in range(os.cpu_count() or 1)] if busy else []
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = ("train", corpus, "--minutes", minutes, "--seed", seed, "--out", run, "--json")
        command = [sys.executable, "-m", "charrnn", *map(str, words)]
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        result: dict[str, Any] = json.loads(ended.stdout)
        result["model"] = json.loads((run / "config.json").read_text())["model"]
        result["anew"] = "planned anew" in ended.stderr
    for process in loops:
        process.wait()
    return result


def named(result: dict[str, Any]) -> str:
    """Return the size of the network, and whether it was planned anew."""
    model = result["model"]
    return f"{model['num_layers']}x{model['hidden_size']}{' (anew)' if result['anew'] else ''}"


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--busy", type=float, default=3.0, help="seconds of busy loops")
    given = parser.parse_args()
    columns = ("seed", "quiet", "network", "busy start", "network", "difference", "s", "s")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for seed in range(1, given.seeds + 1):
        quiet, busy = (
            train(given.corpus, given.minutes, seed, seconds) for seconds in (0.0, given.busy)
        )
        nats = [each["valid_nats"] for each in (quiet, busy)]
        print(
            f"| {seed} | {nats[0]:.4f} | {named(quiet)} | {nats[1]:.4f} | {named(busy)} | "
            f"{nats[1] - nats[0]:+.4f} | {quiet['seconds']:.1f} | {busy['seconds']:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
