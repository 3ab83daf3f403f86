"""Runs the networks of an ensemble at the same time, each on its part of torch's threads.

Two networks on a core each learn faster than one on two cores: nobody waits for the other. Torch
and compiled code release the interpreter's lock, so that threads of Python are enough. A network
computes the same, whatever runs beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch

T = TypeVar("T")


class SideBySide:
    """Calls functions at the same time, one for each network.

    Args:
        count: the number of networks.
        threads: of all of them; None: as many as torch uses.
    """

    def __init__(self, count: int, threads: int | None = None) -> None:
        self._count, self._all_threads = count, threads
        self._pool: ThreadPoolExecutor | None = None
        self._size = (0, 0)  # threads of the pool, and threads of torch in each

    def run(self, functions: Sequence[Callable[[], T]]) -> list[T]:
        """Call all functions and return what they return; with one thread, one after another."""
        threads = self._all_threads or torch.get_num_threads()
        if min(threads, len(functions)) < 2:
            return [function() for function in functions]
        pool = self._threads(min(threads, self._count), max(1, threads // self._count))
        futures = [pool.submit(function) for function in functions]
        wait(futures)
        return [future.result() for future in futures]

    def _threads(self, workers: int, each: int) -> ThreadPoolExecutor:
        """Return the pool of this many threads, in each of which torch uses `each` threads."""
        if self._pool is None or self._size != (workers, each):
            self._pool = ThreadPoolExecutor(
                workers, "charrnn-network", torch.set_num_threads, (each,)
            )
            self._size = workers, each
        return self._pool
