"""The counts of a text, against modified Kneser-Ney by dictionaries."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from charrnn.arrays import Floats64, Integers
from charrnn.counts import build, mixing
from charrnn.counts.table import COUNTS, CountTable, of_arrays, specs, token_type
from charrnn.errors import ModelError

NONE = build.NONE
V = 5  # tokens of the texts here; V itself is the start token


def _text(seed: int, length: int) -> Integers:
    """Return a text in which what follows depends on the last two tokens."""
    rng = np.random.default_rng(seed)
    table = rng.dirichlet(np.full(V, 0.4), (V, V))
    ids = [0, 1]
    for _ in range(length):
        ids.append(int(rng.choice(V, p=table[ids[-2], ids[-1]])))
    return np.array(ids)


class Plain:
    """Interpolated modified Kneser-Ney (Chen and Goodman 1999), readable and slow."""

    def __init__(self, sequence: Integers, order: int) -> None:
        self.order = order
        text = sequence.tolist()
        seen: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        before: dict[tuple[tuple[int, ...], int], set[int]] = defaultdict(set)
        for i, token in enumerate(text):
            for k in range(min(i, order) + 1 if 0 <= token < V else 0):
                context = tuple(text[i - k : i])
                if NONE in context:
                    break
                seen[context][token] += 1
                before[context, token].add(text[i - k - 1] if i > k else NONE)
        self.seen = {context: sum(counts.values()) for context, counts in seen.items()}
        self.counts = {context: dict(counts) for context, counts in seen.items()}
        for context, counts in self.counts.items():
            for token in counts:
                lefts = before[context, token]
                if len(context) < order and lefts != {NONE}:
                    counts[token] = len(lefts)
        self.discounts = [self._discounts(k) for k in range(order + 1)]

    def _discounts(self, k: int) -> list[float]:
        counts = [c for x, each in self.counts.items() if len(x) == k for c in each.values()]
        n = [0, *(counts.count(c) for c in (1, 2, 3, 4))]
        if not all(n[1:4]):
            return [0, 0.5, 0.75, 1.0]
        share = n[1] / (n[1] + 2 * n[2])
        found = [c - (c + 1) * share * n[c + 1] / n[c] for c in (1, 2, 3)]
        return [0, *(min(max(d, 0.05), c - 0.05) for c, d in zip((1, 2, 3), found, strict=True))]

    def probabilities(self, history: list[int], least: int) -> Floats64:
        """Return the probabilities after a history (V,)."""
        result = np.full(V, 1 / V)
        for k in range(self.order + 1):
            context = tuple(history[len(history) - k :])
            if len(context) < k or context not in self.counts:
                break
            if k and self.seen[context] < least:
                break
            counts = self.counts[context]
            if k:  # large ones are rounded
                counts = {token: COUNTS[abs(COUNTS - c).argmin()] for token, c in counts.items()}
            total = sum(counts.values())
            taken = {token: self.discounts[k][int(min(c, 3))] for token, c in counts.items()}
            result *= (max(sum(taken.values()), 0 if k else 0.5)) / total
            for token, count in counts.items():
                result[token] += (count - taken[token]) / total
        return result


def _contexts(histories: list[list[int]], order: int) -> np.ndarray:
    padded = [[*([NONE] * order), *history][-order:] for history in histories]
    return np.array(padded, np.float32) + 1


@pytest.mark.parametrize("order", [1, 3, 6])
def test_the_counts_are_those_of_modified_kneser_ney(order: int) -> None:
    text = _text(1, 3000)
    sequence = np.concatenate([[V], text, [NONE, V], _text(2, 500)])
    table = build.build(sequence, V, 10**6, order)
    plain = Plain(sequence, order)
    histories = [text[:n].tolist() for n in range(400, 460)]
    histories += [[], [V], [V, 0], [V, 0, 1], [4, V, 0], [3, 3, 3, 3, 3, 3, 3], [V, 4, 4]]
    found = mixing.counted(table, _contexts(histories, order))
    wanted = np.array([plain.probabilities(each, build.MIN_SEEN) for each in histories])
    assert found.probabilities == pytest.approx(wanted, abs=1e-6)
    assert found.probabilities.sum(1) == pytest.approx(np.ones(len(histories)), abs=1e-6)
    assert (found.probabilities > 0).all()


def test_contexts_are_not_counted_across_a_border() -> None:
    sequence = np.array([V, 0, 1, NONE, V, 2, 3] * 50)
    table = build.build(sequence, V, 10**6)
    crossing = mixing.counted(table, _contexts([[1, V], [0, 1]], table.order))
    assert crossing.orders.tolist() == [1, 0]  # nothing has followed 0 1, and only V what is new
    assert crossing.probabilities[0, [0, 2]].sum() > 0.95


def test_rare_contexts_are_left_out_until_the_table_fits() -> None:
    sequence = np.concatenate([[V], _text(3, 20_000)])
    whole = build.build(sequence, V, 10**9)
    small = build.build(sequence, V, 20_000)
    assert small.contexts < whole.contexts / 4
    assert small.bytes < 25_000 < whole.bytes
    nothing = build.build(sequence, V, 0)
    assert nothing.contexts == 0
    found = mixing.counted(nothing, _contexts([[0, 1]], nothing.order))
    assert found.probabilities[0] == pytest.approx(nothing.unigram)


def test_a_gain_is_the_divergence_from_what_the_shorter_context_predicts() -> None:
    sequence = np.concatenate([[V], _text(4, 600), [NONE, V], _text(5, 100)])
    _, _, orders = build._count(sequence, V, 3)
    plain = Plain(sequence, 3)
    for order in orders:
        contexts = [sequence[at - order.length : at].tolist() for at in order.places]
        frequent = [each for each in plain.seen if plain.seen[each] >= build.MIN_SEEN]
        assert sorted(map(tuple, contexts)) == sorted(
            each for each in frequent if len(each) == order.length
        )
        for context, gain in zip(contexts, order.gains, strict=True):
            p, q = (plain.probabilities(each, 1) for each in (context, context[1:]))
            wanted = plain.seen[tuple(context)] * (p * np.log(p / q)).sum()
            assert gain == pytest.approx(wanted, rel=1e-3, abs=1e-4)


def test_contexts_that_tell_most_by_byte_are_kept_with_all_shorter_ones() -> None:
    sequence = np.concatenate([[V], _text(3, 20_000)])
    _, _, orders = build._count(sequence, V, 6)
    worth = [each.gains / each.bytes for each in orders]
    kept = build._fitting(orders, 20_000)
    least = min(part[some].min() for part, some in zip(worth, kept, strict=True) if some.any())
    assert (
        18_000
        < sum(each.bytes[some].sum() for each, some in zip(orders, kept, strict=True))
        <= 20_000
    )
    for shorter, longer, order in zip(kept[:-1], kept[1:], orders[1:], strict=True):
        assert shorter[order.parents[longer]].all()
    # Only a longer context can save one that tells less than what is left out.
    needed = [np.zeros(len(each), bool) for each in kept]
    for number in range(len(orders) - 1, 0, -1):
        needed[number - 1][orders[number].parents[kept[number]]] = True
    alone = [
        part[some & ~other].min(initial=np.inf)
        for part, some, other in zip(worth, kept, needed, strict=True)
    ]
    left_out = max(part[~some].max(initial=0) for part, some in zip(worth, kept, strict=True))
    assert left_out <= min(alone)
    assert least <= min(alone)


@pytest.mark.parametrize("vocab_size", [3, 256, 300, 70_000])
def test_tokens_take_as_many_bytes_as_they_need(vocab_size: int) -> None:
    sequence = np.array([vocab_size, *([0, vocab_size - 1, 1] * 200)])
    table = build.build(sequence, vocab_size, 10**9)
    expected = specs(table.to_json(), vocab_size)
    assert expected["counts.tokens"].dtype == token_type(vocab_size)
    for name, array in table.arrays().items():
        assert array.shape == expected[name].shape
        assert array.nbytes == expected[name].bytes
    after = mixing.counted(table, np.zeros((1, table.order), np.float32))
    assert after.probabilities.sum() == pytest.approx(1)


def test_counts_of_a_large_vocabulary_stay_apart() -> None:
    """Where little of a key's hash is left beside two tokens, most contexts are still found."""
    ids = np.random.default_rng(0).integers(0, 60_000, 4000)
    table = build.build(np.tile(ids, 3), 60_000, 10**9, 2)
    histories = [ids[n : n + 2].tolist() for n in range(500)]
    found = mixing.counted(table, _contexts(histories, 2))
    right = found.probabilities.argmax(1) == ids[2:502]
    assert right.mean() > 0.98


def test_large_counts_are_stored_within_some_percent() -> None:
    sequence = np.array([0, 1] * 40_000 + [0, 2] * 20_000)
    table = build.build(sequence, V, 10**6, 1)
    found = mixing.counted(table, _contexts([[0]], 1)).probabilities[0]
    assert found[1] == pytest.approx(2 / 3, abs=0.03)
    assert found[:3].sum() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "position", "value"),
    [
        ("unigram", 0, 0.0),
        ("unigram", 0, np.nan),
        ("unigram", 0, 0.9),
        ("discounts", (1, 1), 0.0),
        ("discounts", (1, 2), 2.5),
        ("weights", (0, 0, 0), 1.5),
        ("index", -1, 0),
        ("index", 1, 2**31),
        ("starts", 1, 0),
        ("starts", -1, 7),
        ("tokens", 3, V),
        ("codes", 3, 0),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(
    name: str, position: object, value: float
) -> None:
    table = build.build(np.concatenate([[V], _text(4, 2000)]), V, 10**6)
    arrays = {key: array.copy() for key, array in table.arrays().items()}
    assert isinstance(of_arrays("x", arrays), CountTable)
    arrays[f"counts.{name}"][position] = value  # type: ignore[index]
    with pytest.raises(ModelError, match="its table of counts contradicts itself"):
        of_arrays("x", arrays)
