from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from charrnn.cli.display import attention_map
from charrnn.cli.display.attention_page import attention_page
from charrnn.config import END
from charrnn.errors import OptionError, PromptError
from charrnn.generator import Generator
from charrnn.inference.numpy_pair_engine import NumpyPairEngine
from charrnn.inspection.attention import GAP, Alignment, alignment
from charrnn.model.model_file import Model

MakeModel = Callable[..., Model]
MAP = Alignment(
    ("a", " ", "\n", "<"),
    ("<", "a", END),
    np.array([[1.0, 0.0, 0.0, 0.0], [0.2, 0.3, 0.5, 0.0], [0.25, 0.25, 0.25, 0.25]]),
    -1.5,
)


def test_each_written_token_has_the_weights_of_the_source(make_pair_model: MakeModel) -> None:
    generator = Generator(make_pair_model())
    found = alignment(generator, "cab", "ac")
    assert found.source == ("c", "a", "b")
    assert found.target == ("a", "c", END)
    assert found.weights.shape == (3, 3)
    np.testing.assert_allclose(found.weights.sum(1), 1, rtol=1e-5)
    written = alignment(generator, "cab", generator.answer("cab").text)
    assert alignment(generator, "cab").to_json() == written.to_json()


def test_the_log_probability_is_that_of_the_whole_target(make_pair_model: MakeModel) -> None:
    generator = Generator(make_pair_model())
    samples = generator.samples(generator.read("", source="ab"), num_samples=9, seed=1)
    ended = [sample for sample in samples if sample.finished_by == "stop"]
    assert ended
    for sample in ended:
        found = alignment(generator, "ab", sample.text)
        assert found.log_prob == pytest.approx(sample.log_prob, abs=1e-4)


def test_weights_are_those_of_the_decoder_step_by_step(make_pair_model: MakeModel) -> None:
    model = make_pair_model(num_layers=1)
    generator = Generator(model)
    config, engine = generator.config, NumpyPairEngine(model.config, model.values)
    found = alignment(generator, "cab", "ac")
    read = generator.tokenizer.encode("cab").astype(np.int64)
    state = engine.encode(read[:, None], np.array([3]))
    for row, token in enumerate([config.start_token, 0, 2]):
        _, after = engine.step(np.array([token]), state)
        sources: Any = state[-1][0]
        similar = sources.keys @ after[0][0][0] / np.sqrt(config.hidden_size)  # of the only layer
        weights = np.exp(similar) / np.exp(similar).sum()
        np.testing.assert_allclose(weights, found.weights[row], atol=1e-5)
        state = after


def test_a_fixed_context_has_no_weights(make_pair_model: MakeModel) -> None:
    with pytest.raises(OptionError, match="fixed context"):
        alignment(Generator(make_pair_model(context="fixed")), "ab")


def test_what_cannot_be_read_is_refused(make_pair_model: MakeModel, make_model: MakeModel) -> None:
    with pytest.raises(PromptError, match="goes on with a text"):
        alignment(Generator(make_model("abc")), "ab")
    with pytest.raises(PromptError, match="never seen"):
        alignment(Generator(make_pair_model()), "ab", "xy")


def test_the_map_has_a_row_for_each_token_and_shades_for_weights() -> None:
    assert list(attention_map.map_lines(MAP, 80)) == [
        "      a ␣ ↵ <",
        "    < ██",
        "    a ░░░░▒▒",
        "  end ░░░░░░░░",
    ]
    narrow = list(attention_map.map_lines(MAP, 8))
    assert narrow[1] == "    < █"
    assert narrow[-1] == "and 2 more tokens of the source: see --html"


def test_the_page_shows_tokens_as_text() -> None:
    page = attention_page(MAP, "a <b> model")
    assert "<th>&lt;</th>" in page
    assert "a &lt;b&gt; model; log-probability -1.50 nats" in page
    assert page.count("<tr>") == 4
    assert 'title="0.500">50</td>' in page


def test_the_json_has_no_special_character_for_the_end() -> None:
    fields = MAP.to_json()
    assert fields["target"] == ["<", "a", None]
    assert fields["weights"][1] == [0.2, 0.3, 0.5, 0.0]


def test_a_model_that_fills_gaps_looks_around_the_gap(make_pair_model: MakeModel) -> None:
    made = make_pair_model("abcd ", seed=6)
    generator = Generator(dataclasses.replace(made, training={"reading": {"fill": True}}))
    found = alignment(generator, "ab ___ c")
    assert found.source == ("a", "b", " ", GAP, " ", "c")
    filling = generator.fill("ab ___ c").fillings[0]
    assert "".join(found.target) == filling.text + END
    assert found.log_prob == pytest.approx(filling.log_prob, abs=1e-4)
    assert alignment(generator, "ab ___ c", "da").target == ("d", "a", END)
    assert found.to_json()["source"][3] == "___"
    with pytest.raises(OptionError, match="the text has 2 gaps"):
        alignment(generator, "a___b___")
