"""What a line is: one definition, for text, code points and bytes."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.text import line_ends

# The definition again, as one pattern; and text that tries all of it.
ENDS = re.compile("\r\n|\n|\r|\x85|\u2028|\u2029")
ALPHABET = ["\r", "\n", "\r\n", "\x85", "\u2028", "\u2029", "a", "é", "\f", "\v", "\x1c", "\u2027"]
texts = st.lists(st.sampled_from(ALPHABET), max_size=12).map("".join)


def plain_lines(text: str) -> list[str]:
    ends = [match.end() for match in ENDS.finditer(text)]
    cut = [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]
    return [line for line in cut if line]


@given(texts)
def test_lines_end_where_the_definition_says(text: str) -> None:
    lines = line_ends.split(text)
    assert lines == plain_lines(text)
    assert line_ends.count(text) == len(ENDS.findall(text))
    for line in lines:
        plain = line_ends.without_end(line)
        assert not ENDS.search(plain)
        assert line == plain or ENDS.fullmatch(line[len(plain) :])


def test_page_breaks_are_characters_of_a_line() -> None:
    assert line_ends.split("one\f\ntwo\v\x1c\x1d\x1ethree") == ["one\f\n", "two\v\x1c\x1d\x1ethree"]


@given(texts, st.integers(0, 30))
def test_code_points_and_bytes_are_counted_alike(text: str, cut: int) -> None:
    number = len(ENDS.findall(text))
    points = np.frombuffer(text.encode("utf-32-le"), "<u4")
    assert int(line_ends.ends(points).sum()) == number
    data = np.frombuffer(text.encode(), np.uint8)
    cut = min(cut, len(data))
    parts = line_ends.count_in_bytes(data, 0, cut), line_ends.count_in_bytes(data, cut, len(data))
    assert sum(parts) == number


@given(texts, st.integers(0, 30))
def test_a_position_is_a_line_and_a_column(text: str, at: int) -> None:
    before = text[:at]
    line, column = line_ends.position(before)
    last = "" if not before or ENDS.search(before[-1]) else plain_lines(before)[-1]
    assert (line, column) == (1 + len(ENDS.findall(before)), 1 + len(last))
    assert line_ends.position("a\r\nbc\r", "\n") == (2, 4)
    assert line_ends.position("a\r\nbc\r", "d") == (3, 1)


@given(st.lists(texts, max_size=5))
def test_pieces_are_not_cut_between_cr_and_lf(pieces: list[str]) -> None:
    made = list(line_ends.whole(pieces))
    assert "".join(made) == "".join(pieces)
    assert all(made)
    assert not any(a.endswith("\r") and b.startswith("\n") for a, b in itertools.pairwise(made))


@given(texts)
def test_other_line_ends_are_counted_and_become_lf(text: str) -> None:
    block = text.encode()
    found = line_ends.count_other_than_lf(block)
    alone = text.replace("\r\n", "")
    expected = {
        "crlf": text.count("\r\n"),
        "cr": alone.count("\r"),
        "nel": text.count("\x85"),
        "ls": text.count("\u2028"),
        "ps": text.count("\u2029"),
    }
    assert found == {kind: number for kind, number in expected.items() if number}
    assert line_ends.to_lf(block, found).decode() == ENDS.sub("\n", text)
    counts = {character: text.count(character) for character in set(text)}
    kinds = line_ends.count_kinds(counts, expected["crlf"])
    assert kinds == {"lf": alone.count("\n"), **expected}


@pytest.mark.parametrize(
    ("text", "following", "ends"),
    [
        ("a\n", "", True),
        ("a\r", "b", True),
        ("a\r", "\n", False),
        ("\u2028", "\n", True),
        ("a", "\n", False),
        ("", "\n", False),
        ("\f", "a", False),
    ],
)
def test_a_line_ends_after_a_unit(text: str, following: str, ends: bool) -> None:
    assert line_ends.ends_line(text, following) is ends
