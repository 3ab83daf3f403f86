from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.text import suffix_array

# Few letters, so that there are many repeats; texts are padded with the byte 0.
few_letters = st.lists(st.sampled_from([0, 1, 255]), max_size=80).map(bytes)


def naive_order(text: bytes) -> list[int]:
    return sorted(range(len(text)), key=lambda i: text[i:])


@given(few_letters | st.binary(max_size=60))
@example(b"\0" * 40)
@example(b"ab" * 30)
@example(b"abcdefg\0" * 2 + b"abcdefg")
def test_suffixes_are_in_alphabetical_order(text: bytes) -> None:
    order = suffix_array.suffix_order(np.frombuffer(text, np.uint8))
    assert order.dtype == np.uint32
    assert order.tolist() == naive_order(text)


def test_long_repeats_are_sorted() -> None:
    text = b"the cat is home. " * 200
    assert suffix_array.suffix_order(np.frombuffer(text, np.uint8)).tolist() == naive_order(text)


@pytest.fixture(params=["compiled", "plain"])
def extend(request: pytest.FixtureRequest) -> Any:
    """Return the search, compiled and plain."""
    function = suffix_array.extend_matches
    return function if request.param == "compiled" else getattr(function, "py_func", function)


def test_matches_are_the_longest_and_longer_known_ones_stay(extend: Any) -> None:
    text = np.frombuffer(b"banana bandana", np.uint8)
    order = suffix_array.suffix_order(text)
    sample = np.frombuffer(b"xbandit nana", np.uint8)
    starts = np.arange(len(sample))
    lengths, positions = np.zeros((2, len(starts)), np.int64)
    lengths[8], positions[8] = 99, -1  # better than anything here
    extend(text, order, np.int64(0), sample, starts, lengths, positions)
    #                            x  b  a  n  d  i  t  _  n   a  n  a
    assert lengths.tolist() == [0, 4, 3, 2, 1, 0, 0, 1, 99, 3, 2, 1]
    assert positions[8] == -1
    for start, length, position in zip(starts, lengths, positions, strict=True):
        if start != 8:
            assert bytes(sample[start : start + length]) == bytes(
                text[position : position + length]
            )


def test_positions_count_from_the_part_and_matches_continue_beyond_it(extend: Any) -> None:
    text = np.frombuffer(b"--abcabd", np.uint8)
    order = suffix_array.suffix_order(text[2:5])  # of "abc" alone
    lengths, positions = np.zeros((2, 1), np.int64)
    extend(text, order, np.int64(2), text[2:].copy(), np.array([0]), lengths, positions)
    assert (lengths[0], positions[0]) == (6, 2)
