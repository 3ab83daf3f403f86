"""Requests that are written side by side: each text is the one that is written alone."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from charrnn.config import SampleConfig
from charrnn.decoding import continuous
from charrnn.decoding.continuous import ContinuousBatch, Member
from charrnn.errors import RunError
from charrnn.generator import Generator
from charrnn.inference.numpy_engine import NumpyEngine
from charrnn.model.model_file import Model

REQUESTS = [
    ("he", SampleConfig(length=60, seed=1)),
    ("", SampleConfig(length=1, seed=2)),
    ("hello w", SampleConfig(length=45, seed=3, top_k=3, temperature=1.3)),
    ("w", SampleConfig(length=33, seed=1, num_samples=3, mirostat_ent=1.5)),
    ("lo", SampleConfig(length=50, seed=4, regex="[helo]{4,}", frequency_penalty=0.5)),
    ("o", SampleConfig(length=70, seed=5, stop="lo", num_samples=2)),
    ("hell", SampleConfig(length=20, temperature=0.0, no_repeat_ngram_size=2)),
    ("h", SampleConfig(length=0, seed=6)),
    ("\n", SampleConfig(length=64, seed=7, logit_bias={"w": 2.0}, allow="helow")),
]


@pytest.fixture(params=["compiled", "numpy"])
def generator(request: pytest.FixtureRequest, tiny_model: Model) -> Generator:
    made = Generator(tiny_model)
    if request.param == "numpy":
        made.engine = NumpyEngine(tiny_model.config, tiny_model.values)
    return made


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterator[int]], None]:
    """Return a function that says how many tokens are written at a time."""

    def counts(given: Iterator[int]) -> None:
        monkeypatch.setattr(continuous, "next_count", lambda *_: next(given))

    return counts


def finished(member: Member) -> list[Any]:
    return member.batch.finish()


@pytest.mark.parametrize("seed", range(4))
def test_a_text_is_the_same_alone_and_in_a_crowd(
    generator: Generator, cut: Callable[[Iterator[int]], None], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    cut(iter(rng.integers(1, 12, 10_000).tolist()))
    crowd, members = generator.together(), []
    for prompt, config in (REQUESTS[n] for n in rng.permutation(len(REQUESTS))):
        members.append((prompt, config, Member(generator.start(prompt, config))))
        crowd.join(members[-1][2])
        for _ in range(rng.integers(3)):
            crowd.write(0.01)
    while crowd.members:
        crowd.write(0.01)
    for prompt, config, member in members:
        wanted = generator.samples(prompt, config)
        for sample, alone in zip(finished(member), wanted, strict=True):
            assert (sample.text, sample.ids) == (alone.text, alone.ids)
            assert sample.finished_by == alone.finished_by
            # numpy's products may round otherwise for another number of rows.
            rounding = 0.0 if generator.engine.reproducible else 1e-4
            assert math.isclose(sample.log_prob, alone.log_prob, rel_tol=rounding)


def test_a_member_that_leaves_changes_no_other_text(generator: Generator) -> None:
    crowd = generator.together()
    members = [Member(generator.start(prompt, config)) for prompt, config in REQUESTS[:6]]
    for member in members:
        crowd.join(member)
    crowd.write(0.0)
    leaving = members[3]
    assert leaving in crowd.members
    crowd.leave(leaving)
    crowd.leave(leaving)  # again, without effect
    while crowd.members:
        crowd.write(0.0)
    assert leaving.rows == 3
    crowd.join(leaving)  # it goes on where it was
    while crowd.members:
        crowd.write(0.0)
    for (prompt, config), member in zip(REQUESTS[:6], members, strict=True):
        alone = generator.samples(prompt, config)
        assert [sample.text for sample in finished(member)] == [s.text for s in alone]


def test_watchers_get_every_text_in_pieces(generator: Generator) -> None:
    pieces: list[list[str]] = [[], []]
    config = SampleConfig(length=40, seed=3, num_samples=2)
    member = Member(generator.start("he", config, [each.append for each in pieces]))
    crowd = generator.together()
    crowd.join(member)
    ended = []
    while crowd.members:
        ended += crowd.write(0.0)
    assert ended == [member]
    texts = [sample.text for sample in finished(member)]
    assert ["".join(each) for each in pieces] == texts
    assert all(len(each) > 2 for each in pieces)


def test_noted_tokens_have_the_surprisals_of_scoring(generator: Generator) -> None:
    member = Member(generator.start("hel", SampleConfig(length=40, seed=2, num_samples=2)), 3)
    crowd = generator.together()
    crowd.join(member)
    while crowd.members:
        crowd.write(0.01)
    for sample, tokens in zip(finished(member), member.tokens, strict=True):
        read = generator.tokenizer.encode("hel" + sample.text)
        (wanted,) = generator.scorer.surprisals([read], 3)
        assert tuple(token.id for token in tokens) == sample.ids
        np.testing.assert_allclose([token.nats for token in tokens], wanted.nats[3:], rtol=1e-4)
        np.testing.assert_array_equal([token.likeliest for token in tokens], wanted.likeliest[3:])
        assert math.isclose(-sum(token.nats for token in tokens), sample.log_prob, rel_tol=1e-4)


def test_texts_of_a_network_that_overflows_end_with_a_sentence(generator: Generator) -> None:
    crowd = generator.together()
    batch = generator.start("he", SampleConfig(length=40, seed=1))
    object.__setattr__(batch.prompt, "logits", batch.prompt.logits * np.nan)
    broken, whole = Member(batch), Member(generator.start("he", SampleConfig(length=9, seed=1)))
    crowd.join(broken)
    crowd.join(whole)
    while crowd.members:
        crowd.write(0.01)
    assert isinstance(broken.error, RunError)
    assert whole.error is None
    assert finished(whole)[0].text == generator.sample("he", length=9, seed=1).text


def test_a_batch_without_members_writes_nothing(generator: Generator) -> None:
    crowd: ContinuousBatch = generator.together()
    assert crowd.write(0.01) == []
