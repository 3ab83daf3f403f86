"""Compiled code run by several threads: those that torch has already, where they can be had.

Torch's threads wait for their next work by spinning. A second pool beside it would fight with them
for the cores, and lose most of what it could gain. So compiled windows run on torch's own threads:
its OpenMP runtime starts a function on all of them, as every compiler's OpenMP code asks it to.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def run(address: int, data: int, threads: int) -> None:
    """Call the C function at `address` with `data` in so many threads, and wait for all."""
    if threads == 1:
        _FUNCTION(address)(data)
    else:
        _starter()(address, data, threads)


@functools.cache
def _starter() -> Callable[[int, int, int], None]:
    """What starts a function in several threads."""
    start = _find_openmp()
    if start is not None:
        return lambda address, data, threads: start(address, data, threads, 0)
    from charrnn.compiler import thread_pool

    return thread_pool.together


def _find_openmp() -> Any:
    """``GOMP_parallel(function, data, threads, flags)`` of the runtime that torch has loaded.

    Also the runtimes of LLVM and Intel have a function of this name. None where there is none.
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
