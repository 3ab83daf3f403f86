"""Where a text repeats another: suffixes in alphabetical order, and a search among them.

Texts are bytes of UTF-8: their order is that of code points, and a match that starts at a character
starts at one in both texts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from charrnn.compiler.cache import compile_on_call

Bytes = NDArray[np.uint8]
Order = NDArray[np.uint32]


def starts_character(text: Bytes) -> NDArray[np.bool_]:
    """Which bytes of UTF-8 begin a character."""
    return np.asarray((text & 0xC0) != 0x80)


def suffix_order(text: Bytes) -> Order:
    """The positions of `text` (n,), ordered by what follows them; a text's end comes first.

    Manber and Myers' prefix doubling: once positions are ranked by their next k bytes, the ranks
    at i and i + k rank them by 2k. It starts with k = 7, and each round sorts only what is still
    tied. Some 50 n bytes of memory; n < 2^31.
    """
    n = len(text)
    padded = np.concatenate([text, np.zeros(8, np.uint8)])
    # Seven bytes as one number, and how many of them there are: the end comes before any byte.
    keys = np.ndarray(n, ">u8", padded, strides=(1,)).astype(np.uint64)
    keys &= ~np.uint64(0xFF)
    keys |= np.minimum(np.arange(n, 0, -1, dtype=np.uint32), 7)
    known = 7
    rank = np.zeros(n + 1, np.uint32)  # from 1; 0 is past the end
    order = np.empty(n, np.uint32)
    tied = positions = np.arange(n, dtype=np.uint32)  # places in `order`; what may stand there
    while len(tied):
        sorting = np.argsort(keys)
        positions, keys = positions[sorting], keys[sorting]
        del sorting
        order[tied] = positions
        firsts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        sizes = np.diff(firsts, append=len(keys))
        rank[positions] = np.repeat(tied[firsts] + np.uint32(1), sizes)
        still = np.repeat(sizes > 1, sizes)
        tied, positions = tied[still], positions[still]
        keys = rank[positions].astype(np.uint64) << np.uint64(32)
        keys |= rank[np.minimum(positions + np.int64(known), n)]
        known *= 2
    return order


@compile_on_call
def extend_matches(text, order, first, sample, starts, lengths, places):  # type: ignore[no-untyped-def]
    """For positions of a sample the longest match among some suffixes, where it beats the known.

    Args:
        text: bytes (n,).
        order: positions in `text` (relative to `first`), ordered by what follows them.
        first: where these positions count from.
        sample: bytes (m,).
        starts: positions in `sample` (k,) whose matches are wanted.
        lengths: in bytes (k,), the longest known so far; replaced by longer ones.
        places: where in `text` they stand (k,).
    """
    for number in range(len(starts)):
        i = starts[number]
        low, high = 0, len(order)
        # What the sample shares with the suffixes at both ends, it shares with all between.
        at_low, at_high = 0, 0
        while low < high:
            middle = (low + high) // 2
            place = first + order[middle]
            k = min(at_low, at_high)
            while (
                i + k < len(sample) and place + k < len(text) and sample[i + k] == text[place + k]
            ):
                k += 1
            if k > lengths[number]:
                lengths[number], places[number] = k, place
            if i + k == len(sample):
                break
            if place + k == len(text) or text[place + k] < sample[i + k]:
                low, at_low = middle + 1, k
            else:
                high, at_high = middle, k
