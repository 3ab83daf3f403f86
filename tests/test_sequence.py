import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from charrnn.cells import CELLS
from charrnn.errors import OptionError
from charrnn.kernels.sequence import LIBRARY, LayerState, library, reference, select

ALL = sorted(CELLS)
MODULES = {
    "elman": torch.nn.RNN,
    "irnn": functools.partial(torch.nn.RNN, nonlinearity="relu"),
    "lstm": torch.nn.LSTM,
    "gru-reset-after": torch.nn.GRU,
}
# T, B, X, H: nothing even, and ones
SIZES = [(1, 1, 1, 1), (1, 3, 2, 5), (6, 1, 5, 3), (4, 3, 2, 17), (7, 2, 17, 1)]
BOTH = [reference, library]
EACH = [(run, name) for name in ALL for run in BOTH if run is reference or name in LIBRARY]


def _problem(
    name: str, sizes: tuple[int, int, int, int], dtype: torch.dtype = torch.float64
) -> tuple[Tensor, LayerState, dict[str, Tensor]]:
    """Random input, state and weights, all of them with gradients."""
    steps, streams, inputs, hidden = sizes
    cell = CELLS[name]
    rng = np.random.default_rng(7)

    def tensor(*shape: int) -> Tensor:
        values = torch.tensor(rng.standard_normal(shape) * 0.7, dtype=dtype)
        return values.requires_grad_()

    weights = {key: tensor(*shape) for key, shape in cell.shapes(inputs, hidden).items()}
    state = tuple(tensor(streams, hidden) for _ in cell.states)
    return tensor(steps, streams, inputs), state, weights


def _outputs_and_gradients(
    run: Any, name: str, x: Tensor, state: LayerState, weights: dict[str, Tensor]
) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """Outputs and last state, and the gradients of a weighted sum of both, by everything."""
    y, last = run(CELLS[name], x, state, weights)
    results = [y, *last]
    rng = np.random.default_rng(8)
    total = sum(
        (torch.tensor(rng.standard_normal(part.shape), dtype=part.dtype) * part).sum()
        for part in results
    )
    return results, torch.autograd.grad(total, [x, *state, *weights.values()])


@pytest.mark.parametrize("run", BOTH)
def test_elman_layer_by_hand(run: Any) -> None:
    # W_xh = (1, 0.5), x = 1; W_hh h = ((0, 1), (-1, 0)) (0.5, -0.5) = (-0.5, -0.5); b = (0, 0.5)
    # h = tanh(1 - 0.5 + 0, 0.5 - 0.5 + 0.5) = tanh(0.5, 0.5) = (0.4621172, 0.4621172)
    # (the transposed W_hh would give (0.5, 0.5) and tanh(1.5, 1.5))
    weights = {
        "weight_ih": torch.tensor([[1.0], [0.5]]),
        "weight_hh": torch.tensor([[0.0, 1.0], [-1.0, 0.0]]),
        "bias": torch.tensor([0.0, 0.5]),
    }
    y, (h,) = run(CELLS["elman"], torch.ones(1, 1, 1), (torch.tensor([[0.5, -0.5]]),), weights)
    assert y.flatten().tolist() == pytest.approx([0.4621172, 0.4621172], abs=1e-6)
    assert h.flatten().tolist() == y.flatten().tolist()


@pytest.mark.parametrize("run", BOTH)
def test_lstm_layer_by_hand(run: Any) -> None:
    # the numbers of test_cells: x = 1, h = 1, c = 2 give h = 0.4767584, c = 1.8691486
    weights = {
        "weight_ih": torch.tensor([[1.0], [0.5], [-0.5], [1.0]]),
        "weight_hh": torch.tensor([[1.0], [-0.5], [1.0], [-1.0]]),
        "bias": torch.tensor([0.0, 1.0, 0.0, 0.0]),
    }
    state = (torch.tensor([[1.0]]), torch.tensor([[2.0]]))
    y, (h, c) = run(CELLS["lstm"], torch.ones(1, 1, 1), state, weights)
    assert [y.item(), h.item(), c.item()] == pytest.approx(
        [0.4767584, 0.4767584, 1.8691486], abs=1e-6
    )


@pytest.mark.parametrize("run", BOTH)
def test_gru_reset_after_layer_by_hand(run: Any) -> None:
    # the numbers of test_cells: x = 1, h = 2 give h = 1.5863996
    weights = {
        "weight_ih": torch.tensor([[1.0], [0.5], [-1.0]]),
        "weight_hh": torch.tensor([[-0.5], [0.5], [0.5]]),
        "bias_ih": torch.tensor([0.0, -0.5, 0.5]),
        "bias_hh": torch.tensor([0.0, 0.0, 1.0]),
    }
    y, _ = run(CELLS["gru-reset-after"], torch.ones(1, 1, 1), (torch.tensor([[2.0]]),), weights)
    assert y.item() == pytest.approx(1.5863996, abs=1e-6)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", LIBRARY)
def test_library_equals_reference_in_outputs_and_all_gradients(
    name: str, sizes: tuple[int, int, int, int], dtype: torch.dtype, close: float
) -> None:
    problem = _problem(name, sizes, dtype)
    ours = _outputs_and_gradients(reference, name, *problem)
    theirs = _outputs_and_gradients(library, name, *problem)
    torch.testing.assert_close(theirs, ours, rtol=close, atol=close)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", MODULES)
def test_reference_equals_the_module_of_torch(name: str, sizes: tuple[int, int, int, int]) -> None:
    x, state, weights = _problem(name, sizes)
    module = MODULES[name](sizes[2], sizes[3]).double()
    zero = torch.zeros(len(weights["weight_ih"]), dtype=torch.float64)
    with torch.no_grad():
        module.weight_ih_l0.copy_(weights["weight_ih"])
        module.weight_hh_l0.copy_(weights["weight_hh"])
        module.bias_ih_l0.copy_(weights.get("bias", weights.get("bias_ih")))
        module.bias_hh_l0.copy_(weights.get("bias_hh", zero))
    first = tuple(part[None] for part in state)
    y, last = module(x, first if len(first) > 1 else first[0])
    ours, after = reference(CELLS[name], x, state, weights)
    torch.testing.assert_close(ours, y, rtol=1e-12, atol=1e-12)
    last = last if isinstance(last, tuple) else (last,)
    torch.testing.assert_close(after, tuple(part[0] for part in last), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_gradients_of_the_reference_are_those_of_finite_differences(name: str) -> None:
    x, state, weights = _problem(name, (3, 2, 2, 3))
    names = list(weights)

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        parts = tensors[1 : 1 + len(state)]
        y, last = reference(
            CELLS[name], tensors[0], parts, dict(zip(names, tensors[-len(names) :], strict=True))
        )
        return y, *last

    assert torch.autograd.gradcheck(run, (x, *state, *weights.values()))


@pytest.mark.parametrize(("run", "name"), EACH)
def test_two_windows_with_the_state_carried_are_one(run: Any, name: str) -> None:
    x, state, weights = _problem(name, (7, 3, 2, 5))
    whole = _outputs_and_gradients(run, name, x, state, weights)

    def in_two(cell: Any, x: Tensor, state: LayerState, weights: Any) -> Any:
        first, middle = run(cell, x[:3], state, weights)
        second, last = run(cell, x[3:], middle, weights)
        return torch.cat([first, second]), last

    torch.testing.assert_close(
        _outputs_and_gradients(in_two, name, x, state, weights), whole, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(("run", "name"), EACH)
def test_rows_do_not_see_each_other(run: Any, name: str) -> None:
    x, state, weights = _problem(name, (4, 3, 2, 5))
    y, _ = run(CELLS[name], x, state, weights)
    alone, _ = run(CELLS[name], x[:, 1:2], tuple(part[1:2] for part in state), weights)
    torch.testing.assert_close(alone, y[:, 1:2], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("run", "name"), EACH)
def test_the_given_state_is_not_changed(run: Any, name: str) -> None:
    x, state, weights = _problem(name, (4, 3, 2, 5))
    before = [part.detach().clone() for part in state]
    run(CELLS[name], x, state, weights)
    assert all(torch.equal(part, was) for part, was in zip(state, before, strict=True))


def test_a_cell_that_the_library_lacks_is_trained_by_its_equation_alone() -> None:
    cell = dataclasses.replace(CELLS["elman"], name="mine")
    x, state, weights = _problem("elman", (4, 3, 2, 5), torch.float32)
    expected, _ = library(CELLS["elman"], x, state, weights)
    for device, backend in (("cpu", "scaffold"), ("cuda", "reference")):
        kernel = select(cell, torch.device(device), "float32")
        assert kernel.backend == backend
        y, _ = kernel.run(cell, x, state, weights)
        torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(OptionError, match="--backend library has no mine: use auto"):
        select(cell, torch.device("cpu"), backend="library")


def test_coupled_gates_are_those_of_an_lstm_whose_gates_are_tied() -> None:
    # i = 1 - f = σ(-(...)): the input gate's weights are the forget gate's, turned round
    x, state, weights = _problem("lstm-coupled", (5, 3, 2, 4))
    tied = {
        name: torch.cat([-f, f, g, o])
        for name, value in weights.items()
        for f, g, o in [value.chunk(3)]
    }
    ours = reference(CELLS["lstm-coupled"], x, state, weights)
    theirs = reference(CELLS["lstm"], x, state, tied)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_irnn_at_its_start_keeps_a_positive_state_and_its_gradient() -> None:
    cell = CELLS["irnn"]
    start = cell.initial(2, 5, np.random.default_rng(0))
    weights = {name: torch.from_numpy(value) for name, value in start.items()}
    state = (torch.rand(3, 5).requires_grad_(),)
    y, (last,) = reference(cell, torch.zeros(50, 3, 2), state, weights)
    torch.testing.assert_close(last, state[0])
    (gradient,) = torch.autograd.grad(y[-1].sum(), state)
    torch.testing.assert_close(gradient, torch.ones(3, 5))
