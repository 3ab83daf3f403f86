"""Rounds and medians, and the limits of this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from charrnn.cells import find
from charrnn.inference import instructions

VOCAB_SIZE = 65
ROUNDS = 7
STEP_SECONDS = 0.4  # that each runs in a round
PEAK_SIZES = (1024, 2048)
REST = 0.005  # seconds after which idle threads are asleep
Timed = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One line of the table; the fields are those of ``charrnn bench --json``.

    Attributes:
        what: ``train`` or ``generate``.
        seq_len: T of a training step; None for generation.
        dtype: type of the matrix products, or for generation of the weights.
        baseline: what the result is compared with.
        ratio: our speed divided by the baseline's.
        share_of_limit: our speed as a share of a limit measured in the same run: operations of
            matrix products, or bytes of weights read, per second.
        limit: which of the two.
        parts: of a training step, the share of each in its time; None if they were not asked for.
        ensemble: how many networks the units are divided among.
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
    parts: dict[str, float] | None = None
    ensemble: int = 1


def layers_of(cell: str, given: int | None) -> int:
    """Return the number of layers to measure: 2, or 1 of a cell that cannot have more."""
    return given or (1 if find(cell).feeds_back else 2)


def in_turns(steps: Sequence[Timed], rounds: int) -> list[float]:
    """Run all steps for a moment in every round; return the median seconds of each."""
    for run in steps:
        run()
        run()
    times: list[list[float]] = [[] for _ in steps]
    for _ in range(rounds):
        for run, taken in zip(steps, times, strict=True):
            time.sleep(REST)
            taken.append(seconds(run, STEP_SECONDS))
    return [statistics.median(taken) for taken in times]


def seconds(run: Timed, duration: float) -> float:
    """Return the median seconds of a call, repeated for `duration` seconds, but at least once."""
    taken, end = [], time.perf_counter() + duration
    while True:
        began = time.perf_counter()
        run()
        now = time.perf_counter()
        taken.append(now - began)
        if now >= end:
            return statistics.median(taken)


def peak(dtype: torch.dtype) -> float:
    """Return this machine's operations per second in matrix products: the best size's median."""

    def speed(size: int) -> float:
        a, b = torch.randn(2, size, size).to(dtype)

        def run() -> None:
            torch.mm(a, b)

        run()
        return 2.0 * size**3 / seconds(run, STEP_SECONDS)

    return max(map(speed, PEAK_SIZES))


def bandwidth(size: int, threads: int) -> float:
    """Return the bytes per second at which threads read `size` bytes over and over."""
    # Not zeros: memory that was never written is one shared page, which stays in the cache.
    values = np.ones(max(size // 4, 1024), np.float32)
    times = 1 + int(2e7 / values.nbytes)

    def run() -> None:
        instructions.read(values, times, threads)

    run()
    return times * values.nbytes / seconds(run, STEP_SECONDS)
