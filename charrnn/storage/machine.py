"""How much memory there is, and what the C library does with what is given back."""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt


def installed() -> int | None:
    """Bytes of this machine's memory; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def keep() -> None:
    """Keep freed memory for the next use, where the C library is glibc.

    A window's arrays are made anew each time. glibc gives large ones back to the system, and then
    fetches them again page by page, each emptied first: up to a quarter of a training step.
    """
    if sys.platform == "linux":
        change = getattr(ctypes.CDLL(None), "mallopt", None)
        if change is not None:
            change(_MMAP_THRESHOLD, 2**30)
            change(_TRIM_THRESHOLD, 2**31 - 1)
