"""From an automaton over classes of characters to one over a model's tokens.

A token may be a character, a longer text, or bytes: then the automaton reads UTF-8 byte by byte.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from charrnn.decoding.automaton import MAX_TABLE, Automaton, TooLargeError

Tokens = Sequence[str] | Sequence[bytes]  # what each token of the vocabulary writes


def as_texts(tokens: Tokens) -> list[str] | None:
    """Return the text of each token; None if one is only part of a character."""
    try:
        return [token.decode() if isinstance(token, bytes) else token for token in tokens]
    except UnicodeDecodeError:
        return None


def over_tokens(
    automaton: Automaton, class_of: NDArray[np.int64], tokens: Tokens, alphabet: str
) -> Automaton:
    """Return the automaton (S, V) over tokens of an automaton over classes of characters.

    Args:
        automaton: over the classes.
        class_of: (A,) the class of each character.
        tokens: what each token writes (V,); if some are parts of characters, the alphabet must be
            all of Unicode.
        alphabet: all characters, sorted.

    Raises:
        TooLargeError: its table would have more than `MAX_TABLE` entries.
    """
    texts = as_texts(tokens)
    if texts is None:
        automaton, class_of = _over_bytes(automaton, class_of), np.arange(256)
        units = [np.array(list(_encoded(token)), np.int64) for token in tokens]
    else:
        index = {character: number for number, character in enumerate(alphabet)}
        units = [np.array([index[c] for c in text], np.int64) for text in texts]
    if len(automaton.next) * len(tokens) > MAX_TABLE:
        raise TooLargeError
    table = _token_table(automaton.next, [class_of[unit] for unit in units])
    return Automaton(table, automaton.accepting)


def _encoded(token: str | bytes) -> bytes:
    return token.encode() if isinstance(token, str) else token


def _token_table(table: NDArray[np.int32], tokens: list[NDArray[np.int64]]) -> NDArray[np.int32]:
    """Return the state (S, V) after each token, given as classes; -1 if impossible or empty."""
    sink = np.full((1, table.shape[1]), -1, np.int32)
    with_sink = np.concatenate([table, sink])  # -1 is the index of the last row
    lengths = np.array([len(token) for token in tokens])
    result = np.full((len(table), len(tokens)), -1, np.int32)
    single = np.flatnonzero(lengths == 1)
    if len(single):
        result[:, single] = table[:, [int(tokens[token][0]) for token in single.tolist()]]
    for token in np.flatnonzero(lengths > 1).tolist():
        states = np.arange(len(table), dtype=np.int32)
        for cls in tokens[token].tolist():
            states = with_sink[states, cls]
        result[:, token] = states
    return result


def _over_bytes(automaton: Automaton, class_of: NDArray[np.int64]) -> Automaton:
    """Return the automaton over the bytes of UTF-8 of an automaton over all of Unicode.

    Inside a character a state stands for the state before it and the bytes so far; those that allow
    the same next bytes with the same results are one state.
    """
    dead = automaton.next.shape[1]  # the class of surrogates, which UTF-8 does not have
    surrogates = np.full(0xE000 - 0xD800, dead)
    whole = np.concatenate([class_of[:0xD800], surrogates, class_of[0xD800:]])
    # Blocks of 64 characters share all bytes but the last, groups of 64 blocks all but two; each
    # distinct block and group is stored once.
    blocks, block_of = _distinct(whole.reshape(-1, 64))
    groups, group_of = _distinct(block_of.reshape(-1, 64))
    inner = _InnerStates(len(automaton.next))
    rows: list[NDArray[np.int32]] = []
    for after in automaton.next:
        target = np.append(after, np.int32(-1))
        one_left = inner.states(target[blocks])
        two_left = inner.states(one_left[groups])
        by_block, by_group = one_left[block_of], two_left[group_of]
        row = np.full(256, -1, np.int32)
        row[:0x80] = target[whole[:0x80]]
        row[0xC2:0xE0] = by_block[2:32]
        row[0xE0] = inner.state(by_block[32:64], 32)  # forbids overlong encodings
        row[0xE1:0xF0] = by_group[1:16]
        row[0xF0] = inner.state(by_group[16:64], 16)
        row[0xF1:0xF5] = [inner.state(by_group[i : i + 64]) for i in (64, 128, 192, 256)]
        rows.append(row)
    rows += inner.rows()
    accepting = np.zeros(len(rows), np.bool_)
    accepting[: len(automaton.accepting)] = automaton.accepting
    return Automaton(np.array(rows), accepting)


def _distinct(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct rows, and the number of each row among them.

    numpy.unique takes seconds for this.
    """
    numbers: dict[bytes, int] = {}
    number_of = np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in rows])
    return rows[np.unique(number_of, return_index=True)[1]], number_of


class _InnerStates:
    """States inside a character; equal ones are created once.

    Args:
        first: the number of the first one.
    """

    def __init__(self, first: int) -> None:
        self._first = first
        self._numbers: dict[bytes, int] = {}

    def state(self, targets: NDArray[np.int32], first: int = 0) -> int:
        """Return the state whose next byte, from 0x80 + `first` on, leads to these states."""
        row = np.full(64, -1, np.int32)
        row[first : first + len(targets)] = targets
        if (row < 0).all():
            return -1
        key, number = row.tobytes(), self._first + len(self._numbers)
        if key not in self._numbers:
            if number * 256 >= MAX_TABLE:
                raise TooLargeError
            self._numbers[key] = number
        return self._numbers[key]

    def states(self, targets: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the state of each row of targets (n, 64)."""
        return np.array([self.state(each) for each in targets], np.int32)

    def rows(self) -> list[NDArray[np.int32]]:
        """Return the table of these states over bytes: rows of 256."""
        rows = []
        for targets in self._numbers:
            row = np.full(256, -1, np.int32)
            row[0x80:0xC0] = np.frombuffer(targets, np.int32)
            rows.append(row)
        return rows
