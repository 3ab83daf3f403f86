"""Rules for initial weight matrices."""

from __future__ import annotations

import numpy as np

from charrnn.arrays import Floats32


def glorot(rows: int, columns: int, rng: np.random.Generator) -> Floats32:
    """Return uniform weights that keep the variance forward and backward.

    Glorot and Bengio (2010): the variance is 2 / (rows + columns).
    """
    bound = (6.0 / (rows + columns)) ** 0.5
    return rng.uniform(-bound, bound, (rows, columns)).astype(np.float32)


def he(rows: int, columns: int, rng: np.random.Generator) -> Floats32:
    """Return normal weights that keep the variance through rectified units (He et al. 2015)."""
    normal = rng.standard_normal((rows, columns)) * (2.0 / columns) ** 0.5
    return np.asarray(normal, np.float32)


def orthogonal(size: int, rng: np.random.Generator) -> Floats32:
    """Return a random orthogonal matrix (size, size), all singular values 1 (Saxe et al. 2014)."""
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    # Without the signs of r's diagonal the matrices would not be uniformly distributed.
    return np.asarray(q * np.sign(np.diagonal(r)), np.float32)
