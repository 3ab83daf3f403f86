import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from charrnn.cells import CELLS
from charrnn.cells.base import glorot, orthogonal

ALL = sorted(CELLS)


def _unit(name: str) -> Callable[..., tuple[float, ...]]:
    """A cell's arithmetic over plain numbers."""

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    return CELLS[name].equations(sigmoid, math.tanh, lambda x: max(x, 0.0))


def test_elman_step_by_hand() -> None:
    # x part 0.75, recurrent part -0.25: h = tanh(0.5) = 0.4621172; the old h is not used again
    assert _unit("elman")((0.75,), (-0.25,), (9.0,)) == pytest.approx((0.4621172,), abs=1e-6)


def test_lstm_step_by_hand() -> None:
    # x = 1, h = 1, c = 2
    #      W_x x   W_h h   b
    # i =  σ( 1   + 1   + 0) = σ(2)      = 0.8807971
    # f =  σ( 0.5 - 0.5 + 1) = σ(1)      = 0.7310586
    # g = tanh(-0.5 + 1 + 0) = tanh(0.5) = 0.4621172
    # o =  σ( 1   - 1   + 0) = σ(0)      = 0.5
    # c = 0.7310586 * 2 + 0.8807971 * 0.4621172 = 1.4621172 + 0.4070314 = 1.8691486
    # h = 0.5 * tanh(1.8691486) = 0.5 * 0.9535169 = 0.4767584
    h, c = _unit("lstm")((1.0, 1.5, -0.5, 1.0), (1.0, -0.5, 1.0, -1.0), (1.0, 2.0))
    assert (h, c) == pytest.approx((0.4767584, 1.8691486), abs=1e-6)


def test_gru_reset_after_step_by_hand() -> None:
    # x = 1, h = 2; the recurrent parts hold their bias: 0.5 * 2 + 1 = 2 for n
    # r = σ(1 - 1)               = σ(0)      = 0.5
    # z = σ(0 + 1)               = σ(1)      = 0.7310586
    # n = tanh(-0.5 + r * 2)     = tanh(0.5) = 0.4621172
    #     (reset before the product would be 0.5 * (0.5 * 2) + 1 = 1.5, and tanh(1.0))
    # h = (1 - 0.7310586) * 0.4621172 + 0.7310586 * 2 = 0.1242824 + 1.4621172 = 1.5863996
    (h,) = _unit("gru-reset-after")((1.0, 0.0, -0.5), (-1.0, 1.0, 2.0), (2.0,))
    assert h == pytest.approx(1.5863996, abs=1e-6)


def test_irnn_step_by_hand() -> None:
    # relu(0.75 - 0.25) = 0.5 and relu(0.75 - 1) = 0; the old h is not used again
    assert _unit("irnn")((0.75,), (-0.25,), (9.0,)) == (0.5,)
    assert _unit("irnn")((0.75,), (-1.0,), (9.0,)) == (0.0,)


def test_lstm_coupled_step_by_hand() -> None:
    # f = σ(0.5 + 0.5) = σ(1) = 0.7310586, g = tanh(0.5) = 0.4621172, o = σ(0) = 0.5, c = 2
    # c = 0.7310586 * 2 + 0.2689414 * 0.4621172 = 1.4621172 + 0.1242824 = 1.5863996
    # h = 0.5 * tanh(1.5863996) = 0.5 * 0.9195955 = 0.4597977
    h, c = _unit("lstm-coupled")((0.5, 0.0, 1.0), (0.5, 0.5, -1.0), (1.0, 2.0))
    assert (h, c) == pytest.approx((0.4597977, 1.5863996), abs=1e-6)


def test_cells_have_the_names_that_users_type() -> None:
    assert {name: cell.name for name, cell in CELLS.items()} == {name: name for name in CELLS}
    assert ALL == ["elman", "gru-reset-after", "irnn", "lstm", "lstm-coupled"]


@pytest.mark.parametrize("name", ALL)
def test_arithmetic_is_elementwise(name: str) -> None:
    cell = CELLS[name]
    rng = np.random.default_rng(0)
    unit = cell.equations(np.negative, np.sin, np.abs)  # any functions will do
    x, r = rng.standard_normal((2, len(cell.blocks), 3, 4))
    state = rng.standard_normal((len(cell.states), 3, 4))
    whole = unit(tuple(x), tuple(r), tuple(state))
    alone = unit(tuple(x[:, 2, 1]), tuple(r[:, 2, 1]), tuple(state[:, 2, 1]))
    assert [part[2, 1] for part in whole] == list(alone)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("elman", {"weight_ih": (3, 2), "weight_hh": (3, 3), "bias": (3,)}),
        ("lstm", {"weight_ih": (12, 2), "weight_hh": (12, 3), "bias": (12,)}),
        (
            "gru-reset-after",
            {"weight_ih": (9, 2), "weight_hh": (9, 3), "bias_ih": (9,), "bias_hh": (9,)},
        ),
    ],
)
def test_shapes_of_a_layer(name: str, shapes: dict[str, tuple[int, ...]]) -> None:
    assert CELLS[name].shapes(2, 3) == shapes
    start = CELLS[name].initial(2, 3, np.random.default_rng(0))
    assert {key: value.shape for key, value in start.items()} == shapes
    assert {value.dtype for value in start.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("hidden_size", [1, 3, 17])
@pytest.mark.parametrize("name", ALL)
def test_every_recurrent_block_starts_orthogonal_and_none_twice(
    name: str, hidden_size: int
) -> None:
    cell = CELLS[name]
    start = cell.initial(2, hidden_size, np.random.default_rng(0))
    blocks = np.split(start["weight_hh"].astype(np.float64), len(cell.blocks))
    for block in blocks:
        np.testing.assert_allclose(block @ block.T, np.eye(hidden_size), atol=1e-6)
    if hidden_size > 1:
        assert len({block.tobytes() for block in blocks}) == len(blocks)


def test_lstm_starts_with_forget_bias_one_and_the_others_zero() -> None:
    bias = CELLS["lstm"].initial(2, 3, np.random.default_rng(0))["bias"]
    blocks = dict(zip("ifgo", bias.reshape(4, 3).tolist(), strict=True))
    assert blocks == {"i": [0, 0, 0], "f": [1, 1, 1], "g": [0, 0, 0], "o": [0, 0, 0]}


@pytest.mark.parametrize("name", ["elman", "gru-reset-after"])
def test_other_cells_start_with_zero_bias(name: str) -> None:
    start = CELLS[name].initial(2, 3, np.random.default_rng(0))
    assert not any(value.any() for key, value in start.items() if key.startswith("bias"))


@pytest.mark.parametrize("name", ALL)
def test_first_weights_are_those_of_the_randomness(name: str) -> None:
    def weights(seed: int) -> dict[str, Any]:
        start = CELLS[name].initial(2, 5, np.random.default_rng(seed))
        return {key: value.tolist() for key, value in start.items()}

    assert weights(1) == weights(1)
    assert weights(1)["weight_ih"] != weights(2)["weight_ih"]
    same = weights(1)["weight_hh"] == weights(2)["weight_hh"]
    assert same == CELLS[name].starts_as_identity


def test_every_block_of_the_input_weights_has_glorot_variance() -> None:
    # uniform in ±sqrt(6 / (H + X)): variance 2 / (H + X) = 2 / 300, of each gate alone
    start = CELLS["lstm"].initial(200, 100, np.random.default_rng(0))["weight_ih"]
    for block in np.split(start, 4):
        assert block.var() == pytest.approx(2 / 300, rel=0.03)  # 20,000 draws
        assert np.abs(block).max() <= (6 / 300) ** 0.5


def test_glorot_has_the_shape_asked() -> None:
    assert glorot(3, 5, np.random.default_rng(0)).shape == (3, 5)


def test_orthogonal_matrices_are_uniform_also_in_sign() -> None:
    rng = np.random.default_rng(0)
    assert {float(orthogonal(1, rng)[0, 0]) for _ in range(20)} == {-1.0, 1.0}
    # Of uniform ones the diagonal has mean 0 and variance 1 / size: over 400 diagonals of
    # length 4 the mean's standard deviation is sqrt(1 / 4 / 1600) = 0.0125.
    diagonals = [np.diagonal(orthogonal(4, rng)) for _ in range(400)]
    assert abs(np.mean(diagonals)) < 4 * 0.0125
