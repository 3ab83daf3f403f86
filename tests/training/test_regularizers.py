import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from charrnn.cells import CELLS, Layer
from charrnn.cells.base import Parts, Product
from charrnn.config import ModelConfig, Regularizers, TrainConfig
from charrnn.network.layers import reference
from charrnn.network.module import CharRNN, Outputs
from charrnn.network.noise import Noise
from charrnn.text import streams
from charrnn.training import regularizers
from charrnn.training.regularizers import Recorder
from charrnn.training.stream_batches import StreamBatches
from charrnn.training.training_step import Updater

Make = Callable[..., dict[str, NDArray[Any]]]
PLAIN = ["elman", "irnn", "preactivation"]  # their state is all that is carried


def _updater(make_values: Make, cell: str = "elman", layers: int = 1, **more: Any) -> Updater:
    """Return a training in float64, with the plain loop, on two streams of 24 tokens."""
    config = ModelConfig(4, cell, layers, 5, 3)
    settings = {"seq_len": 6, "update_every": 6, "clip_norm": math.inf, "learning_rate": 0.01}
    train = TrainConfig(**settings | more, batch_size=2)
    values = {name: value.astype(np.float64) for name, value in make_values(config).items()}
    ids = np.random.default_rng(5).integers(0, 4, 48).astype(np.uint8)
    network = CharRNN(config, values, regularizers=train)
    made = streams.make(ids, 2, train.seq_len, config.start_token, None, train.update_every)
    return Updater(StreamBatches(network, made, train))


def _gradients(updater: Updater) -> dict[str, Tensor]:
    found = {name: weight.grad for name, weight in updater.network.weights().items()}
    return {name: gradient for name, gradient in found.items() if gradient is not None}


def _outputs(top: list[list[float]], dropped: list[list[float]]) -> Outputs:
    """Return outputs of two steps, one stream and two units."""
    return Outputs(torch.zeros(2, 1, 1), torch.tensor(top)[:, None], torch.tensor(dropped)[:, None])


def test_penalties_on_activations_by_hand() -> None:
    outputs = _outputs(top=[[1.0, 2.0], [4.0, -2.0]], dropped=[[2.0, 0.0], [8.0, 0.0]])
    # AR: 3 * (4 + 0 + 64 + 0) / 4 = 51, of what is read; TAR: 2 * (3^2 + 4^2) / 2 = 25, of what
    # came from the recurrence
    for ar, tar, expected in [(3.0, 0.0, 51.0), (0.0, 2.0, 25.0), (3.0, 2.0, 76.0)]:
        kept = Regularizers(activation_penalty=ar, slowness_penalty=tar)
        assert float(regularizers.activation(outputs, kept)) == pytest.approx(expected)
    assert regularizers.activation(outputs, Regularizers()) == 0.0


def test_a_single_step_has_no_slowness_penalty() -> None:
    outputs = Outputs(torch.zeros(1, 1, 1), torch.ones(1, 1, 2), torch.ones(1, 1, 2))
    assert regularizers.activation(outputs, Regularizers(slowness_penalty=2.0)) == 0.0


@pytest.mark.parametrize(("k1", "k2"), [(6, 6), (3, 6)])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize(
    "kept", [{"activation_penalty": 2.0}, {"slowness_penalty": 1.5}, {"omega": 0.7}]
)
def test_a_penalty_is_added_to_the_gradient_and_not_to_the_reported_loss(
    make_values: Make, kept: dict[str, float], dropout: float, k1: int, k2: int
) -> None:
    shape = {"seq_len": k2, "update_every": k1, "dropout": dropout, "locked_dropout": True}
    with_it, without = (_updater(make_values, **shape, **more) for more in (kept, {}))
    for updater in (with_it, without):
        torch.manual_seed(1)
        updater.update(0.0)
        updater.update(0.0)
    assert with_it.losses[-1].item() == pytest.approx(without.losses[-1].item(), rel=1e-12)
    # the penalty once more, from a window run for that alone
    updater = _updater(make_values, **shape, **kept)
    torch.manual_seed(1)
    updater.update(0.0)
    penalty = updater.batches.loss().penalty
    assert isinstance(penalty, Tensor)
    weights = updater.network.weights()
    added = torch.autograd.grad(penalty, list(weights.values()), materialize_grads=True)
    assert any(gradient.abs().max() > 1e-3 for gradient in added)
    theirs = _gradients(without)
    for name, gradient in zip(weights, added, strict=True):
        torch.testing.assert_close(
            _gradients(with_it)[name], theirs[name] + gradient, rtol=1e-9, atol=1e-12
        )


def test_the_penalties_see_the_counted_steps_of_the_last_layer(make_values: Make) -> None:
    kept = {"activation_penalty": 2.0, "slowness_penalty": 1.5}
    updater = _updater(
        make_values, layers=2, seq_len=6, update_every=4, dropout=0.4, locked_dropout=True, **kept
    )
    updater.update(0.0)
    window, state = updater.batches.streams.window(updater.batches.cursor), updater.batches.carried
    torch.manual_seed(1)
    penalty = updater.batches.loss().penalty
    torch.manual_seed(1)
    noise = updater.network.draw(2)
    outputs, _ = updater.network.run(torch.from_numpy(window.inputs), state, noise)
    assert len(outputs.top) == 6
    top, dropped = outputs.top[-4:], outputs.dropped[-4:]
    expected = 2.0 * (dropped**2).mean() + 1.5 * ((top[1:] - top[:-1]) ** 2).mean()
    assert isinstance(penalty, Tensor)
    assert penalty.item() == pytest.approx(expected.item(), rel=1e-12)


def _linear() -> Layer:
    """``h = W_xh x + W_hh h + b``."""

    def equations(sigmoid: Any, tanh: Any, relu: Any) -> Callable[..., Parts]:
        def unit(x: Parts, w: Product, state: Parts) -> Parts:
            (r,) = w(state[0])
            return (x[0] + r,)

        return unit

    return Layer(dataclasses.replace(CELLS["elman"], name="linear", equations=equations))


def _scalar(layer: Layer, w: float, steps: int) -> tuple[list[Tensor], Tensor]:
    """Return states h_0 = 0.9 ... h_T of one unit with weight `w`, and that weight."""
    weight = torch.full((1, 1), w, dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(1, 1, dtype=torch.float64)
    recorder = Recorder()
    weights = {"weight_ih": zero, "weight_hh": weight, "bias": zero[0]}
    recorder(layer, zero.expand(steps, 1, 1), (zero + 0.9,), weights)
    return recorder.layers[0], weight


def test_omega_of_a_linear_unit_by_hand() -> None:
    # Each of the steps h_0 -> h_1 -> h_2 -> h_3 multiplies what passes back with w = 0.2:
    # (0.2 - 1)^2 = 0.64 three times, and its derivative is 3 * 2 * (0.2 - 1) = -4.8.
    states, weight = _scalar(_linear(), 0.2, 3)
    omega = regularizers.omega(states[-1].sum(), [states])
    assert omega.item() == pytest.approx(1.92, rel=1e-12)
    (slope,) = torch.autograd.grad(omega, weight)
    assert slope.item() == pytest.approx(-4.8, rel=1e-12)
    # with w = -1 the length stays the same
    states, _ = _scalar(_linear(), -1.0, 4)
    assert regularizers.omega(states[-1].sum(), [states]).item() == pytest.approx(0, abs=1e-12)


def test_omega_of_an_elman_unit_by_hand() -> None:
    # the way from h_1 to h_2 has the slope w (1 - h_2^2): with w = 2 and h_0 = 0.9,
    # h_1 = tanh(1.8) = 0.9468060, h_2 = tanh(1.8936120) = 0.9556872: 2 * 0.0866619 = 0.1733238,
    # and (0.1733238 - 1)^2 = 0.6833935; from h_0 to h_1: 2 * (1 - 0.9468060^2) = 0.2071168, and
    # (0.2071168 - 1)^2 = 0.6286638
    states, _ = _scalar(Layer(CELLS["elman"]), 2.0, 2)
    loss = states[-1].sum()
    whole = regularizers.omega(loss, [states])
    assert whole.item() == pytest.approx(0.6833935 + 0.6286638, abs=1e-6)
    # nothing comes before a text, from which error could come back
    begins = regularizers.omega(loss, [states], torch.tensor([False]))
    assert begins.item() == pytest.approx(0.6833935, abs=1e-6)


def test_omega_of_a_loss_at_every_step_uses_the_whole_gradient() -> None:
    # a linear unit with w = 0.5 and the loss h_1 + h_2 + h_3: what arrives at h_3 is 1, at h_2 1.5,
    # at h_1 1.75, and what passes is half of it: (0.5 - 1)^2 three times, whatever arrives
    states, _ = _scalar(_linear(), 0.5, 3)
    loss = torch.stack(states[1:]).sum()
    assert regularizers.omega(loss, [states]).item() == pytest.approx(0.75, rel=1e-12)


def test_omega_is_the_mean_over_streams_and_the_sum_over_layers() -> None:
    states, _ = _scalar(_linear(), 0.2, 2)  # 2 * 0.64
    loss = states[-1].sum()
    assert regularizers.omega(loss, [states, states]).item() == pytest.approx(2 * 1.28, rel=1e-12)
    # a second stream that gets no gradient asks for nothing
    weight = torch.full((1, 1), 0.2, dtype=torch.float64, requires_grad=True)
    recorder = Recorder()
    zeros = torch.zeros(2, 2, 1, dtype=torch.float64)
    weights = {"weight_ih": zeros[0, :1], "weight_hh": weight, "bias": zeros[0, 0]}
    recorder(_linear(), zeros, (zeros[0] + 0.9,), weights)
    omega = regularizers.omega(recorder.layers[0][-1][0].sum(), recorder.layers)
    assert omega.item() == pytest.approx(1.28 / 2, rel=1e-12)
    (slope,) = torch.autograd.grad(omega, weight)
    assert slope.item() == pytest.approx(2 * 2 * -0.8 / 2, rel=1e-12)


def test_omega_without_arriving_or_passing_gradient_has_a_finite_gradient(
    make_values: Make,
) -> None:
    config = ModelConfig(4, "irnn", 1, 5, 3)
    values = {name: value.astype(np.float64) for name, value in make_values(config).items()}
    values["layers.0.bias"][:] = -100.0  # every unit is shut
    network = CharRNN(config, values)
    recorder = Recorder()
    ids = torch.zeros(4, 2, dtype=torch.long)
    outputs, _ = network.run(ids, network.start_state(2), Noise(), sequence=recorder)
    omega = regularizers.omega(network.logits(outputs.read).sum(), recorder.layers)
    assert omega.item() == 4.0  # all of the gradient is lost at each of four steps
    for gradient in torch.autograd.grad(omega, list(network.parameters()), materialize_grads=True):
        assert torch.isfinite(gradient).all()


def _omega(network: CharRNN, ids: Tensor, targets: Tensor, cut: int | None = None) -> Tensor:
    recorder = Recorder()
    begin = tuple(tuple(part + 0.3 for part in layer) for layer in network.start_state(2))
    outputs, _ = network.run(ids, begin, Noise(), cut=cut, sequence=recorder)
    loss = F.cross_entropy(network.logits(outputs.read).flatten(0, 1), targets.flatten())
    return regularizers.omega(loss, recorder.layers)


def _network(make_values: Make, cell: str, **form: Any) -> CharRNN:
    config = ModelConfig(4, cell, 2, 5, 3, **form)
    values = {name: value.astype(np.float64) for name, value in make_values(config).items()}
    return CharRNN(config, values)


def _ids() -> tuple[Tensor, Tensor]:
    inputs, targets = np.random.default_rng(1).integers(0, 4, (2, 5, 2))
    return torch.from_numpy(inputs), torch.from_numpy(targets)


@pytest.mark.parametrize("cell", PLAIN)
@pytest.mark.parametrize("form", [{}, {"recurrent_depth": 2, "skip_connections": True}])
def test_omega_is_the_loss_of_lengths_computed_step_by_step(
    make_values: Make, cell: str, form: dict[str, Any]
) -> None:
    network, (ids, targets) = _network(make_values, cell, **form), _ids()
    recorder = Recorder()
    begin = tuple(tuple(part + 0.3 for part in layer) for layer in network.start_state(2))
    outputs, _ = network.run(ids, begin, Noise(), sequence=recorder)
    loss = F.cross_entropy(network.logits(outputs.read).flatten(0, 1), targets.flatten())
    total = 0.0
    for states in recorder.layers:
        for before, after in itertools.pairwise(states):
            (arriving,) = torch.autograd.grad(loss, after, retain_graph=True)
            for stream in range(2):
                jacobian = torch.stack(
                    [
                        torch.autograd.grad(after[stream, unit], before, retain_graph=True)[0][
                            stream
                        ]
                        for unit in range(5)
                    ]
                )
                passed = arriving[stream] @ jacobian
                total += (passed.norm() / arriving[stream].norm() - 1).item() ** 2 / 2
    assert _omega(network, ids, targets).item() == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("cell", PLAIN)
def test_the_gradient_of_omega_equals_central_differences(make_values: Make, cell: str) -> None:
    network, (ids, targets) = _network(make_values, cell), _ids()
    weights = network.weights()
    gradients = torch.autograd.grad(
        _omega(network, ids, targets), list(weights.values()), materialize_grads=True
    )
    assert gradients[list(weights).index("layers.0.weight_hh")].abs().max() > 1e-2
    for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
        flat, distance = weight.detach().view(-1), 1e-6
        for i in range(0, len(flat), 3):
            value, found = flat[i].item(), []
            for moved in (value + distance, value - distance):
                flat[i] = moved
                found.append(_omega(network, ids, targets).item())
            flat[i] = value
            slope = (found[0] - found[1]) / (2 * distance)
            expected = gradient.flatten()[i].item()
            assert slope == pytest.approx(expected, rel=1e-4, abs=1e-6), (name, i)


def _penalty(updater: Updater) -> float:
    """Return the penalty of the next window."""
    penalty = updater.batches.loss().penalty
    assert isinstance(penalty, Tensor)
    return penalty.item()


@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (3, 3), (2, 6)])
@pytest.mark.parametrize("cell", PLAIN)
def test_a_window_counts_the_step_from_the_state_that_it_began_with(
    make_values: Make, cell: str, k1: int, k2: int
) -> None:
    """In a text's first window that step has nothing before it."""
    updater = _updater(make_values, cell, seq_len=k2, update_every=k1, omega=1.0)
    batches = updater.batches
    for _ in range(5):
        window, state = batches.streams.window(batches.cursor), batches.carried
        penalty = _penalty(updater)
        states = [part.clone().requires_grad_() for (part,) in state]
        hidden, outputs = [states], []
        for row in torch.from_numpy(window.inputs):
            made, after = updater.network.run(row[None], tuple((h,) for h in hidden[-1]), Noise())
            hidden.append([h for (h,) in after])
            outputs.append(made.read[0])
        targets = torch.from_numpy(window.targets[-k1:]).flatten()
        read = updater.network.logits(torch.cat(outputs[-k1:]))
        loss = F.cross_entropy(read, targets)
        total = 0.0
        for before, after in itertools.pairwise(hidden[0 if window.start else 1 :]):
            (arriving,) = torch.autograd.grad(loss, after[0], retain_graph=True)
            (passed,) = torch.autograd.grad(after[0], before[0], arriving, retain_graph=True)
            ratios = passed.norm(dim=1) / arriving.norm(dim=1)
            total += ((ratios - 1) ** 2).mean().item()
        assert penalty == pytest.approx(total, rel=1e-9)
        assert (total == 0) is (k2 == 1 and window.start == 0)
        updater.update(0.01)


def test_where_the_state_is_reset_the_first_step_of_a_window_does_not_count(
    make_values: Make,
) -> None:
    updater = _updater(make_values, seq_len=1, update_every=1, omega=1.0, state="reset")
    for _ in range(3):
        assert _penalty(updater) == 0.0
        updater.update(0.01)


def test_the_first_step_of_a_document_does_not_count(make_values: Make) -> None:
    updater = _updater(make_values, seq_len=1, update_every=1, omega=1.0)
    ids = updater.batches.streams.ids
    updater.batches.streams = streams.make(ids, 2, 1, 4, None, documents=np.array([0, 3, 24]))
    counted = []
    for _ in range(5):
        counted.append(_penalty(updater) > 0)
        updater.update(0.01)
    # The second document begins in the first stream at step 3, the second stream goes on.
    assert counted == [False, True, True, True, True]


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 4])
def test_omega_of_a_window_read_in_two_parts_is_that_of_the_window(
    make_values: Make, cut: int
) -> None:
    network, (ids, targets) = _network(make_values, "elman"), _ids()
    whole = _omega(network, ids, targets).item()
    assert _omega(network, ids, targets, cut).item() == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("cell", PLAIN)
def test_updates_with_omega_make_it_smaller(make_values: Make, cell: str) -> None:
    updater = _updater(make_values, cell, omega=10.0, weight_decay=0.0)
    plain = _updater(make_values, cell, weight_decay=0.0)
    ids, targets = _ids()
    before = _omega(updater.network, ids, targets).item()
    for _ in range(8):
        updater.update(0.01)
        plain.update(0.01)
    after = _omega(updater.network, ids, targets).item()
    assert after < before
    assert after < _omega(plain.network, ids, targets).item()


@pytest.mark.parametrize("cell", PLAIN)
def test_the_recorder_is_the_plain_loop(make_values: Make, cell: str) -> None:
    network = _network(make_values, cell, layer_norm=True, zoneout=0.3)
    ids, _ = _ids()
    begin, recorder = network.start_state(2), Recorder()
    torch.manual_seed(1)
    one, state = network.run(ids, begin, Noise(), sequence=recorder)
    torch.manual_seed(1)
    other, last = network.run(ids, begin, Noise(), sequence=reference)
    assert network.logits(one.read).tolist() == network.logits(other.read).tolist()
    assert [part.tolist() for layer in state for part in layer] == [
        part.tolist() for layer in last for part in layer
    ]
    assert [len(states) for states in recorder.layers] == [6, 6]
    assert recorder.layers[0][0].tolist() == begin[0][0].tolist()
    assert torch.stack(recorder.layers[1][1:]).tolist() == one.top.tolist()
