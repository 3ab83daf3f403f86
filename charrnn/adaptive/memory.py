"""What an adaptive predictor has learnt from a text so far, as arrays for compiled code.

A token is a path of binary choices: the range of all tokens is halved until one is left. A choice
is named by the first token of its upper half, from 1 to V - 1.

Hash tables grow with the text up to 2^MAX_BITS entries; then what was met less often is replaced.
All arrays but `history` take at most 420 MB, however long the text is: 8 bytes for each of 2^22
choices in each of ten contexts, and some 70 MB of others. `history` takes 4 bytes a token.

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
CONTEXTS = FIRST_WORDS + len(WORDS_BEFORE)
MATCHES = (5, 12)  # how many tokens must agree before a repetition is expected to go on
MAX_MATCH = 400  # tokens compared
# The inputs of the mixer: from the network, a constant, from contexts (the probability of a choice
# and what follows its last outcomes) and from matches.
NETWORK, CONSTANT, FIRST_CONTEXT = 0, 1, 2
FIRST_OUTCOMES = FIRST_CONTEXT + CONTEXTS
FIRST_MATCH = FIRST_OUTCOMES + CONTEXTS
INPUTS = FIRST_MATCH + len(MATCHES)
FIRST_CORRECTION = CONTEXTS + len(MATCHES)  # in `Memory.cells`
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


def empty(length: int, letters: NDArray[np.bool_]) -> Memory:
    """Return the memory before a text.

    Args:
        length: N, how many tokens will be read.
        letters: which tokens are parts of words (V,).
    """
    depth = math.ceil(math.log2(len(letters) + 1))
    refined = np.zeros((CONTEXTS, COUNTS * LEVELS, 2))
    levels = 1 / (1 + np.exp(-(np.arange(LEVELS) - LEVELS // 2) / 2.0))  # even in the stretch
    refined[:, :, 0] = np.tile(levels, COUNTS)
    followed = np.zeros((CONTEXTS, OUTCOMES, 2))
    followed[:, :, 0] = [_share_of_ones(outcomes) for outcomes in range(OUTCOMES)]
    matched = np.zeros((len(MATCHES), LENGTHS, 2))
    matched[:, :, 0] = 1 - 1 / (np.arange(LENGTHS) + 3)
    sets = FIRST_SETS[BY_CHOICE] + 2 * len(letters)
    weights = np.full((sets, INPUTS), CONTEXT_WEIGHT)
    weights[:, NETWORK], weights[:, CONSTANT] = 1, 0
    return Memory(
        slots=np.zeros((CONTEXTS, 2 ** _bits(length * depth)), np.int64),
        refined=refined,
        followed=followed,
        matched=matched,
        weights=weights,
        adjusted=np.zeros(sets, np.int64),
        corrected=np.tile(levels, (CORRECTIONS, 2**CORRECTION_BITS)),
        final=np.full((LENGTHS, SELECTORS), 1 / SELECTORS),
        history=np.zeros(length, np.int32),
        recent=np.full((len(MATCHES), 2 ** _bits(length)), -1, np.int32),
        matches=np.zeros((len(MATCHES), 2), np.int64),
        letters=letters,
        contexts=np.zeros(CONTEXTS, np.int64),
        numbers=np.zeros(WORD + 1 + max(WORDS_BEFORE), np.int64),
        inputs=np.zeros(INPUTS),
        outputs=np.zeros(SELECTORS),
        selected=np.zeros(SELECTORS, np.int64),
        keys=np.zeros(CONTEXTS, np.int64),
        places=np.zeros(CONTEXTS, np.int64),
        cells=np.zeros(FIRST_CORRECTION + CORRECTIONS, np.int64),
        outcomes=np.zeros(CONTEXTS, np.int64),
    )


def _share_of_ones(outcomes: int) -> float:
    """Return the share of ones among bits after a leading one, as a probability."""
    count = max(outcomes.bit_length() - 1, 0)
    return (max(outcomes.bit_count() - 1, 0) + 0.4) / (count + 0.8)


def _bits(entries: int) -> int:
    """Return the size of a hash table for so many entries, as a power of two."""
    return min(MAX_BITS, max(MIN_BITS, math.ceil(math.log2(max(1, entries)))))
