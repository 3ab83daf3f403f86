"""An ensemble is the mean of its networks, and one network with zeros between them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from charrnn.config import ModelConfig, Regularizers
from charrnn.inference.numpy_pair_engine import NumpyPairEngine
from charrnn.model import parameters
from charrnn.network.pair_ensemble import PairEnsemble, pair_network
from charrnn.network.pair_module import PairRNN
from charrnn.text.pair_order import batch
from charrnn.text.pairs import PairPart

PART = PairPart.of([([0, 1, 2, 3], [4, 0]), ([2], [1, 1, 3]), ([4, 4], [3])])
READ = batch(PART, np.arange(3), start_token=6, end_token=5)
Make = Callable[..., dict[str, NDArray[Any]]]
FORMS: list[dict[str, Any]] = [
    {},
    {"encoder": "forward", "cell": "lstm-multiplicative"},
    {"skip_connections": True, "cell": "lstm-peephole"},
    {"input_depth": 2, "recurrent_depth": 2, "output_depth": 3, "cell": "gru"},
    {"tied_output": True},
]


def _config(count: int = 4, **form: Any) -> ModelConfig:
    sizes = {"num_layers": 2, "hidden_size": 4 * count, "embedding_size": 3 * count}
    form = {"encoder": "bidirectional", "context": "fixed", "ensemble": count, **sizes, **form}
    return ModelConfig(6, **form)


def _parts(make_values: Make, config: ModelConfig) -> list[dict[str, NDArray[Any]]]:
    """Return random parameters of each network."""
    return [
        {name: value.astype(np.float64) for name, value in make_values(config.member, k).items()}
        for k in range(config.ensemble)
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [2, 4])
def test_logits_are_the_mean_of_those_of_the_networks(
    make_values: Make, count: int, form: dict[str, Any]
) -> None:
    config = _config(count, **form)
    parts = _parts(make_values, config)
    values = parameters.together(parts)
    ensemble = PairEnsemble(config, values).eval()
    alone = [PairRNN(config.member, part).eval() for part in parts]
    with torch.no_grad():
        logits = [network.logits(network.run_pairs(READ).read) for network in alone]
        found = ensemble.logits(ensemble.run_pairs(READ).read)
    torch.testing.assert_close(found, torch.stack(logits).mean(0), rtol=0, atol=1e-12)
    one = PairRNN(*parameters.joined(config, values)).pair_nats(READ)
    np.testing.assert_allclose(ensemble.pair_nats(READ), one, rtol=0, atol=1e-6)


def test_the_engine_writes_what_the_networks_mean(make_values: Make) -> None:
    config = _config()
    values = parameters.together(_parts(make_values, config))
    low = {name: value.astype(np.float32) for name, value in values.items()}
    engine = NumpyPairEngine(config, low)
    source = engine.encode(READ.sources[:, :1], READ.lengths[:1])
    logits, _ = engine.read(READ.inputs[:3, :1], source)
    ensemble = PairEnsemble(config, values).eval()
    with torch.no_grad():
        expected = ensemble.logits(ensemble.run_pairs(READ.some(slice(0, 1))).read)[:3]
    np.testing.assert_allclose(logits, expected.numpy(), rtol=0, atol=1e-5)


def test_parameters_come_back_bit_for_bit() -> None:
    config = _config(8)
    values = parameters.initial(config, seed=3)
    ensemble = PairEnsemble(config, values)
    with torch.no_grad():
        for weight in ensemble.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) / 7)
    saved = ensemble.values()
    again = PairEnsemble(config, values)
    again.load(saved)
    for name, value in again.values().items():
        assert value.tobytes() == saved[name].tobytes(), name
    for name, weight in again.weights().items():
        assert torch.equal(weight, ensemble.weights()[name]), name


def test_networks_have_dropout_of_their_own(make_values: Make) -> None:
    config = _config(2)
    part = _parts(make_values, config)[0]  # twice
    options = Regularizers(dropout=0.5, locked_dropout=True, source_dropout=0.3)
    ensemble = PairEnsemble(config, parameters.together([part, part]), regularizers=options)
    one, other = ensemble.run_pairs(READ).read.chunk(2, -1)
    assert not torch.equal(one, other)
    one, other = ensemble.eval().run_pairs(READ).read.chunk(2, -1)
    assert torch.equal(one, other)


def test_one_network_is_no_ensemble(make_values: Make) -> None:
    config = _config(1)
    assert type(pair_network(config, make_values(config))) is PairRNN
    assert type(pair_network(_config(2), parameters.initial(_config(2), 1))) is PairEnsemble
