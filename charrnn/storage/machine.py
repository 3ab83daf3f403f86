"""The machine and what is installed on it; whether the C library keeps memory that is freed."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt


def installed() -> int | None:
    """Return the bytes of memory that are installed; None if the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def usable_threads(asked: int | None, notify: Callable[[str], object]) -> int | None:
    """Return how many threads to use of those that were asked for: at most one for each core.

    More would wait for each other at every step; `notify` is told if they are fewer.
    """
    if asked is None or asked <= cores():
        return asked
    notify(f"--threads {asked:,}: {cores():,} are used, one for each core of this machine")
    return cores()


def busy() -> str | None:
    """Return a sentence about a machine that does more than it has cores for; else None."""
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):  # the system does not say
        return None
    if load <= cores():
        return None
    return f"other programs keep this machine busy (load {load:.1f}, {cores()} cores)"


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of charrnn and of the packages that compute."""
    from importlib import metadata  # slow to import, and seldom needed

    # The package lies above everything: an import of it from here would be circular.
    found = {"charrnn": str(sys.modules["charrnn"].__version__)}
    for name in ("torch", "numpy", "numba"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def describe() -> dict[str, Any]:
    """Return the processor's name, the number of cores, the system and the Python version."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
    }


def processor() -> str:
    """Return the processor's name as its maker gives it, or else its instruction set."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
                name, _, value = line.partition(":")
                if name.strip() == "model name" and value.strip():
                    return value.strip()
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5)
            return ended.stdout.strip()
    return platform.processor() or platform.machine()


def give_memory_back() -> None:
    """Give memory that was freed back to the system, where the C library is glibc."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


@contextlib.contextmanager
def freed_memory_given_back() -> Iterator[None]:
    """Give freed memory back before and after what needs arrays of other sizes."""
    give_memory_back()
    try:
        yield
    finally:
        give_memory_back()


def _glibc() -> Any:
    """Return the C library if it is glibc, or else None."""
    import ctypes  # only trainings need it

    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "mallopt") else None


@contextlib.contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Let the process keep freed memory for its next use, where the C library is glibc.

    A training allocates a window's arrays anew each time. glibc gives large ones back to the system
    and then fetches them again page by page, each zeroed first: up to a quarter of a training step.
    Afterwards the memory is given back, and the thresholds are the largest that glibc would choose
    itself.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_MMAP_THRESHOLD, 2**30)
    libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_THRESHOLD, 2**25)
        libc.mallopt(_TRIM_THRESHOLD, 2**26)
        libc.malloc_trim(0)
