import numpy as np
import pytest
import torch

from charrnn import parameters
from charrnn.config import ModelConfig

V, E, H, L = 11, 4, 7, 3
CELLS = ["elman", "lstm", "gru-reset-after"]


@pytest.mark.parametrize(
    ("cell", "first", "above"),
    [
        # of one layer with X inputs: G blocks of H * (X + H) weights and H biases (two for gru)
        ("elman", 7 * (4 + 7 + 1), 7 * (7 + 7 + 1)),
        ("lstm", 4 * 7 * (4 + 7 + 1), 4 * 7 * (7 + 7 + 1)),
        ("gru-reset-after", 3 * 7 * (4 + 7 + 2), 3 * 7 * (7 + 7 + 2)),
    ],
)
def test_count_by_formula(cell: str, first: int, above: int) -> None:
    embedding, output = (11 + 1) * 4, 11 * 7 + 11
    assert parameters.count(ModelConfig(V, cell, L, H, E)) == embedding + first + 2 * above + output


def test_count_of_one_hot_symbols() -> None:
    # no embedding; the first layer sees V + 1 = 12 symbols: 4 * 7 * (12 + 7 + 1) and 11 * 7 + 11
    assert parameters.count(ModelConfig(V, "lstm", 1, H, 0)) == 560 + 88


def test_count_is_that_of_the_libraries_modules() -> None:
    modules = [
        torch.nn.Embedding(V + 1, E),
        torch.nn.GRU(E, H, L),
        torch.nn.Linear(H, V),
    ]
    numbers = sum(weight.numel() for module in modules for weight in module.parameters())
    assert parameters.count(ModelConfig(V, "gru-reset-after", L, H, E)) == numbers


def test_names_and_shapes_in_the_order_they_are_stored() -> None:
    assert list(parameters.shapes(ModelConfig(V, "elman", 2, H, E)).items()) == [
        ("embedding", (12, 4)),
        ("layers.0.weight_ih", (7, 4)),
        ("layers.0.weight_hh", (7, 7)),
        ("layers.0.bias", (7,)),
        ("layers.1.weight_ih", (7, 7)),
        ("layers.1.weight_hh", (7, 7)),
        ("layers.1.bias", (7,)),
        ("output.weight", (11, 7)),
        ("output.bias", (11,)),
    ]


@pytest.mark.parametrize("embedding_size", [0, E])
@pytest.mark.parametrize("cell", CELLS)
def test_first_values_have_these_names_shapes_and_float32(cell: str, embedding_size: int) -> None:
    config = ModelConfig(V, cell, L, H, embedding_size)
    values = parameters.initial(config, seed=1)
    assert {name: value.shape for name, value in values.items()} == parameters.shapes(config)
    assert list(values) == list(parameters.shapes(config))
    assert {value.dtype for value in values.values()} == {np.dtype(np.float32)}


def test_every_lstm_layer_starts_with_forget_bias_one() -> None:
    values = parameters.initial(ModelConfig(V, "lstm", L, H, E), seed=1)
    for layer in range(L):
        assert values[f"layers.{layer}.bias"].tolist() == [0] * H + [1] * H + [0] * 2 * H


def test_first_values_are_a_function_of_the_seed() -> None:
    config = ModelConfig(V, "lstm", 2, H, E)
    one, again, other = (parameters.initial(config, seed) for seed in (1, 1, 2))
    for name in ("embedding", "layers.0.weight_hh", "layers.1.weight_ih", "output.weight"):
        assert one[name].tobytes() == again[name].tobytes()
        assert one[name].tobytes() != other[name].tobytes()


def test_the_start_is_an_even_guess_away_from_none() -> None:
    values = parameters.initial(ModelConfig(50, "lstm", 1, 100, 40), seed=0)
    assert values["embedding"].std() == pytest.approx(1, rel=0.05)
    assert not values["output.bias"].any()
    # Glorot's bound: sqrt(6 / (50 + 100)) = 0.2
    assert 0.19 < np.abs(values["output.weight"]).max() <= 0.2


def test_layer_gives_one_layers_values_by_their_short_names() -> None:
    values = {f"layers.{i}.bias": np.full(1, i, np.float32) for i in (1, 10, 11)}
    values["output.bias"] = np.zeros(1, np.float32)
    assert {name: value.tolist() for name, value in parameters.layer(values, 1).items()} == {
        "bias": [1]
    }
