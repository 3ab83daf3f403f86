"""Labels: which targets are some."""

from charrnn.text.labels import has_labels
from charrnn.text.pairs import PairPart


def _labels(*targets: list[int]) -> bool:
    return has_labels(PairPart.of([([1], target) for target in targets]))


def test_few_targets_that_repeat_are_labels() -> None:
    assert _labels([1], [1, 2], [1, 2], [1])
    assert not _labels([1], [1, 2], [2])  # not each of several pairs
    assert not _labels()
    assert _labels(*[[number] for number in range(50)] * 2)
    assert not _labels(*[[number] for number in range(51)] * 9)
