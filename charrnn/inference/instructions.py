"""Runs a network's steps as programs: lists of calls of compiled functions, on several threads.

An instruction is two integers: the address of a C function ``void(context, arguments)`` and the
address of its arguments. Address 0 instead of a function makes the threads wait for each other.
Every function works on B rows of one array, a row for each text, and on its thread's own columns:
in each block of P panels those from ``part * P / parts`` on. So each thread reads its own part of
the weights, and no two threads write to the same address.

    context    part, parts, B, address of this step's ids (B), index of the step in this run
    arguments  addresses, sizes, and bytes from row to row, as each function documents
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import carray, types  # type: ignore[attr-defined]
from numba.extending import intrinsic
from numpy.typing import NDArray

from charrnn.arrays import Integers
from charrnn.compiler import codegen, thread_pool
from charrnn.compiler.cache import c_function
from charrnn.compiler.layer_norm import moments
from charrnn.compiler.matmul import WIDTH
from charrnn.compiler.scalar_math import exp, inside, pointer, take, tanh
from charrnn.compiler.thread_pool import SPINS, give_way, look

# The type of stored weights; bfloat16 is the upper half of a float32's bits.
STORED = {"float32": np.float32, "bfloat16": np.uint16, "int8": np.int8}
CONTEXT = 8  # integers per thread: a cache line
_COUNTER, _CONTEXTS = 16, 24  # their positions in the table of `_run`

_entry = c_function("void(voidptr)")
_intrinsic: Any = intrinsic
function = c_function("void(voidptr, voidptr)")


@_intrinsic
def _call(typing_context, function, context, arguments):  # type: ignore[no-untyped-def]
    """Call the C function at this address."""

    def generate(_: Any, builder: Any, signature: Any, given: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, byte]).as_pointer()
        addresses = [builder.inttoptr(address, byte) for address in given[1:]]
        builder.call(builder.inttoptr(given[0], kind), addresses)
        return _.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


@inside
def _wait(counter, parts):  # type: ignore[no-untyped-def]
    """Wait until all threads have arrived; the counter only grows."""
    target = (take(counter) // parts + 1) * parts
    spins = 0
    while look(counter) < target:
        spins += 1
        if spins > SPINS:
            give_way()


@_entry
def _run(data):  # type: ignore[no-untyped-def]
    """Run one thread's part of all steps.

    The table contains: parts taken so far, number of parts, B, T, address of ids (T, B); addresses
    of the programs of even steps, of odd steps and of an even last step, and their numbers of
    instructions; the counter of `_wait`; then each thread's context.
    """
    d = carray(data, (_CONTEXTS,), np.int64)
    part = take(d.ctypes.data)
    parts, batch, steps, ids = d[1], d[2], d[3], d[4]
    mine = d.ctypes.data + 8 * (_CONTEXTS + part * CONTEXT)
    context = carray(pointer(mine), (CONTEXT,), np.int64)
    context[0], context[1], context[2] = part, parts, batch
    counter = d.ctypes.data + 8 * _COUNTER
    for t in range(steps):
        context[3], context[4] = ids + 8 * t * batch, t
        which = t % 2
        if which == 0 and t == steps - 1:
            which = 2
        length = d[8 + which]
        program = carray(pointer(d[5 + which]), (length, 2), np.int64)
        for i in range(length):
            if program[i, 0]:
                _call(program[i, 0], mine, program[i, 1])
            elif parts > 1:
                _wait(counter, parts)


@dataclass(frozen=True)
class Call:
    """The address of a function, and its arguments."""

    function: int
    arguments: tuple[int, ...]


WAIT = Call(0, ())


class Program:
    """Instructions of even and odd steps: each reads the state that the other has written.

    Args:
        even: calls of steps 0, 2, ...; they may do some of the work of the next step.
        odd: calls of steps 1, 3, ...
        last: calls of an even step that is the last one; by default those of the other even steps.
    """

    def __init__(self, even: list[Call], odd: list[Call], last: list[Call] | None = None) -> None:
        self._calls = [self._table(calls) for calls in (even, odd, last or even)]

    @staticmethod
    def _table(calls: list[Call]) -> tuple[Integers, Integers]:
        """Return the instructions (n, 2), and the arguments that they point to."""
        arguments = np.zeros((len(calls), max(len(call.arguments) for call in calls)), np.int64)
        for row, call in zip(arguments, calls, strict=True):
            row[: len(call.arguments)] = call.arguments
        addresses = arguments.ctypes.data + np.arange(len(calls)) * arguments.strides[0]
        functions = np.array([call.function for call in calls], np.int64)
        return np.stack([functions, addresses], 1), arguments

    def run(self, ids: Integers, threads: int) -> None:
        """Run all steps; the functions read or write ids (T, B)."""
        programs = [instructions for instructions, _ in self._calls]
        data = np.zeros(_CONTEXTS + threads * CONTEXT + 8, np.int64)
        data = data[-data.ctypes.data % 64 // 8 :]  # contexts begin with cache lines
        steps, batch = ids.shape
        data[1:11] = (
            *(threads, batch, steps, ids.ctypes.data),
            *(program.ctypes.data for program in programs),
            *(len(program) for program in programs),
        )
        thread_pool.together(_run.address, data.ctypes.data, threads)


@inside
def own_columns(context, panels):  # type: ignore[no-untyped-def]
    """Return the first of this thread's own columns in a block of panels, and their number."""
    first = context[0] * panels // context[1]
    end = (context[0] + 1) * panels // context[1]
    return first * WIDTH, (end - first) * WIDTH


@inside
def floats(address, count):  # type: ignore[no-untyped-def]
    """Return an array of float32 at an address."""
    return carray(pointer(address), (count,), np.float32)


@function
def lookup(context, arguments):  # type: ignore[no-untyped-def]
    """Look up rows of a table by ids.

    Arguments: table, its bytes per row; out, bytes per row; panels per block, blocks.
    """
    c, d = carray(context, (CONTEXT,), np.int64), carray(arguments, (6,), np.int64)
    table, table_row, out, out_row, panels, blocks = d[0], d[1], d[2], d[3], d[4], d[5]
    ids = carray(pointer(c[3]), (c[2],), np.int64)
    first, count = own_columns(c, panels)
    for b in range(c[2]):
        for k in range(blocks):
            at = 4 * (k * panels * WIDTH + first)
            read = floats(table + ids[b] * table_row + at, count)
            write = floats(out + b * out_row + at, count)
            for j in range(count):
                write[j] = read[j]


_PRODUCT = '''
"""Generated by charrnn: products with weights of one type."""
import numpy as np
from numba import carray, cfunc
from charrnn.compiler.matmul import WIDTH, columns_{kind}
from charrnn.inference.instructions import CONTEXT, own_columns

@cfunc("void(voidptr, voidptr)", cache=True, error_model="numpy")
def product(context, arguments):
    """Multiply rows by a packed matrix.

    Arguments: a, bytes per row, K; the matrix (blocks * panels, K, W); panels per block, blocks;
    what sums start from, bytes per row (0: the same for all); out, bytes per row; scale of the
    columns; whether the matrix is read from its end.
    """
    c, d = carray(context, (CONTEXT,), np.int64), carray(arguments, (12,), np.int64)
    a, a_row, depth, matrix, panels, blocks = d[0], d[1], d[2], d[3], d[4], d[5]
    panel = depth * WIDTH * {size}
    if c[1] == 1:
        panels, blocks = panels * blocks, 1
    first, count = own_columns(c, panels)
    for block in range(blocks):
        k = blocks - 1 - block if d[11] else block
        at = k * panels + first // WIDTH
        b, at = matrix + at * panel, 4 * WIDTH * at
        init, out, scale = (d[6] + at, d[7]), (d[8] + at, d[9]), d[10] + at
        columns_{kind}(
            d[11], c[2], count // WIDTH, (a, a_row), b, panel, init, out, depth, scale
        )
'''


@functools.cache
def product(kind: str) -> int:
    """Return the address of the product with weights of this type; the first call compiles it."""
    text = _PRODUCT.format(kind=kind, size=np.dtype(STORED[kind]).itemsize)
    return int(codegen.load(text).product.address)


@function
def tanh_rows(context, arguments):  # type: ignore[no-untyped-def]
    """Apply tanh in place. Arguments: values, bytes per row; panels."""
    c, d = carray(context, (CONTEXT,), np.int64), carray(arguments, (3,), np.int64)
    first, count = own_columns(c, d[2])
    for b in range(c[2]):
        row = floats(d[0] + b * d[1] + 4 * first, count)
        for j in range(count):
            row[j] = tanh(row[j])


@function
def normalize_rows(context, arguments):  # type: ignore[no-untyped-def]
    """Bring every block of H values to mean 0 and variance 1.

    Arguments: in, out, bytes per row; panels per block, blocks; H.
    """
    c, d = carray(context, (CONTEXT,), np.int64), carray(arguments, (6,), np.int64)
    first, count = own_columns(c, d[3])
    for b in range(c[2]):
        for k in range(d[4]):
            at = b * d[2] + 4 * k * d[3] * WIDTH
            mean, inverse = moments(floats(d[0] + at, d[5]))
            read = floats(d[0] + at + 4 * first, count)
            write = floats(d[1] + at + 4 * first, count)
            for j in range(count):
                write[j] = (read[j] - mean) * inverse


@function
def softmax_rows(context, arguments):  # type: ignore[no-untyped-def]
    """Compute the probabilities of logits; threads share the rows, not the columns.

    Arguments: in, out, bytes per row; V.
    """
    c, d = carray(context, (CONTEXT,), np.int64), carray(arguments, (4,), np.int64)
    for b in range(c[0], c[2], c[1]):
        logits = floats(d[0] + b * d[2], d[3])
        write = floats(d[1] + b * d[2], d[3])
        peak, total = logits.max(), np.float32(0)
        for j in range(d[3]):
            write[j] = exp(logits[j] - peak)
            total += write[j]
        for j in range(d[3]):
            write[j] /= total


@function
def nats_rows(context, arguments):  # type: ignore[no-untyped-def]
    """Compute -ln p of targets.

    Arguments: logits, bytes per row; V; targets (T, B); out (T, B) in float32.
    """
    c, d = carray(context, (CONTEXT,), np.int64), carray(arguments, (5,), np.int64)
    targets = carray(pointer(d[3] + 8 * c[4] * c[2]), (c[2],), np.int64)
    out = floats(d[4] + 4 * c[4] * c[2], c[2])
    for b in range(c[0], c[2], c[1]):
        logits = floats(d[0] + b * d[1], d[2])
        peak, total = logits.max(), 0.0
        for j in range(d[2]):
            total += np.float64(exp(logits[j] - peak))
        out[b] = np.log(total) - np.float64(logits[targets[b]] - peak)


@inside
def _sum(values):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for j in range(len(values)):
        total += values[j]
    return total


@_entry
def _read(data):  # type: ignore[no-untyped-def]
    """Sum a thread's part of an array.

    The table contains: parts taken, number of parts; array, its length; repetitions; out.
    """
    d = carray(data, (6,), np.int64)
    part = take(d.ctypes.data)
    first, end = part * d[3] // d[1], (part + 1) * d[3] // d[1]
    values = floats(d[2] + 4 * first, end - first)
    out = floats(d[5] + 4 * part, 1)
    for _ in range(d[4]):
        out[0] += _sum(values)


def read(values: NDArray[np.float32], times: int, threads: int) -> None:
    """Read an array `times` times, each thread its own part, to measure the memory bandwidth."""
    out = np.zeros(threads, np.float32)
    given = (threads, values.ctypes.data, len(values), times, out.ctypes.data)
    data = np.array([0, *given], np.int64)
    thread_pool.together(_read.address, data.ctypes.data, threads)
