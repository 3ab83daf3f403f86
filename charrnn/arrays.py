"""The names of numpy arrays in annotations, each defined once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Floats32 = NDArray[np.float32]
Floats64 = NDArray[np.float64]
Ids = NDArray[np.integer[Any]]  # tokens, in whatever integer type holds them
Integers = NDArray[np.int64]
State = tuple[tuple[Floats, ...], ...]  # per layer, per part of the cell's state: (B, H)
