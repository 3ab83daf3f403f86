"""Threads that run compiled code beside the caller's, and look out a moment for more of it.

To wake a thread of Python takes as long as a small network's step. So one that has done its part
does not go to sleep at once: it looks at its slot for some tenths of a millisecond, and runs what
the next caller posts there. A slot is a cache line of integers:

    0  GONE: no thread looks at it; IDLE: one does; POSTED: it has work, or is at it;
       CALLED: the same, but a thread has yet to come
    1  address of a C function ``void(data)``
    2  its data
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import carray, types  # type: ignore[attr-defined]
from numba.extending import intrinsic
from numpy.typing import NDArray

from charrnn.compiler.cache import c_function
from charrnn.compiler.scalar_math import pointer

GONE, IDLE, POSTED, CALLED = 0, 1, 2, 3
NEW, SPREAD, DONE = 0, 1, 2  # how far a caller's work is
_STAGE = 4  # of a caller's table; before it are address and number of slots, function, data
_SLOT = 8  # integers
SPINS = 4000  # looks at what another thread writes, before the processor is given away
_LOOKS = SPINS + 6000  # for more work: those that offer the processor take most of the time

_intrinsic: Any = intrinsic
_entry = c_function("void(voidptr)")


@_intrinsic
def look(typing_context, address):  # type: ignore[no-untyped-def]
    """The integer at an address, as other threads have left it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = context.get_value_type(types.intp)
        place = builder.inttoptr(arguments[0], number.as_pointer())
        return builder.load_atomic(place, "acquire", 8)

    return types.intp(types.intp), generate


@_intrinsic
def give_way(typing_context):  # type: ignore[no-untyped-def]
    """Let somebody else have the processor."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"
        known = builder.module.globals.get(name)
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(known or ir.Function(builder.module, kind, name), [])
        return context.get_dummy_value()

    return types.void(), generate


@_intrinsic
def _run(typing_context, function, data):  # type: ignore[no-untyped-def]
    """Call the C function at an address."""

    def generate(_: Any, builder: Any, signature: Any, given: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte]).as_pointer()
        builder.call(builder.inttoptr(given[0], kind), [builder.inttoptr(given[1], byte)])
        return _.get_dummy_value()

    return types.void(types.intp, types.intp), generate


@_intrinsic
def _exchange(typing_context, address, old, new):  # type: ignore[no-untyped-def]
    """Make an integer `new` if it is `old`, undivided among threads; whether it was."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        place = builder.inttoptr(given[0], context.get_value_type(types.intp).as_pointer())
        found = builder.cmpxchg(place, given[1], given[2], "seq_cst", "seq_cst")
        return builder.extract_value(found, 1)

    return types.boolean(types.intp, types.intp, types.intp), generate


@_entry
def _serve(slot):  # type: ignore[no-untyped-def]
    """A thread's life: what is posted in its slot, until nothing comes."""
    s = carray(slot, (_SLOT,), np.int64)
    state = s.ctypes.data
    if not _exchange(state, CALLED, POSTED):  # another thread came first
        return
    while True:
        _run(s[1], s[2])
        _exchange(state, POSTED, IDLE)
        looks = 0
        while look(state) == IDLE and looks < _LOOKS:
            looks += 1
            if looks > SPINS:
                give_way()
        if _exchange(state, IDLE, GONE):
            return


@_entry
def _post(table):  # type: ignore[no-untyped-def]
    """Work into every slot, once, and told to those who look; `_Crew.run` makes the table."""
    t = carray(table, (5,), np.int64)
    if t[_STAGE] != NEW:
        return
    slots = carray(pointer(t[0]), (t[1], _SLOT), np.int64)
    for i in range(t[1]):
        slots[i, 1], slots[i, 2] = t[2], t[3]
        if not _exchange(slots.ctypes.data + 8 * _SLOT * i, IDLE, POSTED):
            slots[i, 0] = CALLED
    t[_STAGE] = SPREAD


@_entry
def _lead(table):  # type: ignore[no-untyped-def]
    """The caller's own part, and then wait for those of all others."""
    t = carray(table, (5,), np.int64)
    _run(t[2], t[3])
    for i in range(t[1]):
        looks = 0
        while look(t[0] + 8 * _SLOT * i) >= POSTED:
            looks += 1
            if looks > SPINS:
                give_way()
    t[_STAGE] = DONE


_RUN = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Crew:
    """So many threads beside the caller's."""

    def __init__(self, others: int) -> None:
        room = np.zeros((others + 1) * _SLOT, np.int64)
        first = -room.ctypes.data % 64 // 8  # a cache line begins there
        self._slots: NDArray[np.int64] = room[first : first + others * _SLOT].reshape(others, -1)
        self._threads = _started(others)
        self._turn = threading.Lock()  # two callers, each with half of the threads, would wait
        for function in (_post, _serve, _lead):
            function.address  # noqa: B018 - compiled here, where an error or Ctrl-C ends it

    def run(self, address: int, data: int) -> None:
        """As `together`."""
        given = (self._slots.ctypes.data, len(self._slots), address, data, NEW)
        table = np.array(given, np.int64)
        interrupt: BaseException | None = None
        with self._turn:
            while table[_STAGE] != DONE:
                try:
                    self._work(table)
                except (KeyboardInterrupt, SystemExit) as asked:  # but the others wait for us
                    interrupt = asked
        if interrupt:
            raise interrupt

    def _work(self, table: NDArray[np.int64]) -> None:
        """All of it, or what is missing of it after an interrupt: each part is done once."""
        _RUN(_post.address)(table.ctypes.data)
        for slot in np.flatnonzero(self._slots[:, 0] == CALLED).tolist():
            # Given as an array, which lives as long as the thread looks at it.
            self._threads.submit(_RUN(_serve.address), self._slots[slot].ctypes)
        _RUN(_lead.address)(table.ctypes.data)


def _started(threads: int) -> ThreadPoolExecutor:
    """So many threads that are there: one that could not be started would be waited for.

    Raises:
        RuntimeError: the system has no more of them.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="charrnn")
    all_there = threading.Barrier(threads)
    try:
        for come in [pool.submit(all_there.wait) for _ in range(threads)]:
            come.result()
    except BaseException:
        all_there.abort()
        raise
    return pool


def together(address: int, data: int, threads: int) -> None:
    """Call the C function at `address` with `data` in so many threads, and wait for all.

    All run at once, and may wait for each other.
    """
    if threads == 1:
        _RUN(address)(data)
    else:
        _crew(threads - 1).run(address, data)


@functools.cache
def _crew(others: int) -> _Crew:
    return _Crew(others)


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_crew.cache_clear)
