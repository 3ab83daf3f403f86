"""Every cell's step by hand, the shapes of its parameters, and their initial values."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from charrnn.cells import CELLS, Layer
from charrnn.cells.initial import glorot, he, orthogonal

ALL = sorted(CELLS)
Numbers = tuple[float, ...]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def given(products: Sequence[Numbers], operands: list[Any]) -> Callable[[Any], Numbers]:
    """A product that gives these values, call by call, and keeps what it was asked for."""
    left = iter(products)

    def product(operand: Any) -> Numbers:
        operands.append(operand)
        return next(left)

    return product


def step(
    name: str, x: Numbers, products: Sequence[Numbers], state: Numbers, *v: Numbers
) -> tuple[Numbers, Numbers]:
    """A cell's unit over plain numbers: the new state, and what met each product."""
    operands: list[float] = []
    unit = CELLS[name].equations(sigmoid, math.tanh, lambda x: max(x, 0.0))
    after = unit(x, given(products, operands), state, *v)
    assert len(operands) == len(products)
    return after, tuple(operands)


def test_elman_step_by_hand() -> None:
    # x part 0.75, recurrent part -0.25: h = tanh(0.5) = 0.4621172
    after, operands = step("elman", (0.75,), [(-0.25,)], (9.0,))
    assert after == pytest.approx((0.4621172,), abs=1e-6)
    assert operands == (9.0,)


def test_irnn_step_by_hand() -> None:
    # relu(0.75 - 0.25) = 0.5 and relu(0.75 - 1) = 0; the old h is not used again
    assert step("irnn", (0.75,), [(-0.25,)], (9.0,)) == ((0.5,), (9.0,))
    assert step("irnn", (0.75,), [(-1.0,)], (9.0,)) == ((0.0,), (9.0,))


def test_preactivation_step_by_hand() -> None:
    # what meets W is tanh(c) = tanh(0.5) = 0.4621172; c = 0.75 - 1.5 = -0.75, not squashed
    after, operands = step("preactivation", (0.75,), [(-1.5,)], (0.5,))
    assert after == (-0.75,)
    assert operands == pytest.approx((0.4621172,), abs=1e-6)


def test_jordan_step_by_hand() -> None:
    # h = tanh(0.75 - 0.25) = 0.4621172; the output that meets W is made of the h before
    after, operands = step("jordan", (0.75,), [(-0.25,)], (9.0,))
    assert after == pytest.approx((0.4621172,), abs=1e-6)
    assert operands == (9.0,)
    assert [name for name in ALL if CELLS[name].feeds_back] == ["jordan"]


def test_lstm_step_by_hand() -> None:
    # x = 1, h = 1, c = 2
    #      W_x x   W_h h   b
    # i =  σ( 1   + 1   + 0) = σ(2)      = 0.8807971
    # f =  σ( 0.5 - 0.5 + 1) = σ(1)      = 0.7310586
    # g = tanh(-0.5 + 1 + 0) = tanh(0.5) = 0.4621172
    # o =  σ( 1   - 1   + 0) = σ(0)      = 0.5
    # c = 0.7310586 * 2 + 0.8807971 * 0.4621172 = 1.4621172 + 0.4070314 = 1.8691486
    # h = 0.5 * tanh(1.8691486) = 0.5 * 0.9535169 = 0.4767584
    after, operands = step("lstm", (1.0, 1.5, -0.5, 1.0), [(1.0, -0.5, 1.0, -1.0)], (1.0, 2.0))
    assert after == pytest.approx((0.4767584, 1.8691486), abs=1e-6)
    assert operands == (1.0,)


def test_lstm_sigmoid_step_by_hand() -> None:
    # as the lstm's, but g = σ(0.5) = 0.6224593
    # c = 0.7310586 * 2 + 0.8807971 * 0.6224593 = 1.4621172 + 0.5482603 = 2.0103775
    # h = 0.5 * tanh(2.0103775) = 0.5 * 0.9647535 = 0.4823767
    after, _ = step("lstm-sigmoid", (1.0, 1.5, -0.5, 1.0), [(1.0, -0.5, 1.0, -1.0)], (1.0, 2.0))
    assert after == pytest.approx((0.4823767, 2.0103775), abs=1e-6)


def test_both_peephole_steps_by_hand() -> None:
    # c = 2, peepholes i: 0.5, f: -0.25, o: 0.25
    # i = σ(0 + 1 + 0.5 * 2)       = σ(2) = 0.8807971
    # f = σ(2 - 0.5 - 0.25 * 2)    = σ(1) = 0.7310586
    # g = tanh(-0.5 + 1)           = 0.4621172, which has no peephole
    # c = 1.8691486 as the lstm's, tanh(c) = 0.9535169
    # o sees the old c: σ(0.5 - 1 + 0.25 * 2)         = σ(0)       = 0.5,       h = 0.4767584
    # or the new one:   σ(0.5 - 1 + 0.25 * 1.8691486) = σ(-0.0327129) = 0.4918225, h = 0.4689611
    x, r, v = (0.0, 2.0, -0.5, 0.5), (1.0, -0.5, 1.0, -1.0), (0.5, -0.25, 0.25)
    after, _ = step("lstm-peephole", x, [r], (1.0, 2.0), v)
    assert after == pytest.approx((0.4767584, 1.8691486), abs=1e-6)
    after, _ = step("lstm-peephole-gers", x, [r], (1.0, 2.0), v)
    assert after == pytest.approx((0.4689611, 1.8691486), abs=1e-6)


def test_lstm_coupled_step_by_hand() -> None:
    # f = σ(0.5 + 0.5) = σ(1) = 0.7310586, g = tanh(0.5) = 0.4621172, o = σ(0) = 0.5, c = 2
    # c = 0.7310586 * 2 + 0.2689414 * 0.4621172 = 1.4621172 + 0.1242824 = 1.5863996
    # h = 0.5 * tanh(1.5863996) = 0.5 * 0.9195955 = 0.4597977
    after, _ = step("lstm-coupled", (0.5, 0.0, 1.0), [(0.5, 0.5, -1.0)], (1.0, 2.0))
    assert after == pytest.approx((0.4597977, 1.5863996), abs=1e-6)


def test_lstm_multiplicative_step_by_hand() -> None:
    # what meets the second product is m = 0.5 * 3 = 1.5; it gives the recurrent parts of
    # test_lstm_step_by_hand, so h and c are those
    x, r = (0.5, 1.0, 1.5, -0.5, 1.0), [(3.0,), (1.0, -0.5, 1.0, -1.0)]
    after, operands = step("lstm-multiplicative", x, r, (1.0, 2.0))
    assert after == pytest.approx((0.4767584, 1.8691486), abs=1e-6)
    assert operands == (1.0, 1.5)


def test_gru_step_by_hand() -> None:
    # h = 2
    # r = σ(1 - 1)           = σ(0)      = 0.5
    # z = σ(0 + 1)           = σ(1)      = 0.7310586
    # what meets the second product is r * h = 1; it gives 1
    # n = tanh(-0.5 + 1)     = tanh(0.5) = 0.4621172
    # h = (1 - 0.7310586) * 2 + 0.7310586 * 0.4621172 = 0.5378828 + 0.3378347 = 0.8757176
    after, operands = step("gru", (1.0, 0.0, -0.5), [(-1.0, 1.0), (1.0,)], (2.0,))
    assert after == pytest.approx((0.8757176,), abs=1e-6)
    assert operands == (2.0, 1.0)


def test_gru_reset_after_step_by_hand() -> None:
    # x = 1, h = 2; the recurrent parts hold their bias: 0.5 * 2 + 1 = 2 for n
    # r = σ(1 - 1)               = σ(0)      = 0.5
    # z = σ(0 + 1)               = σ(1)      = 0.7310586
    # n = tanh(-0.5 + r * 2)     = tanh(0.5) = 0.4621172
    #     (reset before the product would be 0.5 * (0.5 * 2) + 1 = 1.5, and tanh(1.0))
    # h = (1 - 0.7310586) * 0.4621172 + 0.7310586 * 2 = 0.1242824 + 1.4621172 = 1.5863996
    after, operands = step("gru-reset-after", (1.0, 0.0, -0.5), [(-1.0, 1.0, 2.0)], (2.0,))
    assert after == pytest.approx((1.5863996,), abs=1e-6)
    assert operands == (2.0,)


def formed_step(
    layer: Layer, x: Numbers, products: Sequence[Numbers], state: Numbers, *more: Numbers
) -> tuple[Numbers, Numbers]:
    """As `step`, of a layer in any form; `more` are the vectors' values and the zone."""
    operands: list[float] = []
    run = layer.step({"sigmoid": sigmoid, "tanh": math.tanh, "relu": lambda x: max(x, 0.0)})
    return run(x, given(products, operands), state, *more), tuple(operands)


def test_a_deeper_recurrent_map_squashes_between_its_matrices() -> None:
    # h = 9 meets the first matrix, which gives 1; tanh(1) = 0.7615942 meets the second, which
    # gives 0.75; tanh(0.75) = 0.6351490 meets the last: h = tanh(0.75 - 0.25) = 0.4621172
    layer = Layer(CELLS["elman"], recurrent_depth=3)
    after, operands = formed_step(layer, (0.75,), [(1.0,), (0.75,), (-0.25,)], (9.0,))
    assert after == pytest.approx((0.4621172,), abs=1e-6)
    assert operands == pytest.approx((9.0, 0.7615942, 0.6351490), abs=1e-6)


def test_normalized_parts_are_scaled_before_the_bias() -> None:
    # x part 2 * 0.25 + 0.5 = 1, recurrent part 3 * -0.25 = -0.75: h = tanh(0.25) = 0.2449187
    layer = Layer(CELLS["elman"], layer_norm=True)
    after, _ = formed_step(layer, (0.25,), [(-0.25,)], (9.0,), (2.0, 3.0, 0.5))
    assert after == pytest.approx((0.2449187,), abs=1e-6)


def test_gains_and_biases_are_counted_over_all_products() -> None:
    # the step of test_gru_step_by_hand with x = 2 * (1, 0.5, -0.25) + (-1, -1, 0)
    # and recurrent parts 0.5 * -2, 1 * 1 and 2 * 0.5
    layer = Layer(CELLS["gru"], layer_norm=True)
    v = (2.0, 2.0, 2.0, 0.5, 1.0, 2.0, -1.0, -1.0, 0.0)
    after, _ = formed_step(layer, (1.0, 0.5, -0.25), [(-2.0, 1.0), (0.5,)], (2.0,), v)
    assert after == pytest.approx((0.8757176,), abs=1e-6)


def test_a_second_bias_follows_the_normalized_product() -> None:
    # the step of test_gru_reset_after_step_by_hand: recurrent parts -1 + 0, 0 + 1, 0.5 + 1.5
    layer = Layer(CELLS["gru-reset-after"], layer_norm=True)
    v = (*(1.0,) * 6, 0.0, 0.0, 0.0, 0.0, 1.0, 1.5)
    after, _ = formed_step(layer, (1.0, 0.0, -0.5), [(-1.0, 0.0, 0.5)], (2.0,), v)
    assert after == pytest.approx((1.5863996,), abs=1e-6)


def test_peepholes_come_before_the_gains_in_the_vectors() -> None:
    # the step of test_both_peephole_steps_by_hand
    layer = Layer(CELLS["lstm-peephole"], layer_norm=True)
    v = (0.5, -0.25, 0.25, *(1.0,) * 8, 0.0, 1.0, 0.0, 0.0)
    r = [(1.0, -0.5, 1.0, -1.0)]
    after, _ = formed_step(layer, (0.0, 1.0, -0.5, 0.5), r, (1.0, 2.0), v)
    assert after == pytest.approx((0.4767584, 1.8691486), abs=1e-6)


def test_zoneout_keeps_a_part_of_each_old_value() -> None:
    # the step of test_lstm_step_by_hand: h = 0.4767584, c = 1.8691486, of h = 1, c = 2
    # h = 0.75 * 0.4767584 + 0.25 * 1 = 0.6075688; all of the old c stays
    x, r = (1.0, 1.5, -0.5, 1.0), [(1.0, -0.5, 1.0, -1.0)]
    after, _ = formed_step(Layer(CELLS["lstm"]), x, r, (1.0, 2.0), (), (0.25, 1.0))
    assert after == pytest.approx((0.6075688, 2.0), abs=1e-6)


def test_cells_have_the_names_that_users_type() -> None:
    assert {name: cell.name for name, cell in CELLS.items()} == {name: name for name in CELLS}
    assert ALL == [
        "elman",
        "gru",
        "gru-reset-after",
        "irnn",
        "jordan",
        "lstm",
        "lstm-coupled",
        "lstm-multiplicative",
        "lstm-peephole",
        "lstm-peephole-gers",
        "lstm-sigmoid",
        "preactivation",
    ]


@pytest.mark.parametrize("name", ALL)
def test_arithmetic_is_elementwise(name: str) -> None:
    cell = CELLS[name]
    rng = np.random.default_rng(0)
    unit = cell.equations(np.negative, np.sin, np.abs)  # any functions will do
    count = len(cell.blocks)
    values = rng.standard_normal((2 * count + len(cell.states) + len(cell.peepholes), 3, 4))

    def run(*values: Any) -> list[Any]:
        products, left = [], values[count : 2 * count]
        for blocks in cell.stages:
            products.append(left[: len(blocks)])
            left = left[len(blocks) :]
        state = values[2 * count :][: len(cell.states)]
        v = [values[2 * count + len(cell.states) :]] if cell.peepholes else []
        return list(unit(values[:count], given(products, []), state, *v))

    assert [part[2, 1] for part in run(*values)] == run(*values[:, 2, 1])


FORMS: dict[str, dict[str, Any]] = {
    "deep": {"recurrent_depth": 3},
    "normalised": {"layer_norm": True},
    "both": {"recurrent_depth": 2, "layer_norm": True},
}


@pytest.mark.parametrize(
    ("name", "form", "shapes"),
    [
        ("elman", {}, {"weight_ih": (3, 2), "weight_hh": (3, 3), "bias": (3,)}),
        ("jordan", {}, {"weight_ih": (3, 2), "weight_hh": (3, 5), "bias": (3,)}),
        (
            "jordan",
            FORMS["deep"],
            {
                "weight_ih": (3, 2),
                "weight_hh": (3, 3),
                "hidden.0.0.weight": (3, 5),
                "hidden.0.0.bias": (3,),
                "hidden.0.1.weight": (3, 3),
                "hidden.0.1.bias": (3,),
                "bias": (3,),
            },
        ),
        ("lstm", {}, {"weight_ih": (12, 2), "weight_hh": (12, 3), "bias": (12,)}),
        (
            "lstm",
            FORMS["normalised"],
            {
                "weight_ih": (12, 2),
                "weight_hh": (12, 3),
                "gain_ih": (12,),
                "gain_hh": (12,),
                "bias": (12,),
            },
        ),
        (
            "lstm-peephole",
            {},
            {"weight_ih": (12, 2), "weight_hh": (12, 3), "peephole": (9,), "bias": (12,)},
        ),
        (
            "gru-reset-after",
            {},
            {"weight_ih": (9, 2), "weight_hh": (9, 3), "bias_ih": (9,), "bias_hh": (9,)},
        ),
        (
            "gru",
            FORMS["both"],
            {
                "weight_ih": (9, 2),
                "weight_hh": (9, 3),
                "hidden.0.0.weight": (3, 3),
                "hidden.0.0.bias": (3,),
                "hidden.1.0.weight": (3, 3),
                "hidden.1.0.bias": (3,),
                "gain_ih": (9,),
                "gain_hh": (9,),
                "bias": (9,),
            },
        ),
    ],
)
def test_shapes_of_a_layer(
    name: str, form: dict[str, Any], shapes: dict[str, tuple[int, ...]]
) -> None:
    layer = Layer(CELLS[name], **form)
    assert layer.shapes(2, 3, 5) == shapes
    start = layer.initial(2, 3, np.random.default_rng(0), output_size=5)
    assert {key: value.shape for key, value in start.items()} == shapes
    assert {value.dtype for value in start.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("form", [{}, *FORMS.values()], ids=["plain", *FORMS])
@pytest.mark.parametrize("name", ALL)
def test_every_row_of_the_recurrent_weights_belongs_to_one_product(
    name: str, form: dict[str, Any]
) -> None:
    layer = Layer(CELLS[name], **form)
    rng = np.random.default_rng(0)
    weights = {key: rng.standard_normal(shape) for key, shape in layer.shapes(2, 3, 5).items()}
    found = layer.matrices(weights)
    assert len(found) == layer.recurrent_depth * len(layer.cell.stages)
    whole, biases = [], []
    for stage, blocks in enumerate(layer.cell.stages):
        *inner, last = found[stage * layer.recurrent_depth :][: layer.recurrent_depth]
        for depth, matrix in enumerate(inner):
            assert matrix.weight is weights[f"hidden.{stage}.{depth}.weight"]
            assert matrix.bias is weights[f"hidden.{stage}.{depth}.bias"]
            assert (matrix.blocks, matrix.normalized) == (1, False)
        assert (last.blocks, last.normalized) == (len(blocks), layer.layer_norm)
        whole.append(last.weight)
        biases.append(last.bias)
    np.testing.assert_array_equal(np.concatenate(whole), weights["weight_hh"])
    if layer.cell.two_biases and not layer.layer_norm:
        np.testing.assert_array_equal(np.concatenate(biases), weights["bias_hh"])
    else:  # with normalisation the bias comes after it, from the step itself
        assert biases == [None] * len(biases)


@pytest.mark.parametrize("hidden_size", [1, 3, 17])
@pytest.mark.parametrize("name", [name for name in ALL if not CELLS[name].feeds_back])
def test_every_recurrent_block_starts_orthogonal_and_none_twice(
    name: str, hidden_size: int
) -> None:
    layer = Layer(CELLS[name])
    start = layer.initial(2, hidden_size, np.random.default_rng(0))
    blocks = np.split(start["weight_hh"].astype(np.float64), len(layer.cell.blocks))
    for block in blocks:
        np.testing.assert_allclose(block @ block.T, np.eye(hidden_size), atol=1e-6)
    if hidden_size > 1:
        assert len({block.tobytes() for block in blocks}) == len(blocks)


def test_lstm_starts_with_forget_bias_one_and_the_others_zero() -> None:
    bias = Layer(CELLS["lstm"]).initial(2, 3, np.random.default_rng(0))["bias"]
    blocks = dict(zip("ifgo", bias.reshape(4, 3).tolist(), strict=True))
    assert blocks == {"i": [0, 0, 0], "f": [1, 1, 1], "g": [0, 0, 0], "o": [0, 0, 0]}


@pytest.mark.parametrize("name", [name for name in ALL if "f" not in CELLS[name].blocks])
def test_cells_without_forget_gate_start_with_zero_bias(name: str) -> None:
    for form in ({}, *FORMS.values()):
        layer = Layer(CELLS[name], **form)
        start = layer.initial(2, 3, np.random.default_rng(0), output_size=5, forget_bias=3.0)
        assert not any(value.any() for key, value in start.items() if "bias" in key)


def test_a_forget_bias_can_be_asked_for() -> None:
    for name, blocks in (("lstm", "ifgo"), ("lstm-coupled", "fgo"), ("lstm-peephole", "ifgo")):
        for asked in (0.0, 3.0):
            layer = Layer(CELLS[name])
            bias = layer.initial(2, 3, np.random.default_rng(0), forget_bias=asked)["bias"]
            found = dict(zip(blocks, bias.reshape(-1, 3).tolist(), strict=True))
            assert found.pop("f") == [asked] * 3
            assert not any(map(any, found.values()))


@pytest.mark.parametrize("rule", ["auto", "orthogonal", "glorot", "he"])
@pytest.mark.parametrize("name", ALL)
def test_gains_start_at_one_and_peepholes_at_zero(name: str, rule: str) -> None:
    layer = Layer(CELLS[name], layer_norm=True)
    start = layer.initial(2, 3, np.random.default_rng(0), output_size=5, rule=rule)
    assert (start["gain_ih"] == 1).all()
    assert (start["gain_hh"] == 1).all()
    assert not start.get("peephole", np.zeros(0)).any()


def test_only_the_automatic_rule_starts_as_the_identity() -> None:
    layer = Layer(CELLS["irnn"])
    rng = np.random.default_rng(0)
    assert (layer.initial(2, 9, rng)["weight_hh"] == np.eye(9)).all()
    found = layer.initial(2, 9, rng, rule="orthogonal")["weight_hh"].astype(np.float64)
    np.testing.assert_allclose(found @ found.T, np.eye(9), atol=1e-6)
    assert not np.allclose(found, np.eye(9), atol=0.1)


@pytest.mark.parametrize("name", ["irnn", "lstm", "gru"])
def test_glorot_and_he_apply_to_every_matrix(name: str) -> None:
    # Glorot: uniform, variance 2 / (rows + columns); He: normal, variance 2 / columns
    layer = Layer(CELLS[name], recurrent_depth=2)
    for rule, deviations in (("glorot", 3**0.5), ("he", math.inf)):
        start = layer.initial(200, 100, np.random.default_rng(0), rule=rule)
        matrices = {key: value for key, value in start.items() if value.ndim == 2}
        assert len(matrices) == 2 + len(layer.cell.stages)
        for matrix in matrices.values():
            for block in np.split(matrix, len(matrix) // 100):
                columns = block.shape[1]
                variance = 2 / (100 + columns) if rule == "glorot" else 2 / columns
                assert block.var() == pytest.approx(variance, rel=0.05)  # 10,000 draws or more
                largest = np.abs(block).max() / variance**0.5
                # among this many normal draws some are more than three deviations away
                assert largest <= deviations * (1 + 1e-6)
                assert (largest > 3) == (rule == "he")


def test_matrices_that_are_not_square_start_with_glorot() -> None:
    # jordan's output map has 50 rows: W_ph (300, 50), variance 2 / 350
    layer = Layer(CELLS["jordan"])
    start = layer.initial(2, 300, np.random.default_rng(0), output_size=50)["weight_hh"]
    assert start.var() == pytest.approx(2 / 350, rel=0.05)  # 15,000 draws
    assert np.abs(start).max() <= (6 / 350) ** 0.5


def test_deeper_recurrent_matrices_start_orthogonal_and_differ() -> None:
    layer = Layer(CELLS["gru"], recurrent_depth=3)
    start = layer.initial(2, 7, np.random.default_rng(0))
    inner = [value for key, value in start.items() if key.startswith("hidden") and value.ndim == 2]
    assert len(inner) == 4
    for matrix in inner:
        found = matrix.astype(np.float64)
        np.testing.assert_allclose(found @ found.T, np.eye(7), atol=1e-6)
    assert len({matrix.tobytes() for matrix in inner}) == 4


@pytest.mark.parametrize("name", ALL)
def test_initial_weights_follow_from_the_seed(name: str) -> None:
    def weights(seed: int) -> dict[str, Any]:
        start = Layer(CELLS[name]).initial(2, 5, np.random.default_rng(seed), output_size=4)
        return {key: value.tolist() for key, value in start.items()}

    assert weights(1) == weights(1)
    assert weights(1)["weight_ih"] != weights(2)["weight_ih"]
    same = weights(1)["weight_hh"] == weights(2)["weight_hh"]
    assert same == CELLS[name].starts_as_identity


def test_every_block_of_the_input_weights_has_glorot_variance() -> None:
    # uniform in ±sqrt(6 / (H + X)): variance 2 / (H + X) = 2 / 300, of each gate alone
    start = Layer(CELLS["lstm"]).initial(200, 100, np.random.default_rng(0))["weight_ih"]
    for block in np.split(start, 4):
        assert block.var() == pytest.approx(2 / 300, rel=0.03)  # 20,000 draws
        assert np.abs(block).max() <= (6 / 300) ** 0.5


@pytest.mark.parametrize("rule", [glorot, he])
def test_initial_matrices_have_the_given_shape(rule: Callable[..., Any]) -> None:
    made = rule(3, 5, np.random.default_rng(0))
    assert (made.shape, made.dtype) == ((3, 5), np.float32)


def test_orthogonal_matrices_are_uniform_also_in_sign() -> None:
    rng = np.random.default_rng(0)
    assert {float(orthogonal(1, rng)[0, 0]) for _ in range(20)} == {-1.0, 1.0}
    # Of uniform ones the diagonal has mean 0 and variance 1 / size: over 400 diagonals of
    # length 4 the mean's standard deviation is sqrt(1 / 4 / 1600) = 0.0125.
    diagonals = [np.diagonal(orthogonal(4, rng)) for _ in range(400)]
    assert abs(np.mean(diagonals)) < 4 * 0.0125
