"""Generation with every kind of token: bytes, pieces, characters with byte fallback."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from charrnn.config import BeamConfig, ModelConfig, SampleConfig
from charrnn.generator import Generator
from charrnn.model import parameters
from charrnn.model.model_file import Model
from charrnn.text.tokenizer import ByteTokenizer, CharTokenizer, Tokenizer, train_pieces

LINES = "the café is near the sea.\nover the naïve bridge\n"


def _tokenizers() -> dict[str, Tokenizer]:
    text = (LINES * 40).encode()
    return {
        "byte": ByteTokenizer(),
        "char": CharTokenizer("".join(sorted(set("the seaï\n"))), byte_fallback=True),
        "sentencepiece": train_pieces([text], len(text), "bpe", 300),
    }


@pytest.fixture(scope="module", params=["byte", "char", "sentencepiece"])
def model(request: pytest.FixtureRequest) -> Generator:
    """Return a small network with random weights, which generates any allowed token."""
    tokenizer = _tokenizers()[request.param]
    config = ModelConfig(tokenizer.vocab_size, hidden_size=12, embedding_size=6)
    rng = np.random.default_rng(3)
    values = {
        name: (0.5 * rng.standard_normal(shape)).astype(np.float32)
        for name, shape in parameters.shapes(config).items()
    }
    return Generator(Model(config, tokenizer, values))


@pytest.mark.parametrize("length", [0, 1, 7, 200])
def test_the_length_is_in_characters(length: int, model: Generator) -> None:
    config = SampleConfig(length=length, num_samples=3, seed=1)
    pieces: list[str] = []
    samples = model.samples("the", config, pieces.append)
    assert [len(sample.text) for sample in samples] == [length] * 3
    assert "".join(pieces) == samples[0].text
    assert {sample.finished_by for sample in samples} == {"length"}


def test_a_text_is_valid_utf8_and_decodes_the_chosen_tokens(model: Generator) -> None:
    for sample in model.samples("", SampleConfig(length=100, num_samples=4, seed=2)):
        written = b"".join(model.tokenizer.token_bytes[token] for token in sample.ids)
        assert written.decode().startswith(sample.text)
        assert len(written.decode()) - len(sample.text) < 16  # the rest of one piece


def test_a_stop_string_ends_a_text_wherever_tokens_begin(model: Generator) -> None:
    free = model.samples("", SampleConfig(length=300, seed=5))[0].text
    stop = free[41:44]
    text = model.samples("", SampleConfig(length=300, seed=5, stop=stop))[0]
    assert text.text == free[: free.index(stop)]
    assert text.finished_by == "stop"
    streamed = "".join(model.stream(length=300, seed=5, stop=stop))
    assert streamed == text.text


def test_the_log_probability_is_that_of_the_tokens(model: Generator) -> None:
    (sample,) = model.samples("the", SampleConfig(length=30, seed=1))
    read = model.read("the")
    logits, state, total = read.logits, read.state, 0.0
    for token in sample.ids:
        exact = logits[0].astype(np.float64)
        total += exact[token] - exact.max() - np.log(np.exp(exact - exact.max()).sum())
        logits, state = model.engine.step(np.array([token]), state)
    assert sample.log_prob == pytest.approx(total, abs=1e-3)


def test_a_pattern_is_matched_in_full(model: Generator) -> None:
    pattern = "[theasï]{4,9}é?"
    if isinstance(model.tokenizer, CharTokenizer):
        pattern = "[theasï]{4,9}"
    for sample in model.samples("", SampleConfig(length=20, num_samples=8, seed=4, regex=pattern)):
        assert re.fullmatch(pattern, sample.text)


def test_only_allowed_characters_are_written_whatever_their_tokens(model: Generator) -> None:
    allowed = "the 中é"
    config = SampleConfig(length=80, num_samples=4, seed=3, allow=allowed)
    texts = [sample.text for sample in model.samples("", config)]
    assert set("".join(texts)) <= set(allowed)
    assert {"中", "é"} <= set("".join(texts))
    forbidden = SampleConfig(length=300, seed=3, forbid="aé\ufffd")
    assert set(model.samples("", forbidden)[0].text).isdisjoint("aé\ufffd")


def test_beams_are_valid_texts_and_end_at_stop_strings(model: Generator) -> None:
    config = BeamConfig(length=12, width=4, num_return=3)
    pieces: list[str] = []
    found = model.beams("the", config, pieces.append)
    assert "".join(pieces) == found[0].text
    assert all("\ufffd" not in sample.text for sample in found)
    stop = found[0].text[-1]
    again = model.beams("the", BeamConfig(length=12, width=4, num_return=3, stop=stop))
    assert all(stop not in sample.text for sample in again)


def test_a_text_continues_from_a_saved_state(model: Generator, tmp_path: Any) -> None:
    whole = model.samples("the", SampleConfig(length=4000, seed=8))[0]
    read = model.read("the")
    first = model.samples(read, SampleConfig(length=1, seed=8))[0]
    model.save_state(tmp_path / "state", model.after(read, first))
    rest = model.samples(model.load_state(tmp_path / "state"), SampleConfig(length=500))[0]
    assert whole.ids[: len(first.ids) + len(rest.ids)] == first.ids + rest.ids


def test_token_names_are_distinct(model: Generator) -> None:
    names = model.tokenizer.token_names
    assert len(set(names)) == len(names) == model.tokenizer.vocab_size
    assert "<0xC3>" in names
    assert "e" in names
