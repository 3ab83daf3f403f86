"""Code points and blocks of UTF-8."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.text import utf8

any_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(any_text)
def test_code_points_are_those_of_the_text(text: str) -> None:
    assert utf8.code_points(text.encode()).tolist() == list(map(ord, text))


@pytest.mark.parametrize("places", [(0,), (8191, 8192), (20_000,), (3, 39_998), (39_998,)])
def test_only_blocks_beyond_ascii_are_cut_small(places: tuple[int, ...]) -> None:
    text = bytearray(b"x" * 40_000)
    for place in places:
        text[place : place + 2] = "é".encode()
    blocks = list(utf8.small_blocks(iter([bytes(text)])))
    assert b"".join(blocks) == text
    small = [block for block in blocks if not block.isascii()]
    assert all(len(block) <= utf8.SMALL for block in small)
    between = (places[-1] + 1) // 8192 - places[0] // 8192 + 1
    assert len(blocks) <= between + 2  # the bytes before and after in one piece each
