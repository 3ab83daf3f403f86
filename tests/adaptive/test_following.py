from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from charrnn.errors import CharRNNError, OptionError, PromptError, StateError
from charrnn.generator import Generator
from charrnn.model.model_file import Model

MakeModel = Callable[..., Model]
TEXT = "low wood\nhello wood\n" * 200


@pytest.fixture
def model(make_model: MakeModel) -> Model:
    return make_model("helo wd\n", seed=2, num_layers=2, hidden_size=32)


def test_what_is_written_follows_the_text_and_the_model_does_not(model: Model) -> None:
    generator = Generator(model)
    before = generator.sample("he", length=30, seed=1)
    learnt = generator.read(TEXT, adapt=True)
    assert learnt.weights is not None
    followed = Generator(replace(model, values=learnt.weights))
    assert followed.score(TEXT).nats < 0.5 * generator.score(TEXT).nats
    assert followed.read(TEXT).logits.tobytes() == learnt.logits.tobytes()
    written = followed.sample(TEXT, length=30, seed=1)
    assert generator.sample(learnt, length=30, seed=1) == written
    assert generator.sample("he", length=30, seed=1) == before
    again = Generator(model, threads=2).read(TEXT, adapt=True)
    assert again.logits.tobytes() == learnt.logits.tobytes()


@pytest.mark.parametrize("form", [{"zoneout": 0.2}, {"layer_norm": True}])
def test_an_lstm_of_a_form_that_torch_lacks_follows_a_text(
    make_model: MakeModel, form: dict[str, float]
) -> None:
    model = make_model("helo wd\n", seed=2, hidden_size=32, **form)
    learnt = Generator(model).read(TEXT, adapt=True)
    followed = Generator(replace(model, values=learnt.weights))
    assert followed.score(TEXT).nats < 0.8 * Generator(model).score(TEXT).nats


def test_a_state_takes_its_weights_along(model: Model, tmp_path: Path) -> None:
    path, generator = tmp_path / "state", Generator(model)
    learnt = generator.read(TEXT, adapt=True)
    whole = generator.sample(learnt, length=40, seed=3)
    begun = generator.sample(learnt, length=15, seed=3)
    generator.save_state(path, generator.after(learnt, begun))
    other = Generator(model)
    loaded = other.load_state(path)
    assert begun.text + other.sample(loaded, length=25).text == whole.text
    assert "".join(other.stream(loaded, length=25)) == whole.text[15:]
    assert other.greedy(other.read("wo", loaded), length=9).text  # a prompt goes on with them
    assert other.read("wo", loaded).weights is loaded.weights
    rounded = Generator(model, weights="int8")
    assert rounded.sample(rounded.load_state(path), length=5, seed=1).text


def test_each_network_of_an_ensemble_follows_a_text_as_it_would_alone(
    tiny_ensemble: Model, tmp_path: Path
) -> None:
    text, generator = "low hole\n" * 9, Generator(tiny_ensemble)
    learnt = generator.read(text, adapt=True)
    assert learnt.weights is not None
    alone = [Generator(each).read(text, adapt=True) for each in tiny_ensemble.networks]
    for k, each in enumerate(alone):
        assert each.weights is not None
        for name, value in each.weights.items():
            assert value.tobytes() == learnt.weights[f"{k}.{name}"].tobytes(), name
    np.testing.assert_allclose(learnt.logits, sum(each.logits for each in alone) / 2, atol=1e-5)
    generator.save_state(tmp_path / "state", learnt)
    loaded = Generator(tiny_ensemble).load_state(tmp_path / "state")
    written = generator.sample(learnt, length=20, seed=1)
    assert Generator(tiny_ensemble).sample(loaded, length=20, seed=1) == written
    assert generator.sample(text, length=20, seed=1).log_prob != written.log_prob


def test_a_second_text_is_learnt_after_the_first(model: Model) -> None:
    generator = Generator(model)
    first = generator.read(TEXT[:400], adapt=True)
    both = generator.read(TEXT[400:800], first, adapt=True)
    assert both.read == 800
    assert both.weights is not None
    assert first.weights is not None
    assert any((both.weights[name] != first.weights[name]).any() for name in first.weights)


def test_a_state_belongs_to_its_model(model: Model, make_model: MakeModel, tmp_path: Path) -> None:
    path, generator = tmp_path / "state", Generator(model)
    generator.save_state(path, generator.read(TEXT[:40], adapt=True))
    with pytest.raises(StateError, match="state of another model"):
        Generator(make_model("helo wd\n", num_layers=2, hidden_size=32, seed=9)).load_state(path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"weights.output', b'"weightz.output'))
    with pytest.raises(StateError, match="do not fit its model"):
        generator.load_state(path)


@pytest.mark.parametrize(
    ("text", "options", "error", "why"),
    [
        ("", {}, CharRNNError, "empty"),
        ("Quick", {}, PromptError, "never seen 'Q'"),
        (TEXT, {"weights": "int8"}, OptionError, "must be float32"),
    ],
)
def test_what_cannot_be_learnt_is_refused(
    model: Model, text: str, options: dict[str, str], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        Generator(model, **options).read(text, adapt=True)  # type: ignore[arg-type]


def test_a_prompt_that_was_read_is_not_learnt(model: Model) -> None:
    generator = Generator(model)
    with pytest.raises(PromptError, match="was read already"):
        generator.read(generator.read("he"), adapt=True)
