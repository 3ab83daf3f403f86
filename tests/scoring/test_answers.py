from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import ModelConfig
from charrnn.decoding.step import log_softmax
from charrnn.inference.numpy_pair_engine import NumpyPairEngine
from charrnn.scoring.answers import confusion, edit_distance, errors, score_pairs
from charrnn.text.pairs import PairPart
from charrnn.text.tokenizer import CharTokenizer

MakeValues = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("text", "other", "edits"),
    [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("ab", "ba", 2)],
)
def test_edit_distance(text: str, other: str, edits: int) -> None:
    assert edit_distance(text, other) == edits
    assert edit_distance(other, text) == edits


def _edits(text: str, other: str) -> int:
    """Return the distance by its recursive definition."""
    if not text or not other:
        return len(text) + len(other)
    return min(
        _edits(text[1:], other[1:]) + (text[0] != other[0]),
        _edits(text[1:], other) + 1,
        _edits(text, other[1:]) + 1,
    )


@given(st.text("ab", max_size=4), st.text("abc", max_size=4))
def test_edit_distance_is_what_its_definition_says(text: str, other: str) -> None:
    assert edit_distance(text, other) == _edits(text, other)


def test_an_answer_is_right_if_it_is_any_target_of_its_source() -> None:
    found = errors(["two", "abcd", "x"], [["one", "two"], ["abxd", "zzzzzzzz"], ["y"]])
    assert (found.sources, found.right) == (3, 1)
    assert found.exact == pytest.approx(1 / 3)
    assert (found.edits, found.characters) == (2, 3 + 4 + 1)
    assert found.character_error_rate == pytest.approx(2 / 8)


def test_labels_make_a_table() -> None:
    targets = ["a"] * 4 + ["b"] * 2
    made = confusion(["a", "a", "a", "b", "b", "c"], targets)
    assert made is not None
    assert made.names == ("a", "b")
    assert made.counts.tolist() == [[3, 1, 0], [0, 1, 1]]
    assert made.accuracy == pytest.approx(4 / 6)
    assert made.balanced_accuracy == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_targets_that_are_mostly_different_are_no_labels() -> None:
    assert confusion(["a", "b", "c"], ["a", "b", "c"]) is None
    many = [str(number) for number in range(60)] * 3
    assert confusion(many, many) is None


@pytest.mark.parametrize("context", ["fixed", "attention"])
def test_the_score_is_the_sum_over_pairs_with_their_ends(
    make_values: MakeValues, context: str
) -> None:
    tokenizer = CharTokenizer("abcdé")
    config = ModelConfig(6, "gru", 2, 8, embedding_size=4, encoder="bidirectional", context=context)
    engine = NumpyPairEngine(config, make_values(config))
    texts = [("ab", "cd"), ("a", "é"), ("ab", "d"), ("cabc", "abcdé")]
    pairs = PairPart.of([tuple(map(tokenizer.encode, pair)) for pair in texts])  # type: ignore[misc]
    expected = 0.0
    for source, target in texts:
        ids = [*tokenizer.encode(target).tolist(), config.end_token]
        inputs = np.array([[config.start_token, *ids[:-1]]]).T
        read = tokenizer.encode(source)
        logits, _ = engine.read(inputs, engine.encode(read[:, None], np.array([len(read)])))
        expected -= log_softmax(logits[:, 0])[np.arange(len(ids)), ids].sum()
    found = score_pairs(engine, pairs, tokenizer)
    assert found.total_nats == pytest.approx(expected, rel=1e-5)
    assert (found.characters, found.num_bytes) == (9, 11)
