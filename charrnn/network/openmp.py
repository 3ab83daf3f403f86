"""Compiled code on several threads: torch's own threads if possible.

Torch's threads spin while they wait for work, so a second pool would compete with them for the
cores. Compiled windows therefore run on torch's threads: its OpenMP runtime starts a function on
all of them, as it does for code that a compiler translated from OpenMP.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def run(address: int, data: int, threads: int) -> None:
    """Call the C function at `address` with `data` in a number of threads, and wait for all."""
    if threads == 1:
        _FUNCTION(address)(data)
    else:
        _starter()(address, data, threads)


@functools.cache
def _starter() -> Callable[[int, int, int], None]:
    """Return a function that starts a C function in several threads."""
    start = _find_openmp()
    if start is not None:
        return lambda address, data, threads: start(address, data, threads, 0)
    from charrnn.compiler import thread_pool

    return thread_pool.together


def _find_openmp() -> Any:
    """Return ``GOMP_parallel(function, data, threads, flags)`` of torch's OpenMP runtime.

    The runtimes of LLVM and Intel have this function, too. None if torch has no such runtime.
    """
    import torch

    libraries = Path(torch.__file__).parent / "lib"
    found = [
        path for name in ("libgomp", "libomp", "libiomp") for path in libraries.glob(name + "*")
    ]
    for path in sorted(found):
        try:
            start = ctypes.CDLL(str(path)).GOMP_parallel
        except (OSError, AttributeError):
            continue
        start.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        start.restype = None
        return start
    return None
