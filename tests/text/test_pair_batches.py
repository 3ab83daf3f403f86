import numpy as np

from charrnn.arrays import Integers
from charrnn.text.pair_batches import PairOrder, batch, padded
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


def test_texts_are_padded_beside_each_other() -> None:
    made = padded([np.array([1]), np.array([2, 3])], 7)
    assert made.tolist() == [[1, 2], [7, 3]]
    assert made.flags.c_contiguous


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
