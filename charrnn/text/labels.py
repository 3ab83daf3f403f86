"""Labels: texts of pairs of which there are few, such as the languages of names."""

from __future__ import annotations

from charrnn.text.pairs import PairPart

MOST = 50  # different texts that are labels


def are_labels(different: int, pairs: int) -> bool:
    """Return whether the different targets of pairs are labels: few, and each of several pairs."""
    return different <= min(MOST, pairs / 2)


def has_labels(part: PairPart) -> bool:
    """Return whether the targets of pairs are labels."""
    different: set[bytes] = set()
    for index in range(len(part)):
        different.add(part.target(index).tobytes())
        if not are_labels(len(different), len(part)):
            return False
    return bool(different)
