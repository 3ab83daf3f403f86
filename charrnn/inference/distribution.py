"""Further results of logits: the most likely tokens, and whole numbers for arithmetic coding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from charrnn.compiler.cache import declare

PRECISION = 2**22  # about the sum of frequencies; float32 represents such sums exactly

(likeliest_rows,) = declare("charrnn.inference.row_functions", "likeliest_rows")


def frequencies(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return whole numbers (B, V), at least 1, in proportion to the probabilities of logits (B, V).

    They depend only on a row's own logits, and are the same wherever the same code runs: archives
    are coded and decoded with them.
    """
    from charrnn.inference import row_functions  # imports numba

    result = np.empty_like(logits)
    row_functions.frequencies(logits, PRECISION, result)
    return result
