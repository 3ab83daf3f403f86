"""Rounds, medians, and what the machine can do."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from charrnn.inference import instructions

VOCAB_SIZE = 65
ROUNDS = 7
SECONDS = 0.4  # of each in a round
PEAK_SIZES = (1024, 2048)
REST = 0.005  # seconds after which threads that have no work are asleep
Step = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One line of the table; the fields are those of ``charrnn bench --json``.

    Attributes:
        what: ``train`` or ``generate``.
        seq_len: T of a training step; None in writing.
        dtype: of the matrix products, or of the weights in writing.
        baseline: what it is compared with.
        ratio: of both medians.
        share_of_limit: what is done in a second, by the most that was measured in the same run:
            operations of matrix products, or bytes of weights that are read.
        limit: which of the two.
    """

    what: str
    cell: str
    num_layers: int
    hidden_size: int
    batch_size: int
    seq_len: int | None
    dtype: str
    backend: str
    threads: int
    chars_per_second: float
    baseline: str
    baseline_chars_per_second: float
    ratio: float
    share_of_limit: float
    limit: str


def in_turns(steps: Sequence[Step], rounds: int) -> list[float]:
    """Median seconds of each, over rounds in which all run for a moment."""
    for run in steps:
        run()
        run()
    times: list[list[float]] = [[] for _ in steps]
    for _ in range(rounds):
        for run, taken in zip(steps, times, strict=True):
            time.sleep(REST)
            taken.append(seconds(run, SECONDS))
    return [statistics.median(taken) for taken in times]


def seconds(run: Step, duration: float) -> float:
    """Median seconds of a call, over as many as fit into `duration`; one at least."""
    taken, end = [], time.perf_counter() + duration
    while True:
        began = time.perf_counter()
        run()
        now = time.perf_counter()
        taken.append(now - began)
        if now >= end:
            return statistics.median(taken)


def peak(dtype: torch.dtype) -> float:
    """Operations per second of this machine's matrix product: the best size's median."""

    def speed(size: int) -> float:
        a, b = torch.randn(2, size, size).to(dtype)

        def run() -> None:
            torch.mm(a, b)

        run()
        return 2.0 * size**3 / seconds(run, SECONDS)

    return max(map(speed, PEAK_SIZES))


def bandwidth(size: int, threads: int) -> float:
    """Bytes per second in which so many bytes are read over and over by so many threads."""
    # Written to: zeros that nobody wrote are all one page, which never leaves the cache.
    values = np.ones(max(size // 4, 1024), np.float32)
    times = 1 + int(2e7 / values.nbytes)

    def run() -> None:
        instructions.read(values, times, threads)

    run()
    return times * values.nbytes / seconds(run, SECONDS)
