"""The machine's memory: how much there is, and whether the C library keeps what is freed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt


def installed() -> int | None:
    """Return the bytes of memory that are installed; None if the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


@contextlib.contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Let the process keep freed memory for its next use, where the C library is glibc.

    A training allocates a window's arrays anew each time. glibc gives large ones back to the system
    and then fetches them again page by page, each zeroed first: up to a quarter of a training step.
    Afterwards the memory is given back, and the thresholds are the largest that glibc would choose
    itself.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "mallopt"):
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
