"""Processes of one training, forked from the test: each joins the others as `torchrun`'s would."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from torch.distributed import TCPStore  # type: ignore[attr-defined]
from waiting import HANGS

from charrnn.errors import CharRNNError
from charrnn.training.distributed import World, join

_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Ended:
    """What became of a process.

    Attributes:
        value: what its function returned.
        error: the sentence that it raised.
        said: whether another process was to say that.
        out: what it printed, on stdout and stderr.
        code: its exit code if it returned nothing.
    """

    value: Any = None
    error: str = ""
    said: bool = False
    out: str = ""
    code: int = 0


def together(size: int, do: Callable[[World], Any]) -> list[Ended]:
    """Run a function in each of `size` processes, all on this machine; return what became of them.

    A function may end its process: the others go on.
    """
    started = []
    for rank in range(size):
        ours, theirs = _FORK.Pipe()
        process = _FORK.Process(target=_run, args=(theirs, rank, size, do))
        process.start()
        theirs.close()
        started.append((process, ours))
    # As torchrun has it. It starts a thread, whose locks a process forked now could wait for.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for _, ours in started:
        ours.send(store.port)
    try:
        return [_ended(*each) for each in started]
    finally:
        for process, _ in started:
            process.kill()  # if another one hangs


def _ended(process: Any, results: Connection) -> Ended:
    """Wait for the end of a process; return what became of it."""
    assert results.poll(HANGS), "it hangs"
    try:
        found = results.recv()
    except EOFError:  # it was killed
        process.join(HANGS)
        return Ended(code=process.exitcode or 0)
    process.join(HANGS)
    return found


def values(size: int, do: Callable[[World], Any]) -> list[Any]:
    """Return what a function returns in each of `size` processes."""
    ended = together(size, do)
    assert [each.error for each in ended] == [""] * size
    assert [each.code for each in ended] == [0] * size
    return [each.value for each in ended]


def _run(results: Connection, rank: int, size: int, do: Callable[[World], Any]) -> None:
    port = results.recv()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    names |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    names |= {"TORCHELASTIC_USE_AGENT_STORE": True, "TORCHELASTIC_RESTART_COUNT": 0}
    os.environ |= {name: str(value) for name, value in names.items()}
    sys.stdout = sys.stderr = out = io.StringIO()
    try:
        with join() as world:
            ended = Ended(do(world), out=out.getvalue())
    except CharRNNError as error:
        ended = Ended(error=error.message, said=error.said, out=out.getvalue())
    except BaseException:  # a bug, which the test shows
        ended = Ended(error=traceback.format_exc(), out=out.getvalue())
    results.send(ended)
    results.close()
    os._exit(0)  # no test framework of the parent is to end here
