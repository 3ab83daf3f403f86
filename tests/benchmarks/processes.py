"""Measure processes against threads, what a step of several costs, and many texts on every core.

    python tests/benchmarks/processes.py [--steps 200] [--more 40] [--rounds 2] [--texts 100000]
        [--layers 3] [--hidden 512] [--batch 64] [--window 64] [--small-hidden 256]

Training, in float32 on a generated text (characters per second: medians of the reports):
    one process with all cores against as many processes as cores, in turns: once --steps updates,
        whose losses are compared, and --rounds times --more updates for the speed alone
    twice as many processes as cores: their losses against those of one
    one process on one thread, with all of the streams and with half of them: what a step costs
        whatever it reads, and for each stream
    the all-reduce of vectors of two sizes, alone: latency and bytes per second of the connection
From these: what a step of N processes should cost, what it did (the difference is the waiting for
the slowest one), and what the same formula says for 8 GPUs, for 64 machines of 8, and for a
terabyte of text, where what was not measured here is assumed and printed.

Writing: `charrnn sample --num-samples TEXTS --length 40` against 64 texts at a time as
``bench generate`` writes them, for each core that is used; and the memory of all its processes, at
a quarter of the time and at the end. For a network of --layers and one of 1 x --small-hidden.

One JSON object is the last line.
"""

from __future__ import annotations

import argparse
import hashlib
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
CORES = len(os.sched_getaffinity(0))
LENGTH = 40  # characters of each of many texts
# What a machine of 8 GPUs is assumed to do, as none was measured: useful operations per second of
# each, bytes per second between those of a machine and between machines, seconds of latency.
FLOPS, INSIDE, BETWEEN, LATENCY = 3e13, 1e11, 1e10, 2e-5
PARAMETERS, STREAMS, WINDOW = 1e8, 256, 64  # of the network; streams of each GPU; T


def text(characters: int) -> bytes:
    """Return a text whose letters depend on the one before."""
    rng = np.random.default_rng(4)
    jumps = np.minimum(rng.geometric(0.3, characters), len(LETTERS))
    return bytes(LETTERS[np.cumsum(jumps) % len(LETTERS)])


def trained(
    given: argparse.Namespace, folder: Path, steps: int, processes: int, threads: int, batch: int
) -> list[dict[str, Any]]:
    """Train once; return the lines of metrics."""
    out = folder / f"run-{processes}-{threads}-{batch}-{time.monotonic_ns()}"
    words = [
        *("-m", "charrnn", "train", str(folder / "text.txt"), "--out", str(out)),
        *("--cell", "lstm", "--num-layers", str(given.layers), "--hidden-size", str(given.hidden)),
        *("--batch-size", str(batch), "--seq-len", str(given.window), "--steps", str(steps)),
        *("--dropout", "0", "--precision", "float32", "--learning-rate", "0.002", "--device"),
        *("cpu", "--valid-fraction", "0.01", "--threads", str(threads)),
    ]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), *words],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def speed(rows: list[dict[str, Any]]) -> float:
    """Return the characters per second of the reports, but for the first one."""
    return statistics.median(row["chars_per_second"] for row in rows[1:] or rows)


def apart(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> float:
    """Return the largest difference of the losses of two trainings after the same steps."""
    losses: list[dict[tuple[int, str], float]] = [
        {(row["step"], name): row[name] for row in rows for name in ("train_nats", "valid_nats")}
        for rows in (one, other)
    ]
    common = [key for key in losses[0] if losses[0][key] and losses[1].get(key)]
    return max(abs(losses[0][key] - losses[1][key]) for key in common)


def exchanged(rank: int, size: int, numbers: int, store: str) -> None:
    """Print, in the first process, the median seconds of an all-reduce of so many numbers."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    values, seconds = torch.ones(numbers), []
    for _ in range(20):
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


def training(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure and print everything about training."""
    batch, tokens = given.batch, given.batch * given.window
    (folder / "text.txt").write_bytes(text(tokens * 120))
    sides = {"threads": (1, CORES), "processes": (CORES, 1)}
    runs: dict[str, list[list[dict[str, Any]]]] = {name: [] for name in sides}
    for steps in (given.steps, *[given.more] * given.rounds):
        for name, side in sides.items():
            runs[name].append(trained(given, folder, steps, *side, batch))
    speeds = {name: statistics.median(map(speed, found)) for name, found in runs.items()}
    differs = apart(runs["threads"][0], runs["processes"][0])
    crowd = trained(given, folder, given.more, 2 * CORES, 1, batch)
    crowded = apart(trained(given, folder, given.more, 1, CORES, batch), crowd)
    whole = tokens / speed(trained(given, folder, given.more, 1, 1, batch))
    half = tokens / 2 / speed(trained(given, folder, given.more, 1, 1, batch // 2))
    each, fixed = (whole - half) / (batch / 2), 2 * half - whole
    layers = [(given.hidden if n else 64) + given.hidden + 1 for n in range(given.layers)]
    numbers = sum(4 * given.hidden * width for width in layers)
    small, large = exchange(numbers // 16, CORES, folder), exchange(numbers, CORES, folder)
    share = 8 * (CORES - 1) / CORES  # bytes that each number sends through a connection
    rate = share * (numbers - numbers // 16) / max(large - small, 1e-9)
    latency = max(0.0, small - share * (numbers // 16) / rate) / (2 * CORES)
    predicted = fixed + each * batch / CORES + large
    found = tokens / speeds["processes"]
    print(f"{CORES} threads of one process: {speeds['threads']:,.0f} characters per second")
    print(f"{CORES} processes: {speeds['processes']:,.0f}", end="")
    print(f", ratio {speeds['processes'] / speeds['threads']:.3f}")
    print(f"{2 * CORES} processes: {speed(crowd):,.0f}")
    print(f"largest difference of the losses: {differs:.1e} after {given.steps} steps;", end=" ")
    print(f"{2 * CORES} processes {crowded:.1e} after {given.more}")
    print(
        f"one thread: {fixed * 1e3:.1f} ms a step and {each * 1e3:.2f} ms for each stream", end=""
    )
    print(f" ({whole * 1e3:.0f} ms for {batch}, {half * 1e3:.0f} ms for {batch // 2})")
    print(
        f"all-reduce of {numbers:,} float32 numbers: {large * 1e3:.1f} ms; of a sixteenth", end=" "
    )
    print(f"{small * 1e3:.2f} ms: {rate:.3g} bytes per second, latency {latency * 1e6:.0f} µs")
    print(
        f"a step of {CORES} processes: {predicted * 1e3:.0f} ms by the formula, measured", end=" "
    )
    print(f"{found * 1e3:.0f} ms, so {(found - predicted) * 1e3:+.0f} ms of waiting")
    return {
        "speeds": speeds | {"crowd": speed(crowd)},
        "ratio": speeds["processes"] / speeds["threads"],
        "apart": differs,
        "crowd_apart": crowded,
        "seconds": {"fixed": fixed, "stream": each, "predicted": predicted, "measured": found},
        "exchange": {"numbers": numbers, "seconds": large, "rate": rate, "latency": latency},
    }


def on_paper() -> dict[str, Any]:
    """Print and return what the formula says for GPUs, given what is assumed of these."""
    data = np.zeros(2**26, np.uint8)
    began = time.perf_counter()
    hashlib.sha256(data)
    hashing = len(data) / (time.perf_counter() - began)
    units = (PARAMETERS / 24) ** 0.5  # of three LSTM layers, each of 8 H^2 weights
    found: dict[str, Any] = {"hashing": hashing}
    for name, size, rate in (("8 GPUs", 8, INSIDE), ("64 machines of 8", 512, BETWEEN)):
        compute = 6 * PARAMETERS * STREAMS * WINDOW / FLOPS
        reduce = 8 * PARAMETERS * (size - 1) / size / rate + 2 * size * LATENCY
        # Every process draws the masks of all streams: three layers, about 1e10 numbers a second.
        masks = 3 * STREAMS * size * units / 1e10
        step = compute + reduce + masks
        tokens = STREAMS * WINDOW * size / step
        found[name] = {"compute": compute, "exchange": reduce, "masks": masks, "tokens": tokens}
        print(
            f"{name}: a step computes {compute * 1e3:.0f} ms, exchanges {reduce * 1e3:.0f}", end=""
        )
        print(
            f" ms, draws masks {masks * 1e3:.1f} ms: {compute / step:.0%} of the GPUs' time", end=""
        )
        print(f" is useful; a terabyte takes {1e12 / tokens / 3600:,.0f} hours, and", end="")
        print(f" {1e12 / hashing / 60:,.0f} minutes before that to hash it")
    return found


def memory(process: int) -> int:
    """Return the bytes in memory of a process and of those that it has started."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            pages = int((folder / "statm").read_text().split()[1])
        except OSError:  # it has ended
            continue
        if int(folder.name) == process or parent == process:
            total += pages * os.sysconf("SC_PAGE_SIZE")
    return total


def side_by_side(folder: Path) -> float:
    """Return the characters per second and core of 64 texts, as ``bench generate`` writes them."""
    import charrnn
    from charrnn.bench.generation import length, texts
    from charrnn.bench.measuring import in_turns

    generator = charrnn.load(folder / "model.safetensors")
    count = length(generator, 64)
    (seconds,) = in_turns([texts(generator, 64, count)], 5)
    return 64 * count / seconds / generator.engine.threads  # type: ignore[attr-defined]


def writing(given: argparse.Namespace, folder: Path, layers: int, hidden: int) -> dict[str, Any]:
    """Measure and print many texts against 64 at a time."""
    from charrnn.bench.measuring import VOCAB_SIZE
    from charrnn.config import ModelConfig
    from charrnn.model import model_file, parameters
    from charrnn.text.tokenizer import CharTokenizer

    config = ModelConfig(VOCAB_SIZE, "lstm", layers, hidden)
    tokenizer = CharTokenizer("".join(map(chr, range(48, 48 + VOCAB_SIZE))))
    made = model_file.Model(config, tokenizer, parameters.initial(config, 1))
    model_file.save(folder / "model.safetensors", made)
    few = side_by_side(folder)
    words = ["sample", "-m", str(folder), "--num-samples", str(given.texts), "--seed", "1"]
    words += ["--length", str(LENGTH), "--separator", "\\n\\n", "--prompt", ""]
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "charrnn", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    seen: list[int] = []
    while process.poll() is None:
        seen.append(memory(process.pid))
        time.sleep(0.2)
    seconds = time.perf_counter() - began
    assert process.returncode == 0
    many = given.texts * LENGTH / seconds / CORES
    early, late = (max(seen[: len(seen) // 4 + 1]) / 1e6, max(seen) / 1e6)
    print(f"{layers} x {hidden}: {given.texts:,} texts of {LENGTH} in {seconds:.1f} s,", end=" ")
    print(f"{many:,.0f} characters per second and core; 64 at a time {few:,.0f};", end=" ")
    print(f"ratio {many / few:.2f}; memory {early:.0f} MB, at most {late:.0f} MB")
    return {"many": many, "few": few, "ratio": many / few, "seconds": seconds, "peak_mb": late}


def main() -> None:
    if sys.argv[1:2] == ["exchanged"]:
        rank, size, numbers = map(int, sys.argv[2:5])
        exchanged(rank, size, numbers, sys.argv[5])
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    defaults = {"steps": 200, "more": 40, "rounds": 2, "texts": 100_000, "layers": 3}
    defaults |= {"hidden": 512, "batch": 64, "window": 64, "small-hidden": 256}
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found: dict[str, Any] = {"training": training(given, folder), "paper": on_paper()}
        for layers, hidden in ((1, given.small_hidden), (given.layers, given.hidden)):
            found[f"{layers}x{hidden}"] = writing(given, folder, layers, hidden)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
