"""What the threads of `charrnn.compiler.thread_pool` run; slots and tables are described there."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import carray, types  # type: ignore[attr-defined]
from numba.extending import intrinsic

from charrnn.compiler.cache import c_function
from charrnn.compiler.scalar_math import pointer
from charrnn.compiler.thread_pool import CALLED, DONE, GONE, IDLE, NEW, POSTED, SLOT, SPREAD, STAGE

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
def serve(slot):  # type: ignore[no-untyped-def]
    """Run what is posted in a slot until nothing comes; the life of a thread."""
    s = carray(slot, (SLOT,), np.int64)
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
def post(table):  # type: ignore[no-untyped-def]
    """Post work in every slot, once, for the threads that poll; the caller makes the table."""
    t = carray(table, (5,), np.int64)
    if t[STAGE] != NEW:
        return
    slots = carray(pointer(t[0]), (t[1], SLOT), np.int64)
    for i in range(t[1]):
        slots[i, 1], slots[i, 2] = t[2], t[3]
        if not _exchange(slots.ctypes.data + 8 * SLOT * i, IDLE, POSTED):
            slots[i, 0] = CALLED
    t[STAGE] = SPREAD


@_entry
def lead(table):  # type: ignore[no-untyped-def]
    """Run the caller's own part, and then wait for all other threads."""
    t = carray(table, (5,), np.int64)
    _run(t[2], t[3])
    for i in range(t[1]):
        polls = 0
        while look(t[0] + 8 * SLOT * i) >= POSTED:
            polls += 1
            if polls > SPINS:
                give_way()
    t[STAGE] = DONE
