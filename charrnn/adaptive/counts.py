"""The count memory: probabilities of choices after contexts, and repetitions of what was read.

All arithmetic that decides what is found is in integers below 2^62, which never overflow.
"""

from __future__ import annotations

import math

import numpy as np

from charrnn.adaptive.memory import (
    EXPECTED,
    FIRST_CONTEXT,
    FIRST_WORDS,
    FOLLOWERS,
    LENGTHS,
    LEVELS,
    MAX_MATCH,
    ORDERS,
    OUTCOMES,
    PLACES,
    READ,
    TOKEN_BITS,
    WORD,
    WORDS_BEFORE,
)
from charrnn.compiler.scalar_math import exact

KEY_BITS = 31
_KEYS = 2**KEY_BITS - 1
_FACTOR = 0x5851F42D  # odd, below 2^31
CHECK_SHIFT = KEY_BITS - 16
KEPT = 32  # the key of a slot lies above these bits
LIMIT = 60  # a slot's probability follows the last ~LIMIT choices
REFINED_LIMIT = 400
_ADJUSTMENTS = np.array([int(65536 / (n + 1.5)) for n in range(256)])
# Cells of a refinement, by how often the choice was met and by the probability of its slot.
_COUNT_BOUNDS = (1, 2, 3, 4, 5, 6, 9, 15, 25, 41, LIMIT)
_COUNT_OF = np.searchsorted(_COUNT_BOUNDS, np.arange(256), side="right")
_LEVEL_OF = np.array(
    [
        round(min(max(2 * math.log((p + 0.5) / (4095.5 - p)), -(LEVELS // 2)), LEVELS // 2))
        + LEVELS // 2
        for p in range(4096)
    ]
)


@exact
def mixed(key, value):  # type: ignore[no-untyped-def]
    """Return a hash of a hash and a number from 0 to 2^31 - 1."""
    product = ((key ^ value) + 1) * _FACTOR
    return (product ^ (product >> KEY_BITS)) & _KEYS


@exact
def stretch(p):  # type: ignore[no-untyped-def]
    """Return ln(p / (1 - p))."""
    return math.log(p / (1.0 - p))


@exact
def squash(x):  # type: ignore[no-untyped-def]
    """Return the probability whose stretch is x."""
    return 1.0 / (1.0 + math.exp(-x))


@exact
def find(slots, key):  # type: ignore[no-untyped-def]
    """Return the place of a key in a hash table; -1 if it is not there."""
    place, check = key & (len(slots) - 1), key >> CHECK_SHIFT
    for candidate in (place, place ^ 1):
        slot = slots[candidate]
        if slot >> KEPT == check and (slot >> 16) & 255:
            return candidate
    return -1


@exact
def claim(slots, key):  # type: ignore[no-untyped-def]
    """Return a place for a new key: of two, the one that was met less often, made empty."""
    place = key & (len(slots) - 1)
    if (slots[place ^ 1] >> 16) & 255 < (slots[place] >> 16) & 255:
        place = place ^ 1
    slots[place] = ((key >> CHECK_SHIFT) << KEPT) + (1 << 24) + 32768
    return place


@exact
def look_up(memory, choice):  # type: ignore[no-untyped-def]
    """Fill in the mixer's inputs from contexts; return the longest known one, and how known."""
    known, met, contexts = 0, np.int64(0), len(memory.keys)
    for c in range(contexts):
        key = mixed(memory.contexts[c], choice)
        place = find(memory.slots[c], key)
        memory.keys[c], memory.places[c] = key, place
        memory.cells[c], memory.outcomes[c] = -1, 0
        memory.inputs[FIRST_CONTEXT + c] = memory.inputs[FIRST_CONTEXT + contexts + c] = 0.0
        if place >= 0:
            slot = memory.slots[c, place]
            count, outcomes = (slot >> 16) & 255, (slot >> 24) & 255
            cell = _COUNT_OF[count] * LEVELS + _LEVEL_OF[(slot & 65535) >> 4]
            memory.cells[c], memory.outcomes[c] = cell, outcomes
            memory.inputs[FIRST_CONTEXT + c] = stretch(memory.refined[c, cell, 0])
            after = stretch(memory.followed[c, outcomes, 0])
            memory.inputs[FIRST_CONTEXT + contexts + c] = after
            if c < FIRST_WORDS:
                known, met = c + 1, count
    return known, met


@exact
def look_ahead(memory, low, choice, high):  # type: ignore[no-untyped-def]
    """Fill in the mixer's inputs from matches; return the size class of the longest one."""
    longest, contexts = 0, len(memory.keys)
    first = FIRST_CONTEXT + 2 * contexts  # of the inputs
    for k in range(len(memory.least)):
        pointer, length = memory.matches[k]
        memory.cells[contexts + k], memory.inputs[first + k] = -1, 0.0
        expected = memory.history[pointer] if length else -1
        if low <= expected < high:
            cell = length_class(length)
            memory.cells[contexts + k] = cell
            certainty = stretch(memory.matched[k, cell, 0])
            memory.inputs[first + k] = certainty if expected >= choice else -certainty
            longest = max(longest, cell)
    return longest


@exact
def length_class(length):  # type: ignore[no-untyped-def]
    """Return the class of a match's length, from 1; the classes grow with the length."""
    if length < 8:
        found = length
    elif length < 16:
        found = 8 + (length - 8) // 4
    elif length < 32:
        found = 10 + (length - 16) // 8
    else:
        found = 12 + min(3, (length - 32) // 64)
    return min(LENGTHS - 1, found)


@exact
def adjust(cell, bit, limit):  # type: ignore[no-untyped-def]
    """Move an adaptive probability (2,) towards what happened; slower, the more it has seen."""
    cell[0] += (bit - cell[0]) / (cell[1] + 3.0)
    cell[0] = min(max(cell[0], 1.0 / 4096), 4095.0 / 4096)
    cell[1] = min(cell[1] + 1.0, limit)


@exact
def count_choice(memory, choice, bit):  # type: ignore[no-untyped-def]
    """Learn the outcome of the choice that was looked up."""
    contexts = len(memory.keys)
    for c in range(contexts):
        if memory.cells[c] >= 0:
            adjust(memory.refined[c, memory.cells[c]], bit, REFINED_LIMIT)
            adjust(memory.followed[c, memory.outcomes[c]], bit, REFINED_LIMIT)
        place = memory.places[c]
        if place < 0:
            place = claim(memory.slots[c], memory.keys[c])
        slot = memory.slots[c, place]
        p, count = slot & 65535, (slot >> 16) & 255
        p += ((65535 * bit - p) * _ADJUSTMENTS[count]) >> 16
        count += count < LIMIT
        outcomes = 2 * ((slot >> 24) & 255) + bit
        if outcomes >= OUTCOMES:  # the oldest one is dropped
            outcomes = outcomes & (OUTCOMES // 2 - 1) | OUTCOMES // 2
        kept = slot >> KEPT << KEPT
        memory.slots[c, place] = kept + (outcomes << 24) + (count << 16) + p
    for k in range(len(memory.least)):
        if memory.cells[contexts + k] >= 0:
            expected = memory.history[memory.matches[k, 0]]
            right = 1 if (expected >= choice) == (bit == 1) else 0
            adjust(memory.matched[k, memory.cells[contexts + k]], right, REFINED_LIMIT)


@exact
def append(memory, token):  # type: ignore[no-untyped-def]
    """Add a token to the history, and find the contexts and matches of the next one."""
    history, numbers = memory.history, memory.numbers
    history[numbers[READ]] = token
    numbers[READ] += 1
    read = numbers[READ]
    if memory.letters[token]:
        numbers[WORD] = mixed(numbers[WORD], token)
    elif numbers[WORD]:
        # Element by element: numba takes seconds to compile the assignment of an array to a slice.
        for n in range(len(numbers) - 1, WORD, -1):
            numbers[n] = numbers[n - 1]
        numbers[WORD] = 0
    for c in range(len(ORDERS)):
        memory.contexts[c] = _hash_of_last(history, read, ORDERS[c], c)
    word = numbers[WORD] if numbers[WORD] else token
    for k in range(len(WORDS_BEFORE)):
        key = mixed(FIRST_WORDS + k, word)
        for i in range(WORDS_BEFORE[k]):
            key = mixed(key, numbers[WORD + 1 + i])
        memory.contexts[FIRST_WORDS + k] = key
    for k in range(len(memory.least)):
        _follow(memory, k, token)
    if len(memory.contexts) > EXPECTED:
        memory.contexts[EXPECTED] = _expectation(memory, token)
        _find_followers(memory, token)


@exact
def _expectation(memory, token):  # type: ignore[no-untyped-def]
    """Return a hash of what the longest match expects, of its length, and of the last token."""
    longest, expected = np.int64(0), np.int64(0)
    for k in range(len(memory.least)):
        pointer, length = memory.matches[k]
        if length > longest:
            longest, expected = length, np.int64(memory.history[pointer]) + 1
    return mixed(mixed(mixed(EXPECTED, expected), length_class(longest)), token)


@exact
def _find_followers(memory, token):  # type: ignore[no-untyped-def]
    """Note what the token follows; hash what followed its like before, for the next one."""
    history, read = memory.history, memory.numbers[READ]
    for k in range(2):
        followers = memory.followers[k]
        if read > 1 + k:
            place = _hash_of_last(history, read - 1, 1 + k, FOLLOWERS) & (PLACES - 1)
            kept = (followers[place] << TOKEN_BITS) & ((1 << (2 * TOKEN_BITS)) - 1)
            followers[place] = kept + token + 1
        both = followers[_hash_of_last(history, read, 1 + k, FOLLOWERS) & (PLACES - 1)]
        key = mixed(mixed(FOLLOWERS, both >> TOKEN_BITS), both & ((1 << TOKEN_BITS) - 1))
        memory.contexts[FOLLOWERS + k] = mixed(key, token)


@exact
def _hash_of_last(history, read, count, seed):  # type: ignore[no-untyped-def]
    """Return a hash of the last `count` tokens."""
    key = seed
    for i in range(max(0, read - count), read):
        key = mixed(key, history[i])
    return key


@exact
def _follow(memory, k, token):  # type: ignore[no-untyped-def]
    """Let match k go on with the token, or look for another one."""
    history, read, match = memory.history, memory.numbers[READ], memory.matches[k]
    if match[1] and history[match[0]] == token:
        match[0] += 1
        match[1] = min(match[1] + 1, MAX_MATCH)
    else:
        match[1] = 0
    if read < memory.least[k]:
        return
    place = _hash_of_last(history, read, memory.least[k], k) & (memory.recent.shape[1] - 1)
    if match[1] == 0:
        pointer = np.int64(memory.recent[k, place])
        length = 0
        while (
            length < MAX_MATCH
            and length < pointer
            and history[pointer - 1 - length] == history[read - 1 - length]
        ):
            length += 1
        if length >= memory.least[k]:
            match[0], match[1] = pointer, length
    memory.recent[k, place] = read
