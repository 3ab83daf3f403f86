"""The factor that makes a network as sure as it is right."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from following import train

import charrnn
from charrnn.arrays import Floats
from charrnn.config import ModelConfig, TrainOptions
from charrnn.model import model_file, parameters
from charrnn.model.model_file import MODEL_NAME, Model
from charrnn.model.parameters import with_scaled_logits
from charrnn.network import loss
from charrnn.network.ensemble import network_of
from charrnn.text import corpus
from charrnn.text.pairs import PairPart
from charrnn.training import calibration
from charrnn.training.events import Result
from charrnn.training.pair_validation import PairValidation
from charrnn.training.validation import InterruptedScoring, Validation

WORDS = ("the", "cat", "is", "near", "sea", "home")


def _never() -> bool:
    return False


@pytest.mark.parametrize("best", [0.77, 0.83, 0.97, 1.0, 1.12, 1.24])
def test_the_lowest_loss_is_found(best: float) -> None:
    logits = np.random.default_rng(1).normal(size=(400, 20)) * 2
    right = np.exp(logits * best)
    right /= right.sum(1, keepdims=True)

    def nats(factor: float) -> float:  # cross entropy, which has its minimum at `best`
        given = logits * factor
        return float((np.log(np.exp(given).sum(1)) - (right * given).sum(1)).mean())

    assert calibration.lowest(nats) == pytest.approx(best, abs=0.02)


@pytest.mark.parametrize(("loss", "expected"), [(abs, 0.7), (lambda factor: -factor, 1.3)])
def test_no_factor_is_extreme(loss: Callable[[float], float], expected: float) -> None:
    assert calibration.lowest(loss) == expected


def test_a_constant_loss_changes_nothing() -> None:
    assert calibration.lowest(lambda factor: 2.0) == 1.0


@pytest.mark.parametrize(
    "options",
    [{}, {"ensemble": 2, "hidden_size": 16}, {"tied_output": True}, {"skip_connections": True}],
)
def test_all_logits_are_multiplied(options: dict[str, Any]) -> None:
    sizes = {"vocab_size": 4, "hidden_size": 8, "embedding_size": 4, "num_layers": 2}
    config = ModelConfig(**sizes | options)
    values = parameters.initial(config, seed=3)
    ids = np.random.default_rng(4).integers(0, 4, (5, 3))

    def nats(factor: float) -> Floats:
        network = network_of(config, with_scaled_logits(values, factor))
        state = network.start_state(3)
        return np.stack([network.nats(ids, np.full_like(ids, k), state)[0] for k in range(4)])

    powers = np.exp(-0.7 * nats(1.0))
    assert np.exp(-nats(0.7)) == pytest.approx(powers / powers.sum(0), rel=1e-4)


@pytest.mark.parametrize("options", [{}, {"ensemble": 2, "hidden_size": 16}, {"tied_output": True}])
def test_several_factors_are_tried_in_one_reading(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "LOGITS", 20)  # so that logits are computed in parts
    sizes = {"vocab_size": 4, "hidden_size": 8, "embedding_size": 4}
    config = ModelConfig(**sizes | options)
    values = parameters.initial(config, seed=3)
    inputs, targets = np.random.default_rng(4).integers(0, 4, (2, 5, 3))
    network = network_of(config, values)
    factors, state = (0.7, 1.0, 1.3), network.start_state(3)
    found, after = network.nats_by_factor(factors, inputs, targets, state, quick=True)
    for factor, nats in zip(factors, found, strict=True):
        scaled = network_of(config, with_scaled_logits(values, factor))
        wanted, last = scaled.nats(inputs, targets, state)
        assert nats == pytest.approx(wanted, rel=1e-5)
        torch.testing.assert_close(after, last)


def _train(out: Path, length: int = 3000) -> Result:
    """Return a training on one sentence, scored on its words in random order."""
    words = random.Random(5).choices(WORDS, k=length)
    valid = corpus.from_text(" ".join(words)[:length], "valid")
    options = TrainOptions(
        hidden_size=16, embedding_size=4, seq_len=16, batch_size=4, steps=60, learning_rate=0.02
    )
    text = corpus.from_text((" ".join(WORDS) + " ") * 200, "text")
    return train(text, options, valid=valid, out=out)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Model]:
    folder = tmp_path_factory.mktemp("calibration")
    return _train(folder), model_file.load(folder / MODEL_NAME)


def _validation(model: Model, length: int = 3000) -> Validation:
    text = " ".join(random.Random(5).choices(WORDS, k=length))[:length]
    return Validation(np.asarray(model.tokenizer.encode(text)), model.tokenizer)


def test_a_network_that_is_too_sure_is_calibrated(trained: tuple[Result, Model]) -> None:
    result, model = trained
    factor = model.training["logits_factor"]
    assert factor < 0.96
    before = with_scaled_logits(model.values, 1 / factor)
    validation = _validation(model)

    def nats(values: parameters.Parameters) -> float:
        scored = validation.score(network_of(model.config, values), _never)
        assert scored is not None
        return scored.nats

    assert result.valid_nats == pytest.approx(nats(model.values), rel=1e-4)
    assert nats(model.values) < nats(before) - 0.001
    network = network_of(model.config, before)
    assert calibration.factor(network, validation, _never) == pytest.approx(factor, abs=0.03)


def test_the_saved_model_is_calibrated(trained: tuple[Result, Model]) -> None:
    result, model = trained
    text = model.tokenizer.decode(_validation(model).ids.tolist())
    assert charrnn.load(result.model).score(text).nats == pytest.approx(result.valid_nats, rel=1e-3)


def test_a_short_text_changes_no_logits(tmp_path: Path) -> None:
    _train(tmp_path, calibration.MIN_TOKENS - 1)
    assert model_file.load(tmp_path / MODEL_NAME).training["logits_factor"] == 1.0


def test_pairs_change_no_logits(trained: tuple[Result, Model]) -> None:
    _, model = trained
    network = network_of(model.config, model.values)
    pairs = PairValidation(
        PairPart(np.zeros(2000, np.uint8), np.arange(0, 2000, 2)), model.tokenizer
    )
    assert calibration.factor(network, pairs, _never) == 1.0


def test_calibrating_can_be_stopped(trained: tuple[Result, Model]) -> None:
    _, model = trained
    network = network_of(model.config, model.values)
    with pytest.raises(InterruptedScoring):
        calibration.factor(network, _validation(model), lambda: True)
