"""Scores of many texts: those of each alone, in order, few at a time, in several processes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from charrnn.decoding import workers
from charrnn.decoding.workers import AHEAD
from charrnn.errors import OptionError, PromptError
from charrnn.generator import Generator
from charrnn.model.model_file import Model
from charrnn.scoring import many_scores
from charrnn.scoring.many_scores import Batch

MakeModel = Callable[..., Model]
TEXTS = ["abc", "c\n", "", "ab" * 200, "\n", "cab"] * 3


@pytest.mark.parametrize("processes", [1, 2])
def test_scores_are_those_of_each_text_alone(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setattr(many_scores, "BATCH", 4)
    generator = Generator(make_model("abc\n"))
    found = list(generator.scores(iter(TEXTS), processes=processes))
    assert len(found) == len(TEXTS)
    for text, score in zip(TEXTS, found, strict=True):
        assert (score.characters, score.num_bytes) == (len(text), len(text))
        alone = generator.score(text, exact=True).total_nats if text else 0.0
        assert score.total_nats == pytest.approx(alone, rel=1e-6)


@pytest.mark.parametrize("processes", [1, 2])
def test_few_batches_are_in_memory(make_model: MakeModel, processes: int) -> None:
    taken: list[int] = []

    def batches() -> Iterator[Batch]:
        for number in itertools.count():
            taken.append(number)
            yield Batch(number + 1, ["ab"])

    found = Generator(make_model()).many_scores.scores(batches(), "error", processes=processes)
    for number in range(20):
        assert len(next(found)) == 1
        assert len(taken) <= number + 1 + AHEAD * processes
    found.close()  # type: ignore[attr-defined]


def test_processes_start_when_there_is_enough_to_do(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charrnn.storage.machine.cores", lambda: 2)
    generator, taken, done = Generator(make_model()), list[int](), list[int]()
    monkeypatch.setattr(workers, "WORTHWHILE", 5 * 3 * workers.cost(generator.config))

    def batches() -> Iterator[Batch]:
        for number in range(9):
            taken.append(number)
            yield Batch(number, ["abc"])

    def in_order(work: object, jobs: Iterator[Batch], processes: int) -> Iterator[object]:
        done.extend([len(taken), processes])
        return map(work, jobs)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(workers, "in_order", in_order)
    assert len(list(generator.many_scores.scores(batches(), "error"))) == 9
    assert done == [5, 2]
    limited = Generator(make_model(), threads=1)
    assert len(list(limited.many_scores.scores(batches(), "error"))) == 9
    assert done == [5, 2]


@pytest.mark.parametrize("processes", [1, 2])
def test_scores_before_a_text_that_cannot_be_scored_come(
    make_model: MakeModel, processes: int
) -> None:
    said: list[str] = []
    generator = Generator(make_model("abe"), notify=said.append)
    texts = ["ab", "b", "é", "a"]
    found = generator.scores(texts, processes=processes)
    assert [next(found).characters, next(found).characters] == [2, 1]
    with pytest.raises(PromptError, match=r"text 3: .*'é'.*`unknown` nearest or skip"):
        next(found)
    near = list(generator.scores(texts, unknown="nearest", processes=processes))
    assert near[2] == next(generator.scores(["e"]))
    assert [sentence for sentence in said if "'é' (U+00E9) -> 'e'" in sentence]
    assert [score.characters for score in generator.scores(texts, unknown="skip")] == [2, 1, 0, 1]
    with pytest.raises(OptionError, match="choose from"):
        next(generator.scores(texts, unknown="no"))


def test_targets_of_pairs_are_scored(make_pair_model: MakeModel) -> None:
    generator = Generator(make_pair_model())
    pairs = [("ab", "c"), ("c", "ab"), ("abc", "cba")] * 4
    alone = list(generator.scores(pairs))
    assert alone[:3] == pytest.approx(alone[3:6])
    assert [score.characters for score in alone[:3]] == [1, 2, 3]
    assert alone[0] != alone[1]
    assert list(generator.scores(pairs, processes=2)) == alone
    with pytest.raises(
        PromptError, match="text 1: this model scores a tuple of a source and its target, not a str"
    ):
        next(generator.scores(["ab"]))
    with pytest.raises(PromptError, match="text 2: no character is left of one side"):
        list(generator.scores([("a", "b"), ("a", "")]))


def test_other_kinds_are_refused(make_model: MakeModel) -> None:
    with pytest.raises(PromptError, match="text 1: this model scores a str, not a tuple"):
        next(Generator(make_model()).scores([("a", "b")]))
    with pytest.raises(PromptError, match="text 1: this model scores a str, not a bytes"):
        next(Generator(make_model()).scores([b"ab"]))  # type: ignore[list-item]
