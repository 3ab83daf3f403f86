"""Do many jobs in processes of their own, one for each core, and yield the results in order.

Processes, not threads: 10 to 30 % of the time of writing is Python's, in which only one thread of a
process runs at a time, so that threads would keep three to ten cores busy and no more.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from charrnn.config import EngineOptions, ModelConfig, is_own_cell
from charrnn.errors import CharRNNError, RunError
from charrnn.model import parameters
from charrnn.storage import machine

Job = TypeVar("Job")
Found = TypeVar("Found")
AHEAD = 2  # jobs for each process that are begun or done before their turn: memory stays flat
WORTHWHILE = 10**12  # multiplications that take as long as starting a process, about a second
_EACH = 300_000  # what a character costs besides the products with the weights, likewise

_work: Callable[[Any], Any]  # of this process, if it is a worker
_numbers = itertools.count()


def cost(config: ModelConfig) -> int:
    """Return how many multiplications a character takes, about."""
    return parameters.count(config) + _EACH


def limit(config: ModelConfig, options: EngineOptions) -> int:
    """Return how many processes a model can use: one for each core."""
    if options.device != "cpu" or is_own_cell(config.cell):
        return 1
    return min(options.threads or machine.cores(), machine.cores())


def in_order(
    work: Callable[[Job], Found], jobs: Iterable[Job | None], processes: int
) -> Iterator[Found]:
    """Yield what `work` returns for each job, in order; no process is left when this is closed.

    Args:
        work: does a job; it is pickled, so it loads what it needs later.
        jobs: taken as they are needed. None says that the next may be long in coming: what is
            there is yielded first, and also before an error of the jobs is raised.
        processes: how many work; 1: this one does all.

    Raises:
        RunError: a process was killed.
        CharRNNError: whatever `work` or `jobs` raises.
    """
    if processes == 1:
        yield from (work(job) for job in jobs if job is not None)
        return
    # Forking would copy locks that threads of this process may hold.
    context = get_context("spawn")
    open_while_wanted, ours = context.Pipe(duplex=False)
    # In files: whoever waits in a pipe for the rest of much data waits for ever if the other end
    # was killed, be it the work, which a starting process takes, or a result.
    folder = tempfile.TemporaryDirectory(prefix="charrnn-", ignore_cleanup_errors=True)
    file = Path(folder.name) / "work"
    file.write_bytes(pickle.dumps(work))
    given = (open_while_wanted, file)
    pool = ProcessPoolExecutor(processes, context, initializer=_start, initargs=given)
    waiting: deque[Future[Path]] = deque()
    failed: list[CharRNNError] = []
    try:
        for job in _until_error(jobs, failed):
            if job is not None:
                with _without_interrupts():  # the first job starts the processes
                    waiting.append(pool.submit(_do, job, Path(folder.name)))
            while waiting and (job is None or len(waiting) >= AHEAD * processes):
                yield _taken(waiting.popleft().result())
        while waiting:
            yield _taken(waiting.popleft().result())
        if failed:
            raise failed[0]
    except BrokenProcessPool as error:
        raise RunError(
            "one of the processes was killed, perhaps for lack of memory: --threads starts fewer, "
            "and --skip goes on where an output ends (if that is random, with the same --seed)"
        ) from error
    finally:
        ours.close()
        pool.shutdown(cancel_futures=True)
        open_while_wanted.close()
        folder.cleanup()


def _until_error(jobs: Iterable[Job], failed: list[CharRNNError]) -> Iterator[Job]:
    """Yield jobs; `failed` gets the error that ends them."""
    try:
        yield from jobs
    except CharRNNError as error:
        failed.append(error)


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


def _start(open_while_wanted: Connection, work: Path) -> None:
    """Prepare this process to work until the one that asked ends or wants no more."""
    global _work
    _work = pickle.loads(work.read_bytes())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked
    threading.Thread(target=_end_with, args=(open_while_wanted,), daemon=True).start()


def _end_with(connection: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        connection.recv()
    os._exit(1)


def _do(job: Any, folder: Path) -> Path:
    """Write the result of a job, or its error, to a file of this folder; return its path."""
    found: tuple[Any, CharRNNError | None]
    try:
        found = _work(job), None
    except CharRNNError as error:
        found = None, error
    file = folder / f"{os.getpid()}-{next(_numbers)}"
    file.write_bytes(pickle.dumps(found))
    return file


def _taken(file: Path) -> Any:
    """Return the result in a file, which is removed, or raise the error."""
    found, error = pickle.loads(file.read_bytes())
    file.unlink()
    if error is not None:
        raise error
    return found
