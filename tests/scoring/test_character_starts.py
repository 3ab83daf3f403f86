from __future__ import annotations

import numpy as np
import pytest

from charrnn.scoring import character_starts
from charrnn.scoring.character_starts import CharacterStarts


@pytest.mark.parametrize("block", [1, 3, 8, 1000])
def test_characters_are_found_in_blocks_as_in_the_whole(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(character_starts, "_BLOCK", block)
    random = np.random.default_rng(1)
    begins = np.array([True, False, True, False])
    for length in (1, 7, 24):
        ids = random.integers(0, 4, length).astype(np.uint8)
        heads = np.flatnonzero(begins[ids])
        starts = CharacterStarts(ids, begins)
        assert starts.count == len(heads)
        numbers = np.arange(len(heads) + 1)[None, ::-1]
        assert starts.at(numbers).tolist() == np.append(heads, length)[numbers].tolist()
        tokens = np.arange(length + 1)
        assert starts.before(tokens).tolist() == np.searchsorted(heads, tokens).tolist()
