"""Compile functions in a process of its own, while this one goes on without them.

Both share the cache of compiled code: this process loads what the other one has put there. Its
standard input is a pipe from this process. When that ends normally, the other one compiles on with
low priority, for at most some seconds, so that the next command finds all of it; when it is
interrupted or killed, the other one ends at once. Two processes never compile the same function at
the same time: see `charrnn.compiler.cache`.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from charrnn.compiler import cache, codegen, object_code
from charrnn.compiler.cache import CFunction
from charrnn.storage import machine
from charrnn.storage.cache_dir import is_temporary
from charrnn.storage.files import json_text

# Its search path is this process's: whatever flags and variables Python was started with.
_CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from charrnn.compiler.background import compile_asked; compile_asked()"
)
_GO_ON = b"+"
_NICENESS = 10  # once nobody waits for the code
_lock = threading.Lock()
_jobs: list[Background] = []


class Background:
    """A process that compiles functions.

    Attributes:
        functions: what it compiles.
    """

    def __init__(self, functions: Sequence[CFunction], *, urgent: bool) -> None:
        """Start to compile: with low priority, unless it is urgent.

        Raises:
            OSError: the system starts no process.
        """
        self.functions = functions
        path = json_text([str(Path(each).absolute()) for each in sys.path])
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # Ctrl-C is for this process, which may go on after it
        )
        assert self._process.stdin
        given = [(each.module, each.name, each.source) for each in functions]
        asked = {"functions": given, "urgent": urgent}
        with contextlib.suppress(OSError):  # it has ended already
            self._process.stdin.write(json_text(asked).encode() + b"\n")
            self._process.stdin.flush()

    @property
    def ended(self) -> bool:
        """Whether the process has ended, successfully or not."""
        return self._process.poll() is not None

    def wait(self) -> None:
        """Wait for the end of the process."""
        self._process.wait()

    def leave(self, *, go_on: bool) -> None:
        """Let the process go on by itself, or end it."""
        stdin = self._process.stdin
        assert stdin
        with contextlib.suppress(OSError, ValueError):
            if go_on:
                stdin.write(_GO_ON)
            stdin.close()
        if not go_on:
            self._process.kill()  # it may need a moment to see that the pipe is closed
        elif not self.ended:
            self._process.returncode = 0  # or Python would complain that it still runs


def usable() -> bool:
    """Return whether another process can compile for this one."""
    return object_code.usable() and bool(sys.executable) and not is_temporary(cache.folder())


def begin(functions: Sequence[CFunction], *, urgent: bool = True) -> list[Background]:
    """Compile those of some functions that are not in the cache; return what has to end first.

    Args:
        functions: what is needed.
        urgent: whether somebody waits for it, so that it is compiled with normal priority.

    Raises:
        OSError: the system starts no process.
    """
    with _lock:
        missing = {each: None for each in functions if not each.load()}
        if missing and not _jobs:
            atexit.register(_leave_all)
        waiting = [job for job in _jobs if not job.ended and missing.keys() & {*job.functions}]
        for job in waiting:
            missing = {each: None for each in missing if each not in job.functions}
        if missing:
            waiting.append(Background(list(missing), urgent=urgent))
            _jobs.append(waiting[-1])
        return waiting


def share(functions: Sequence[CFunction]) -> None:
    """Let another process compile some functions, beginning with the last one.

    This process compiles the same ones from the first one on, when it needs them, and loads what
    the other one has compiled by then.
    """
    if machine.cores() > 1 and usable() and sum(not each.load() for each in functions) > 1:
        with contextlib.suppress(OSError):  # this process compiles all of them
            begin(functions[::-1])


def stop() -> None:
    """End all processes that compile."""
    for job in _jobs:
        job.leave(go_on=False)


def _leave_all() -> None:
    """Let what was begun be finished, unless Ctrl-C or another signal ends this process."""
    error = getattr(sys, "last_value", None)
    for job in _jobs:
        job.leave(go_on=not isinstance(error, KeyboardInterrupt))


def compile_asked() -> None:
    """Compile what another process asks for on standard input, as long as it wants that."""
    asked = json.loads(sys.stdin.buffer.readline())
    if not asked["urgent"]:
        _be_nice()
    threading.Thread(target=_watch, daemon=True).start()
    for module, name, source in asked["functions"]:
        (function,) = codegen.c_functions(source, name) if source else (CFunction(module, name),)
        function.address  # noqa: B018 - compiles
    os._exit(0)  # not waiting for the thread


def _watch() -> None:
    """End this process with the one that asked, unless that lets it go on."""
    if sys.stdin.buffer.read(1) != _GO_ON:
        os._exit(1)
    _be_nice()


def _be_nice() -> None:
    """Leave the processor to others, in the thread that compiles."""
    nice = os.getpriority(os.PRIO_PROCESS, os.getpid())
    os.setpriority(os.PRIO_PROCESS, os.getpid(), max(nice, _NICENESS))
