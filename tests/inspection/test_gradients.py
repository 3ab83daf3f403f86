from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import covering
from numpy.typing import NDArray
from torch import Tensor

from charrnn.cells import CELLS, Layer
from charrnn.config import ModelConfig
from charrnn.config.inspection import FlowOptions, UntrainedOptions
from charrnn.errors import CorpusError
from charrnn.inspection.gradients import Flow, at_start, flows, network_flows, product_lags
from charrnn.model import parameters
from charrnn.model.model_file import Model
from charrnn.network.layers import reference
from charrnn.network.module import CharRNN
from charrnn.network.noise import Noise
from charrnn.text.tokenizer import CharTokenizer

HIDDEN = 6
TEXT = "abcabbacbca" * 30


def made(cell: str, **changed: Any) -> Model:
    """Return a one-layer network whose weights are zero, except the output's and `changed`."""
    config = ModelConfig(3, cell, hidden_size=HIDDEN, embedding_size=0)
    values = {
        name: np.zeros(shape, np.float32) for name, shape in parameters.shapes(config).items()
    }
    values["output.weight"] = np.random.default_rng(1).random((3, HIDDEN), np.float32)
    values |= {f"layers.0.{name}": np.asarray(v, np.float32) for name, v in changed.items()}
    assert values.keys() == parameters.shapes(config).keys()
    return Model(config, CharTokenizer("abc"), values)


def flow(model: Model, lags: int = 40) -> Flow:
    (found,) = flows(model, TEXT, lags=lags, windows=3)
    return found


def gates(cell: str, **biases: float) -> dict[str, NDArray[np.float32]]:
    """Return biases that fix every gate, whose weights are zero."""
    name = Layer(CELLS[cell]).input_bias
    blocks = [np.full(HIDDEN, biases.get(block, 0.0), np.float32) for block in CELLS[cell].blocks]
    return {name: np.concatenate(blocks)}


@pytest.mark.parametrize("scale", [0.9, 1.0, 1.1])
@pytest.mark.parametrize("cell", ["elman", "irnn", "preactivation"])
def test_a_linear_network_has_the_exponents_of_its_matrix(cell: str, scale: float) -> None:
    """Without input, tanh stays at 0, where its slope is 1, and relu stays where its slope is 1."""
    rng = np.random.default_rng(3)
    matrix, _ = np.linalg.qr(rng.standard_normal((HIDDEN, HIDDEN)))
    more = {}
    if cell == "irnn":  # a permutation keeps what is positive positive
        matrix = np.eye(HIDDEN)[rng.permutation(HIDDEN)]
        more["bias"] = np.ones(HIDDEN)
    found = flow(made(cell, weight_hh=scale * matrix, **more))
    expected = float(np.float32(scale)) ** np.arange(41)
    assert found.norms[0] > 0
    assert found.norms / found.norms[0] == pytest.approx(expected, rel=1e-5)
    assert found.per_step == pytest.approx(scale, rel=1e-6)
    assert [product.lag for product in found.products] == [1, 2, 5, 10, 20, 40]
    for product in found.products:
        powers = np.full(HIDDEN, scale**product.lag)
        assert product.singular_values == pytest.approx(powers, rel=1e-5)
        assert product.spectral_radius == pytest.approx(powers[0], rel=1e-5)
    (values,) = found.eigenvalues.values()
    assert np.abs(values) == pytest.approx(np.full(HIDDEN, scale), rel=1e-6)


def test_omega_is_the_change_of_the_norm_in_one_step() -> None:
    """Every step changes the norm of the gradient by the same factor."""
    none = made("elman", weight_hh=np.zeros((HIDDEN, HIDDEN)))
    assert flow(none, lags=12).omega == pytest.approx(12)  # 1 per step: no gradient passes
    less = made("elman", weight_hh=0.9 * np.eye(HIDDEN))
    assert flow(less, lags=12).omega == pytest.approx(12 * 0.1**2, rel=1e-5)


@pytest.mark.parametrize(
    ("cell", "opened", "half"),
    [
        ("lstm", {"f": 40.0}, {"f": 0.0}),
        ("lstm-sigmoid", {"f": 40.0, "i": -40.0}, {"f": 0.0}),  # otherwise c would keep growing
        ("lstm-peephole", {"f": 40.0}, {"f": 0.0}),
        ("gru", {"z": -40.0}, {"z": 0.0}),
        ("gru-reset-after", {"z": 40.0}, {"z": 0.0}),
    ],
)
def test_open_gates_pass_error_on_and_half_open_gates_halve_it(
    cell: str, opened: dict[str, float], half: dict[str, float]
) -> None:
    for biases, factor in ((opened, 1.0), (half, 0.5)):
        found = flow(made(cell, **gates(cell, **biases)))
        carried = found.parts[CELLS[cell].states[-1]]
        assert carried[1] > 0
        assert carried[1:] / carried[1] == pytest.approx(factor ** np.arange(40.0), rel=1e-6)
        assert found.norms[1:] == pytest.approx(carried[1:], rel=1e-9)
        assert found.per_step == pytest.approx(factor, rel=1e-6)
        last = found.products[-1]
        assert last.spectral_radius == pytest.approx(factor**last.lag, rel=1e-6)


def test_the_networks_of_an_ensemble_are_measured_one_by_one(tiny_ensemble: Model) -> None:
    text, measured = "hello low\n" * 3, FlowOptions(lags=5, windows=2)
    found = network_flows({"two": tiny_ensemble}, UntrainedOptions(), text, measured, str)
    assert [(one.name, one.when) for one in found] == [
        (f"two network {k}", when) for k in (1, 2) for when in ("at start", "trained")
    ]
    for one, network in zip(found[1::2], tiny_ensemble.networks, strict=True):
        alone = flows(network, text, lags=5, windows=2)
        assert [flow.to_json() for flow in one.layers] == [flow.to_json() for flow in alone]
    assert found[0].layers[0].norms.tolist() != found[2].layers[0].norms.tolist()


class Nudged:
    """The plain loop, with one number of a layer's state changed after the first step.

    The layers above read the changed state, too, at that step.
    """

    def __init__(self, index: int, part: int, unit: int, step: float) -> None:
        self.index, self.part, self.unit, self.step = index, part, unit, step
        self.count = 0

    def __call__(self, layer: Any, x: Tensor, state: Any, weights: Any, **more: Any) -> Any:
        first, state = reference(layer, x[:1], state, weights, **more)
        if self.count == self.index:
            state = [part.clone() for part in state]
            state[self.part][0, self.unit] += self.step
            first = state[0][None]
        self.count += 1
        rest, state = reference(layer, x[1:], tuple(state), weights, **more)
        return torch.cat([first, rest]), state


@pytest.mark.parametrize(("cell", "form"), covering(CELLS), indirect=["form"])
def test_gradients_match_finite_differences(
    cell: str, form: dict[str, Any], make_model: Any
) -> None:
    """Compare with differences of the last loss when the window's first state changes a little."""
    layers = 1 if cell == "jordan" else 2
    sizes = {"num_layers": layers, "hidden_size": 3}
    model: Model = make_model("abc", seed=2, cell=cell, **sizes, **form)
    lags, text = 4, "abcabbacb"  # one window: five tokens of warm-up, four steps
    found = flows(model, text, lags=lags, windows=1)
    network = CharRNN(model.config, model.values).double().eval()
    ids = model.tokenizer.encode(text).astype(np.int64)
    read = torch.tensor([model.config.start_token, *ids[:-1]])[:, None]

    with torch.no_grad():
        _, before = network(read[: -lags - 1], network.start_state(1))
        _, state = network(read[:-lags], network.start_state(1))

    @torch.no_grad()
    def loss(*nudge: Any) -> float:
        outputs, _ = network.run(read[-lags - 1 :], before, Noise(), sequence=Nudged(*nudge))
        logits = network.logits(outputs.read[-1, 0])
        return float(-torch.log_softmax(logits, -1)[ids[-1]])

    for index, one in enumerate(found):
        for part, name in enumerate(network.layer.cell.states):
            slopes = [
                (loss(index, part, unit, 1e-5) - loss(index, part, unit, -1e-5)) / 2e-5
                for unit in range(model.config.hidden_size)
            ]
            norm = float(np.linalg.norm(slopes))
            assert one.parts[name][lags] == pytest.approx(norm, rel=1e-4, abs=1e-9)
        whole = np.sqrt(sum(values**2 for values in one.parts.values()))
        assert one.norms == pytest.approx(whole)

        def after(joined: Tensor, index: int = index) -> Tensor:
            parts = torch.chunk(joined, len(network.layer.cell.states), -1)
            _, last = network(read[-lags:], (*state[:index], parts, *state[index + 1 :]))
            return torch.cat(last[index], -1)[0]

        start = torch.cat(state[index], -1)
        product = torch.autograd.functional.jacobian(after, start)[:, 0]
        last = one.products[-1]
        singular = torch.linalg.svdvals(product).detach().numpy()
        assert last.singular_values == pytest.approx(singular, rel=1e-6, abs=1e-12)
        radius = float(torch.linalg.eigvals(product).abs().max())
        assert last.spectral_radius == pytest.approx(radius, rel=1e-4, abs=1e-9)


def test_every_lag_of_every_layer_equals_autograd_through_the_whole_text(make_model: Any) -> None:
    """Autograd through text and warm-up knows every path, also those through layers above."""
    model: Model = make_model("abc", num_layers=2, skip_connections=True, hidden_size=12)
    text = "abcabbacbca" * 20
    found = flows(model, text, lags=12, windows=1)
    ids = model.tokenizer.encode(text)
    network = CharRNN(model.config, model.values).double().eval()
    read = torch.tensor([model.config.start_token, *ids.astype(np.int64)[:-1]])[:, None]
    tokens = min(100, len(ids) - 12) + 12
    states: list[list[Tensor]] = [[], []]

    class Kept:
        """The plain loop, which keeps each state with its gradient."""

        count = 0

        def __call__(self, layer: Any, x: Tensor, state: Any, weights: Any, **more: Any) -> Any:
            outputs = []
            for step in range(len(x)):
                _, state = reference(layer, x[step : step + 1], state, weights, **more)
                joined = torch.cat(state, -1)
                joined.retain_grad()
                states[self.count].append(joined)
                state = torch.chunk(joined, len(state), -1)
                outputs.append(state[0])
            self.count += 1
            return torch.stack(outputs), state

    outputs, _ = network.run(read[:tokens], network.start_state(1), Noise(), sequence=Kept())
    logits = network.logits(outputs.read[-1, 0])
    (-torch.log_softmax(logits, -1)[int(ids[tokens - 1])]).backward()
    for one, layer in zip(found, states, strict=True):
        gradients = [state.grad for state in layer[-13:]]
        norms = [float(gradient.norm()) for gradient in reversed(gradients) if gradient is not None]
        assert one.norms == pytest.approx(norms, rel=1e-9)


def test_at_start_restores_the_initial_weights(make_model: Any) -> None:
    model: Model = make_model("abc")
    model.training["train"] = {"seed": 5, "forget_bias": 3.0}
    values = parameters.initial(model.config, 5, forget_bias=3.0)
    for name, value in at_start(model).values.items():
        assert np.array_equal(value, values[name])
    model.training["train"] = "damaged"
    assert at_start(model).values.keys() == values.keys()


def test_lags_whose_products_are_decomposed() -> None:
    assert product_lags(1) == [1]
    assert product_lags(7) == [1, 2, 5, 7]
    assert product_lags(500) == [1, 2, 5, 10, 20, 50, 100, 200, 500]


def test_too_short_a_text_is_an_error(make_model: Any) -> None:
    with pytest.raises(CorpusError, match="fewer lags"):
        flows(make_model("abc"), "abc", lags=3, windows=1)
    assert len(flows(make_model("abc"), "abca", lags=3, windows=2)) == 1


def test_overflowing_products_are_left_out() -> None:
    found = flow(made("irnn", weight_hh=np.eye(HIDDEN) * 1e30, bias=np.ones(HIDDEN)), lags=12)
    assert [product.lag for product in found.products] == [1, 2, 5, 10]
    assert np.isnan(found.norms).all()
    assert np.isnan([found.per_step, found.omega]).all()


def test_without_recurrence_no_gradient_arrives() -> None:
    found = flow(made("elman", weight_hh=np.zeros((HIDDEN, HIDDEN))))
    assert found.norms[0] > 0
    assert not found.norms[1:].any()
    assert (found.per_step, found.products[-1].spectral_radius) == (0.0, 0.0)
