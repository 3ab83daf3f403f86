"""Commands in processes that are forked from one in which everything is imported already.

A training starts in a fraction of a second then, so that a test can kill many.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from .conftest import SET, Done

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["torch", "charrnn.cli.app", "charrnn.cli.render", __name__])


class Forked:
    """``charrnn WORDS`` in a folder, running."""

    def __init__(self, folder: Path, *words: object) -> None:
        self._output = folder / f"output-{time.monotonic_ns()}"
        os.environ |= SET  # what the server is started with
        self.process: ForkServerProcess = _CONTEXT.Process(
            target=_command, args=(folder, [str(word) for word in words], self._output)
        )
        self.process.start()

    def kill(self, after: float, number: signal.Signals = signal.SIGKILL) -> bool:
        """Send a signal after some seconds; False where the command had ended by itself."""
        self.process.join(after)
        if self.process.exitcode is not None or not self.process.pid:
            return False
        os.kill(self.process.pid, number)
        return True

    def end(self) -> Done:
        """Wait for the end; a command that was killed has its signal's negative number."""
        self.process.join(100)
        code = self.process.exitcode
        assert code is not None, "it hangs"
        text = self._output.read_bytes().decode() if self._output.exists() else ""
        self._output.unlink(missing_ok=True)
        assert "Traceback" not in text, text
        return Done(code, "", text)


def _command(folder: Path, words: list[str], output: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server ignores it
    file = os.open(output, os.O_CREAT | os.O_WRONLY)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(file, 2)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - a descriptor
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    os.chdir(folder)
    sys.argv = ["charrnn", *words]
    from charrnn.cli.app import run

    run()
