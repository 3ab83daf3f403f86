import numpy as np

from charrnn.text.pairs import PairPart


def test_a_part_gives_back_its_pairs() -> None:
    pairs = [([1, 2, 3], [4]), ([5], [6, 7]), ([0], [0, 8])]
    made = PairPart.of(pairs)
    for part in (made, PairPart(made.ids.astype(np.uint8), made.starts.astype(np.uint64))):
        assert len(part) == 3
        assert [(part.source(n).tolist(), part.target(n).tolist()) for n in range(3)] == pairs
        assert part.source_lengths.tolist() == [3, 1, 1]
        assert part.targets.tolist() == [4, 6, 7, 0, 8]
        assert part.target_lengths.tolist() == [1, 2, 2]


def test_a_part_may_have_no_pairs() -> None:
    part = PairPart.of([])
    assert len(part) == 0
    assert part.source_lengths.tolist() == part.target_lengths.tolist() == []
