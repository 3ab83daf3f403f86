from __future__ import annotations

import math

import numpy as np
import pytest
from plain_predictor import PlainPredictor

from charrnn.adaptive import memory, reading
from charrnn.adaptive.reading import SCORE, Coder
from charrnn.arrays import Floats64, Integers

ALPHABET = "abcdefgh ."
LETTERS = np.array([c.isalpha() for c in ALPHABET])
TEXT = "a bad egg. a bad cafe. the bed faced a bead. a bad egg had a bad face. a bad egg. "
TOKENS = np.array([ALPHABET.index(c) for c in TEXT.replace("t", "a")], np.int64)
LOGITS = np.random.default_rng(1).normal(0, 1, (len(TOKENS), len(ALPHABET))).astype(np.float32)
UNUSED = Coder.over(np.zeros(0, np.uint8))


def read(known: memory.Memory, tokens: Integers, logits: Floats64 | None = None) -> Floats64:
    """Return the nats of tokens that the compiled code reads."""
    nats, sums = np.zeros(len(tokens)), np.zeros(len(ALPHABET) + 1)
    given = np.zeros((len(tokens), len(ALPHABET)), np.float32) if logits is None else logits
    reading.read(known, given, sums, tokens.copy(), nats, UNUSED, SCORE)
    return nats


@pytest.mark.parametrize("older", [False, True])
def test_compiled_code_computes_what_the_plain_predictor_does(older: bool) -> None:
    plain = PlainPredictor(LETTERS.tolist(), older=older)
    wanted = [
        plain.read(token, np.exp(row.astype(np.float64)).tolist())
        for token, row in zip(TOKENS.tolist(), LOGITS, strict=True)
    ]
    found = read(memory.empty(len(TOKENS), LETTERS, older=older), TOKENS, LOGITS)
    assert found == pytest.approx(wanted, rel=1e-4)  # -ln p, in steps of 2^-16 of p
    assert found.sum() == pytest.approx(sum(wanted), rel=1e-6)


def test_what_repeats_is_expected_and_what_does_not_costs_what_it_must() -> None:
    chance = np.random.default_rng(2).integers(0, len(ALPHABET), 4000)
    nats = read(memory.empty(8000, LETTERS), np.concatenate([chance, chance]))
    assert nats[:4000].mean() == pytest.approx(math.log(len(ALPHABET)), rel=0.03)
    assert nats[4100:].mean() < 0.05


def test_a_text_that_was_counted_is_known() -> None:
    known = memory.empty(2 * len(TOKENS), LETTERS)
    reading.count(known, TOKENS)
    assert (
        read(known, TOKENS).mean() < 0.6 * read(memory.empty(len(TOKENS), LETTERS), TOKENS).mean()
    )


def test_the_likeliest_tokens_are_those_of_the_distribution() -> None:
    known = memory.empty(len(TOKENS) + 1, LETTERS)
    read(known, TOKENS, LOGITS)
    sums, size = np.zeros(len(ALPHABET) + 1), len(ALPHABET)
    ids, nats = np.zeros(size, np.int32), np.zeros(size, np.float32)
    reading.likeliest(known, LOGITS[0], sums, ids, nats)
    assert sorted(ids.tolist()) == list(range(size))
    assert nats.tolist() == sorted(nats.tolist())
    assert np.exp(-nats.astype(np.float64)).sum() == pytest.approx(1)
    best = (np.zeros(3, np.int32), np.zeros(3, np.float32))
    reading.likeliest(known, LOGITS[0], sums, *best)
    assert best[0].tolist() == ids[:3].tolist()
    assert read(known, ids[:1].astype(np.int64), LOGITS[:1])[0] == pytest.approx(nats[0], rel=0.2)


def test_a_single_token_costs_nothing() -> None:
    known = memory.empty(3, np.array([True]))
    nats = np.ones(3)
    logits = np.zeros((3, 1), np.float32)
    reading.read(known, logits, np.zeros(2), np.zeros(3, np.int64), nats, UNUSED, SCORE)
    assert nats.tolist() == [0, 0, 0]
