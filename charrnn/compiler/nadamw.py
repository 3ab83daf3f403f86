"""A step of NAdamW in one pass over the memory of float32 weights.

The table contains: parts taken so far, number of parts, the number of weights, and the addresses of
two arrays with a row for each: the integers of `PLACES` and the float32 numbers of `NUMBERS`.
"""

from __future__ import annotations

import numpy as np
from numba import carray  # type: ignore[attr-defined]

from charrnn.compiler.cache import c_function
from charrnn.compiler.scalar_math import pointer, take
from charrnn.compiler.window_math import over_units, own_memory, use_wide_vectors

PLACES = ("weight", "gradient", "mean", "square", "count")  # addresses, and how many elements
# What a gradient and a weight are multiplied by, the rate, the share of a new gradient in its mean,
# in the mean square and once more in the step, what the root is multiplied by, and what is added.
NUMBERS = ("scale", "kept", "rate", "new", "new_square", "ahead", "root", "epsilon")


@over_units
def _change(weights, gradients, means, squares, numbers):  # type: ignore[no-untyped-def]
    """Change weights and both means by their gradients."""
    use_wide_vectors()
    own_memory()
    scale, kept, rate, new = numbers[0], numbers[1], numbers[2], numbers[3]
    new_square, ahead, root, epsilon = numbers[4], numbers[5], numbers[6], numbers[7]
    for i in range(len(weights)):
        gradient = gradients[i] * scale
        mean = means[i] + new * (gradient - means[i])
        square = squares[i] + new_square * (gradient * gradient - squares[i])
        means[i], squares[i] = mean, square
        along = mean + ahead * (gradient - mean)
        weights[i] = weights[i] * kept - rate * along / (np.sqrt(square) * root + epsilon)


@c_function("void(voidptr)")
def nadamw(data):  # type: ignore[no-untyped-def]
    """Change a thread's part of each weight."""
    d = carray(data, (5,), np.int64)
    parts, weights = d[1], d[2]
    places = carray(pointer(d[3]), (weights, len(PLACES)), np.int64)
    numbers = carray(pointer(d[4]), (weights, len(NUMBERS)), np.float32)
    part = take(d.ctypes.data)
    while part < parts:
        for n in range(weights):
            first, end = part * places[n, 4] // parts, (part + 1) * places[n, 4] // parts
            _change(
                carray(pointer(places[n, 0] + 4 * first), (end - first,), np.float32),
                carray(pointer(places[n, 1] + 4 * first), (end - first,), np.float32),
                carray(pointer(places[n, 2] + 4 * first), (end - first,), np.float32),
                carray(pointer(places[n, 3] + 4 * first), (end - first,), np.float32),
                numbers[n],
            )
        part = take(d.ctypes.data)
