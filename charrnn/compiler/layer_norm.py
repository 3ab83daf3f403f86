"""Layer normalization (Ba et al. 2016) for compiled code, on the blocks of a product's rows.

Each block of H values is normalized to mean 0 and variance 1; the cell's unit applies gain and
bias. `charrnn.network.window_arrays` describes the arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from charrnn.cells.layer import EPSILON
from charrnn.compiler.scalar_math import inside, same, to_bf16

_epsilon = np.float32(EPSILON)


@inside
def moments(block):  # type: ignore[no-untyped-def]
    """Return a block's mean, and 1 / its standard deviation."""
    share = np.float32(1.0 / len(block))
    total, squares = np.float32(0), np.float32(0)
    for j in range(len(block)):
        total += block[j]
    mean = total * share
    for j in range(len(block)):
        squares += (block[j] - mean) * (block[j] - mean)
    return mean, np.float32(1) / np.sqrt(squares * share + _epsilon)


@inside
def normalize(r, part, normal, scale, t, first, end, hidden):  # type: ignore[no-untyped-def]
    """Normalize rows `first` to `end` of a product into `normal`, and write 1 / deviation."""
    for b in range(first, end):
        for k in range(scale.shape[2]):
            block = r[part, b - first, k * hidden : (k + 1) * hidden]
            result = normal[t, b, k * hidden : (k + 1) * hidden]
            mean, inverse = moments(block)
            scale[t, b, k] = inverse
            for j in range(hidden):
                result[j] = (block[j] - mean) * inverse


def _way_back(write: Any) -> Any:
    """Return the backward function of `normalize`, which stores results as `write` converts them.

    ``dr = scale * (d - mean(d) - y * mean(d * y))`` with y the normalized block and d the
    derivative of the loss by it.
    """

    def unnormalize(dn, part, normal, scale, dr, t, first, end, hidden):  # type: ignore[no-untyped-def]
        share = np.float32(1.0 / hidden)
        for b in range(first, end):
            for k in range(scale.shape[2]):
                d = dn[part, b - first, k * hidden : (k + 1) * hidden]
                y = normal[t, b, k * hidden : (k + 1) * hidden]
                result = dr[t, b, k * hidden : (k + 1) * hidden]
                total, along = np.float32(0), np.float32(0)
                for j in range(hidden):
                    total += d[j]
                    along += d[j] * y[j]
                total, along = total * share, along * share
                for j in range(hidden):
                    result[j] = write(scale[t, b, k] * (d[j] - total - y[j] * along))

    return inside(unnormalize)


unnormalize: Any = _way_back(same)
unnormalize_bf16: Any = _way_back(to_bf16)
