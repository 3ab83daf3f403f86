"""Run commands in processes that are forked from one that has imported everything.

A command then starts in a fraction of a second, so that a test can run and kill many.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from coverage import Coverage
from waiting import HANGS

from charrnn.cli.app import COMMANDS

from .conftest import Done, done, environment

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "charrnn.cli.app",
        *(f"charrnn.cli.commands.{where.split('.')[0]}" for where in COMMANDS.values()),
        "charrnn.cli.display.training_progress",
        "charrnn.decoding.compiled",
        "charrnn.generator",
        "charrnn.inspection.next_token",
        "charrnn.inference.compiled_engine",
        "charrnn.training.resume",
        "matplotlib.figure",
        "torch._dynamo",  # imported when an optimizer is created
        "pytest",  # the main program, which multiprocessing inspects
        __name__,
    ]
)


class Forked:
    """A running ``charrnn WORDS`` in a folder."""

    def __init__(self, folder: Path, *words: object, stdin: bytes = b"") -> None:
        self._streams = Path(tempfile.mkdtemp(prefix="charrnn-forked-"))
        (self._streams / "in").write_bytes(stdin)
        given = [str(word) for word in words]
        kept = dict(os.environ)
        _set(environment())  # the server starts with it
        try:
            self.process: ForkServerProcess = _CONTEXT.Process(
                target=_command, args=(folder, given, self._streams, environment())
            )
            self.process.start()
        finally:
            _set(kept)

    def kill(self, after: float, number: signal.Signals = signal.SIGKILL) -> bool:
        """Send a signal after some seconds; return False if the command had ended before."""
        self.process.join(after)
        if self.process.exitcode is not None or not self.process.pid:
            return False
        os.kill(self.process.pid, number)
        return True

    def end(self) -> Done:
        """Wait for the end; the code of a killed command is the negative signal number."""
        self.process.join(HANGS)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            raise AssertionError("it hangs")
        out, err = (
            path.read_bytes() if path.exists() else b""
            for path in (self._streams / "out", self._streams / "err")
        )
        shutil.rmtree(self._streams, ignore_errors=True)  # `end` may be called again
        return done(code, out, err)


def _set(environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ |= environment


def _command(folder: Path, words: list[str], streams: Path, environment: Mapping[str, str]) -> None:
    for number, name in enumerate(("in", "out", "err")):
        os.dup2(os.open(streams / name, os.O_CREAT | (os.O_WRONLY if number else 0)), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - a descriptor
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    _set(environment)
    os.chdir(folder)
    sys.argv = ["charrnn", *words]
    # Otherwise a command would count its seconds from the server's start.
    vars(sys.modules["charrnn.cli.commands.train"])["STARTED"] = time.perf_counter()
    from charrnn.__main__ import main

    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the server ignores it
        main()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what comes now is too late for the command
        measured = Coverage.current()
        if measured:  # it would save at an exit that forked processes skip
            measured.save()
