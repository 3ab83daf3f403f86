"""The compiled functions of programs (`charrnn.inference.instructions`), one text in each row.

Their arguments are a thread's context and, as each documents, addresses and sizes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import carray, types  # type: ignore[attr-defined]
from numba.extending import intrinsic

from charrnn.compiler.cache import c_function, compile_on_call
from charrnn.compiler.layer_norm import moments
from charrnn.compiler.processor import WIDTH
from charrnn.compiler.scalar_math import exp, inside, maximum, pointer, take, tanh
from charrnn.compiler.thread_functions import SPINS, give_way, look
from charrnn.inference.instructions import CONTEXT, CONTEXTS, COUNTER

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
def run(data):  # type: ignore[no-untyped-def]
    """Run one thread's part of all steps.

    The table contains: parts taken so far, number of parts, B, T, address of ids (T, B); addresses
    of the programs of even steps, of odd steps and of an even last step, and their numbers of
    instructions; the counter of `_wait`; then each thread's context.
    """
    d = carray(data, (CONTEXTS,), np.int64)
    part = take(d.ctypes.data)
    parts, batch, steps, ids = d[1], d[2], d[3], d[4]
    mine = d.ctypes.data + 8 * (CONTEXTS + part * CONTEXT)
    context = carray(pointer(mine), (CONTEXT,), np.int64)
    context[0], context[1], context[2] = part, parts, batch
    counter = d.ctypes.data + 8 * COUNTER
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


@inside
def _largest(values):  # type: ignore[no-untyped-def]
    """Return the largest value, as `max` does, which takes longer to compile."""
    largest = values[0]
    for j in range(1, len(values)):
        largest = maximum(largest, values[j])
    return largest


@function
def softmax_rows(context, arguments):  # type: ignore[no-untyped-def]
    """Compute the probabilities of logits; threads share the rows, not the columns.

    Arguments: in, out, bytes per row; V; by how much the logits are divided.
    """
    c, d = carray(context, (CONTEXT,), np.int64), carray(arguments, (5,), np.int64)
    divided = np.float32(d[4])
    for b in range(c[0], c[2], c[1]):
        logits = floats(d[0] + b * d[2], d[3])
        write = floats(d[1] + b * d[2], d[3])
        peak, total = _largest(logits), np.float32(0)
        for j in range(d[3]):
            write[j] = exp((logits[j] - peak) * divided)
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
        peak, total = _largest(logits), 0.0
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
def read(data):  # type: ignore[no-untyped-def]
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


@function
def likeliest_rows(context, arguments):  # type: ignore[no-untyped-def]
    """Find the K most likely tokens.

    Arguments: logits, bytes per row; V; targets (T, B), their nats (T, B); K; ids and nats
    (T, B, K) of the results.
    """
    c, d = carray(context, (CONTEXT,), np.int64), carray(arguments, (8,), np.int64)
    first, count = c[4] * c[2], d[5]
    targets = carray(pointer(d[3] + 8 * first), (c[2],), np.int64)
    target_nats = floats(d[4] + 4 * first, c[2])
    for b in range(c[0], c[2], c[1]):
        logits = floats(d[0] + b * d[1], d[2])
        ids = carray(pointer(d[6] + 4 * (first + b) * count), (count,), np.int32)
        nats = floats(d[7] + 4 * (first + b) * count, count)
        for k in range(count):
            ids[k] = -1
        for j in range(d[2]):
            k = count
            while k > 0 and (ids[k - 1] < 0 or logits[j] > logits[ids[k - 1]]):
                k -= 1
                if k < count - 1:
                    ids[k + 1] = ids[k]
                ids[k] = j
        whole = np.float64(target_nats[b]) + np.float64(logits[targets[b]])
        for k in range(count):
            nats[k] = whole - np.float64(logits[ids[k]])


@compile_on_call
def frequencies(logits, precision, result):  # type: ignore[no-untyped-def]
    """Write whole numbers for logits (B, V); see `charrnn.inference.distribution.frequencies`."""
    for b in range(logits.shape[0]):
        row, out = logits[b], result[b]
        peak, total = row.max(), 0.0
        for j in range(len(row)):
            out[j] = exp(row[j] - peak)
        for j in range(len(row)):
            total += np.float64(out[j])
        share = np.float32(precision / total)
        for j in range(len(row)):
            out[j] = np.floor(out[j] * share) + np.float32(1)
