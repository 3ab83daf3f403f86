"""The loss of the output map and its derivatives: a softmax between products of bfloat16.

    logits (R, V) = read (R, Y) x weight (V, Y) transposed + bias
    change (R, V) = d loss / d logits = (softmax(logits) - one-hot target) / number of targets
    by_read (R, Y) = d loss / d read = change x weight

A group of rows goes through all of it, so that its logits stay in the cache. Rows whose target is
negative do not count. `tiles` and `dots` differ in the kind of products.

The table that they read contains numbers, then addresses. N is a padded number of columns and K a
padded depth, see `charrnn.compiler.processor`; G rows are a group, C columns of by_read are
computed at a time, which is a multiple of 2 W:

    parts taken so far, number of parts P, number of targets; R, V, Y; N of logits, N of by_read;
    K of read, K of change; G, C
    forward: weight, packed for logits; backward: its transpose, packed for by_read
    start (N,), float32: bias, with minus infinity as padding; zeros (C,), float32
    logits (P, G, N) and columns of by_read (P, G, C): a part's group of rows, float32
    tiles: see `charrnn.compiler.processor.tiles_config`
    read (R, K) and targets (R,), int64
    change (R, K), by_read (R, Y), nats (R,) in float32, which are 0 without a target

Matrices without a type are bfloat16. Tiles read whole groups of rows of `read` and `change`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray  # type: ignore[attr-defined]

from charrnn.compiler.cache import c_function
from charrnn.compiler.matmul import close_tiles, multiply_dots, multiply_tiles, open_tiles
from charrnn.compiler.processor import TILES_CONFIG, WIDTH
from charrnn.compiler.scalar_math import exponential, from_order, inner, pointer, take, to_order
from charrnn.compiler.window_math import own_memory, to_bf16

NUMBERS = 24  # of the table


# Compiled once; each `carray` that is written out takes longer to compile.
@inner
def _floats(address, first, second, third):  # type: ignore[no-untyped-def]
    return carray(pointer(address), (first, second, third), np.float32)


@inner
def _halves(address, first, second, third):  # type: ignore[no-untyped-def]
    return carray(pointer(address), (first, second, third), np.uint16)


@inner
def _softmax(values, target, share, change):  # type: ignore[no-untyped-def]
    """Return the nats of a row, and write their derivative by its logits times a share.

    Args:
        values: the logits, which are overwritten, and minus infinity as padding.
        target: the next token; negative if there is none.
        share: the share of the row in the loss.
        change: the derivative, and zeros as padding.
    """
    own_memory()
    if target < 0:
        for j in range(len(change)):
            change[j] = 0
        return np.float32(0)
    order = np.uint32(0)
    for j in range(len(values)):
        one = to_order(values[j])
        order = one if one > order else order
    top, total = from_order(order), np.float32(0)
    found = values[target] - top
    for j in range(len(values)):
        values[j] = exponential(values[j] - top)
        total += values[j]
    values[target] -= total
    scale = share / total
    for j in range(len(change)):
        change[j] = to_bf16(values[j] * scale)
    return np.float32(np.log(np.float64(total))) - found


@inner
def _round(values, out):  # type: ignore[no-untyped-def]
    own_memory()
    for j in range(len(out)):
        out[j] = to_bf16(values[j])


def _rows(multiply: Any, begin: Any, finish: Any) -> Any:
    """Return what computes a thread's part of the rows, with one kind of products."""

    def rows(data):  # type: ignore[no-untyped-def]
        d = carray(data, (NUMBERS,), np.int64)
        parts, share = d[1], np.float32(1) / np.float32(d[2])
        count, width, padded, across, depth = d[3], d[5], d[6], d[7], d[8]
        deep, group, chunk = d[9], d[10], d[11]
        one = np.int64(1)  # a plain 1 would be a type of its own
        forward = _halves(d[12], padded // WIDTH, depth // 2, 2 * WIDTH)
        read, change = _halves(d[19], one, count, depth), _halves(d[21], one, count, deep)
        start, zeros = _floats(d[14], one, one, padded), _floats(d[15], one, one, chunk)
        nats = _floats(d[23], one, one, count)
        logits, columns = _floats(d[16], parts, group, padded), _floats(d[17], parts, group, chunk)
        targets = carray(pointer(d[20]), (count,), np.int64)
        tiles = carray(pointer(d[18]), (parts, 2, TILES_CONFIG), np.uint8)
        groups = (count + group - 1) // group
        part = take(d.ctypes.data)
        while part < parts:
            begin(tiles, part)
            for g in range(part * groups // parts, (part + 1) * groups // parts):
                first = g * group
                last = first + group if first + group < count else count
                multiply(read, 0, first, last, forward, start, logits, part)
                for r in range(first, last):
                    values = logits[part, r - first]
                    nats[0, 0, r] = _softmax(values, targets[r], share, change[0, r])
                for n in range(0, across, chunk):
                    left = min(across - n, chunk) // WIDTH
                    some = _halves(d[13] + n * deep * 2, left, deep // 2, 2 * WIDTH)
                    multiply(change, 0, first, last, some, zeros, columns, part)
                    left = min(width - n, chunk)
                    for r in range(first, last):
                        to = _halves(d[22] + (r * width + n) * 2, one, one, left)
                        _round(columns[part, r - first], to[0, 0])
            finish(tiles, part)
            part = take(d.ctypes.data)

    return inner(rows)


@inner
def _no_tiles(tiles, part):  # type: ignore[no-untyped-def]
    """Do nothing: there is nothing to configure."""


_by_tiles = _rows(multiply_tiles, open_tiles, close_tiles)
_by_dots = _rows(multiply_dots, _no_tiles, _no_tiles)


@c_function("void(voidptr)")
def tiles(data):  # type: ignore[no-untyped-def]
    """Compute the loss and its derivatives by tiles."""
    _by_tiles(data)


@c_function("void(voidptr)")
def dots(data):  # type: ignore[no-untyped-def]
    """Compute the loss and its derivatives by pairs."""
    _by_dots(data)
