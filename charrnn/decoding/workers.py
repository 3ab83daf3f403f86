"""Do many jobs in processes of their own, one for each core, and yield the results in order.

Processes, not threads: 10 to 30 % of the time of writing is Python's, in which only one thread of a
process runs at a time, so that threads would keep three to ten cores busy and no more.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from charrnn.errors import RunError

Job = TypeVar("Job")
Found = TypeVar("Found")
AHEAD = 2  # jobs for each process that are begun or done before their turn: memory stays flat

_work: Callable[[Any], Any]  # of this process, if it is a worker


def in_order(work: Callable[[Job], Found], jobs: Iterable[Job], processes: int) -> Iterator[Found]:
    """Yield what `work` returns for each job, in order; no process is left when this is closed.

    Args:
        work: does a job; it is pickled once for each process, so it loads what it needs later.
        jobs: taken as they are needed.
        processes: how many work; 1: this one does all.

    Raises:
        RunError: a process was killed.
        CharRNNError: whatever `work` raises.
    """
    if processes == 1:
        yield from map(work, jobs)
        return
    # Forking would copy locks that threads of this process may hold.
    context = get_context("spawn")
    open_while_wanted, ours = context.Pipe(duplex=False)
    given = (open_while_wanted, work)
    pool = ProcessPoolExecutor(processes, context, initializer=_start, initargs=given)
    waiting: deque[Future[Found]] = deque()
    coming = iter(jobs)
    try:
        while True:
            with _without_interrupts():  # the first job starts the processes
                for job in itertools.islice(coming, AHEAD * processes - len(waiting)):
                    waiting.append(pool.submit(_do, job))
            if not waiting:
                return
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise RunError(
            "one of the processes that write was killed, perhaps for lack of memory: --threads "
            "starts fewer, and with --skip and the same --seed the output goes on where it ends"
        ) from error
    finally:
        ours.close()
        pool.shutdown(cancel_futures=True)
        open_while_wanted.close()


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back; processes that are started meanwhile never get it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(open_while_wanted: Connection, work: Callable[[Any], Any]) -> None:
    """Prepare this process to work until the one that asked ends or wants no more."""
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked
    threading.Thread(target=_end_with, args=(open_while_wanted,), daemon=True).start()


def _end_with(connection: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        connection.recv()
    os._exit(1)


def _do(job: Any) -> Any:
    return _work(job)
