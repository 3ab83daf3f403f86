"""Texts as they grow: where they end, and what is written when."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.decoding.output_text import Sample, text_maker
from charrnn.decoding.step import ENDED, OVER
from charrnn.text.tokenizer import CharTokenizer


def _cut(text: str, stops: list[str]) -> str:
    """Return a text without the stop string at its end, the longest one that fits."""
    return text[: len(text) - max(len(stop) for stop in stops if text.endswith(stop))]


@given(
    st.lists(st.integers(0, 1), max_size=30),
    st.lists(st.text("ab", min_size=1, max_size=5), max_size=3),
    st.none() | st.integers(0, 30),
    st.lists(st.integers(1, 32), max_size=6),
)
def test_a_text_ends_where_it_would_token_by_token(
    tokens: list[int], stops: list[str], end: int | None, cuts: list[int]
) -> None:
    """With the first stop string or the end of a constraint, however the tokens are cut."""
    if end is not None and end < len(tokens):
        tokens = tokens[:end] + [ENDED] + [OVER] * (len(tokens) - end - 1)
    log_probs = [0.0 if s == OVER else -1 / (2 + at) for at, s in enumerate(tokens)]
    text, log_prob, reason = "", 0.0, "length"
    for token, value in zip(tokens, log_probs, strict=True):
        log_prob += value
        if token == ENDED:
            reason = "constraint"
            break
        text += "ab"[token]
        if any(text.endswith(stop) for stop in stops):
            reason = "stop"
            break
    ids = tuple("ab".index(letter) for letter in text)
    if reason == "stop":
        text = _cut(text, stops)

    tokenizer, pieces = CharTokenizer.from_texts("ab"), []
    growing = text_maker(tokenizer, stops, len(tokens) + 1)(pieces.append)
    continues, bounds = True, sorted({0, len(tokens), *(c for c in cuts if c < len(tokens))})
    for first, last in itertools.pairwise(bounds):
        if continues:
            part = np.array(tokens[first:last]), np.array(log_probs[first:last])
            continues = growing.extend(*part)
    sample = growing.finish(None)
    assert continues == (reason == "length")
    assert (sample.text, sample.finished_by, sample.ids) == (text, reason, ids)
    assert sample.log_prob == pytest.approx(log_prob, abs=1e-12)
    assert "".join(pieces) == text


def test_a_sample_says_what_it_is_and_shows_itself_in_a_notebook() -> None:
    sample = Sample("a <b>\n" + "x" * 90, 3, -12.345, "stop", (1, 2), "It & ")
    assert str(sample) == sample.text
    assert repr(sample) == (
        f"<Sample 'a <b>\\n{'x' * 54}…': 96 characters, seed 3, log-probability -12.35 nats, "
        "ended by stop>"
    )
    assert "seed" not in repr(Sample("a", None, -1.0, "length"))
    shown = sample._repr_html_()
    assert f"<b>It &amp; </b>a &lt;b&gt;\n{'x' * 90}</pre>" in shown
    assert "96 characters, seed 3" in shown
