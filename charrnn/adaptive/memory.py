"""What an adaptive predictor has learnt from a text so far, as arrays for compiled code.

A token is a path of binary choices: the range of all tokens is halved until one is left. A choice
is named by the first token of its upper half, from 1 to V - 1.

Hash tables grow with the text up to 2^MAX_BITS entries; then what was met less often is replaced.
All arrays but `history` take at most 540 MB, however long the text is: 8 bytes for each of 2^22
choices in each of 13 contexts, and some 100 MB of others. `history` takes 4 bytes a token.

Archives of before 30 November 2026 need the older predictor, which has fewer contexts and matches.

Shapes: V tokens, N tokens of the text, C contexts, M matches, I inputs of the mixer, S selectors.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats64, Integers

ORDERS = (1, 2, 3, 4, 5, 6, 8)  # how many tokens the contexts have
WORDS_BEFORE = (0, 1, 2)  # more contexts: the word so far, after so many words
FIRST_WORDS = len(ORDERS)
# Three more: the token that a match expects, and what followed the last token, or the last two, the
# last two times. The older predictor has none of these.
EXPECTED = FIRST_WORDS + len(WORDS_BEFORE)
FOLLOWERS = EXPECTED + 1
CONTEXTS, OLDER_CONTEXTS = FOLLOWERS + 2, EXPECTED
# How many tokens must agree before a repetition is expected to go on.
MATCHES, OLDER_MATCHES = (5, 9, 16), (5, 12)
MAX_MATCH = 400  # tokens compared
# The inputs of the mixer: from the network, a constant, from contexts (the probability of a choice,
# then what follows its last outcomes) and from matches.
NETWORK, CONSTANT, FIRST_CONTEXT = 0, 1, 2
# What selects sets of the mixer's weights: the lengths of the matches, the longest context that has
# seen this choice and how often, how certain the network is, the choice itself, and the last token.
BY_MATCH, BY_CONTEXT, BY_NETWORK, BY_CHOICE, BY_TOKEN = range(5)
SELECTORS = 5
LENGTHS, SEEN, CERTAINTIES = 16, 4, 16
# The first set of each selector up to choices; those of the last token come after V choices.
FIRST_SETS = tuple(
    itertools.accumulate((LENGTHS, SEEN * (len(ORDERS) + 1), CERTAINTIES), initial=0)
)
# Cells of a refinement: by how often a choice was met, and by its probability.
COUNTS, LEVELS = 12, 33
CORRECTIONS, CORRECTION_BITS = 2, 16  # tables that correct the mixer, after one and two tokens
READ, WORD = range(2)  # in `Memory.numbers`; the words before come after the word so far
MIN_BITS, MAX_BITS = 16, 22  # of hash tables
CONTEXT_WEIGHT = 0.07  # the first weight of contexts and matches
PLACES, TOKEN_BITS = 2**16, 20  # of `Memory.followers`; bits of each token there
OUTCOMES = 256  # the last seven outcomes of a choice or fewer, as bits after a leading one


class Memory(NamedTuple):
    """All arrays of a predictor.

    Attributes:
        slots: a hash table of choices for each context (C, 2^bits): 16 bits of probability, 8 that
            count how often the choice was met, 8 of its last outcomes, 16 that check the key.
        refined: what such a probability turned out to be (C, cells, 2): a probability, and how
            often it was adjusted.
        followed: the same for what follows the last outcomes of a choice (C, outcomes, 2).
        matched: the same for the next token of a match, by length (M, lengths, 2).
        weights: the mixer's sets of weights (sets, I).
        adjusted: how often each set was adjusted (sets,).
        corrected: what the mixer's probability turned out to be, by context, choice and probability
            (corrections, cells).
        final: the weights of the selected sets' outputs, by length of the match (lengths, S).
        history: the tokens read (N,).
        recent: a hash table of the last position after each context, for each match (M, 2^bits).
        matches: the position that is expected to repeat, and the length of the match (M, 2).
        least: how many tokens must agree for each match (M,).
        followers: the last two tokens that followed each token, and each two (2, places).
        letters: which tokens are parts of words (V,).
        contexts: hashes of the current contexts (C,).
        numbers: how many tokens were read, hashes of the word so far and of those before it.
        inputs: of the mixer, for the current choice (I,).
        outputs: of the selected sets (S,).
        selected: the selected sets (S,).
        keys: hashes of the current choice in its contexts (C,).
        places: of the choice in the hash tables (C,); -1 where it is new.
        cells: of the refinements in use, for contexts and matches (C + M,), -1 for none; and of the
            corrections (corrections,).
        outcomes: the last ones of the current choice in its contexts (C,); 0 where it is new.
    """

    slots: Integers
    refined: Floats64
    followed: Floats64
    matched: Floats64
    weights: Floats64
    adjusted: Integers
    corrected: Floats64
    final: Floats64
    history: NDArray[np.int32]
    recent: NDArray[np.int32]
    matches: Integers
    least: Integers
    followers: Integers
    letters: NDArray[np.bool_]
    contexts: Integers
    numbers: Integers
    inputs: Floats64
    outputs: Floats64
    selected: Integers
    keys: Integers
    places: Integers
    cells: Integers
    outcomes: Integers


def empty(length: int, letters: NDArray[np.bool_], *, older: bool = False) -> Memory:
    """Return the memory before a text.

    Args:
        length: N, how many tokens will be read.
        letters: which tokens are parts of words (V,).
        older: whether it is that of the older predictor.
    """
    contexts = OLDER_CONTEXTS if older else CONTEXTS
    least = np.array(OLDER_MATCHES if older else MATCHES)
    inputs = FIRST_CONTEXT + 2 * contexts + len(least)
    depth = math.ceil(math.log2(len(letters) + 1))
    refined = np.zeros((contexts, COUNTS * LEVELS, 2))
    levels = 1 / (1 + np.exp(-(np.arange(LEVELS) - LEVELS // 2) / 2.0))  # even in the stretch
    refined[:, :, 0] = np.tile(levels, COUNTS)
    followed = np.zeros((contexts, OUTCOMES, 2))
    followed[:, :, 0] = [_share_of_ones(outcomes) for outcomes in range(OUTCOMES)]
    matched = np.zeros((len(least), LENGTHS, 2))
    matched[:, :, 0] = 1 - 1 / (np.arange(LENGTHS) + 3)
    sets = FIRST_SETS[BY_CHOICE] + 2 * len(letters)
    weights = np.full((sets, inputs), CONTEXT_WEIGHT)
    weights[:, NETWORK], weights[:, CONSTANT] = 1, 0
    return Memory(
        slots=np.zeros((contexts, 2 ** _bits(length * depth)), np.int64),
        refined=refined,
        followed=followed,
        matched=matched,
        weights=weights,
        adjusted=np.zeros(sets, np.int64),
        corrected=np.tile(levels, (CORRECTIONS, 2**CORRECTION_BITS)),
        final=np.full((LENGTHS, SELECTORS), 1 / SELECTORS),
        history=np.zeros(length, np.int32),
        recent=np.full((len(least), 2 ** _bits(length)), -1, np.int32),
        matches=np.zeros((len(least), 2), np.int64),
        least=least,
        followers=np.zeros((2, PLACES), np.int64),
        letters=letters,
        contexts=np.zeros(contexts, np.int64),
        numbers=np.zeros(WORD + 1 + max(WORDS_BEFORE), np.int64),
        inputs=np.zeros(inputs),
        outputs=np.zeros(SELECTORS),
        selected=np.zeros(SELECTORS, np.int64),
        keys=np.zeros(contexts, np.int64),
        places=np.zeros(contexts, np.int64),
        cells=np.zeros(contexts + len(least) + CORRECTIONS, np.int64),
        outcomes=np.zeros(contexts, np.int64),
    )


def _share_of_ones(outcomes: int) -> float:
    """Return the share of ones among bits after a leading one, as a probability."""
    count = max(outcomes.bit_length() - 1, 0)
    return (max(outcomes.bit_count() - 1, 0) + 0.4) / (count + 0.8)


def _bits(entries: int) -> int:
    """Return the size of a hash table for so many entries, as a power of two."""
    return min(MAX_BITS, max(MIN_BITS, math.ceil(math.log2(max(1, entries)))))
