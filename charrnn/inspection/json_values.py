"""Numbers as JSON can hold them: one that is not finite becomes None."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any


def number(value: float) -> float | None:
    """Return a number, or None if it is not finite."""
    return value if math.isfinite(value) else None


def numbers(values: Iterable[Any]) -> list[float | None]:
    """Return numbers, with None for each that is not finite."""
    return [number(float(value)) for value in values]
