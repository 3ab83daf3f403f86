"""Threads that run compiled code beside the caller's, and wait a moment for more work.

Waking a Python thread takes as long as a step of a small network. So a thread that has finished
does not sleep at once: it polls its slot for some tenths of a millisecond, and runs what the next
caller posts there. A slot is a cache line of integers:

    0  GONE: no thread polls it; IDLE: a thread polls it; POSTED: it has work, or runs it;
       CALLED: it has work, but no thread yet
    1  address of a C function ``void(data)``
    2  its data
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from charrnn.compiler.cache import declare

GONE, IDLE, POSTED, CALLED = 0, 1, 2, 3
NEW, SPREAD, DONE = 0, 1, 2  # the progress of a caller's work
STAGE = 4  # index in a caller's table, after address and number of slots, function, data
SLOT = 8  # integers

_serve, _post, _lead = declare("charrnn.compiler.thread_functions", "serve", "post", "lead")

_RUN = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Pool:
    """A number of threads beside the caller's."""

    def __init__(self, others: int) -> None:
        space = np.zeros((others + 1) * SLOT, np.int64)
        first = -space.ctypes.data % 64 // 8  # where a cache line begins
        self._slots: NDArray[np.int64] = space[first : first + others * SLOT].reshape(others, -1)
        self._threads = _start(others)
        self._turn = threading.Lock()  # two callers with half of the threads each would hang
        for function in (_post, _serve, _lead):
            function.address  # noqa: B018 - compile it here, where an error or Ctrl-C can stop us

    def run(self, address: int, data: int) -> None:
        """Do what `together` does."""
        given = (self._slots.ctypes.data, len(self._slots), address, data, NEW)
        table = np.array(given, np.int64)
        interrupt: BaseException | None = None
        with self._turn:
            while table[STAGE] != DONE:
                try:
                    self._work(table)
                except (KeyboardInterrupt, SystemExit) as error:  # the others wait for us
                    interrupt = error
        if interrupt:
            raise interrupt

    def _work(self, table: NDArray[np.int64]) -> None:
        """Do all the work, or the rest of it after an interrupt: each part is done once."""
        _RUN(_post.address)(table.ctypes.data)
        for slot in np.flatnonzero(self._slots[:, 0] == CALLED).tolist():
            # Passing an array keeps the memory alive as long as the thread polls it.
            self._threads.submit(_RUN(_serve.address), self._slots[slot].ctypes)
        _RUN(_lead.address)(table.ctypes.data)


def _start(threads: int) -> ThreadPoolExecutor:
    """Return a pool whose threads all run: callers would wait forever for a missing one.

    Raises:
        RuntimeError: the system cannot start more threads.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="charrnn")
    barrier = threading.Barrier(threads)
    try:
        for started in [pool.submit(barrier.wait) for _ in range(threads)]:
            started.result()
    except BaseException:
        barrier.abort()
        raise
    return pool


def together(address: int, data: int, threads: int) -> None:
    """Call the C function at `address` with `data` in a number of threads, and wait for all.

    All run at the same time, and may wait for each other.
    """
    if threads == 1:
        _RUN(address)(data)
    else:
        _pool(threads - 1).run(address, data)


@functools.cache
def _pool(others: int) -> _Pool:
    return _Pool(others)


if hasattr(os, "register_at_fork"):  # a child process has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
