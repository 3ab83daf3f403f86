"""Wait for what happens in another thread or process, as long as the busiest machine may need."""

from __future__ import annotations

import atexit
import subprocess
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cli.forked import Attached

HANGS = 300.0  # seconds; what has not happened by then never will


def wait_until(happened: Callable[[], object]) -> None:
    """Return as soon as `happened()` is true; fail if it never is."""
    end = time.monotonic() + HANGS
    while not happened():
        assert time.monotonic() < end, "it hangs"
        time.sleep(0.005)


def kill_if_it_hangs(process: subprocess.Popen[bytes] | Attached) -> threading.Timer:
    """Return a timer that kills a process after a long time; it is to be cancelled.

    What a failed test leaves running is killed when the tests end.
    """
    atexit.register(process.kill)
    timer = threading.Timer(HANGS, process.kill)
    timer.daemon = True
    timer.start()
    return timer
