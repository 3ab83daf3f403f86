"""Threads that run compiled code beside the caller's, and wait a moment for more work.

Waking a Python thread takes as long as a step of a small network. So a thread that has finished
does not sleep at once: it polls its slot for some tenths of a millisecond, and runs what the next
caller posts there. A slot is a cache line of integers:

    0  GONE: no thread polls it; IDLE: a thread polls it; POSTED: it has work, or runs it;
       CALLED: it has work, but no thread yet
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
NEW, SPREAD, DONE = 0, 1, 2  # the progress of a caller's work
_STAGE = 4  # index in a caller's table, after address and number of slots, function, data
_SLOT = 8  # integers
SPINS = 4000  # polls of what another thread writes, before yielding the processor
_POLLS = SPINS + 6000  # for more work; those that yield the processor take most of the time

_intrinsic: Any = intrinsic
_entry = c_function("void(voidptr)")


@_intrinsic
def look(typing_context, address):  # type: ignore[no-untyped-def]
    """Return the integer at an address, as other threads have written it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = context.get_value_type(types.intp)
        integer = builder.inttoptr(arguments[0], number.as_pointer())
        return builder.load_atomic(integer, "acquire", 8)

    return types.intp(types.intp), generate


@_intrinsic
def give_way(typing_context):  # type: ignore[no-untyped-def]
    """Yield the processor to another thread."""

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
    """Set an integer to `new` if it is `old`, atomically; return whether it was."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        integer = builder.inttoptr(given[0], context.get_value_type(types.intp).as_pointer())
        result = builder.cmpxchg(integer, given[1], given[2], "seq_cst", "seq_cst")
        return builder.extract_value(result, 1)

    return types.boolean(types.intp, types.intp, types.intp), generate


@_entry
def _serve(slot):  # type: ignore[no-untyped-def]
    """Run what is posted in a slot until nothing comes; the life of a thread."""
    s = carray(slot, (_SLOT,), np.int64)
    state = s.ctypes.data
    if not _exchange(state, CALLED, POSTED):  # another thread was faster
        return
    while True:
        _run(s[1], s[2])
        _exchange(state, POSTED, IDLE)
        polls = 0
        while look(state) == IDLE and polls < _POLLS:
            polls += 1
            if polls > SPINS:
                give_way()
        if _exchange(state, IDLE, GONE):
            return


@_entry
def _post(table):  # type: ignore[no-untyped-def]
    """Post work in every slot, once, for the threads that poll; `_Pool.run` makes the table."""
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
    """Run the caller's own part, and then wait for all other threads."""
    t = carray(table, (5,), np.int64)
    _run(t[2], t[3])
    for i in range(t[1]):
        polls = 0
        while look(t[0] + 8 * _SLOT * i) >= POSTED:
            polls += 1
            if polls > SPINS:
                give_way()
    t[_STAGE] = DONE


_RUN = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Pool:
    """A number of threads beside the caller's."""

    def __init__(self, others: int) -> None:
        space = np.zeros((others + 1) * _SLOT, np.int64)
        first = -space.ctypes.data % 64 // 8  # where a cache line begins
        self._slots: NDArray[np.int64] = space[first : first + others * _SLOT].reshape(others, -1)
        self._threads = _start(others)
        self._turn = threading.Lock()  # two callers with half of the threads each would hang
        for function in (_post, _serve, _lead):
            function.address  # noqa: B018 - compile it here, where an error or Ctrl-C can stop us

    def run(self, address: int, data: int) -> None:
        """Do what `together` does."""
        given = (self._slots.ctypes.data, len(self._slots), address, data, NEW)
        table = np.array(given, np.int64)
        interrupt: BaseException | None = None
        with self._turn:
            while table[_STAGE] != DONE:
                try:
                    self._work(table)
                except (KeyboardInterrupt, SystemExit) as error:  # the others wait for us
                    interrupt = error
        if interrupt:
            raise interrupt

    def _work(self, table: NDArray[np.int64]) -> None:
        """Do all the work, or the rest of it after an interrupt: each part is done once."""
        _RUN(_post.address)(table.ctypes.data)
        for slot in np.flatnonzero(self._slots[:, 0] == CALLED).tolist():
            # Passing an array keeps the memory alive as long as the thread polls it.
            self._threads.submit(_RUN(_serve.address), self._slots[slot].ctypes)
        _RUN(_lead.address)(table.ctypes.data)


def _start(threads: int) -> ThreadPoolExecutor:
    """Return a pool whose threads all run: callers would wait forever for a missing one.

    Raises:
        RuntimeError: the system cannot start more threads.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="charrnn")
    barrier = threading.Barrier(threads)
    try:
        for started in [pool.submit(barrier.wait) for _ in range(threads)]:
            started.result()
    except BaseException:
        barrier.abort()
        raise
    return pool


def together(address: int, data: int, threads: int) -> None:
    """Call the C function at `address` with `data` in a number of threads, and wait for all.

    All run at the same time, and may wait for each other.
    """
    if threads == 1:
        _RUN(address)(data)
    else:
        _pool(threads - 1).run(address, data)


@functools.cache
def _pool(others: int) -> _Pool:
    return _Pool(others)


if hasattr(os, "register_at_fork"):  # a child process has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
