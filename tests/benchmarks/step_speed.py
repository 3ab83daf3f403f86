"""Compare the training steps, the losses and the starts of this tree with those of another one.

    python tests/benchmarks/step_speed.py OTHER [--sizes 192 320 448] [--rounds 5] [--seconds 2]
        [--threads 2] [--cpu] [--losses FILE] [--steps 300] [--seeds 3] [--starts FILE]

OTHER is the root of another checkout, for example of the commit before a change. One process of
each tree makes the steps of two layers of lstm-coupled with skips, 32 streams, windows of 64 and
locked dropout, as `charrnn train` plans them; both in turns, --seconds in each round, of which the
medians count. With --cpu the processor's seconds are counted instead of those of the clock, which
tells something on a machine that others use, too, if --threads is 1.

--losses FILE trains each size on that text for --steps steps and --seeds seeds in both trees and
compares the losses on the held-out text. --starts FILE trains and writes with each tree, and tells
the seconds from the start of a process to its first update and to its first written character, the
latter both with compiled code and without any. One JSON object is the last line.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

MINE = Path(__file__).resolve()
STREAMS, WINDOW, VOCABULARY, DROPOUT = 32, 64, 65, 0.3
# Says when the first update of the training itself is made, not those that the plan times; stops.
# It waits until the command imports the trainer: what is imported, and when, is part of the time.
FIRST_UPDATE = """
import importlib.machinery, os, sys
class Watch:
    @staticmethod
    def find_spec(name, path, target=None):
        if name != "charrnn.training.trainer":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module
        def exec_module(module):
            execute(module)
            watch(module)
        spec.loader.exec_module = exec_module
        return spec
def watch(trainer):
    start = trainer.Trainer.__init__
    def begin(self, updater, *more):
        start(self, updater, *more)
        made = updater.update
        def update(*arguments):
            made(*arguments)
            print("updated", flush=True)
            os._exit(0)
        updater.update = update
    trainer.Trainer.__init__ = begin
sys.meta_path.insert(0, Watch)
from charrnn.__main__ import main
main()
"""


def serve(threads: int, cpu: bool) -> None:
    """Make steps as asked for on stdin; answer with seconds per step."""
    import torch

    from charrnn.storage import machine

    torch.set_num_threads(threads)
    clock = time.process_time if cpu else time.perf_counter
    made: dict[int, Any] = {}
    with machine.freed_memory_kept():
        for line in sys.stdin:
            size, seconds = json.loads(line)
            if size not in made:
                made[size] = stepper(size)
                for _ in range(5):
                    made[size]()
            count, began = 0, clock()
            while clock() - began < seconds:
                made[size]()
                count += 1
            print(json.dumps((clock() - began) / count), flush=True)


def stepper(size: int) -> Callable[[], object]:
    """Return what trains a network of a size on one batch of random text."""
    import numpy as np
    import torch

    from charrnn.config import ModelConfig, TrainConfig
    from charrnn.model import parameters
    from charrnn.network import layers
    from charrnn.network.module import CharRNN
    from charrnn.text import streams
    from charrnn.training.stream_batches import StreamBatches
    from charrnn.training.training_step import Updater

    model = ModelConfig(VOCABULARY, "lstm-coupled", 2, size, skip_connections=True)
    config = TrainConfig(
        seq_len=WINDOW,
        update_every=WINDOW,
        batch_size=STREAMS,
        dropout=DROPOUT,
        locked_dropout=True,
        steps=1,
    )
    layer = parameters.layer_of(model)
    kernel = layers.select(layer, torch.device("cpu"), "auto", "auto")
    network = CharRNN(
        model,
        parameters.initial(model, 1),
        regularizers=config,
        sequence=kernel.run,
        bf16=kernel.bf16,
    )
    ids = np.random.default_rng(0).integers(0, VOCABULARY, 4 * STREAMS * WINDOW).astype(np.uint8)
    read = streams.make(ids, STREAMS, WINDOW, model.start_token, None)
    batches = StreamBatches(network, read, config)
    network.train()
    updater = Updater(batches)
    return lambda: updater.update(1e-3)


def environment(tree: Path, threads: int, **more: str) -> dict[str, str]:
    """Return the environment in which a tree's charrnn is imported."""
    own = {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}  # and not the folder that this runs in
    return os.environ | own | {"OMP_NUM_THREADS": str(threads)} | more


def speeds(given: argparse.Namespace, trees: list[Path]) -> dict[str, Any]:
    """Return the characters per second of both trees and their ratio, by size."""
    words = [sys.executable, str(MINE), "--serve", str(given.threads), *["--cpu"] * given.cpu]
    workers = [
        subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(tree, given.threads),
        )
        for tree in trees
    ]

    def ask(worker: Any, size: int, seconds: float) -> float:
        worker.stdin.write(json.dumps((size, seconds)) + "\n")
        worker.stdin.flush()
        return float(json.loads(worker.stdout.readline()))

    found: dict[str, Any] = {}
    for size in given.sizes:
        for worker in workers:
            ask(worker, size, 0.1)
        taken = [
            [ask(worker, size, given.seconds) for worker in workers] for _ in range(given.rounds)
        ]
        mine, other = (statistics.median(each) for each in zip(*taken, strict=True))
        rates = [STREAMS * WINDOW / each for each in (mine, other)]
        found[str(size)] = {"mine": rates[0], "other": rates[1], "ratio": other / mine}
        print(f"2x{size}: {rates[0]:,.0f} characters/s, {rates[1]:,.0f}: {other / mine:.2f}")
    for worker in workers:
        worker.communicate()
    return found


def losses(given: argparse.Namespace, trees: list[Path], folder: Path) -> dict[str, Any]:
    """Return both trees' mean losses over the seeds and their difference, by size."""
    found: dict[str, Any] = {}
    for size in given.sizes:
        means = []
        for number, tree in enumerate(trees):
            nats = []
            for seed in range(given.seeds):
                out = folder / f"{size}-{seed}-{number}"
                words = [*("--steps", str(given.steps), "--hidden-size", str(size), "--json")]
                words += ["--seed", str(seed), "--threads", str(given.threads), "--out", str(out)]
                words += ["--dropout", "0", "--device", "cpu"]
                text = _run(tree, given.threads, "train", given.losses, *words)
                nats.append(json.loads(text.splitlines()[-1])["valid_nats"])
            means.append(statistics.mean(nats))
        found[str(size)] = {"mine": means[0], "other": means[1]}
        print(f"2x{size}: {means[0]:.4f} nats, {means[1]:.4f}: {means[0] - means[1]:+.4f}")
    return found


def starts(given: argparse.Namespace, trees: list[Path], folder: Path) -> dict[str, Any]:
    """Return the seconds to the first update and to the first character, for both trees."""
    model = str(folder / "start")
    words = ["--steps", "3", "--hidden-size", "128", "--out", model]
    _run(trees[0], given.threads, "train", given.starts, *words)
    sample = ["-m", "charrnn", "sample", "--length", "1000", "--model", model]
    update = ["-c", FIRST_UPDATE, "train", given.starts, "--minutes", "1"]
    found: dict[str, Any] = {}
    for name, command, cold in (
        ("update", update, False),
        ("character", sample, False),
        ("cold character", sample, True),
    ):
        taken: list[list[float]] = [[] for _ in trees]
        for number in range(given.rounds + 1):
            for tree, seconds in zip(trees, taken, strict=True):
                own = str(folder / f"{name}-{number}-{trees.index(tree)}")
                kept = {"XDG_CACHE_HOME": own} if cold else {}
                words = [*command, "--out", own] if command is update else command
                seconds.append(_until_output(words, environment(tree, given.threads, **kept)))
        mine, other = (statistics.median(seconds[1:]) for seconds in taken)
        found[name] = {"mine": mine, "other": other}
        print(f"first {name}: {mine:.2f} s, {other:.2f} s")
    return found


def _until_output(words: list[str], env: dict[str, str]) -> float:
    """Return the seconds from the start of a process to the first byte on its stdout."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
    )
    assert process.stdout
    if not process.stdout.read(1):
        raise SystemExit(process.communicate()[1].decode())
    seconds = time.perf_counter() - began
    process.communicate()
    return seconds


def _run(tree: Path, threads: int, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "charrnn", *words],
        check=True,
        capture_output=True,
        text=True,
        env=environment(tree, threads),
    )
    return done.stdout


def main() -> None:
    """Compare, print a line for each figure, and all of them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", nargs="?", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[192, 320, 448])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--losses")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--starts")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve, given.cpu)
        return
    trees = [MINE.parents[2], given.other.resolve()]
    found: dict[str, Any] = {"speed": speeds(given, trees)}
    with tempfile.TemporaryDirectory() as folder:
        if given.losses:
            found["loss"] = losses(given, trees, Path(folder))
        if given.starts:
            found["start"] = starts(given, trees, Path(folder))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
