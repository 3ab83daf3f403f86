"""An ensemble of texts scores with the mean of its networks' logits."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.config import ModelConfig
from charrnn.model import parameters
from charrnn.network.ensemble import Ensemble, network_of
from charrnn.network.module import CharRNN
from charrnn.network.side_by_side import SideBySide

Make = Callable[..., dict[str, Any]]
V, T, B = 7, 5, 3
RNG = np.random.default_rng(2)
INPUTS, TARGETS = RNG.integers(0, V, (2, T, B))


def _config(count: int = 2, **form: Any) -> ModelConfig:
    return ModelConfig(V, "lstm", 2, 4 * count, 3 * count, ensemble=count, **form)


@pytest.mark.parametrize(
    "form",
    [{}, {"skip_connections": True}, {"tied_output": True}, {"output_depth": 2, "zoneout": 0.2}],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_it_scores_with_the_mean_of_the_logits(
    make_values: Make, form: dict[str, Any], threads: int
) -> None:
    config = _config(4, **form)
    values = make_values(config)
    networks = [CharRNN(config.member, own).eval() for own in parameters.members(config, values)]
    ids = torch.from_numpy(INPUTS)
    with torch.no_grad():
        found = [network(ids, network.start_state(B)) for network in networks]
    logits = torch.stack([each for each, _ in found]).mean(0)
    expected = -torch.log_softmax(logits, -1).gather(-1, torch.from_numpy(TARGETS)[..., None])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        ensemble = network_of(config, values)
        nats, state = ensemble.nats(INPUTS, TARGETS, ensemble.start_state(B))
        with torch.no_grad():
            again, after = ensemble.eval()(ids, ensemble.start_state(B))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(nats, expected[..., 0].numpy(), rtol=0, atol=1e-5)
    torch.testing.assert_close(again, logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(after, tuple(layer for _, own in found for layer in own))
    torch.testing.assert_close(state, after)
    assert [part[0].shape[1] for part in state] == list(config.state_sizes)


def test_parameters_of_all_networks_come_and_go_by_number(make_values: Make) -> None:
    config = _config()
    values = make_values(config)
    ensemble = Ensemble(config, parameters.initial(config, 1))
    ensemble.load(values)
    assert {name: value.tobytes() for name, value in ensemble.values().items()} == {
        name: np.asarray(value, np.float32).tobytes() for name, value in values.items()
    }
    assert len(list(ensemble.parameters())) == len(values)
    assert type(network_of(config.member, parameters.initial(config.member, 1))) is CharRNN


def test_functions_run_at_the_same_time_and_their_errors_come_out() -> None:
    meeting = threading.Barrier(2)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        together = SideBySide(2)
        assert sorted(together.run([meeting.wait, meeting.wait])) == [0, 1]  # else they would hang
        assert together.run([torch.get_num_threads] * 2) == [2, 2]
        with pytest.raises(ZeroDivisionError):
            together.run([lambda: 1, lambda: 1 // 0])
        torch.set_num_threads(1)
        here = threading.get_ident()
        assert together.run([threading.get_ident] * 2) == [here, here]
    finally:
        torch.set_num_threads(before)
