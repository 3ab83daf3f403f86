from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.inspection import features
from charrnn.inspection.features import Feature


def marked(name: str, text: str) -> str:
    """Return a feature of a text as one digit per character, with a dot for 0."""
    (found,) = [one for one in features.features(text) if one.name == name]
    return "".join("." if value == 0 else f"{value % 10}" for value in found.values)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("inside quotes", 'he "is" no', "...111...."),
        ("inside quotes", "he “is” «no»", "...111..111."),
        ("inside quotes", 'a "b\n\nc" d', "." * 10),
        ("inside $ $", r"a \$b $c$", "......11."),
        ("inside < >", "a <b c> < d", "..1111....."),
        ("inside a comment", "a // b\nc", "..1111.."),
        ("inside a comment", "  # b\nc", "11111.."),
        ("inside a comment", "http://a", "." * 8),
        ("inside brackets", "a(b[c)d(e", ".1111...."),
        ("bracket depth", "(a[b]c)(", "112211.."),
        ("position in the line", "ab\ncd\n", "12.12."),
        ("position in the word", "ab cd1", "12.12."),
        ("indentation", "  a\nb\n\tc", "1222..11"),
        ("letter", "a1é ", "1.1."),
        ("capital letter", "aBÉ", ".11"),
        ("digit", "a12", ".11"),
        ("last letter of a word", "ab c.", ".1.1."),
        ("end of a sentence", "a. b?", ".1..1"),
        ("a line end follows", "ab\nc\n", ".1.1."),
        ("inside the first word of a line", "ab cd\nef g\n", "11....11..."),
        ("inside a word in capitals", "a BC d EF:", "..11...11."),
    ],
)
def test_features_match_their_names(name: str, text: str, expected: str) -> None:
    assert len(expected) == len(text)
    assert marked(name, text) == expected


def test_brackets_far_apart_do_not_count() -> None:
    assert "1" not in marked("bracket depth", "(" + "a" * 3000 + ")")
    assert "1" in marked("bracket depth", "(" + "a" * 1000 + ")")


def test_a_token_of_several_characters_has_the_feature_of_its_last_character() -> None:
    text = "é1日"
    last = features.last_characters([b"\xc3", b"\xa9", b"1", "日".encode()], text)
    assert last.tolist() == [0, 0, 1, 2]
    assert features.last_characters(["é1".encode(), "日".encode()], text).tolist() == [1, 2]
    digit = Feature("digit", np.array([0, 1, 0]))
    assert features.at_tokens(digit, last).values.tolist() == [0, 0, 1, 0]


columns = st.lists(st.integers(0, 5), min_size=2, max_size=12)


@given(columns)
def test_equal_values_share_a_rank(values: list[int]) -> None:
    expected = [
        sum(one < value for one in values) + (sum(one == value for one in values) + 1) / 2
        for value in values
    ]
    both = np.array([values, values[::-1]], np.float64).T
    assert features.ranks(both).T.tolist() == [expected, expected[::-1]]


@given(columns, st.integers(0, 2**12 - 1))
def test_scores_match_counted_pairs_and_correlated_ranks(values: list[int], bits: int) -> None:
    yes = np.array([bits >> place & 1 for place in range(len(values))])
    units = np.array(values, np.float64)[:, None]
    if 0 < yes.sum() < len(yes):
        pairs = [np.sign(a - b) for a in units[yes == 1, 0] for b in units[yes == 0, 0]]
        assert features.scores(units, yes, is_number=False) == pytest.approx([np.mean(pairs)])
    ranked = features.ranks(np.stack([units[:, 0], yes * 2.0], 1))
    expected = 0.0 if (ranked.std(0) == 0).any() else np.corrcoef(ranked.T)[0, 1]
    assert features.scores(units, yes * 2, is_number=True) == pytest.approx([expected])


def test_a_unit_is_chosen_on_the_first_half_and_scored_on_the_second() -> None:
    rng = np.random.default_rng(1)
    wanted = rng.integers(0, 2, 400)
    units = rng.standard_normal((400, 50))
    units[:, 7] = 0.3 * units[:, 7] - wanted  # tracks it with the opposite sign
    units[:200, 9] = wanted[:200]  # only in the half where units are chosen
    first, second, *_ = features.trackers(units, Feature("planted", wanted), 3)
    assert (first.unit, first.chosen_by) == (9, 1.0)
    assert abs(first.score) < 0.3
    assert second.unit == 7
    assert second.score < -0.9


def test_rare_features_are_not_searched_for() -> None:
    often, seldom = np.arange(100) % 2, (np.arange(100) < 30) * 1
    assert features.is_frequent_enough(Feature("often", often))
    assert not features.is_frequent_enough(Feature("only at first", seldom))
