"""Groups of a text's positions by the tokens before them: compiled loops that count what follows.

The positions after the same k tokens are a group. Ordering a group by the token before those k
splits it into the groups of k + 1 tokens, so nothing is ever sorted or hashed.

Shapes: N tokens of the text, P positions, G groups, E entries, V tokens of the vocabulary.
"""

from __future__ import annotations

import numpy as np

from charrnn.compiler.cache import compile_on_call


@compile_on_call
def order_by_token_before(  # type: ignore[no-untyped-def]
    text, positions, following, before, starts, k, vocab_size
):
    """Order the positions of each group by the token before their last k.

    Args:
        text: (N,); negative between parts that do not follow each other.
        positions: (P,), group by group; reordered in place.
        following: the tokens at them (P,); reordered in place.
        before: gets the tokens before the last k, -1 where there is none (P,).
        starts: where groups start (G + 1,).
        k: the tokens that a group has in common.
        vocab_size: V; V itself is the start token.
    """
    for i in range(len(positions)):  # far apart in memory: nothing here waits for the last one
        at = positions[i] - k - 1
        before[i] = text[at] if at >= 0 else -1
    counts, met = np.zeros(vocab_size + 2, np.int64), np.empty(vocab_size + 2, np.int64)
    largest = 0
    for g in range(len(starts) - 1):
        largest = max(largest, starts[g + 1] - starts[g])
    moved, moved_following = positions[:largest].copy(), following[:largest].copy()
    for g in range(len(starts) - 1):
        first, end, different = starts[g], starts[g + 1], 0
        for i in range(first, end):
            token = before[i] + 1
            if counts[token] == 0:
                met[different] = token
                different += 1
            counts[token] += 1
        if different == 1:
            counts[met[0]] = 0
            continue
        place = 0
        for n in range(different):
            place += counts[met[n]]
            counts[met[n]] = place - counts[met[n]]
        for i in range(first, end):
            place = counts[before[i] + 1]
            moved[place], moved_following[place] = positions[i], following[i]
            counts[before[i] + 1] = place + 1
        # Element by element: numba takes seconds to compile the assignment of an array to a slice.
        for i in range(end - first):
            positions[first + i], following[first + i] = moved[i], moved_following[i]
        place = first
        for n in range(different):
            before[place : first + counts[met[n]]] = met[n] - 1
            place = first + counts[met[n]]
            counts[met[n]] = 0


@compile_on_call
def entries(following, before, starts, vocab_size, raw):  # type: ignore[no-untyped-def]
    """Count what follows each group's tokens.

    A token is counted once for each different token before the group's, or, with `raw` and where
    there is none before, each time. The arguments are as of `order_by_token_before`, which ordered
    them.

    Returns:
        the number of entries of each group (G,), their tokens (E,) and counts (E,), int32; how many
        counts are 1, 2, 3, 4 and more (6,), from 1 on.
    """
    sizes, kinds = np.empty(len(starts) - 1, np.int32), np.zeros(6, np.int64)
    tokens = np.empty(len(following) // 4 + vocab_size, np.int32)
    counts = np.empty(len(tokens), np.int32)
    seen, different = np.zeros(vocab_size, np.int32), np.zeros(vocab_size, np.int32)
    inside, last = np.zeros(vocab_size, np.bool_), np.full(vocab_size, -1, np.int64)
    first, end, part = 0, 0, 0  # a part has the same token before it
    for g in range(len(starts) - 1):
        if end + vocab_size > len(tokens):
            more = np.empty(len(tokens) // 2 + vocab_size, np.int32)
            tokens, counts = np.concatenate((tokens, more)), np.concatenate((counts, more))
        for i in range(starts[g], starts[g + 1]):
            token = following[i]
            part += i == starts[g] or before[i] != before[i - 1]
            if seen[token] == 0:
                tokens[end] = token
                end += 1
            seen[token] += 1
            if last[token] != part:
                last[token] = part
                different[token] += 1
            if before[i] >= 0:
                inside[token] = True
        sizes[g] = end - first
        for e in range(first, end):
            token = tokens[e]
            counts[e] = seen[token] if raw or not inside[token] else different[token]
            kinds[min(counts[e], 5)] += 1
            seen[token], different[token], inside[token] = 0, 0, False
        first = end
    return sizes, tokens[:end].copy(), counts[:end].copy(), kinds


@compile_on_call
def gains(starts, sizes, tokens, counts, discounts, parents, known):  # type: ignore[no-untyped-def]
    """Return what each group's counts tell beyond those of one token less, and the probabilities.

    Args:
        starts: where groups start (G + 1,).
        sizes: the number of entries of each group (G,).
        tokens: of the entries (E,).
        counts: of the entries (E,).
        discounts: what is subtracted from counts of 0, 1, 2 and more (4,).
        parents: the number of the group with one token less (G,).
        known: of those groups where entries start, and of the entries the tokens and
            probabilities; and V.

    Returns:
        how often a group occurs, times the divergence of its probabilities from those of its parent
        (G,); the probabilities of the entries (E,).
    """
    parent_starts, parent_tokens, parent_probabilities, vocab_size = known
    gain, probabilities = np.empty(len(sizes), np.float32), np.empty(len(tokens), np.float32)
    shorter, first, loaded = np.zeros(vocab_size, np.float64), 0, -1
    for g in range(len(sizes)):
        if parents[g] != loaded:  # children of one parent stand beside each other
            loaded = parents[g]
            for e in range(parent_starts[loaded], parent_starts[loaded + 1]):
                shorter[parent_tokens[e]] = parent_probabilities[e]
        total, taken = 0.0, 0.0
        for e in range(first, first + sizes[g]):
            total += counts[e]
            taken += discounts[min(counts[e], 3)]
        left, rest, divergence = taken / total, 1.0, 0.0
        for e in range(first, first + sizes[g]):
            before = shorter[tokens[e]]
            p = (counts[e] - discounts[min(counts[e], 3)]) / total + left * before
            probabilities[e] = p
            rest -= p
            divergence += p * np.log(p / before)
        if rest > 0.0 and left > 0.0:
            divergence += rest * np.log(left)
        gain[g] = (starts[g + 1] - starts[g]) * divergence
        first += sizes[g]
    return gain, probabilities


@compile_on_call
def longer(positions, following, before, starts, least):  # type: ignore[no-untyped-def]
    """Make the groups of k + 1 tokens, with at least so many positions, from those of k.

    The arguments are as of `order_by_token_before`, which ordered them; positions and what follows
    are overwritten.

    Returns:
        where groups start (G' + 1,), and which group each one was a part of (G',).
    """
    count = 0
    for g in range(len(starts) - 1):
        first = starts[g]
        for i in range(starts[g] + 1, starts[g + 1] + 1):
            if i == starts[g + 1] or before[i] != before[first]:
                count += before[first] >= 0 and i - first >= least
                first = i
    new_starts, parents = np.zeros(count + 1, np.int64), np.empty(count, np.int32)
    count = 0
    for g in range(len(starts) - 1):
        first = starts[g]
        for i in range(starts[g] + 1, starts[g + 1] + 1):
            if i == starts[g + 1] or before[i] != before[first]:
                if before[first] >= 0 and i - first >= least:
                    place = new_starts[count]
                    for j in range(first, i):
                        positions[place] = positions[j]
                        following[place] = following[j]
                        place += 1
                    parents[count] = g
                    count += 1
                    new_starts[count] = place
                first = i
    return new_starts, parents
