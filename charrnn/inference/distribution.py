"""Further results of logits: the most likely tokens, and whole numbers for arithmetic coding."""

from __future__ import annotations

import numpy as np
from numba import carray  # type: ignore[attr-defined]
from numpy.typing import NDArray

from charrnn.compiler.cache import compile_on_call
from charrnn.compiler.scalar_math import exp, pointer
from charrnn.inference.instructions import CONTEXT, floats, function

PRECISION = 2**22  # about the sum of frequencies; float32 represents such sums exactly


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
def _frequencies(logits, result):  # type: ignore[no-untyped-def]
    for b in range(logits.shape[0]):
        row, out = logits[b], result[b]
        peak, total = row.max(), 0.0
        for j in range(len(row)):
            out[j] = exp(row[j] - peak)
        for j in range(len(row)):
            total += np.float64(out[j])
        share = np.float32(PRECISION / total)
        for j in range(len(row)):
            out[j] = np.floor(out[j] * share) + np.float32(1)


def frequencies(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return whole numbers (B, V), at least 1, in proportion to the probabilities of logits (B, V).

    They depend only on a row's own logits, and are the same wherever the same code runs: archives
    are coded and decoded with them.
    """
    result = np.empty_like(logits)
    _frequencies(logits, result)
    return result
