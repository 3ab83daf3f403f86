"""The count memory and the mixer in plain Python: dictionaries of whole contexts, and no hashes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from charrnn.adaptive.counts import LIMIT, REFINED_LIMIT
from charrnn.adaptive.memory import (
    CONTEXT_WEIGHT,
    MATCHES,
    MAX_MATCH,
    OLDER_MATCHES,
    ORDERS,
    WORDS_BEFORE,
)
from charrnn.adaptive.mixer import BOUND, CORRECTION_STEP, FAST, FINAL_STEP, SLOW, SLOWING

Key = tuple[object, ...]


def stretch(p: float) -> float:
    return math.log(p / (1 - p))


def squash(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def bounded(x: float, bound: float) -> float:
    return max(-bound, min(bound, x))


class Probability:
    """An adaptive probability: moves towards what happens, the slower the more it has seen."""

    def __init__(self, p: float) -> None:
        self.p, self.seen = p, 0

    def learn(self, happened: bool) -> None:
        self.p += (happened - self.p) / (self.seen + 3)
        self.p = max(1 / 4096, min(4095 / 4096, self.p))
        self.seen = min(self.seen + 1, REFINED_LIMIT)


class Slot:
    """How often the upper half followed a context, as 16 bits of probability and a count."""

    def __init__(self) -> None:
        self.p, self.count = 32768, 0
        self.outcomes: tuple[bool, ...] = ()  # the last seven

    def learn(self, happened: bool) -> None:
        step = int(65536 / (self.count + 1.5))
        self.p += ((65535 * happened - self.p) * step) >> 16
        self.count = min(self.count + 1, LIMIT)
        self.outcomes = (*self.outcomes[-6:], happened)

    @property
    def cell(self) -> tuple[int, int]:
        """The class of its count, and its probability in steps of one half, stretched."""
        bounds = (1, 2, 3, 4, 5, 6, 9, 15, 25, 41, LIMIT)
        coarse = self.p >> 4
        level = round(bounded(2 * math.log((coarse + 0.5) / (4095.5 - coarse)), 16))
        return sum(self.count >= bound for bound in bounds), level


class PlainPredictor:
    """Predicts tokens from the probabilities of a network, and learns from each."""

    def __init__(self, letters: Sequence[bool], *, older: bool) -> None:
        self.letters, self.older = letters, older
        self.least = OLDER_MATCHES if older else MATCHES
        self.history: list[int] = []
        self.slots: dict[Key, Slot] = {}
        self.refined: dict[Key, Probability] = {}
        self.followed: dict[Key, Probability] = {}
        self.matched: dict[tuple[int, int], Probability] = {}
        contexts = len(ORDERS) + len(WORDS_BEFORE) + (0 if older else 3)
        inputs = 2 + 2 * contexts + len(self.least)
        first = [1.0, 0.0] + [CONTEXT_WEIGHT] * (inputs - 2)
        self.weights: dict[Key, list[float]] = defaultdict(lambda: list(first))
        self.adjusted: dict[Key, int] = defaultdict(int)
        self.final: dict[int, list[float]] = defaultdict(lambda: [0.2] * 5)
        self.corrected: dict[Key, list[float]] = defaultdict(
            lambda: [squash(level / 2) for level in range(-16, 17)]
        )
        self.matches = [(0, 0) for _ in self.least]

    def read(self, token: int, probabilities: Sequence[float]) -> float:
        """Return -ln p of a token, after learning it."""
        low, high, nats = 0, len(self.letters), 0.0
        while high - low > 1:
            choice = (low + high) // 2
            upper = sum(probabilities[choice:high]) / sum(probabilities[low:high])
            happened = token >= choice
            p = self.choose(low, choice, high, upper, happened)
            coded = min(max(int(p * 65536), 1), 65535)
            nats -= math.log((coded if happened else 65536 - coded) / 65536)
            low, high = (choice, high) if happened else (low, choice)
        self.history.append(token)
        self.matches = [self.follow(k, token) for k in range(len(self.least))]
        return nats

    def contexts(self) -> list[Key]:
        """Return the last tokens in each number, the word so far with words before it, and more."""
        words: list[list[int]] = [[], [], []]
        for token in self.history:
            if self.letters[token]:
                words[-1].append(token)
            elif words[-1]:
                words = [*words[1:], []]
        word = tuple(words[-1]) or (-1, *self.history[-1:])
        return [
            *(tuple(self.history[-n:]) for n in ORDERS),
            *((word, *map(tuple, words[-1 - n : -1])) for n in WORDS_BEFORE),
            *([] if self.older else self.newer_contexts()),
        ]

    def newer_contexts(self) -> list[Key]:
        """Return what the longest match expects, and what followed the last one or two tokens."""
        length, pointer = max(
            (length, -k, pointer) for k, (pointer, length) in enumerate(self.matches)
        )[::2]
        expected = self.history[pointer] if length else None
        found: list[Key] = [(expected, size_of(length), *self.history[-1:])]
        for n in (1, 2):
            last = self.history[-n:]
            after = [
                self.history[t]
                for t in range(n, len(self.history))
                if self.history[t - n : t] == last
            ]
            found.append((*after[-2:], *self.history[-1:]))
        return found

    def choose(self, low: int, choice: int, high: int, upper: float, happened: bool) -> float:
        """Return the probability of the upper half, after learning whether that happened."""
        inputs = [stretch(max(2**-18, min(1 - 2**-18, upper))), 0.3]
        adaptive: list[tuple[Probability, bool]] = []
        known = met = 0
        slots, seconds = [], []
        for c, context in enumerate(self.contexts()):
            key = (c, context, choice)
            slot = self.slots.get(key)
            inputs.append(0.0)
            seconds.append(0.0)
            if slot:
                start = squash(slot.cell[1] / 2)
                refined = self.refined.setdefault((c, slot.cell), Probability(start))
                adaptive.append((refined, happened))
                inputs[-1] = stretch(refined.p)
                share = (sum(slot.outcomes) + 0.4) / (len(slot.outcomes) + 0.8)
                followed = self.followed.setdefault((c, slot.outcomes), Probability(share))
                adaptive.append((followed, happened))
                seconds[-1] = stretch(followed.p)
                if c < len(ORDERS):
                    known, met = c + 1, slot.count
            slots.append(self.slots.setdefault(key, Slot()))
        inputs += seconds
        longest = 0
        for k, (pointer, length) in enumerate(self.matches):
            inputs.append(0.0)
            expected = self.history[pointer] if length else -1
            if low <= expected < high:
                size = size_of(length)
                matched = self.matched.setdefault((k, size), Probability(1 - 1 / (size + 3)))
                adaptive.append((matched, (expected >= choice) == happened))
                inputs[-1] = stretch(matched.p) * (1 if expected >= choice else -1)
                longest = max(longest, size)
        seen = min(met, 2) + (met > 10)
        certainty = min(15, int(2 * abs(inputs[0])))
        sets: list[Key] = [("m", longest), ("c", known, seen), ("n", certainty), ("t", choice)]
        sets.append(("l", self.history[-1] if self.history else 0))
        outputs = [
            bounded(sum(w * x for w, x in zip(self.weights[key], inputs, strict=True)), BOUND)
            for key in sets
        ]
        final = self.final[longest]
        mixed = bounded(sum(w * x for w, x in zip(final, outputs, strict=True)), BOUND)
        position = bounded(2 * mixed, 16 - 0.001) + 16
        level, above = int(position), position % 1
        p = squash(mixed) / 2
        corrections = [(n, choice, *self.history[-n:]) for n in ORDERS[:2]]
        for key in corrections:
            row = self.corrected[key]
            p += ((1 - above) * row[level] + above * row[level + 1]) / 4
        for n, key in enumerate(sets):
            step = max(SLOW, FAST / (1 + SLOWING * self.adjusted[key]))
            self.adjusted[key] += 1
            error = happened - squash(outputs[n])
            self.weights[key] = [
                w + step * error * x for w, x in zip(self.weights[key], inputs, strict=True)
            ]
            final[n] += FINAL_STEP * (happened - p) * outputs[n]
        for key in corrections:
            row, at = self.corrected[key], level + (above > 0.5)
            row[at] += CORRECTION_STEP * (happened - row[at])
        for probability, came in adaptive:
            probability.learn(came)
        for slot in slots:
            slot.learn(happened)
        return p

    def follow(self, k: int, token: int) -> tuple[int, int]:
        """Return the position that is expected to repeat, and how many tokens agree before it."""
        pointer, length = self.matches[k]
        if length and self.history[pointer] == token:
            return pointer + 1, min(length + 1, MAX_MATCH)
        read, n = len(self.history), self.least[k]
        for pointer in range(read - 1, n - 1, -1):
            if self.history[pointer - n : pointer] == self.history[read - n :]:
                length = 0
                while length < pointer and length < MAX_MATCH:
                    if self.history[pointer - 1 - length] != self.history[read - 1 - length]:
                        break
                    length += 1
                return pointer, length
        return 0, 0


def size_of(length: int) -> int:
    """Return the class of a match's length."""
    if length < 8:
        return length
    if length < 16:
        return 8 + (length - 8) // 4
    return 10 + (length - 16) // 8 if length < 32 else min(15, 12 + (length - 32) // 64)
