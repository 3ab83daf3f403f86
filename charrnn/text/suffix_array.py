"""Suffix arrays, and the search for the longest matches of a text in another one.

Texts are bytes of UTF-8: their order is that of the code points, and a match that starts at the
start of a character does so in both texts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from charrnn.compiler.cache import compile_on_call

Bytes = NDArray[np.uint8]
Order = NDArray[np.uint32]


def starts_character(text: Bytes) -> NDArray[np.bool_]:
    """Return which bytes of UTF-8 begin a character."""
    return np.asarray((text & 0xC0) != 0x80)


def suffix_order(text: Bytes) -> Order:
    """Return the suffix array of `text` (n,): its positions, ordered by what follows them.

    A suffix that is a prefix of another comes first. The algorithm is prefix doubling (Manber and
    Myers): once positions are ranked by their next k bytes, the ranks at i and i + k rank them by
    2k. It starts with k = 7, and each round sorts only what is still tied. It takes about 50 n
    bytes of memory; n < 2^31.
    """
    n = len(text)
    padded = np.concatenate([text, np.zeros(8, np.uint8)])
    # Seven bytes as one number, then their number: the end of the text comes before any byte.
    keys = np.ndarray(n, ">u8", padded, strides=(1,)).astype(np.uint64)
    keys &= ~np.uint64(0xFF)
    keys |= np.minimum(np.arange(n, 0, -1, dtype=np.uint32), 7)
    known = 7
    rank = np.zeros(n + 1, np.uint32)  # from 1; 0 is beyond the end
    order = np.empty(n, np.uint32)
    tied = positions = np.arange(n, dtype=np.uint32)  # indices of `order`; their candidates
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
def extend_matches(text, order, first, sample, starts, lengths, positions):  # type: ignore[no-untyped-def]
    """Find the longest match in `text` for some positions of a sample; keep longer known ones.

    Args:
        text: bytes (n,).
        order: a suffix array of part of `text`.
        first: the position of that part in `text`.
        sample: bytes (m,).
        starts: (k,) the positions in `sample` to match.
        lengths: (k,) the longest known matches, in bytes; updated where a longer one is found.
        positions: (k,) their positions in `text`; updated as well.
    """
    for number in range(len(starts)):
        i = starts[number]
        low, high = 0, len(order)
        # A prefix shared with the suffixes at both ends is shared with all between.
        at_low, at_high = 0, 0
        while low < high:
            middle = (low + high) // 2
            position = first + order[middle]
            k = min(at_low, at_high)
            while (
                i + k < len(sample)
                and position + k < len(text)
                and sample[i + k] == text[position + k]
            ):
                k += 1
            if k > lengths[number]:
                lengths[number], positions[number] = k, position
            if i + k == len(sample):
                break
            if position + k == len(text) or text[position + k] < sample[i + k]:
                low, at_low = middle + 1, k
            else:
                high, at_high = middle, k
