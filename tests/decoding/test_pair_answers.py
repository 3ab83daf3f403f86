"""Answers of models of pairs: one by one, many side by side, random and searched."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from charrnn.config import END, BeamConfig, SampleConfig
from charrnn.decoding import generation
from charrnn.errors import OptionError, PromptError
from charrnn.generator import Generator
from charrnn.model.model_file import Model
from charrnn.storage import machine

MakeModel = Callable[..., Model]
SOURCES = ["abc", "a", "ca", "bbbb", "acab"]
WAYS: list[SampleConfig | BeamConfig] = [
    SampleConfig(temperature=0.0, length=12),
    SampleConfig(seed=3, length=12, num_samples=2),
    BeamConfig(width=3, length=12, num_return=2),
    BeamConfig(width=3, length=12, stochastic=True, seed=5),
]


@pytest.mark.parametrize("config", WAYS, ids=lambda config: type(config).__name__)
def test_an_answer_is_the_same_alone_and_among_others(
    make_pair_model: MakeModel, monkeypatch: pytest.MonkeyPatch, config: SampleConfig | BeamConfig
) -> None:
    model = make_pair_model()
    expected = list(Generator(model, threads=1).answers(SOURCES, config))
    assert len({found[0].text for found in expected}) > 1
    for threads, rows in ((1, 1), (2, 7)):
        monkeypatch.setattr(generation, "_ROWS", rows)
        generator = Generator(model, threads=threads)
        assert list(generator.answers(iter(SOURCES), config)) == expected  # every bit
    *before, last = SOURCES
    assert list(generator.answers([last], config, first=len(before))) == expected[-1:]


def test_batches_grow_and_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "_SYMBOLS", 1000)
    sizes = [len(batch) for batch in generation._batches(["ab"] * 500 + ["a" * 300] * 7, 200)]
    assert sizes == [64, 200, 200, 36, 3, 3, 1]
    assert [len(batch) for batch in generation._batches(["a" * 5000] * 2, 9)] == [1, 1]


def test_an_answer_ends_where_the_model_ends_it(make_pair_model: MakeModel) -> None:
    generator = Generator(make_pair_model())
    samples = next(generator.answers(["ab"], SampleConfig(seed=1, num_samples=50, length=40)))
    ended = [sample for sample in samples if sample.finished_by == "stop"]
    assert len(ended) > 10
    for sample in ended:
        assert sample.ids[-1] == generator.config.end_token
        assert END not in sample.text
        assert len(sample.text) == len(sample.ids) - 1


def test_the_best_answer_has_its_score(make_pair_model: MakeModel) -> None:
    model = make_pair_model()
    generator = Generator(model)
    best = generator.answer("cab", width=40, length=6)
    read = generator.read("", source="cab")
    total, state, logits = 0.0, read.state, read.logits
    from charrnn.decoding.step import log_softmax

    for token in best.ids:
        total += float(log_softmax(logits)[0, token])
        logits, state = generator.engine.step(_row(token), state)
    assert best.log_prob == pytest.approx(total, abs=1e-4)


def _row(token: int) -> Any:
    import numpy as np

    return np.array([token])


def test_a_prompt_begins_the_answer(make_pair_model: MakeModel) -> None:
    generator = Generator(make_pair_model())
    answers = list(generator.answers(["ab", "c"], SampleConfig(temperature=0.0, length=5), "cab"))
    for source, (sample,) in zip(["ab", "c"], answers, strict=True):
        assert sample.prompt == "cab"
        alone = generator.samples(
            generator.read("cab", source=source), SampleConfig(temperature=0.0, length=5)
        )
        assert sample.text == alone[0].text


def test_patterns_and_limits_hold_for_answers(make_pair_model: MakeModel) -> None:
    generator = Generator(make_pair_model())
    for config in (SampleConfig(regex="(ab|c)+", seed=2, length=9), BeamConfig(regex="c[ab]{2}")):
        for (sample,) in generator.answers(SOURCES, config):
            assert re.fullmatch(str(config.limits.regex), sample.text)
    for (sample,) in generator.answers(SOURCES, SampleConfig(forbid="a", seed=2, length=30)):
        assert "a" not in sample.text


def test_unknown_characters_of_a_source_are_replaced(make_pair_model: MakeModel) -> None:
    notices: list[str] = []
    generator = Generator(make_pair_model(), notify=notices.append)
    accented = next(generator.answers(["áb"], BeamConfig(length=8)))[0]
    assert accented.text == generator.answer("ab", length=8).text
    assert "'á' (U+00E1) -> 'a'" in notices[0]
    with pytest.raises(PromptError, match="never seen"):
        generator.read("", source="áb")
    with pytest.raises(
        PromptError, match="the source '日本' has no character that the model knows"
    ):
        list(generator.answers(["ab", "日本"], BeamConfig(length=8)))


def test_a_source_goes_with_a_model_of_pairs_and_a_text_with_others(
    make_pair_model: MakeModel, make_model: MakeModel
) -> None:
    with pytest.raises(PromptError, match="goes on with a text"):
        Generator(make_model("abc")).answer("a")
    pairs = Generator(make_pair_model())
    with pytest.raises(PromptError, match="answers sources"):
        pairs.sample("a")
    with pytest.raises(PromptError, match="the source '' is empty"):
        pairs.answer("")
    with pytest.raises(OptionError, match="text models"):
        _ = Generator(make_pair_model(), device="cuda").engine


@pytest.mark.parametrize("form", [{"context": "fixed"}, {"encoder": "forward"}, {"cell": "gru"}])
def test_every_form_answers(make_pair_model: MakeModel, form: dict[str, Any]) -> None:
    generator = Generator(make_pair_model(**form))
    answers = [generator.answer(source, length=8) for source in SOURCES]
    assert len({round(answer.log_prob, 4) for answer in answers}) == len(SOURCES)


def test_limits_leave_the_model_its_end(make_pair_model: MakeModel) -> None:
    generator = Generator(make_pair_model())
    for limits in ({"allow": "ab"}, {"regex": ".{1,9}"}, {"regex": "[^b]*"}, {"max_lines": 3}):
        config = SampleConfig(seed=1, num_samples=30, length=30, **limits)  # type: ignore[arg-type]
        samples = next(generator.answers(["ab"], config))
        assert all(END not in sample.text for sample in samples)
        ended = [sample for sample in samples if sample.finished_by != "length"]
        assert len(ended) > 15
        for sample in samples:
            assert re.fullmatch(str(limits.get("regex", "(?s:.*)")), sample.text)
            assert not set(sample.text) - set(str(limits.get("allow", "abc")))


def test_an_end_is_as_probable_under_a_limit_as_without_one(make_pair_model: MakeModel) -> None:
    generator = Generator(make_pair_model())
    free = next(generator.answers(["ab"], BeamConfig(length=8, length_penalty=0.0)))[0]
    assert free.finished_by == "stop"
    config = BeamConfig(length=8, length_penalty=0.0, regex="[abc]*")
    limited = next(generator.answers(["ab"], config))[0]
    assert limited.text == free.text
    assert limited.log_prob == pytest.approx(free.log_prob, abs=1e-4)


def test_a_source_must_fit_into_memory_and_be_a_text(
    make_pair_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = Generator(make_pair_model())
    with pytest.raises(PromptError, match="a source must be a str, not bytes"):
        generator.answer(b"ab")  # type: ignore[arg-type]
    with pytest.raises(PromptError, match="a source must be a str, not NoneType"):
        generator.answer(None)  # type: ignore[arg-type]
    monkeypatch.setattr(machine, "installed", lambda: 10**6)
    assert generator.answer("ab" * 500, length=1)
    with pytest.raises(PromptError, match="a source of 10,000 tokens would take about 0 GB"):
        generator.answer("ab" * 5000, length=1)


def test_characters_that_only_targets_had_become_those_of_sources(
    make_pair_model: MakeModel,
) -> None:
    made = make_pair_model("abAX")
    reading = {"pairs": True, "target_only": "AX"}
    model = replace(made, training={"reading": reading})
    notices: list[str] = []
    generator = Generator(model, notify=notices.append)
    sources, config = ["Ab", "AA", "bX"], BeamConfig(length=8)
    found = [answer.text for (answer,) in generator.answers(sources, config)]
    plain = Generator(made)
    assert found == [plain.answer(source, length=8).text for source in ("ab", "aa", "bX")]
    assert notices == ["unknown characters: 'A' (U+0041) -> 'a' (U+0061) (3 times)"]
    kept = generator.answer("Ab", length=8, unknown="skip")
    assert kept.text == plain.answer("Ab", length=8).text
    assert generator.read("A", source="b").ids.tolist() == made.tokenizer.encode("A").tolist()
