"""What is made of logits beside sampling: the likeliest symbols, and whole numbers to code with."""

from __future__ import annotations

import numpy as np
from numba import carray  # type: ignore[attr-defined]
from numpy.typing import NDArray

from charrnn.compiler.cache import compile_on_call
from charrnn.compiler.scalar_math import exp, pointer
from charrnn.inference.instructions import CONTEXT, floats, function

PRECISION = 2**22  # what frequencies come to, about; float32 holds such sums exactly


@function
def likeliest_rows(context, arguments):  # type: ignore[no-untyped-def]
    """The K likeliest symbols: logits, per row; V; targets (B), their nats; K; ids, nats (B, K)."""
    c, d = carray(context, (CONTEXT,), np.int64), carray(arguments, (8,), np.int64)
    at, count = c[4] * c[2], d[5]
    targets = carray(pointer(d[3] + 8 * at), (c[2],), np.int64)
    target_nats = floats(d[4] + 4 * at, c[2])
    for b in range(c[0], c[2], c[1]):
        logits = floats(d[0] + b * d[1], d[2])
        ids = carray(pointer(d[6] + 4 * (at + b) * count), (count,), np.int32)
        nats = floats(d[7] + 4 * (at + b) * count, count)
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
def _frequencies(logits, found):  # type: ignore[no-untyped-def]
    for b in range(logits.shape[0]):
        row, out = logits[b], found[b]
        peak, total = row.max(), 0.0
        for j in range(len(row)):
            out[j] = exp(row[j] - peak)
        for j in range(len(row)):
            total += np.float64(out[j])
        share = np.float32(PRECISION / total)
        for j in range(len(row)):
            out[j] = np.floor(out[j] * share) + np.float32(1)


def frequencies(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Whole numbers (B, V) from 1 on in proportion to the probabilities of logits (B, V).

    They depend on a row's logits alone, and are the same wherever the same code runs: that is what
    an archive is made and read with.
    """
    found = np.empty_like(logits)
    _frequencies(logits, found)
    return found
