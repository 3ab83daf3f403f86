from __future__ import annotations

import math

import numpy as np
import pytest

from charrnn.adaptive import memory, reading
from charrnn.adaptive.reading import SCORE, Coder

LETTERS = np.ones(16, bool)
UNUSED = Coder.over(np.zeros(0, np.uint8))


def size(length: int) -> int:
    """Return the bytes of a memory for a text of some length, without those of its history."""
    known = memory.empty(length, np.ones(6000, bool))
    return sum(array.nbytes for array in known) - known.history.nbytes


def test_memory_grows_with_a_text_only_up_to_a_limit() -> None:
    assert size(10_000) < size(200_000) < size(10_000_000) == size(100_000_000) < 540e6
    assert memory.empty(100_000_000, LETTERS).history.nbytes == 400_000_000


def test_full_tables_go_on_learning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MIN_BITS", 4)
    monkeypatch.setattr(memory, "MAX_BITS", 4)
    chance = np.random.default_rng(1)
    tokens = np.where(chance.random(3000) < 0.5, 3, chance.integers(0, 16, 3000))
    known, nats = memory.empty(3000, LETTERS), np.zeros(3000)
    assert known.slots.shape == (memory.CONTEXTS, 16)
    logits = np.zeros((3000, 16), np.float32)
    reading.read(known, logits, np.zeros(17), tokens, nats, UNUSED, SCORE)
    assert nats[1000:].mean() < 0.85 * math.log(16)  # its entropy is 0.70 of that
