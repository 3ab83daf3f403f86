import gc
import itertools
import math
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import FORMS, covering
from numpy.typing import NDArray
from processors import needs_bf16
from torch import Tensor

from charrnn.cells import CELLS, Layer
from charrnn.config import ModelConfig, Regularizers
from charrnn.model import parameters
from charrnn.network import fused
from charrnn.network import module as modules
from charrnn.network.layers import LIBRARY, State, library, reference
from charrnn.network.module import CharRNN, detached
from charrnn.network.noise import Noise, is_recurrent
from charrnn.network.skips import Skips
from charrnn.training.regularizers import Recorder

ALL = sorted(CELLS)
EACH = [
    (run, cell)
    for cell in ALL
    for run in (reference, library)
    if run is reference or cell in LIBRARY
]
Make = Callable[..., dict[str, NDArray[Any]]]


def _config(
    cell: str, layers: int = 2, hidden: int = 5, embedding: int = 2, **form: Any
) -> ModelConfig:
    """Of three symbols; with one layer where the cell has no more."""
    return ModelConfig(3, cell, 1 if cell == "jordan" else layers, hidden, embedding, **form)


def _network(
    make_values: Make, config: ModelConfig, dtype: Any = np.float64, **more: Any
) -> CharRNN:
    values = {name: value.astype(dtype) for name, value in make_values(config).items()}
    return CharRNN(config, values, **more)


def _ids(steps: int, streams: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    inputs, targets = rng.integers(0, 3, (2, steps, streams))
    inputs[0] = 3  # the start token
    return torch.tensor(inputs), torch.tensor(targets)


def _loss(network: CharRNN, ids: Tensor, targets: Tensor, state: State) -> tuple[Tensor, State]:
    logits, state = network(ids, state)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum"), state


def _gradients(network: CharRNN, loss: Tensor) -> dict[str, Tensor]:
    weights = network.weights()
    return dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))


def _check_gradients(network: CharRNN, loss: Callable[[], Tensor]) -> None:
    """Compare with differences of the loss along one random direction of each parameter."""
    weights = network.weights()
    gradients = _gradients(network, loss())
    rng = np.random.default_rng(3)
    for name, weight in weights.items():
        direction = torch.tensor(rng.standard_normal(weight.shape))
        losses = []
        with torch.no_grad():
            for distance in (1e-6, -2e-6):
                weight += distance * direction
                losses.append(loss().item())
            weight += 1e-6 * direction
        slope = (losses[0] - losses[1]) / 2e-6
        along = (gradients[name] * direction).sum().item()
        assert slope == pytest.approx(along, rel=1e-5, abs=1e-7), name


def test_cross_entropy_by_hand(make_values: Make) -> None:
    # With zero weights the logits are the output's biases: 0, ln 2, ln 5 give p = 1/8, 2/8, 5/8.
    # Targets 0, 1, 2: the mean of ln 8, ln 4, ln 8/5 is (2.0794415 + 1.3862944 + 0.4700036) / 3.
    config = ModelConfig(3, "lstm", 1, 2, 1)
    values = {name: 0 * value for name, value in make_values(config).items()}
    values["output.bias"] = np.log([1, 2, 5]).astype(np.float32)
    network = CharRNN(config, values)
    inputs, targets = np.array([[3, 3, 3]]), np.array([[0, 1, 2]])
    nats, _ = network.nats(inputs, targets, network.start_state(3))
    assert nats.tolist()[0] == pytest.approx([2.0794415, 1.3862944, 0.4700036], abs=1e-6)
    loss, _ = _loss(network, *map(torch.tensor, (inputs, targets)), network.start_state(3))
    assert loss.item() / 3 == pytest.approx(1.3119132, abs=1e-6)


@pytest.mark.parametrize("embedding_size", [0, 2])
@pytest.mark.parametrize(("sequence", "cell"), EACH)
def test_gradients_through_the_whole_network_are_those_of_central_differences(
    make_values: Make, cell: str, sequence: Any, embedding_size: int
) -> None:
    network = _network(make_values, _config(cell, 2, 3, embedding_size), sequence=sequence)
    ids, targets = _ids(5, 2)  # BPTT over five steps
    begin = tuple(
        tuple(torch.full_like(part, 0.3) for part in layer) for layer in network.start_state(2)
    )
    _check_gradients(network, lambda: _loss(network, ids, targets, begin)[0])


@pytest.mark.parametrize(("cell", "form"), covering(ALL), indirect=["form"])
def test_gradients_in_every_form_are_those_of_central_differences(
    make_values: Make, cell: str, form: dict[str, Any]
) -> None:
    # with and without an embedding in turn: each cell and each form has both
    embedding_size = 2 * ((ALL.index(cell) + list(FORMS.values()).index(form)) % 2)
    config = _config(cell, 2, 5, embedding_size, **form)
    network = _network(make_values, config).eval()
    ids, targets = _ids(5, 2)

    def loss() -> Tensor:
        return _loss(network, ids, targets, network.start_state(2))[0]

    _check_gradients(network, loss)


@pytest.mark.parametrize(("cell", "form"), covering(ALL), indirect=["form"])
def test_one_window_is_two_windows_with_the_state_carried(
    make_values: Make, cell: str, form: dict[str, Any]
) -> None:
    network = _network(make_values, _config(cell, **form)).eval()
    ids, targets = _ids(8, 3)
    whole, last = _loss(network, ids, targets, network.start_state(3))
    first, middle = _loss(network, ids[:3], targets[:3], network.start_state(3))
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
    network = _network(make_values, _config(cell))
    ids, targets = _ids(8, 3)
    _, middle = _loss(network, ids[:4], targets[:4], network.start_state(3))
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
    logits, after = network(ids, network.start_state(3))
    torch.testing.assert_close(logits, output(hidden), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(after, tuple((h,) for h in last), rtol=1e-12, atol=1e-12)


def test_one_hot_tokens_choose_columns_of_the_first_weights(make_values: Make) -> None:
    config = ModelConfig(3, "elman", 1, 5, 0)
    network = _network(make_values, config)
    values = network.values()
    ids = torch.tensor([[0, 2, 3]])
    _, ((h,),) = network(ids, network.start_state(3))
    columns = values["layers.0.weight_ih"].T[[0, 2, 3]]
    expected = np.tanh(columns + values["layers.0.bias"])
    np.testing.assert_allclose(h.detach(), expected, rtol=1e-12)


def test_a_long_window_is_scored_in_parts(
    make_values: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = _network(make_values, _config("lstm"))
    (ids, targets), steps = _ids(11, 4), []
    state = network.start_state(4)
    whole, after = network.nats(ids.numpy(), targets.numpy(), state)

    def counting(ids: Tensor, *more: Any, **named: Any) -> Any:
        steps.append(len(ids))
        return CharRNN.run(network, ids, *more, **named)

    monkeypatch.setattr(network, "run", counting)
    monkeypatch.setattr(modules, "_AT_ONCE", 4 * 5 * 4)  # four steps of four streams of five units
    parts, after_parts = network.nats(ids.numpy(), targets.numpy(), state)
    assert steps == [4, 4, 3]
    np.testing.assert_allclose(parts, whole, rtol=1e-12)
    for layer, expected in zip(after_parts, after, strict=True):
        torch.testing.assert_close(layer, expected, rtol=1e-12, atol=1e-12)


def test_nats_are_without_dropout_and_leave_the_mode(make_values: Make) -> None:
    config = ModelConfig(3, "lstm", 2, 5, 2)
    plain = _network(make_values, config, np.float32)
    dropping = _network(make_values, config, np.float32, regularizers=Regularizers(dropout=0.5))
    inputs, targets = (ids.numpy() for ids in _ids(6, 3))
    expected, _ = plain.nats(inputs, targets, plain.start_state(3))
    for training in (True, False):
        dropping.train(training)
        nats, state = dropping.nats(inputs, targets, dropping.start_state(3))
        assert nats.tolist() == expected.tolist()
        assert dropping.training is training
        assert not any(part.requires_grad for layer in state for part in layer)


def test_dropout_drops_a_share_of_each_layers_outputs_while_training(make_values: Make) -> None:
    config = ModelConfig(3, "elman", 1, 2000, 2)
    values = make_values(config)
    values["output.weight"] = np.zeros((3, 2000), np.float32)
    values["output.bias"] = np.zeros(3, np.float32)
    values["output.weight"][0] = 1  # logit 0 is the sum of all outputs
    network = CharRNN(config, values, regularizers=Regularizers(dropout=0.25))
    ids = torch.tensor([[1]])
    torch.manual_seed(0)
    with torch.no_grad():
        network.eval()
        logits, ((h,),) = network(ids, network.start_state(1))
        assert logits[0, 0, 0].item() == pytest.approx(h.sum().item(), rel=1e-4, abs=1e-3)
        network.train()
        sums = [network(ids, network.start_state(1))[0][0, 0, 0].item() for _ in range(400)]
    # a sum of h / 0.75 with probability 0.75: mean sum(h), variance sum(h^2) * 0.25 / 0.75
    deviation = math.sqrt((h**2).sum().item() / 3)
    assert np.mean(sums) == pytest.approx(h.sum().item(), abs=4 * deviation / 20)
    assert np.std(sums) == pytest.approx(deviation, rel=0.15)


def test_dropout_leaves_the_carried_state_of_its_layer_whole(make_values: Make) -> None:
    config = ModelConfig(3, "elman", 1, 20, 2)
    network = _network(make_values, config, regularizers=Regularizers(dropout=0.5))
    ids, _ = _ids(4, 2)
    _, dropped = network(ids, network.start_state(2))
    network.eval()
    _, whole = network(ids, network.start_state(2))
    torch.testing.assert_close(dropped, whole, rtol=0, atol=0)


@pytest.mark.parametrize(("cell", "form"), covering(ALL), indirect=["form"])
def test_values_come_back_and_are_copies(
    make_values: Make, cell: str, form: dict[str, Any]
) -> None:
    config = _config(cell, **form)
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
    gradients = _gradients(network, _loss(network, ids, targets, network.start_state(3))[0])
    assert all(gradient.any() for gradient in gradients.values())


def test_losses_may_be_measured_with_another_kernel_than_the_one_that_trains(
    make_values: Make,
) -> None:
    used: list[str] = []

    def noted(name: str) -> Any:
        def run(*arguments: Any, **more: Any) -> Any:
            used.append(name)
            return reference(*arguments, **more)

        return run

    config = ModelConfig(3, "elman", 1, 5, 2)
    network = _network(make_values, config, sequence=noted("train"), scoring=noted("score"))
    ids, targets = _ids(4, 2)
    state = network.start_state(2)
    network(ids, state)
    network.nats(ids.numpy(), targets.numpy(), state)
    network(ids, state)
    network.eval()
    network(ids, state)
    assert used == ["train", "score", "train", "score"]


def _layer(network: CharRNN, index: int) -> dict[str, Tensor]:
    return dict(parameters.layer(network.weights(), index))


def test_with_skips_the_input_goes_to_every_layer_and_every_layer_to_the_output(
    make_values: Make,
) -> None:
    network = _network(make_values, ModelConfig(3, "lstm", 3, 5, 2, skip_connections=True))
    ids, _ = _ids(6, 2)
    weights, begin = network.weights(), network.start_state(2)
    symbols = weights["embedding"][ids]
    x, outputs = symbols, []
    for index in range(3):
        y, _ = reference(Layer(CELLS["lstm"]), x, begin[index], _layer(network, index))
        outputs.append(y)
        x = torch.cat([y, symbols], -1)
    read = torch.cat(outputs, -1)
    expected = read @ weights["output.weight"].T + weights["output.bias"]
    logits, _ = network(ids, begin)
    torch.testing.assert_close(logits, expected, rtol=1e-12, atol=1e-12)
    for index in range(3):  # what the output reads of each layer matters
        with torch.no_grad():
            weights["output.weight"][:, index * 5 : index * 5 + 5] += 1
        changed, _ = network(ids, begin)
        assert (changed - logits).abs().max() > 1e-3
        logits = changed


@pytest.mark.parametrize("depth", [1, 2])
def test_a_tied_output_by_hand(make_values: Make, depth: int) -> None:
    config = ModelConfig(4, "elman", 1, 5, 2, tied_output=True, output_depth=depth)
    network = _network(make_values, config)
    w = {name: value.astype(np.float64) for name, value in network.values().items()}
    logits, ((after,),) = network(torch.tensor([[1]]), network.start_state(1))
    read = after[0].detach().numpy()
    if depth == 2:
        read = np.tanh(w["output.hidden.0.weight"] @ read + w["output.hidden.0.bias"])
    expected = w["embedding"][:4] @ (w["output.weight"] @ read) + w["output.bias"]
    np.testing.assert_allclose(logits[0, 0].detach(), expected, rtol=1e-12)


def test_a_tied_embedding_learns_from_what_is_read_and_what_is_predicted(
    make_values: Make,
) -> None:
    network = _network(make_values, ModelConfig(4, "elman", 1, 5, 2, tied_output=True))
    ids, targets = torch.tensor([[1], [1]]), torch.tensor([[2], [2]])
    outputs, _ = network.run(ids, network.start_state(1), Noise())
    network.mean_nats(outputs.read, targets).backward()
    gradient = network.weights()["embedding"].grad
    assert gradient is not None
    written_out = _network(make_values, ModelConfig(4, "elman", 1, 5, 2, tied_output=True))
    logits, _ = written_out(ids, written_out.start_state(1))
    torch.nn.functional.cross_entropy(logits[:, 0], targets[:, 0]).backward()
    torch.testing.assert_close(gradient, written_out.weights()["embedding"].grad)
    assert gradient[:4].abs().min() > 0  # each is predicted with some probability
    assert gradient[4].abs().max() == 0  # the start token is neither read nor predicted


def test_deeper_maps_by_hand(make_values: Make) -> None:
    form = {"input_depth": 2, "recurrent_depth": 3, "output_depth": 2}
    network = _network(make_values, ModelConfig(3, "elman", 1, 5, 2, **form))
    w = {name: value.astype(np.float64) for name, value in network.values().items()}
    own = {name.removeprefix("layers.0."): value for name, value in w.items()}
    x = np.tanh(own["input.0.weight"] @ w["embedding"][1] + own["input.0.bias"])
    h = np.linspace(-0.5, 0.5, 5)
    r = np.tanh(own["hidden.0.0.weight"] @ h + own["hidden.0.0.bias"])
    r = np.tanh(own["hidden.0.1.weight"] @ r + own["hidden.0.1.bias"])
    h_new = np.tanh(own["weight_ih"] @ x + own["bias"] + own["weight_hh"] @ r)
    read = np.tanh(w["output.hidden.0.weight"] @ h_new + w["output.hidden.0.bias"])
    logits, ((after,),) = network(torch.tensor([[1]]), ((torch.tensor(h)[None],),))
    np.testing.assert_allclose(after[0].detach(), h_new, rtol=1e-12)
    expected = w["output.weight"] @ read + w["output.bias"]
    np.testing.assert_allclose(logits[0, 0].detach(), expected, rtol=1e-12)


def test_a_jordan_network_is_fed_its_own_distribution(make_values: Make) -> None:
    network = _network(make_values, ModelConfig(3, "jordan", 1, 5, 2))
    w = network.values()
    ids = [3, 1, 2, 0]
    h = np.zeros(5)
    for position, symbol in enumerate(ids):
        e = np.exp(w["output.weight"] @ h + w["output.bias"])
        p = e / e.sum()  # what the network gave out before, at first from h = 0
        x = w["layers.0.weight_ih"] @ w["embedding"][symbol] + w["layers.0.bias"]
        h = np.tanh(x + w["layers.0.weight_hh"] @ p)
        read = torch.tensor(ids[: position + 1])[:, None]
        logits, ((after,),) = network(read, network.start_state(1))
        np.testing.assert_allclose(after[0].detach(), h, rtol=1e-12, atol=1e-15)  # one is 3e-5
        expected = w["output.weight"] @ h + w["output.bias"]
        np.testing.assert_allclose(logits[-1, 0].detach(), expected, rtol=1e-12)


def test_layer_normalization_by_hand(make_values: Make) -> None:
    network = _network(make_values, ModelConfig(3, "elman", 1, 5, 2, layer_norm=True))
    w = network.values()
    own = {name.removeprefix("layers.0."): value for name, value in w.items()}

    def normalised(z: NDArray[Any]) -> NDArray[Any]:
        return (z - z.mean()) / np.sqrt(z.var() + 1e-5)

    h = np.linspace(-0.5, 0.5, 5)
    z = own["gain_ih"] * normalised(own["weight_ih"] @ w["embedding"][1]) + own["bias"]
    z = z + own["gain_hh"] * normalised(own["weight_hh"] @ h)
    _, ((after,),) = network(torch.tensor([[1]]), ((torch.tensor(h)[None],),))
    np.testing.assert_allclose(after[0].detach(), np.tanh(z), rtol=1e-12)


@pytest.mark.parametrize("cell", ALL)
def test_layer_normalization_removes_the_scale_of_each_block(make_values: Make, cell: str) -> None:
    ids, _ = _ids(5, 2)
    for normalised in (True, False):
        network = _network(make_values, _config(cell, layer_norm=normalised))
        with torch.no_grad():  # so large that what keeps the variance from zero is nothing
            for name, weight in network.weights().items():
                if normalised and name.endswith(("weight_ih", "weight_hh")):
                    weight *= 1e6
        begin = network.start_state(2)
        begin = tuple(tuple(part + 0.3 for part in layer) for layer in begin)
        before, _ = network(ids, begin)
        hidden, blocks = 5, len(CELLS[cell].blocks)
        with torch.no_grad():
            for block in range(blocks):
                rows = slice(block * hidden, (block + 1) * hidden)
                for name in ("weight_ih", "weight_hh"):
                    network.weights()[f"layers.0.{name}"][rows] *= 3.0 + block
        after, _ = network(ids, begin)
        if normalised:
            torch.testing.assert_close(after, before, rtol=1e-7, atol=1e-7)
        else:
            assert (after - before).abs().max() > 1e-3


@pytest.mark.parametrize("cell", ALL)
def test_a_learned_start_is_every_streams_first_state_and_gets_a_gradient(
    make_values: Make, cell: str
) -> None:
    network = _network(make_values, _config(cell, learned_start=True))
    start, weights = network.start_state(3), network.weights()
    for index, layer in enumerate(start):
        for name, part in zip(network.layer.cell.states, layer, strict=True):
            learned = weights[f"layers.{index}.start.{name}"]
            assert part.tolist() == [learned.tolist()] * 3
    inputs, targets = _ids(4, 3)
    gradients = _gradients(network, _loss(network, inputs, targets, start)[0])
    assert all(gradient.any() for name, gradient in gradients.items() if ".start." in name)
    learned_nats, _ = network.nats(inputs.numpy(), targets.numpy(), start)
    zeros = tuple(tuple(torch.zeros_like(part) for part in layer) for layer in start)
    zero_nats, _ = network.nats(inputs.numpy(), targets.numpy(), zeros)
    assert np.abs(learned_nats - zero_nats).max() > 1e-3


@pytest.mark.parametrize(("cell", "form"), covering(ALL), indirect=["form"])
def test_every_parameter_of_every_form_is_trained(
    make_values: Make, cell: str, form: dict[str, Any]
) -> None:
    network = _network(make_values, _config(cell, **form))
    ids, targets = _ids(6, 3)
    torch.manual_seed(0)
    gradients = _gradients(network, _loss(network, ids, targets, network.start_state(3))[0])
    assert [name for name, gradient in gradients.items() if not gradient.any()] == []


def _dropped(network: CharRNN, ids: Tensor, noise: Noise, **more: Any) -> Tensor:
    """What each output of the last layer was multiplied with."""
    outputs, _ = network.run(ids, network.start_state(ids.shape[1]), noise, **more)
    return outputs.dropped / outputs.top


def test_locked_dropout_drops_the_same_units_at_all_steps_of_a_window(make_values: Make) -> None:
    kept = Regularizers(dropout=0.25, locked_dropout=True)
    network = _network(make_values, ModelConfig(3, "elman", 2, 400, 2), regularizers=kept)
    ids, _ = _ids(6, 2)
    torch.manual_seed(0)
    noise = network.draw(2)
    assert [tuple(mask.shape) for mask in noise.dropped] == [(1, 2, 400)] * 2
    masks = _dropped(network, ids, noise)
    rounded = {round(value, 9) for value in masks.flatten().tolist()}
    assert rounded == {0.0, round(1 / 0.75, 9)}
    assert (masks == 0).double().mean().item() == pytest.approx(0.25, abs=0.06)
    assert ((masks == 0) == (masks[0] == 0)).all()  # along the window
    assert ((masks[0, 0] == 0) != (masks[0, 1] == 0)).any()  # not from stream to stream
    assert ((noise.dropped[0] == 0) != (noise.dropped[1] == 0)).any()  # nor layer to layer
    again = _dropped(network, ids, network.draw(2))  # nor update to update
    assert ((again[0] == 0) != (masks[0] == 0)).any()
    cut = _dropped(network, ids, noise, cut=2)  # a window read in two parts is one
    assert ((cut == 0) == (masks == 0)).all()


def test_dropout_that_is_not_locked_drops_others_at_every_step(make_values: Make) -> None:
    network = _network(
        make_values, ModelConfig(3, "elman", 1, 400, 2), regularizers=Regularizers(dropout=0.25)
    )
    ids, _ = _ids(6, 2)
    torch.manual_seed(0)
    noise = network.draw(2)
    assert noise == Noise()
    masks = _dropped(network, ids, noise)
    assert ((masks[1] == 0) != (masks[0] == 0)).any()
    assert (masks == 0).double().mean().item() == pytest.approx(0.25, abs=0.04)


def test_dropout_also_acts_between_layers(make_values: Make) -> None:
    config = ModelConfig(3, "elman", 2, 5, 2)
    kept = Regularizers(dropout=0.5, locked_dropout=True)
    network = _network(make_values, config, regularizers=kept)
    ids, _ = _ids(4, 2)
    torch.manual_seed(3)
    noise = network.draw(2)
    weights, begin = network.weights(), network.start_state(2)
    below, _ = reference(
        Layer(CELLS["elman"]), weights["embedding"][ids], begin[0], _layer(network, 0)
    )
    top, _ = reference(
        Layer(CELLS["elman"]), below * noise.dropped[0], begin[1], _layer(network, 1)
    )
    outputs, _ = network.run(ids, begin, noise)
    torch.testing.assert_close(outputs.top, top, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(outputs.dropped, top * noise.dropped[1], rtol=1e-12, atol=1e-12)
    expected = top * noise.dropped[1] @ weights["output.weight"].T + weights["output.bias"]
    torch.testing.assert_close(network.logits(outputs.read), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", ALL)
def test_weight_drop_drops_recurrent_weights_alone_the_same_along_a_window(
    make_values: Make, cell: str
) -> None:
    config = _config(cell, 2, 12, recurrent_depth=2)
    network = _network(make_values, config, regularizers=Regularizers(weight_drop=0.4))
    ids, _ = _ids(6, 2)
    torch.manual_seed(0)
    noise = network.draw(2)
    recurrent = [name for name in _layer(network, 0) if name.startswith(("weight_hh", "hidden"))]
    recurrent = [name for name in recurrent if not name.endswith("bias")]
    changed = network.values()
    for index, masks in enumerate(noise.weights):
        assert sorted(masks) == sorted(recurrent)
        for name, mask in masks.items():
            assert {round(value, 9) for value in mask.flatten().tolist()} <= {
                0.0,
                round(1 / 0.6, 9),
            }
            changed[f"layers.{index}.{name}"] *= mask.numpy()
    dropped = torch.cat([mask.flatten() == 0 for masks in noise.weights for mask in masks.values()])
    assert dropped.double().mean().item() == pytest.approx(0.4, abs=0.1)
    # the window is that of a network whose recurrent weights are these
    expected, after = CharRNN(config, changed)(ids, network.start_state(2))
    for cut in (None, 2):  # also where a part of it is read for the next one alone
        outputs, _ = network.run(ids, network.start_state(2), noise, cut=cut)
        torch.testing.assert_close(network.logits(outputs.read), expected, rtol=1e-11, atol=1e-12)
    _, state = network.run(ids, network.start_state(2), noise)
    torch.testing.assert_close(state, after, rtol=1e-11, atol=1e-12)
    other = network.draw(2)
    assert any((other.weights[0][name] != noise.weights[0][name]).any() for name in recurrent)


def test_a_weight_that_is_dropped_gets_no_gradient(make_values: Make) -> None:
    network = _network(
        make_values, ModelConfig(3, "lstm", 1, 9, 2), regularizers=Regularizers(weight_drop=0.5)
    )
    ids, targets = _ids(6, 2)
    torch.manual_seed(0)
    noise = network.draw(2)
    outputs, _ = network.run(ids, network.start_state(2), noise)
    loss = F.cross_entropy(network.logits(outputs.read).flatten(0, 1), targets.flatten())
    gradient = _gradients(network, loss)["layers.0.weight_hh"]
    assert ((gradient == 0) == (noise.weights[0]["weight_hh"] == 0)).all()
    assert gradient.any()


@pytest.mark.parametrize(
    "kept",
    [
        Regularizers(dropout=0.5),
        Regularizers(dropout=0.5, locked_dropout=True),
        Regularizers(weight_drop=0.5),
        Regularizers(dropout=0.5, locked_dropout=True, weight_drop=0.5),
    ],
)
def test_noise_is_drawn_only_in_training(make_values: Make, kept: Regularizers) -> None:
    config = ModelConfig(3, "gru", 2, 5, 2)
    plain = _network(make_values, config)
    network = _network(make_values, config, regularizers=kept)
    ids, targets = _ids(6, 2)
    begin = plain.start_state(2)
    expected, _ = plain(ids, begin)
    torch.manual_seed(0)
    first, _ = network(ids, begin)
    second, _ = network(ids, begin)
    assert (first - expected).abs().max() > 1e-3
    assert (first - second).abs().max() > 1e-3
    nats, _ = network.nats(ids.numpy(), targets.numpy(), begin)
    assert nats.tolist() == plain.nats(ids.numpy(), targets.numpy(), begin)[0].tolist()
    network.eval()
    assert network(ids, begin)[0].tolist() == expected.tolist()


def test_recurrent_parameters_are_the_matrices_that_the_state_meets() -> None:
    named = parameters.layer(
        parameters.shapes(
            ModelConfig(
                3, "gru-reset-after", 1, 4, 2, input_depth=2, recurrent_depth=2, layer_norm=True
            )
        ),
        0,
    )
    assert [name for name in named if is_recurrent(name)] == ["weight_hh", "hidden.0.0.weight"]


def _same(one: Tensor, other: Tensor) -> Tensor:
    """Which values are the same, up to rounding."""
    return (one - other).abs() < 1e-14


def test_zoneout_keeps_units_as_they_were_at_steps_drawn_anew(make_values: Make) -> None:
    config = ModelConfig(3, "elman", 1, 300, 2, zoneout=0.3)
    network = _network(make_values, config)
    ids, _ = _ids(5, 2)
    torch.manual_seed(0)
    recorder = Recorder()
    outputs, _ = network.run(ids, network.start_state(2), Noise(), sequence=recorder)
    (states,) = recorder.layers
    plain = _network(make_values, ModelConfig(3, "elman", 1, 300, 2))
    kept = []
    for t, (before, after) in enumerate(itertools.pairwise(states)):
        _, ((new,),) = plain(ids[t : t + 1], ((before,),))
        kept.append(_same(after, before))
        torch.testing.assert_close(after[~kept[-1]], new[~kept[-1]], rtol=1e-12, atol=1e-12)
        assert outputs.top[t].tolist() == after.tolist()
    share = torch.stack(kept).double().mean().item()
    assert share == pytest.approx(0.3, abs=0.05)  # of 3,000
    assert (kept[0] != kept[1]).any()
    assert (kept[0][0] != kept[0][1]).any()


@pytest.mark.parametrize(("h_rate", "c_rate"), [(0.3, 0.6), (0.3, 0.0), (0.0, 0.6)])
def test_zoneout_has_a_rate_for_the_output_and_one_for_the_cell_state(
    make_values: Make, h_rate: float, c_rate: float
) -> None:
    config = ModelConfig(3, "lstm", 1, 500, 2, zoneout=h_rate, zoneout_cell=c_rate)
    network = _network(make_values, config)
    begin = ((torch.full((2, 500), 0.3).double(), torch.full((2, 500), -0.4).double()),)
    torch.manual_seed(0)
    _, ((h, c),) = network(torch.tensor([[0, 1]]), begin)
    kept_h, kept_c = _same(h, begin[0][0]), _same(c, begin[0][1])
    assert kept_h.double().mean().item() == pytest.approx(h_rate, abs=0.05)
    assert kept_c.double().mean().item() == pytest.approx(c_rate, abs=0.05)
    plain = _network(make_values, ModelConfig(3, "lstm", 1, 500, 2))
    _, ((new_h, new_c),) = plain(torch.tensor([[0, 1]]), begin)
    torch.testing.assert_close(h[~kept_h], new_h[~kept_h], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(c[~kept_c], new_c[~kept_c], rtol=1e-12, atol=1e-12)
    if h_rate and c_rate:
        both = (kept_h & kept_c).double().mean().item()  # drawn one by one: 0.3 * 0.6
        assert both == pytest.approx(0.18, abs=0.05)


@pytest.mark.parametrize("cell", ALL)
def test_without_training_zoneout_is_its_mean(make_values: Make, cell: str) -> None:
    config = _config(cell, 1, zoneout=0.3, zoneout_cell=0.6)
    network, plain = _network(make_values, config).eval(), _network(make_values, _config(cell, 1))
    rng = np.random.default_rng(0)
    begin = (tuple(torch.tensor(rng.standard_normal((2, 5))) for _ in network.layer.cell.states),)
    ids = torch.tensor([[0, 1]])
    _, (after,) = network(ids, begin)
    _, (new,) = plain(ids, begin)
    for rate, old, one, got in zip((0.3, 0.6), begin[0], new, after, strict=False):
        torch.testing.assert_close(got, rate * old + (1 - rate) * one, rtol=1e-12, atol=1e-12)


@needs_bf16
@pytest.mark.parametrize("settings", [{"zoneout": 0.3}, {"dropout": 0.3}])
def test_noise_between_layers_in_bf16_is_that_of_float32(
    make_values: Make, settings: dict[str, float]
) -> None:
    """The first layer's outputs are bfloat16, but no mask is: its values would be rounded."""
    zoneout = settings.get("zoneout", 0.0)
    config = _config("lstm", hidden=16, embedding=4, skip_connections=True, zoneout=zoneout)
    regularizers = Regularizers(dropout=settings.get("dropout"))
    ids, targets = _ids(9, 5)

    def results(**options: Any) -> list[Tensor]:
        network = _network(make_values, config, np.float32, regularizers=regularizers, **options)
        network.train()
        network.generator = torch.Generator().manual_seed(4)
        outputs, state = network.run(ids, network.start_state(5), network.draw(5))
        loss = network.mean_nats(outputs.read, targets)
        return [state[1][1].detach(), *_gradients(network, loss).values()]

    found = results(sequence=partial(fused.sequence, bf16=True), bf16=True)
    for a, b in zip(found, results(), strict=True):
        assert float((a - b).norm()) <= 2e-2 * max(float(b.norm()), 1e-3)


def test_dropout_of_bf16_multiplies_by_unrounded_numbers() -> None:
    exact = torch.rand(9, 5, 16, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)

    def dropped(outputs: Tensor) -> Tensor:
        noise = Noise(generator=torch.Generator().manual_seed(2))
        return noise.drop(outputs, 0.3, training=True)

    found = dropped(exact)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, dropped(exact.float()).to(torch.bfloat16))


@pytest.mark.parametrize("cut", [None, 4])
@pytest.mark.parametrize("bf16", [False, pytest.param(True, marks=needs_bf16)])
def test_tokens_are_read_once_per_vocabulary_with_the_same_results(
    make_values: Make, bf16: bool, cut: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config("lstm", hidden=16, embedding=4, skip_connections=True)
    run, tolerance = partial(fused.sequence, bf16=bf16), 2e-2 if bf16 else 1e-5
    network = _network(make_values, config, np.float32, sequence=run, bf16=bf16)
    network.train()
    ids, targets = _ids(9, 5)

    def results() -> list[Tensor]:
        outputs, state = network.run(ids, network.start_state(5), Noise(), cut=cut)
        loss = network.mean_nats(outputs.read, targets)
        return [outputs.top.detach(), state[1][1].detach(), *_gradients(network, loss).values()]

    found = results()
    assert network._tokens(ids, run) is not None
    assert network._tokens(ids[:1], run) is None  # fewer steps than would repay it
    assert network._tokens(ids, reference) is None
    monkeypatch.setattr(network, "_tokens", lambda *_: None)
    for a, b in zip(found, results(), strict=True):
        assert float((a - b).norm()) <= tolerance * max(float(b.norm()), 1e-3)
    wanted, _ = network.nats(ids.numpy(), targets.numpy(), network.start_state(5))
    monkeypatch.undo()
    scored, _ = network.nats(ids.numpy(), targets.numpy(), network.start_state(5))
    np.testing.assert_allclose(scored, wanted, rtol=tolerance, atol=tolerance)
    with torch.no_grad():
        assert network.eval()._tokens(ids, run) is not None


@needs_bf16
@pytest.mark.parametrize(
    ("cell", "settings", "regularizers"),
    [
        ("lstm", {}, Regularizers()),
        ("lstm", {"layer_norm": True, "zoneout": 0.2}, Regularizers()),
        ("gru", {}, Regularizers(dropout=0.3, locked_dropout=True)),
    ],
)
def test_outputs_of_all_layers_in_one_array_give_the_same(
    make_values: Make,
    cell: str,
    settings: dict[str, Any],
    regularizers: Regularizers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = _config(cell, 3, hidden=32, embedding=4, skip_connections=True, **settings)
    low = partial(fused.sequence, bf16=True)
    options: dict[str, Any] = {"regularizers": regularizers, "sequence": low, "bf16": True}
    network = _network(make_values, config, np.float32, **options)
    network.train()
    ids, targets = _ids(9, 5)
    joined: list[Tensor] = []
    join = Skips.joined
    monkeypatch.setattr(Skips, "joined", lambda *given: joined.append(join(*given)) or joined[-1])

    def results() -> list[Tensor]:
        network.generator = torch.Generator().manual_seed(4)
        outputs, state = network.run(ids, network.start_state(5), network.draw(5))
        loss = network.mean_nats(outputs.read, targets) + (outputs.top**2).mean()
        return [outputs.read.detach(), state[2][0].detach(), *_gradients(network, loss).values()]

    found = results()
    assert len(joined) == 1
    monkeypatch.setattr(Skips, "fits", lambda hidden: False)
    wanted = results()
    assert len(joined) == 1
    assert torch.equal(found[0], wanted[0])
    assert torch.equal(found[1], wanted[1])
    for a, b in zip(found, wanted, strict=True):
        assert float((a - b).norm()) <= 1e-2 * max(float(b.norm()), 1e-3)


@needs_bf16
def test_outputs_that_are_handed_on_go_with_the_window(
    make_values: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A circle of references would keep each window's arrays until Python looks for circles."""
    config = _config("lstm", hidden=32, embedding=4, skip_connections=True)
    low = partial(fused.sequence, bf16=True)
    network = _network(make_values, config, np.float32, sequence=low, bf16=True)
    network.train()
    handed_on: list[weakref.ref[Tensor]] = []
    join = Skips.joined

    def recorded(skips: Skips, top: Tensor) -> Tensor:
        handed_on.extend(map(weakref.ref, skips._below))
        assert skips._below[0].grad_fn is top.grad_fn  # so one node gets both derivatives
        return join(skips, top)

    monkeypatch.setattr(Skips, "joined", recorded)
    gc.disable()
    try:
        outputs, state = network.run(_ids(9, 5)[0], network.start_state(5), Noise())
        assert len(handed_on) == 1
        del outputs, state
        assert handed_on[0]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(("hidden", "fits"), [(32, True), (192, True), (16, False), (200, False)])
def test_only_rows_without_padding_share_an_array(hidden: int, fits: bool) -> None:
    assert Skips.fits(hidden) == fits
