"""The compiled mixture of a network's logits and a count model; numpy has it in `counts.mixing`.

The tokens before a step's are found in memory before that step's ids; negative ones are none.
"""

from __future__ import annotations

import numpy as np
from numba import carray  # type: ignore[attr-defined]

from charrnn.compiler.cache import c_function
from charrnn.compiler.scalar_math import exp, inside, pointer
from charrnn.counts import mixing, table
from charrnn.counts.table import CHECK_BITS, KINDS, KNOTS
from charrnn.inference.instructions import CONTEXT
from charrnn.inference.row_functions import floats

ARGUMENTS = 19
_CHECK = np.uint64(2**CHECK_BITS - 1)
_STEP = mixing.CERTAINTY
_extended = inside(table.extended)
function = c_function("void(voidptr, voidptr)")


@inside
def _integers32(address, count):  # type: ignore[no-untyped-def]
    """Return an array of uint32 at an address."""
    return carray(pointer(address), (count,), np.uint32)


@inside
def _token(address, size, place):  # type: ignore[no-untyped-def]
    """Return the token of an entry, which is stored in 1, 2 or 4 bytes."""
    at = pointer(address + size * place)
    if size == 1:
        return np.int64(carray(at, (1,), np.uint8)[0])
    if size == 2:
        return np.int64(carray(at, (1,), np.uint16)[0])
    return np.int64(carray(at, (1,), np.uint32)[0])


@inside
def _find(key, d):  # type: ignore[no-untyped-def]
    """Return the place of a context; -1 if it is not there."""
    bits = np.uint64(d[6])
    bucket = np.int64(key & ((np.uint64(1) << bits) - np.uint64(1)))
    check = np.uint16((key >> bits) & _CHECK)
    bounds = _integers32(d[11] + 4 * bucket, 2)
    first, count = np.int64(bounds[0]), int(bounds[1] - bounds[0])
    checks = carray(pointer(d[12] + 2 * first), (count,), np.uint16)
    for i in range(count):
        if checks[i] == check:
            return first + i
    return -1


@inside
def _look_up(now, spans, d):  # type: ignore[no-untyped-def]
    """Fill in the entries of all known contexts (K + 1, 2); return the longest one's order."""
    key = np.uint64(0)
    for k in range(1, d[5] + 1):
        token = carray(pointer(now - 8 * d[4] * (k - 1)), (1,), np.int64)[0]
        if token < 0:
            return k - 1
        key = _extended(key, np.uint64(token))
        place = _find(key, d)
        if place < 0:
            return k - 1
        bounds = _integers32(d[13] + 4 * place, 2)
        spans[k, 0], spans[k, 1] = np.int64(bounds[0]), np.int64(bounds[1])
    return d[5]


@inside
def _count(out, longest, spans, d):  # type: ignore[no-untyped-def]
    """Fill in what is left of each token's counts (V,); return what remains for the unigram."""
    for v in range(len(out)):
        out[v] = np.float32(0)
    values, remaining = floats(d[16], 256), np.float32(1)
    for k in range(longest, 0, -1):
        discounts = floats(d[9] + 16 * k, 4)
        first, count = spans[k, 0], spans[k, 1] - spans[k, 0]
        codes = carray(pointer(d[15] + first), (count,), np.uint8)
        total, taken = np.float32(0), np.float32(0)
        for i in range(count):
            total += values[codes[i]]
            taken += discounts[min(np.int64(codes[i]), 3)]
        scale = remaining / total
        for i in range(count):
            token = _token(d[14], d[17], first + i)
            out[token] += scale * (values[codes[i]] - discounts[min(np.int64(codes[i]), 3)])
        remaining = remaining * taken / total
    return remaining


@inside
def _share(logits, longest, spans, d):  # type: ignore[no-untyped-def]
    """Return the share of the counts in the mixture."""
    peak, rest = logits.max(), 0.0
    for v in range(len(logits)):
        rest += np.float64(exp(logits[v] - peak))
    total = rest
    rest -= 1.0
    certainty = np.float64(KNOTS - 1)
    if rest > 0.0:
        found = np.float64(-np.log(rest / total) / _STEP)
        certainty = found if found < certainty else certainty
    below = np.int64(certainty)
    below = below if below < KNOTS - 2 else np.int64(KNOTS - 2)
    part = certainty - below
    kind = KINDS - 1
    if longest:
        kind = min(spans[longest, 1] - spans[longest, 0], KINDS) - 1
    weights = floats(d[10] + 4 * KNOTS * (longest * KINDS + kind), KNOTS)
    return (1.0 - part) * np.float64(weights[below]) + part * np.float64(weights[below + 1])


@function
def mix_rows(context, arguments):  # type: ignore[no-untyped-def]
    """Mix logits with the counts, in place; threads share the rows, not the columns.

    Arguments: logits, bytes per row; V; bytes of work space of each thread; texts that are read;
    K; logarithm of the number of buckets; unigram, its logarithms; discounts; weights; index;
    checks; starts; tokens; codes; what codes stand for; bytes of a token; work space.
    """
    c, d = carray(context, (CONTEXT,), np.int64), carray(arguments, (ARGUMENTS,), np.int64)
    work = d[18] + c[0] * d[3]
    spans = carray(pointer(work), (table.MAX_ORDER + 1, 2), np.int64)
    out = floats(work + 16 * (table.MAX_ORDER + 1), d[2])
    unigram, logarithms = floats(d[7], d[2]), floats(d[8], d[2])
    for b in range(c[0], c[2], c[1]):
        logits = floats(d[0] + b * d[1], d[2])
        longest = _look_up(c[3] + 8 * b, spans, d)
        share = np.float32(_share(logits, longest, spans, d))
        if share == np.float32(0):
            continue
        remaining = _count(out, longest, spans, d)
        rest = np.float32(np.log(np.float64(remaining)))
        for v in range(len(out)):
            p = rest + logarithms[v]
            if out[v] > np.float32(0):
                p = np.float32(np.log(np.float64(out[v] + remaining * unigram[v])))
            logits[v] = (np.float32(1) - share) * logits[v] + share * p
