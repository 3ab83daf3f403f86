"""Reads tokens with an adaptive predictor, compiled: scores them, codes them or decodes them.

The three do the same arithmetic in the same function, so what was coded can be decoded: nothing
here may be reordered by the compiler.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.adaptive.counts import append, count_choice, look_ahead, look_up
from charrnn.adaptive.mixer import learn, predict
from charrnn.arrays import Integers
from charrnn.compiler.cache import compile_exactly
from charrnn.compiler.scalar_math import exact

SCORE, ENCODE, DECODE = range(3)
ONE = 65536  # what probabilities are coded as parts of
_TOP = 2**32 - 1
LOW, HIGH, VALUE, POSITION = range(4)  # in `Coder.numbers`


class Coder(NamedTuple):
    """A binary arithmetic coder.

    Attributes:
        numbers: both ends of the current interval, what the decoder has read of it, and the
            position in the bytes.
        data: the bytes written or read.
    """

    numbers: Integers
    data: NDArray[np.uint8]

    @classmethod
    def over(cls, data: NDArray[np.uint8]) -> Coder:
        """Return a coder at the beginning of these bytes: a code to read, or place for one.

        A decoder has read the first four.
        """
        first = int.from_bytes(data[:4].tobytes().ljust(4, b"\0"), "big")
        return cls(np.array([0, _TOP, first, 4 if len(data) else 0]), np.array(data))

    @classmethod
    def encoder(cls, tokens: int, vocab_size: int) -> Coder:
        """Return a coder with place for the longest code of so many tokens."""
        return cls.over(np.zeros(4 + 4 * tokens * (vocab_size.bit_length() + 1), np.uint8))

    def end(self) -> bytes:
        """Return the last bytes of a code."""
        return int(self.numbers[LOW]).to_bytes(4, "big")

    @property
    def exhausted(self) -> bool:
        """Whether a decoder has read more than there is."""
        return bool(self.numbers[POSITION] > len(self.data))


@exact
def _code(coder, mode, p, bit):  # type: ignore[no-untyped-def]
    """Code one bit, which is 1 with a probability of p / ONE; return it."""
    numbers = coder.numbers
    middle = numbers[LOW] + (((numbers[HIGH] - numbers[LOW]) * p) >> 16)
    if mode == DECODE:
        bit = 1 if numbers[VALUE] <= middle else 0
    if bit:
        numbers[HIGH] = middle
    else:
        numbers[LOW] = middle + 1
    while numbers[LOW] >> 24 == numbers[HIGH] >> 24:
        if mode == ENCODE:
            coder.data[numbers[POSITION]] = numbers[HIGH] >> 24
            numbers[POSITION] += 1
        else:
            numbers[VALUE] = ((numbers[VALUE] << 8) & _TOP) | _next_byte(coder)
        numbers[LOW] = (numbers[LOW] << 8) & _TOP
        numbers[HIGH] = ((numbers[HIGH] << 8) & _TOP) | 255
    return bit


@exact
def _next_byte(coder):  # type: ignore[no-untyped-def]
    """Return the next byte; zeros after the last."""
    position = coder.numbers[POSITION]
    coder.numbers[POSITION] += 1
    return np.int64(coder.data[position]) if position < len(coder.data) else np.int64(0)


@exact
def upper_half(low, high):  # type: ignore[no-untyped-def]
    """Return the first token of the upper half of a range.

    Of large vocabularies, the first 128 tokens are one half: the frequent ones of most texts.
    """
    return 128 if low == 0 and high > 256 else (low + high) // 2


@exact
def _cumulate(logits, sums):  # type: ignore[no-untyped-def]
    """Fill in the sums of the first 0, 1, ... V probabilities, up to a common factor."""
    peak = logits[0]
    for j in range(len(logits)):
        peak = max(peak, logits[j])
    sums[0] = 0.0
    for j in range(len(logits)):
        sums[j + 1] = sums[j] + math.exp(np.float64(logits[j]) - np.float64(peak))


@exact
def _upper(sums, low, choice, high):  # type: ignore[no-untyped-def]
    """Return the network's probability of the upper half of a range, given the range."""
    whole = sums[high] - sums[low]
    return (sums[high] - sums[choice]) / whole if whole > 0.0 else 0.5


@compile_exactly
def read(memory, logits, sums, tokens, nats, coder, mode):  # type: ignore[no-untyped-def]
    """Read tokens, each predicted before it is learnt.

    Args:
        memory: what was learnt so far; changes.
        logits: the network's (T, V).
        sums: work space (V + 1,).
        tokens: (T,); filled in by DECODE.
        nats: -ln p (T,), as they are coded; filled in.
        coder: unused by SCORE.
        mode: SCORE, ENCODE or DECODE.
    """
    for t in range(len(tokens)):
        _cumulate(logits[t], sums)
        low, high, total = 0, logits.shape[1], 0.0
        while high - low > 1:
            choice = upper_half(low, high)
            p = predict(memory, low, choice, high, _upper(sums, low, choice, high))
            coded = min(max(int(p * ONE), 1), ONE - 1)
            bit = 1 if mode != DECODE and tokens[t] >= choice else 0
            if mode != SCORE:
                bit = _code(coder, mode, coded, bit)
            total -= math.log((coded if bit else ONE - coded) / ONE)
            learn(memory, choice, p, bit)
            low, high = (choice, high) if bit else (low, choice)
        tokens[t], nats[t] = low, total
        append(memory, low)


@compile_exactly
def count(memory, tokens):  # type: ignore[no-untyped-def]
    """Read tokens (T,) into the count memory alone."""
    for t in range(len(tokens)):
        low, high = 0, len(memory.letters)
        while high - low > 1:
            choice = upper_half(low, high)
            look_up(memory, choice)
            look_ahead(memory, low, choice, high)
            bit = 1 if tokens[t] >= choice else 0
            count_choice(memory, choice, bit)
            low, high = (choice, high) if bit else (low, choice)
        append(memory, tokens[t])


@compile_exactly
def likeliest(memory, logits, sums, ids, nats):  # type: ignore[no-untyped-def]
    """Find the most likely next tokens, best first: of all open ranges the likeliest is halved.

    Args:
        memory: what was learnt so far; nothing is learnt here.
        logits: the network's (V,).
        sums: work space (V + 1,).
        ids: (K,), K is at most V; filled in.
        nats: their -ln p (K,); filled in.
    """
    vocab_size, found, ranges = len(logits), 0, 1
    lows, highs = np.zeros(vocab_size, np.int64), np.zeros(vocab_size, np.int64)
    costs = np.zeros(vocab_size)
    highs[0] = vocab_size
    _cumulate(logits, sums)
    while found < len(ids):
        best = 0
        for r in range(ranges):
            best = r if costs[r] < costs[best] else best
        low, high, cost = lows[best], highs[best], costs[best]
        if high - low == 1:
            ids[found], nats[found] = low, cost
            found += 1
            ranges -= 1
            lows[best], highs[best], costs[best] = lows[ranges], highs[ranges], costs[ranges]
            continue
        choice = upper_half(low, high)
        p = predict(memory, low, choice, high, _upper(sums, low, choice, high))
        highs[best], costs[best] = choice, cost - math.log(1.0 - p)
        lows[ranges], highs[ranges], costs[ranges] = choice, high, cost - math.log(p)
        ranges += 1
