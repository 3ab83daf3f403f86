"""The networks of an ensemble are trained side by side, each as it would be alone."""

from typing import Any

import numpy as np
import pytest
import torch

from charrnn.config import ModelConfig, TrainConfig
from charrnn.model import parameters
from charrnn.network.ensemble import network_of
from charrnn.network.module import CharRNN
from charrnn.text import streams
from charrnn.training.setup import updater_of
from charrnn.training.stream_batches import StreamBatches
from charrnn.training.training_step import Learner, noise_seed

V, B, T = 6, 3, 5
IDS = np.random.default_rng(4).integers(0, V, B * 20).astype(np.uint8)
NOISY = {"dropout": 0.4, "weight_drop": 0.2}


def _network(config: ModelConfig, values: dict[str, Any], train: TrainConfig) -> CharRNN:
    return network_of(config, values, regularizers=train).train()


def _batches(network: CharRNN, train: TrainConfig) -> StreamBatches:
    return StreamBatches(network, streams.make(IDS, B, T, V, None), train)


@pytest.mark.parametrize("noise", [NOISY, NOISY | {"locked_dropout": True}])
def test_each_network_learns_as_it_would_alone(noise: dict[str, Any]) -> None:
    train = TrainConfig(seq_len=T, update_every=T, batch_size=B, clip_norm=0.1, seed=5, **noise)
    config = ModelConfig(V, "lstm", 2, 8, 6, ensemble=2, zoneout=0.1)
    values = parameters.initial(config, 1)
    together = updater_of(_network(config, values, train), lambda each: _batches(each, train))
    networks = [_network(config.member, own, train) for own in parameters.members(config, values)]
    alone = [Learner(_batches(network, train)) for network in networks]
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for step in range(6):
            assert together.update(0.02 / (1 + step))
            found = []
            for number, learner in enumerate(alone):
                learner.network.generator = torch.default_generator.clone_state()
                learner.network.generator.manual_seed(noise_seed(train.seed, number, step))
                found.append(learner.differentiate())
                learner.step(found[-1], 0.02 / (1 + step))
            assert float(together.losses[-1]) == pytest.approx(
                np.mean([float(f.nats) for f in found])
            )
            assert together.norms[-1] == max(each.norm for each in found)
    finally:
        torch.set_num_threads(before)
    expected = parameters.together([network.values() for network in networks])
    assert {name: value.tobytes() for name, value in together.network.values().items()} == {
        name: value.tobytes() for name, value in expected.items()
    }


def test_a_bad_gradient_of_one_network_changes_none() -> None:
    train = TrainConfig(seq_len=T, update_every=T, batch_size=B)
    config = ModelConfig(V, "lstm", 1, 8, 6, ensemble=2)
    updater = updater_of(
        _network(config, parameters.initial(config, 1), train), lambda each: _batches(each, train)
    )
    assert updater.update(0.01)
    with torch.no_grad():
        updater.network.weights()["1.output.bias"][0] = torch.nan
    before, position = updater.network.values(), updater.position()
    assert not updater.update(0.01)
    for name, value in updater.network.values().items():
        assert value.tobytes() == before[name].tobytes(), name
    assert (updater.step, updater.position().batch) == (1, position.batch)


def test_what_begins_anew_keeps_no_gradients_and_no_averages() -> None:
    train = TrainConfig(seq_len=T, update_every=T, batch_size=B)
    config = ModelConfig(V, "lstm", 1, 8, 6, ensemble=2)
    values = parameters.initial(config, 1)
    updater = updater_of(_network(config, values, train), lambda each: _batches(each, train))
    assert updater.update(0.01)
    assert updater.optimizer_state()
    updater.restart(values)
    assert updater.optimizer_state() == {}
    assert all(weight.grad is None for weight in updater.network.parameters())
    for name, value in updater.network.values().items():
        assert value.tobytes() == values[name].tobytes(), name
