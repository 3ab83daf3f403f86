import numpy as np

from charrnn.arrays import Integers
from charrnn.text.pair_order import PairOrder, batch, by_length, padded
from charrnn.text.pairs import PairPart
from charrnn.text.streams import IGNORED

START, END = 9, 8


def test_a_batch_is_padded_at_the_ends() -> None:
    part = PairPart.of([([1, 2, 3], [4]), ([5], [6, 7]), ([0], [0])])
    made = batch(part, np.array([1, 0]), START, END)
    assert made.sources.T.tolist() == [[5, 0, 0], [1, 2, 3]]
    assert made.lengths.tolist() == [1, 3]
    assert made.inputs.T.tolist() == [[START, 6, 7], [START, 4, 0]]
    assert made.targets.T.tolist() == [[6, 7, END], [4, END, IGNORED]]


def test_a_batch_of_narrow_integers_has_wide_ones() -> None:
    wide = PairPart.of([([250] * 300, [1, 2])] * 3)
    part = PairPart(wide.ids.astype(np.uint8), wide.starts.astype(np.uint64))
    made = batch(part, np.arange(3), 300, 299)
    assert (made.sources == 250).all()
    assert {made.sources.dtype, made.inputs.dtype, made.targets.dtype} == {np.dtype(np.int64)}
    assert made.inputs[:, 2].tolist() == [300, 1, 2]
    assert made.targets[:, 2].tolist() == [1, 2, 299]


def _part(pairs: int, seed: int = 0) -> PairPart:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 12, (pairs, 2))
    return PairPart.of([([1] * int(a), [2] * int(b)) for a, b in lengths])


def _pairs(batches: list[Integers]) -> list[int]:
    return [int(pair) for each in batches for pair in each]


def test_an_epoch_has_every_pair_once_in_batches_of_nearly_equal_size() -> None:
    order = PairOrder(_part(1003), 10, seed=1)
    batches = order.of_epoch(0)
    assert len(batches) == order.batches == 101
    assert sorted(_pairs(batches)) == list(range(1003))
    assert {len(each) for each in batches} == {9, 10}


def test_the_order_follows_from_seed_and_epoch() -> None:
    part = _part(200)
    first, again = (PairOrder(part, 10, seed=1) for _ in range(2))
    later = _pairs(first.of_epoch(1))
    assert _pairs(again.of_epoch(0)) == _pairs(first.of_epoch(0))
    assert _pairs(again.of_epoch(1)) == later != _pairs(first.of_epoch(0))
    assert _pairs(PairOrder(part, 10, seed=2).of_epoch(0)) != _pairs(first.of_epoch(0))


def test_pairs_of_similar_lengths_share_a_batch() -> None:
    part = _part(5000)
    sources, targets = part.source_lengths, part.target_lengths
    batches = PairOrder(part, 25, seed=1).of_epoch(0)
    steps = sum(sources[each].max() * len(each) for each in batches)
    assert steps < 1.1 * sources.sum()
    steps = sum(targets[each].max() * len(each) for each in batches)
    assert steps < 1.35 * targets.sum()
    lengths = [int(sources[each[0]]) for each in batches]
    assert lengths != sorted(lengths)  # but short ones do not come first


def test_fewer_pairs_than_a_batch_are_one_batch() -> None:
    assert [each.tolist() for each in PairOrder(_part(1), 10, seed=1).of_epoch(5)] == [[0]]
    assert len(PairOrder(_part(7), 10, seed=1).of_epoch(0)[0]) == 7


def test_a_very_long_pair_has_a_batch_of_its_own() -> None:
    rng = np.random.default_rng(0)
    short = [([1] * int(n), [2] * int(n)) for n in rng.integers(1, 12, 500)]
    part = PairPart.of([*short, ([1] * 10_000, [2] * 10_000), ([3] * 900, [3] * 10)])
    order = PairOrder(part, 50, seed=1)
    batches = order.of_epoch(3)
    assert sorted(_pairs(batches)) == list(range(502))
    assert len(batches) == len(order.of_epoch(0)) == order.batches == 12
    assert [500] in [each.tolist() for each in batches]
    assert order.most_steps == 20_001
    for each in batches:
        made = batch(part, each, START, END)
        assert (len(made.sources) + len(made.inputs)) * len(each) <= order.most_steps


def test_batches_by_length_keep_to_the_limit() -> None:
    part = _part(300)
    batches = list(by_length(part, np.arange(0, 300, 2), 200))
    assert sorted(_pairs(batches)) == list(range(0, 300, 2))
    for each in batches:
        made = batch(part, each, START, END)
        assert (len(made.sources) + len(made.inputs)) * len(each) <= 200
    assert 12 < len(batches) < 20  # 150 pairs of 13 steps on average
    assert list(by_length(part, np.arange(0), 200)) == []
    assert [each.tolist() for each in by_length(part, np.arange(2), 1)] in ([[0], [1]], [[1], [0]])


def test_texts_are_padded_beside_each_other() -> None:
    made = padded([np.array([1]), np.array([2, 3])], 7)
    assert made.tolist() == [[1, 2], [7, 3]]
    assert made.flags.c_contiguous
