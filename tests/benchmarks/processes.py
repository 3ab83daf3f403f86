"""Compare processes of one thread each with the threads of one process, by torchrun and alone.

    python tests/benchmarks/processes.py [--steps 200] [--rounds 3] [--processes 2] [--layers 3]
        [--hidden 512] [--batch 64] [--window 64] [--precision float32]

Rounds in turns: one process with as many threads as the machine has cores, then the given number
of processes that share them. Each trains the same network on the same generated text for --steps
updates, and says how many characters a second it read (the median of its updates) and its losses.
Prints both speeds, their ratio, the largest difference of the losses, and what an exchange of the
gradients costs: the all-reduce of a vector of their size, alone. One JSON object is the last line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

MINE = Path(__file__).resolve()
LETTERS = np.frombuffer(b" etaoinshrdlucmfwypvbgkjqxz.,\n", np.uint8)


def text(characters: int) -> bytes:
    """Return a text whose letters depend on the one before."""
    rng = np.random.default_rng(4)
    jumps = np.minimum(rng.geometric(0.3, characters), len(LETTERS))
    return bytes(LETTERS[np.cumsum(jumps) % len(LETTERS)])


def trained(given: argparse.Namespace, folder: Path, processes: int) -> list[dict[str, Any]]:
    """Train once; return the lines of metrics."""
    out = folder / f"run-{processes}-{time.monotonic_ns()}"
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    words = [
        *("-m", "charrnn", "train", str(folder / "text.txt"), "--out", str(out)),
        *("--cell", "lstm", "--num-layers", str(given.layers), "--hidden-size", str(given.hidden)),
        *("--batch-size", str(given.batch), "--seq-len", str(given.window)),
        *("--steps", str(given.steps), "--dropout", "0", "--precision", given.precision),
        *("--threads", str(threads), "--device", "cpu", "--valid-fraction", "0.01"),
    ]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), *words],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def exchanged(rank: int, size: int, numbers: int, store: str) -> None:
    """Print, in the first process, the median seconds of an all-reduce of so many numbers."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    values, seconds = torch.ones(numbers), []
    for _ in range(30):
        dist.barrier()
        began = time.perf_counter()
        dist.all_reduce(values)
        seconds.append(time.perf_counter() - began)
        values.fill_(1.0)
    if rank == 0:
        print(statistics.median(seconds))
    dist.destroy_process_group()


def exchange(numbers: int, processes: int, folder: Path) -> float:
    """Return the seconds of an all-reduce of so many float32 numbers among processes."""
    store = folder / f"store-{numbers}-{processes}"
    started = [
        subprocess.Popen(
            [sys.executable, str(MINE), "exchanged", *map(str, (rank, processes, numbers, store))],
            stdout=subprocess.PIPE,
        )
        for rank in range(processes)
    ]
    first, *_ = [process.communicate()[0] for process in started]
    return float(first)


def main() -> None:
    if sys.argv[1:2] == ["exchanged"]:
        rank, size, numbers = map(int, sys.argv[2:5])
        exchanged(rank, size, numbers, sys.argv[5])
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, value in {
        "steps": 200,
        "rounds": 3,
        "processes": 2,
        "layers": 3,
        "hidden": 512,
        "batch": 64,
        "window": 64,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--precision", default="float32")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "text.txt").write_bytes(text(given.batch * given.window * 120))
        runs: dict[int, list[list[dict[str, Any]]]] = {1: [], given.processes: []}
        for _ in range(given.rounds):
            for processes, found in runs.items():
                found.append(trained(given, folder, processes))
        speeds = {
            processes: statistics.median(rows[-1]["chars_per_second"] for rows in found)
            for processes, found in runs.items()
        }
        one, several = runs[1][0], runs[given.processes][0]
        apart = {
            name: max(abs(a[name] - b[name]) for a, b in zip(one, several, strict=True) if a[name])
            for name in ("train_nats", "valid_nats")
        }
        layers = [(given.hidden if n else 64) + given.hidden + 1 for n in range(given.layers)]
        numbers = sum(4 * given.hidden * width for width in layers)
        seconds = exchange(numbers, given.processes, folder)
    ratio = speeds[given.processes] / speeds[1]
    print(f"1 process: {speeds[1]:,.0f} characters a second")
    print(f"{given.processes} processes: {speeds[given.processes]:,.0f}, ratio {ratio:.3f}")
    print(f"largest difference of the losses: {apart}")
    print(f"all-reduce of {numbers:,} float32: {seconds * 1000:.2f} ms")
    print(json.dumps({"speeds": speeds, "ratio": ratio, "apart": apart, "exchange": seconds}))


if __name__ == "__main__":
    main()
