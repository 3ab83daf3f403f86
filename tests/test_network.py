import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from charrnn import parameters
from charrnn.cells import CELLS
from charrnn.config import ModelConfig
from charrnn.kernels.sequence import LIBRARY, library, reference
from charrnn.network import CharRNN, State, detached

ALL = sorted(CELLS)
EACH = [
    (run, cell)
    for cell in ALL
    for run in (reference, library)
    if run is reference or cell in LIBRARY
]
Make = Callable[..., dict[str, NDArray[Any]]]


def _network(
    make_values: Make, config: ModelConfig, dtype: Any = np.float64, **more: Any
) -> CharRNN:
    values = {name: value.astype(dtype) for name, value in make_values(config).items()}
    return CharRNN(config, values, **more)


def _ids(steps: int, streams: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    inputs, targets = rng.integers(0, 3, (2, steps, streams))
    inputs[0] = 3  # the start symbol
    return torch.tensor(inputs), torch.tensor(targets)


def _loss(network: CharRNN, ids: Tensor, targets: Tensor, state: State) -> tuple[Tensor, State]:
    logits, state = network(ids, state)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum"), state


def _gradients(network: CharRNN, loss: Tensor) -> dict[str, Tensor]:
    weights = network.weights()
    return dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))


def test_cross_entropy_by_hand(make_values: Make) -> None:
    # With zero weights the logits are the output's biases: 0, ln 2, ln 5 give p = 1/8, 2/8, 5/8.
    # Targets 0, 1, 2: the mean of ln 8, ln 4, ln 8/5 is (2.0794415 + 1.3862944 + 0.4700036) / 3.
    config = ModelConfig(3, "lstm", 1, 2, 1)
    values = {name: 0 * value for name, value in make_values(config).items()}
    values["output.bias"] = np.log([1, 2, 5]).astype(np.float32)
    network = CharRNN(config, values)
    inputs, targets = np.array([[3, 3, 3]]), np.array([[0, 1, 2]])
    nats, _ = network.nats(inputs, targets, network.zero_state(3))
    assert nats.tolist()[0] == pytest.approx([2.0794415, 1.3862944, 0.4700036], abs=1e-6)
    loss, _ = _loss(network, *map(torch.tensor, (inputs, targets)), network.zero_state(3))
    assert loss.item() / 3 == pytest.approx(1.3119132, abs=1e-6)


@pytest.mark.parametrize("embedding_size", [0, 2])
@pytest.mark.parametrize(("sequence", "cell"), EACH)
def test_gradients_through_the_whole_network_are_those_of_central_differences(
    make_values: Make, cell: str, sequence: Any, embedding_size: int
) -> None:
    network = _network(make_values, ModelConfig(3, cell, 2, 3, embedding_size), sequence=sequence)
    ids, targets = _ids(5, 2)  # BPTT over five steps
    begin = tuple(
        tuple(torch.full_like(part, 0.3) for part in layer) for layer in network.zero_state(2)
    )
    gradients = _gradients(network, _loss(network, ids, targets, begin)[0])
    distance = 1e-5
    for name, weight in network.weights().items():
        flat, gradient = weight.detach().view(-1), gradients[name].flatten()
        for i in range(len(flat)):
            value = flat[i].item()
            losses = []
            for moved in (value + distance, value - distance):
                flat[i] = moved
                with torch.no_grad():
                    losses.append(_loss(network, ids, targets, begin)[0].item())
            flat[i] = value
            slope = (losses[0] - losses[1]) / (2 * distance)
            assert slope == pytest.approx(gradient[i].item(), rel=1e-6, abs=1e-8), (name, i)


@pytest.mark.parametrize("cell", ALL)
def test_one_window_is_two_windows_with_the_state_carried(make_values: Make, cell: str) -> None:
    network = _network(make_values, ModelConfig(3, cell, 2, 5, 2))
    ids, targets = _ids(8, 3)
    whole, last = _loss(network, ids, targets, network.zero_state(3))
    first, middle = _loss(network, ids[:3], targets[:3], network.zero_state(3))
    second, end = _loss(network, ids[3:], targets[3:], middle)
    torch.testing.assert_close(first + second, whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(end, last, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        _gradients(network, first + second), _gradients(network, whole), rtol=1e-11, atol=1e-12
    )


@pytest.mark.parametrize("cell", ALL)
def test_a_detached_state_has_the_values_and_cuts_the_gradient(
    make_values: Make, cell: str
) -> None:
    network = _network(make_values, ModelConfig(3, cell, 2, 5, 2))
    ids, targets = _ids(8, 3)
    _, middle = _loss(network, ids[:4], targets[:4], network.zero_state(3))
    cut = detached(middle)
    assert not any(part.requires_grad for layer in cut for part in layer)
    torch.testing.assert_close(cut, middle, rtol=0, atol=0)
    constant = tuple(tuple(part.detach().clone() for part in layer) for layer in middle)
    truncated = _gradients(network, _loss(network, ids[4:], targets[4:], cut)[0])
    expected = _gradients(network, _loss(network, ids[4:], targets[4:], constant)[0])
    torch.testing.assert_close(truncated, expected, rtol=0, atol=0)
    through = _gradients(network, _loss(network, ids[4:], targets[4:], middle)[0])
    name = "layers.0.weight_hh"
    assert (through[name] - truncated[name]).abs().max() > 1e-3


def test_the_network_is_embedding_layers_and_output(make_values: Make) -> None:
    config = ModelConfig(3, "gru-reset-after", 2, 5, 2)
    network = _network(make_values, config)
    embedding = torch.nn.Embedding(4, 2)
    gru, output = torch.nn.GRU(2, 5, 2), torch.nn.Linear(5, 3)
    values = {name: torch.tensor(value) for name, value in network.values().items()}
    embedding.load_state_dict({"weight": values["embedding"]})
    output.load_state_dict({"weight": values["output.weight"], "bias": values["output.bias"]})
    gru.load_state_dict(
        {
            f"{name}_l{layer}": values[f"layers.{layer}.{name}"]
            for layer in range(2)
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
    )
    for module in (embedding, gru, output):
        module.double()
    ids, _ = _ids(6, 3)
    hidden, last = gru(embedding(ids))
    logits, after = network(ids, network.zero_state(3))
    torch.testing.assert_close(logits, output(hidden), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(after, tuple((h,) for h in last), rtol=1e-12, atol=1e-12)


def test_one_hot_symbols_choose_columns_of_the_first_weights(make_values: Make) -> None:
    config = ModelConfig(3, "elman", 1, 5, 0)
    network = _network(make_values, config)
    values = network.values()
    ids = torch.tensor([[0, 2, 3]])
    _, ((h,),) = network(ids, network.zero_state(3))
    columns = values["layers.0.weight_ih"].T[[0, 2, 3]]
    expected = np.tanh(columns + values["layers.0.bias"])
    np.testing.assert_allclose(h.detach(), expected, rtol=1e-12)


def test_nats_are_without_dropout_and_leave_the_mode(make_values: Make) -> None:
    config = ModelConfig(3, "lstm", 2, 5, 2)
    plain = _network(make_values, config, np.float32)
    dropping = _network(make_values, config, np.float32, dropout=0.5)
    inputs, targets = (ids.numpy() for ids in _ids(6, 3))
    expected, _ = plain.nats(inputs, targets, plain.zero_state(3))
    for training in (True, False):
        dropping.train(training)
        nats, state = dropping.nats(inputs, targets, dropping.zero_state(3))
        assert nats.tolist() == expected.tolist()
        assert dropping.training is training
        assert not any(part.requires_grad for layer in state for part in layer)


def test_dropout_drops_a_share_of_each_layers_outputs_while_training(make_values: Make) -> None:
    config = ModelConfig(3, "elman", 1, 2000, 2)
    values = make_values(config)
    values["output.weight"] = np.zeros((3, 2000), np.float32)
    values["output.bias"] = np.zeros(3, np.float32)
    values["output.weight"][0] = 1  # logit 0 is the sum of all outputs
    network = CharRNN(config, values, dropout=0.25)
    ids = torch.tensor([[1]])
    torch.manual_seed(0)
    with torch.no_grad():
        network.eval()
        logits, ((h,),) = network(ids, network.zero_state(1))
        assert logits[0, 0, 0].item() == pytest.approx(h.sum().item(), rel=1e-4, abs=1e-3)
        network.train()
        sums = [network(ids, network.zero_state(1))[0][0, 0, 0].item() for _ in range(400)]
    # a sum of h / 0.75 with probability 0.75: mean sum(h), variance sum(h^2) * 0.25 / 0.75
    deviation = math.sqrt((h**2).sum().item() / 3)
    assert np.mean(sums) == pytest.approx(h.sum().item(), abs=4 * deviation / 20)
    assert np.std(sums) == pytest.approx(deviation, rel=0.15)


def test_dropout_leaves_the_carried_state_of_its_layer_whole(make_values: Make) -> None:
    config = ModelConfig(3, "elman", 1, 20, 2)
    network = _network(make_values, config, dropout=0.5)
    ids, _ = _ids(4, 2)
    _, dropped = network(ids, network.zero_state(2))
    network.eval()
    _, whole = network(ids, network.zero_state(2))
    torch.testing.assert_close(dropped, whole, rtol=0, atol=0)


@pytest.mark.parametrize("cell", ALL)
def test_values_come_back_and_are_copies(make_values: Make, cell: str) -> None:
    config = ModelConfig(3, cell, 2, 5, 2)
    given = make_values(config)
    network = CharRNN(config, given)
    taken = network.values()
    assert list(taken) == list(parameters.shapes(config))
    assert all(taken[name].tobytes() == given[name].tobytes() for name in given)
    with torch.no_grad():
        for weight in network.parameters():
            weight += 1
    assert all(taken[name].tobytes() == given[name].tobytes() for name in given)
    network.load(given)
    assert all(value.tobytes() == given[name].tobytes() for name, value in network.values().items())
    with torch.no_grad():
        next(network.parameters()).zero_()
    assert given["embedding"].any()


def test_every_parameter_is_trained(make_values: Make) -> None:
    network = _network(make_values, ModelConfig(3, "gru-reset-after", 2, 5, 2))
    assert len(list(network.parameters())) == len(network.weights()) == 11
    ids, targets = _ids(6, 3)
    gradients = _gradients(network, _loss(network, ids, targets, network.zero_state(3))[0])
    assert all(gradient.any() for gradient in gradients.values())


def test_losses_may_be_measured_with_another_kernel_than_the_one_that_trains(
    make_values: Make,
) -> None:
    used: list[str] = []

    def noted(name: str) -> Any:
        def run(*arguments: Any) -> Any:
            used.append(name)
            return reference(*arguments)

        return run

    config = ModelConfig(3, "elman", 1, 5, 2)
    network = _network(make_values, config, sequence=noted("train"), scoring=noted("score"))
    ids, targets = _ids(4, 2)
    state = network.zero_state(2)
    network(ids, state)
    network.nats(ids.numpy(), targets.numpy(), state)
    network(ids, state)
    network.eval()
    network(ids, state)
    assert used == ["train", "score", "train", "score"]
