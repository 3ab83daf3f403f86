"""Many texts and answers: the same whatever the number of processes, and in portions."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from charrnn.config import BeamConfig, SampleConfig
from charrnn.decoding import generation, many, workers
from charrnn.decoding.generation import PORTION
from charrnn.decoding.output_text import unwatched
from charrnn.generator import Generator
from charrnn.model.model_file import Model

MakeModel = Callable[..., Model]


def test_many_texts_are_those_of_one_batch(make_model: MakeModel) -> None:
    """Each of several processes writes portions; so does one, a portion at a time."""
    generator, first, several = Generator(make_model()), list[str](), list[str]()
    config = SampleConfig(seed=5, length=4, num_samples=2 * PORTION + 7)
    expected = generator.samples("ab", config)
    assert len({sample.text for sample in expected}) > 20
    # As one batch.
    read = generator.read("ab")
    whole = generator.start(read, config)
    for _ in whole.steps(generator.engine):
        pass
    assert whole.finish() == expected
    assert list(generator.texts("ab", config, first.append)) == expected
    assert "".join(first) == expected[0].text
    assert list(generator.texts("ab", config, several.append, processes=2)) == expected
    assert several == [expected[0].text]
    assert expected[-1].prompt == "ab"
    rest = SampleConfig(seed=5, length=4, num_samples=7)
    assert list(generator.texts("ab", rest, first=2 * PORTION)) == expected[2 * PORTION :]


def test_without_a_seed_all_portions_have_the_same_new_one(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "PORTION", 3)
    found = list(Generator(make_model()).texts("", num_samples=8, length=9))
    assert len(found) == 8
    assert len({sample.seed for sample in found}) == 1
    assert len({sample.text for sample in found}) > 4


def test_texts_that_are_to_differ_are_written_here(make_model: MakeModel) -> None:
    config = SampleConfig(seed=5, length=2, num_samples=9, unique=True)
    found = list(Generator(make_model()).texts("", config, processes=2))
    assert len({sample.text for sample in found}) == 9
    assert found == Generator(make_model()).samples("", config)


def test_only_a_portion_is_in_memory(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of a billion texts come at once, and `prepare` makes no more than a portion."""
    monkeypatch.setattr(generation, "PORTION", 5)
    sizes: list[int] = []
    made = generation.SampleBatch

    def batch(*given: object, **more: object) -> generation.SampleBatch:
        found = made(*given, **more)  # type: ignore[arg-type]
        sizes.append(len(found.texts))
        return found

    monkeypatch.setattr(generation, "SampleBatch", batch)
    generator, config = Generator(make_model()), SampleConfig(num_samples=10**9, length=2, seed=1)
    generator.prepare(config)
    assert len(list(itertools.islice(generator.texts("", config), 12))) == 12
    assert sizes == [5, 5, 5, 5]


def test_texts_that_end_by_their_length_alone_are_written_in_long_steps(
    make_model: MakeModel,
) -> None:
    """Where a text may end before, or somebody watches it, the first tokens come soon."""
    generator = Generator(make_model())

    def steps(watch: Callable[[str], object] = unwatched, **options: Any) -> int:
        config = SampleConfig(seed=5, length=40, num_samples=3, **options)
        batch = generator.start("", config, [watch])
        return len(list(batch.steps(generator.engine, workers.cost(generator.config))))

    assert steps() == 1
    assert steps(lambda piece: None) > 1
    assert steps(stop=("ccccc",)) > 1
    assert steps(max_lines=3) > 1


@pytest.mark.parametrize(
    "config",
    [SampleConfig(seed=3, length=6, num_samples=2), BeamConfig(width=2, length=6)],
    ids=lambda config: type(config).__name__,
)
def test_answers_of_several_processes_are_those_of_one(
    make_pair_model: MakeModel, monkeypatch: pytest.MonkeyPatch, config: SampleConfig | BeamConfig
) -> None:
    """What is said about a source is said here, by whichever process it was answered."""
    said: list[str] = []
    generator = Generator(make_pair_model(), notify=said.append)
    sources = ["".join(word) for n in (1, 2, 3) for word in itertools.product("abc", repeat=n)]
    sources[20] += "Z"
    expected = list(generator.answers(sources, config))
    assert said
    assert "'Z'" in said[-1]
    said.clear()
    monkeypatch.setattr(many, "SOURCES", 10)
    assert list(generator.answers(iter(sources), config, processes=2)) == expected
    assert [sentence for sentence in said if "'Z'" in sentence] == said
    assert len(said) == 1
    assert list(generator.answers(sources[7:], config, first=7)) == expected[7:]


def test_many_answers_to_one_source_are_written_in_portions(
    make_pair_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = Generator(make_pair_model())
    config = SampleConfig(seed=3, length=6, num_samples=11)
    expected = list(generator.answers(["ab"], config))
    monkeypatch.setattr(generation, "PORTION", 4)
    assert list(generator.answers(["ab"], config)) == expected


def test_only_many_texts_are_worth_several_processes(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charrnn.storage.machine.cores", lambda: 4)
    generator, short = Generator(make_model()), SampleConfig(length=40)
    assert generator.processes(100_000, short) == 4
    assert generator.processes(10_000, short) == 1
    assert generator.processes(10_000, SampleConfig(length=10**6)) == 1  # they may end early
    assert generator.processes(10_000, BeamConfig(width=100, length=40)) == 4
    assert Generator(make_model(), threads=2).processes(10**6, short) == 2
    assert generator.processes(300, BeamConfig(width=2000, length=40)) == 2  # portions
    monkeypatch.setattr("charrnn.storage.machine.cores", lambda: 1)
    assert generator.processes(10**6, short) == 1
