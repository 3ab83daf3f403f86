"""Commands in processes that are forked from one in which everything is imported already.

A command starts in a fraction of a second then: a test can run many, and kill many.
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

from .conftest import SECONDS, Done, done, environment

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "charrnn.cli.app",
        "charrnn.cli.display.training_progress",
        "charrnn.decoding.compiled",
        "charrnn.generator",
        "charrnn.inspection.choices",
        "charrnn.inference.compiled_engine",
        "charrnn.training.resume",
        "matplotlib.figure",
        "torch._dynamo",  # which an optimiser imports when it is made
        "typer._adapters",  # and Typer when it is called
        "pytest",  # the program that tests: multiprocessing looks into it
        __name__,
    ]
)


class Forked:
    """``charrnn WORDS`` in a folder, running."""

    def __init__(self, folder: Path, *words: object, stdin: bytes = b"") -> None:
        self._streams = Path(tempfile.mkdtemp(prefix="charrnn-forked-"))
        (self._streams / "in").write_bytes(stdin)
        given = [str(word) for word in words]
        kept = dict(os.environ)
        _set(environment())  # the server is started with it
        try:
            self.process: ForkServerProcess = _CONTEXT.Process(
                target=_command, args=(folder, given, self._streams, environment())
            )
            self.process.start()
        finally:
            _set(kept)

    def kill(self, after: float, number: signal.Signals = signal.SIGKILL) -> bool:
        """Send a signal after some seconds; False where the command had ended by itself."""
        self.process.join(after)
        if self.process.exitcode is not None or not self.process.pid:
            return False
        os.kill(self.process.pid, number)
        return True

    def end(self) -> Done:
        """Wait for the end; a command that was killed has its signal's negative number."""
        self.process.join(SECONDS)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            raise AssertionError("it hangs")
        out, err = (
            path.read_bytes() if path.exists() else b""
            for path in (self._streams / "out", self._streams / "err")
        )
        shutil.rmtree(self._streams, ignore_errors=True)  # it may be asked again
        return done(code, out, err)


def _set(environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ |= environment


def _command(folder: Path, words: list[str], streams: Path, environment: Mapping[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server ignores it
    for number, name in enumerate(("in", "out", "err")):
        os.dup2(os.open(streams / name, os.O_CREAT | (os.O_WRONLY if number else 0)), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - a descriptor
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    _set(environment)
    os.chdir(folder)
    sys.argv = ["charrnn", *words]
    # Else a command would count its seconds from the server's start.
    vars(sys.modules["charrnn.cli.commands.train"])["STARTED"] = time.perf_counter()
    from charrnn.__main__ import main

    main()
