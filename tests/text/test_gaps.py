"""Gaps in texts: how they are drawn, what their pairs are, and in which order they are learned."""

from __future__ import annotations

import math

import numpy as np
import pytest

from charrnn.text.gaps import MAX_CONTEXT, MAX_GAP, PER_GAP, GapOrder, GapText
from charrnn.text.tokenizer import ByteTokenizer, CharTokenizer

TEXT = "a rose is a rose; " * 500
STARTS = [0, 40, 4000, 4020]
TOKENIZER = CharTokenizer.from_texts(TEXT)


@pytest.fixture
def text() -> GapText:
    return GapText(TOKENIZER.encode(TEXT), STARTS, TOKENIZER)


def test_gaps_follow_from_the_seed_alone(text: GapText) -> None:
    first, again, other = (text.drawn(*seed).bounds for seed in ((1, 5), (1, 5), (1, 6)))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (4, len(text)) == (4, math.ceil(len(TEXT) / PER_GAP))
    assert text.drawn(1, limit=7).bounds.shape == (4, 7)


def test_every_token_is_missing_about_once_in_an_epoch(text: GapText) -> None:
    missing = np.zeros(len(TEXT))
    for epoch in range(200):
        for start, end in text.drawn(1, epoch).bounds[1:3].T:
            missing[start:end] += 1 / 200
    assert missing[STARTS].min() > 0.3  # also where documents begin
    assert missing.min() > 0.3
    assert missing.max() < 2
    assert missing.mean() == pytest.approx(1, abs=0.1)


def test_a_gap_and_its_contexts_lie_in_one_document(text: GapText) -> None:
    ends = [*STARTS[1:], len(TEXT)]
    for epoch in range(20):
        gaps = text.drawn(3, epoch)
        left, start, end, right = gaps.bounds
        document = np.searchsorted(STARTS, start, "right") - 1
        assert (np.array(STARTS)[document] <= left).all()
        assert (right <= np.array(ends)[document]).all()
        assert ((left <= start) & (start < end) & (end <= right)).all()
        assert (start - left).max() <= MAX_CONTEXT
        assert (right - end).max() <= MAX_CONTEXT
        assert (end - start).max() <= MAX_GAP


def test_lengths_are_log_uniform_and_contexts_uniform() -> None:
    ids = np.zeros(200_000, np.uint8)
    gaps = GapText(ids, [0], CharTokenizer("a")).drawn(1)
    lengths = gaps.target_lengths
    for length in (1, 2, 7, 63):
        expected = math.log((length + 1) / length) / math.log(MAX_GAP + 1)
        assert (lengths == length).mean() == pytest.approx(expected, abs=0.01)
    contexts = gaps.source_lengths - 1
    assert contexts.mean() == pytest.approx(MAX_CONTEXT, rel=0.02)
    assert lengths.mean() == pytest.approx(PER_GAP, rel=0.05)


def test_a_pair_is_both_contexts_and_what_is_missing(text: GapText) -> None:
    gaps = text.drawn(2)
    part = gaps.part(np.array([3, 0, len(text) - 1]))
    for index, gap in enumerate((3, 0, len(text) - 1)):
        left, start, end, right = gaps.bounds[:, gap]
        source = part.source(index)
        assert source[start - left] == TOKENIZER.vocab_size
        both = np.delete(source, start - left)
        assert TOKENIZER.decode(both) == TEXT[left:start] + TEXT[end:right]
        assert TOKENIZER.decode(part.target(index)) == TEXT[start:end]
        assert len(source) == gaps.source_lengths[gap]
        assert len(part.target(index)) == gaps.target_lengths[gap]
    assert len(gaps.part()) == len(text)


def test_no_gap_cuts_a_character() -> None:
    tokenizer, written = ByteTokenizer(), "aé中🙂" * 100
    for seed in range(5):
        part = GapText(tokenizer.encode(written), [0], tokenizer).drawn(seed).part()
        for index in range(len(part)):
            left, right = (
                tokenizer.decode(piece)
                for piece in np.split(part.source(index), np.flatnonzero(part.source(index) == 256))
                for piece in [piece[piece < 256]]
            )
            whole = left + tokenizer.decode(part.target(index)) + right
            assert len(part.target(index))
            assert "\ufffd" not in left + right + whole
            assert whole in written


def test_few_characters_have_gaps_too() -> None:
    for size in range(1, 4):
        part = GapText(np.zeros(size, np.uint8), [0], CharTokenizer("a")).held_out()
        assert len(part) == 1
        assert 1 <= len(part.target(0)) <= size
    assert len(GapText(np.zeros(0, np.uint8), [], CharTokenizer("a")).held_out()) == 0


def test_an_epoch_has_every_gap_once_in_batches_of_similar_lengths(text: GapText) -> None:
    order, again = (GapOrder(text, 16, seed=4) for _ in range(2))
    assert order.batches == math.ceil(len(text) / 16)
    for epoch in (0, 3):
        gaps, which = order._of_epoch(epoch)
        assert sorted(np.concatenate(which).tolist()) == list(range(len(text)))
        assert max(map(len, which)) <= 16
        for batch in which:
            octaves = gaps.octaves[batch]
            assert octaves.max() - octaves.min() <= 1
    part, rows = order.pairs(3, 2)
    other, _ = again.pairs(3, 2)  # without the epochs before
    assert np.array_equal(part.ids, other.ids)
    assert rows.tolist() == list(range(len(part)))
    read = (part.source_lengths.max() + part.target_lengths.max() + 1) * len(part)
    assert read <= order.most_steps
    assert order.tokens == pytest.approx(len(gaps.part().ids), rel=0.1)


def test_usual_gaps_are_a_batch_of_middle_lengths(text: GapText) -> None:
    part = text.usual(16)
    assert len(part) == 16
    assert 4 <= part.target_lengths.min() <= part.target_lengths.max() <= 31
    assert 30 < part.source_lengths.mean() < 100
    assert len(GapText(np.zeros(20, np.uint8), [0], CharTokenizer("a")).usual(16)) == 2
