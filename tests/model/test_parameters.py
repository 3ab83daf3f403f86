import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from conftest import covering

from charrnn.cells import CELLS
from charrnn.config import ModelConfig
from charrnn.model import parameters
from charrnn.network.module import CharRNN

V, E, H, L = 11, 4, 7, 3
ALL = sorted(CELLS)


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


def test_count_with_one_hot_tokens() -> None:
    # no embedding; the first layer sees V + 1 = 12 symbols: 4 * 7 * (12 + 7 + 1) and 11 * 7 + 11
    assert parameters.count(ModelConfig(V, "lstm", 1, H, 0)) == 560 + 88


def test_count_equals_that_of_torch_modules() -> None:
    modules = [
        torch.nn.Embedding(V + 1, E),
        torch.nn.GRU(E, H, L),
        torch.nn.Linear(H, V),
    ]
    numbers = sum(weight.numel() for module in modules for weight in module.parameters())
    assert parameters.count(ModelConfig(V, "gru-reset-after", L, H, E)) == numbers


def test_names_and_shapes_in_storage_order() -> None:
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


def test_names_and_shapes_of_every_form_in_storage_order() -> None:
    form = {"input_depth": 3, "recurrent_depth": 2, "output_depth": 2, "skip_connections": True}
    config = ModelConfig(V, "gru", 2, H, E, learned_start=True, layer_norm=True, **form)
    layers = []
    for index, size in enumerate((4, 7 + 4)):  # above the first: H outputs and E symbols
        layers += [
            (f"layers.{index}.input.0.weight", (7, size)),
            (f"layers.{index}.input.0.bias", (7,)),
            (f"layers.{index}.input.1.weight", (7, 7)),
            (f"layers.{index}.input.1.bias", (7,)),
            (f"layers.{index}.weight_ih", (21, 7)),
            (f"layers.{index}.weight_hh", (21, 7)),
            (f"layers.{index}.hidden.0.0.weight", (7, 7)),
            (f"layers.{index}.hidden.0.0.bias", (7,)),
            (f"layers.{index}.hidden.1.0.weight", (7, 7)),
            (f"layers.{index}.hidden.1.0.bias", (7,)),
            (f"layers.{index}.gain_ih", (21,)),
            (f"layers.{index}.gain_hh", (21,)),
            (f"layers.{index}.bias", (21,)),
            (f"layers.{index}.start.h", (7,)),
        ]
    assert list(parameters.shapes(config).items()) == [
        ("embedding", (12, 4)),
        *layers,
        ("output.hidden.0.weight", (7, 14)),  # both layers are read
        ("output.hidden.0.bias", (7,)),
        ("output.weight", (11, 7)),
        ("output.bias", (11,)),
    ]


def test_shapes_with_skip_connections_and_one_hot_tokens() -> None:
    shapes = parameters.shapes(ModelConfig(V, "elman", 3, H, 0, skip_connections=True))
    # V + 1 = 12 symbols go to every layer, all three to the output
    assert [shapes[f"layers.{index}.weight_ih"] for index in range(3)] == [
        (7, 12),
        (7, 19),
        (7, 19),
    ]
    assert shapes["output.weight"] == (11, 21)


def test_a_tied_output_has_rows_for_the_embedding_and_none_for_tokens() -> None:
    config = ModelConfig(V, "elman", L, H, E, skip_connections=True, tied_output=True)
    shapes = parameters.shapes(config)
    assert (shapes["output.weight"], shapes["output.bias"]) == ((4, L * 7), (11,))
    free = ModelConfig(V, "elman", L, H, E, skip_connections=True)
    assert parameters.count(free) - parameters.count(config) == (11 - 4) * L * 7


def test_the_matrix_of_a_tied_output_is_the_embedding_times_a_small_one() -> None:
    config = ModelConfig(V, "lstm", 1, H, E, tied_output=True)
    values = parameters.initial(config, seed=1)
    expected = [
        [sum(values["embedding"][v, e] * values["output.weight"][e, h] for e in range(E))
         for h in range(H)]
        for v in range(V)
    ]  # fmt: skip
    found = parameters.output_matrix(config, values, np.matmul)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    free = parameters.initial(ModelConfig(V, "lstm", 1, H, E), seed=1)
    assert (
        parameters.output_matrix(ModelConfig(V, "lstm", 1, H, E), free, np.matmul)
        is free["output.weight"]
    )


def test_the_logits_of_a_new_tied_output_are_small() -> None:
    config = ModelConfig(1000, "lstm", 2, 128, 128, skip_connections=True, tied_output=True)
    matrix = parameters.output_matrix(config, parameters.initial(config, seed=1), np.matmul)
    assert 0.02 < matrix.std() < 0.15  # that of a Glorot matrix is 0.04


def test_output_feedback_goes_through_the_first_recurrent_matrix() -> None:
    shapes = parameters.shapes(ModelConfig(V, "jordan", 1, H, E))
    assert shapes["layers.0.weight_hh"] == (7, 11)
    shapes = parameters.shapes(ModelConfig(V, "jordan", 1, H, E, recurrent_depth=3))
    assert shapes["layers.0.hidden.0.0.weight"] == (7, 11)
    assert shapes["layers.0.hidden.0.1.weight"] == shapes["layers.0.weight_hh"] == (7, 7)


def test_a_cell_with_two_products_has_a_deeper_map_for_each() -> None:
    config = ModelConfig(V, "gru", 1, H, E, recurrent_depth=2)
    assert parameters.count(config) - parameters.count(ModelConfig(V, "gru", 1, H, E)) == 2 * 56


@pytest.mark.parametrize("embedding_size", [0, E])
@pytest.mark.parametrize(("cell", "form"), covering(ALL), indirect=["form"])
def test_shapes_count_initial_values_and_network_parameters_agree(
    cell: str, embedding_size: int, form: dict[str, Any]
) -> None:
    config = ModelConfig(V, cell, 1 if cell == "jordan" else L, H, embedding_size, **form)
    values = parameters.initial(config, seed=1)
    shapes = parameters.shapes(config)
    assert {name: value.shape for name, value in values.items()} == shapes
    assert list(values) == list(shapes)
    assert {value.dtype for value in values.values()} == {np.dtype(np.float32)}
    trained = list(CharRNN(config, values).parameters())
    assert [tuple(weight.shape) for weight in trained] == list(shapes.values())
    assert parameters.count(config) == sum(weight.numel() for weight in trained)


@pytest.mark.parametrize("cell", ALL)
def test_what_a_form_adds_starts_neutral_or_random(cell: str) -> None:
    form = {"input_depth": 3, "recurrent_depth": 2, "output_depth": 2}
    config = ModelConfig(V, cell, 1, H, E, learned_start=True, layer_norm=True, **form)
    for name, value in parameters.initial(config, seed=1).items():
        if ".gain_" in name:
            assert (value == 1).all(), name
        elif ".start." in name or (name.endswith(".bias") and value.shape == (H,)):
            assert not value.any() or name == "layers.0.bias", name
        elif value.ndim == 2:
            assert value.any(1).all(), name


@pytest.mark.parametrize("form", [{}, {"layer_norm": True}], indirect=False)
@pytest.mark.parametrize("cell", [name for name in ALL if "f" in CELLS[name].blocks])
def test_the_forget_bias_is_set_in_every_layer(cell: str, form: dict[str, Any]) -> None:
    config = ModelConfig(V, cell, 2, H, E, **form)
    forget = CELLS[cell].blocks.index("f")
    for asked, value in ((None, 1.0), (2.5, 2.5), (0.0, 0.0), (-1.0, -1.0)):
        values = parameters.initial(config, seed=1, forget_bias=asked)
        for layer in range(2):
            blocks = values[f"layers.{layer}.bias"].reshape(-1, H).tolist()
            assert blocks.pop(forget) == [value] * H
            assert not np.any(blocks)


def test_the_initialization_rule_applies_to_every_matrix() -> None:
    form = {"input_depth": 2, "recurrent_depth": 2, "output_depth": 2}
    config = ModelConfig(200, "irnn", 2, 100, 100, **form)
    auto, glorot, he, orthogonal = (
        parameters.initial(config, 1, rule) for rule in ("auto", "glorot", "he", "orthogonal")
    )
    for name, shape in parameters.shapes(config).items():
        if len(shape) != 2 or name == "embedding":
            continue
        # Glorot: uniform within sqrt(6 / (rows + columns)); He: normal of variance 2 / columns,
        # of 10,000 values and more, some beyond twice Glorot's bound
        bound = (6 / sum(shape)) ** 0.5
        assert 0.97 * bound < np.abs(glorot[name]).max() <= bound, name
        assert he[name].var() == pytest.approx(2 / shape[1], rel=0.1), name
        assert np.abs(he[name]).max() > 2 * bound, name
        if name.endswith(("weight_hh", "hidden.0.0.weight")) and "output" not in name:
            square = orthogonal[name].astype(np.float64)
            np.testing.assert_allclose(square @ square.T, np.eye(100), atol=1e-5)
    assert auto["layers.1.weight_hh"].tolist() == np.eye(100).tolist()


def test_every_lstm_layer_starts_with_forget_bias_one() -> None:
    values = parameters.initial(ModelConfig(V, "lstm", L, H, E), seed=1)
    for layer in range(L):
        assert values[f"layers.{layer}.bias"].tolist() == [0] * H + [1] * H + [0] * 2 * H


def test_initial_values_depend_only_on_the_seed() -> None:
    config = ModelConfig(V, "lstm", 2, H, E)
    one, again, other = (parameters.initial(config, seed) for seed in (1, 1, 2))
    for name in ("embedding", "layers.0.weight_hh", "layers.1.weight_ih", "output.weight"):
        assert one[name].tobytes() == again[name].tobytes()
        assert one[name].tobytes() != other[name].tobytes()


def test_embedding_and_output_weights_start_in_their_ranges() -> None:
    values = parameters.initial(ModelConfig(50, "lstm", 1, 100, 40), seed=0)
    assert values["embedding"].std() == pytest.approx(1, rel=0.05)
    assert not values["output.bias"].any()
    # Glorot's bound: sqrt(6 / (50 + 100)) = 0.2
    assert 0.19 < np.abs(values["output.weight"]).max() <= 0.2


def test_layer_returns_one_layers_values_by_their_short_names() -> None:
    values = {f"layers.{i}.bias": np.full(1, i, np.float32) for i in (1, 10, 11)}
    values["output.bias"] = np.zeros(1, np.float32)
    assert {name: value.tolist() for name, value in parameters.layer(values, 1).items()} == {
        "bias": [1]
    }


PAIRS = {"encoder": "bidirectional", "context": "attention"}


def test_names_and_shapes_of_a_pair_model_in_storage_order() -> None:
    assert list(parameters.shapes(ModelConfig(V, "lstm", 2, 6, E, **PAIRS)).items()) == [
        ("embedding", (12, 4)),
        *_layer("encoder.layers.0.forward.", 3, 4),  # each direction has half of the units
        *_layer("encoder.layers.0.backward.", 3, 4),
        *_layer("encoder.layers.1.forward.", 3, 6),
        *_layer("encoder.layers.1.backward.", 3, 6),
        ("context.start.h.weight", (12, 6)),
        ("context.start.h.bias", (12,)),
        ("context.start.c.weight", (12, 6)),
        ("context.start.c.bias", (12,)),
        ("context.input.weight", (4, 6)),
        ("attention.query.weight", (6, 6)),
        *_layer("layers.0.", 6, 4),
        *_layer("layers.1.", 6, 6 + 6),  # outputs below, and what attention found
        ("output.weight", (11, 6 + 6)),
        ("output.bias", (11,)),
    ]


def _layer(prefix: str, hidden: int, size: int) -> list[tuple[str, tuple[int, ...]]]:
    shapes = {"weight_ih": (4 * hidden, size), "weight_hh": (4 * hidden, hidden)}
    return [(prefix + name, shape) for name, shape in {**shapes, "bias": (4 * hidden,)}.items()]


VOTING = {**PAIRS, "context": "fixed", "ensemble": 2}


@pytest.mark.parametrize("form", [{"ensemble": 2, "learned_start": True}, VOTING])
def test_the_parameters_of_an_ensemble_are_those_of_its_networks(form: dict[str, Any]) -> None:
    config = ModelConfig(V, "lstm", 2, 8, 6, **form)
    one = parameters.shapes(config.member)
    assert list(parameters.shapes(config).items()) == [
        (f"{k}.{name}", shape) for k in range(2) for name, shape in one.items()
    ]
    assert parameters.count(config) == 2 * parameters.count(config.member)
    assert parameters.count(config, "output.") == 2 * (V * 4 + V)
    values = parameters.initial(config, seed=1)
    assert {name: value.shape for name, value in values.items()} == parameters.shapes(config)
    first, second = parameters.members(config, values)
    assert first.keys() == second.keys() == one.keys()
    assert not np.array_equal(first["embedding"], second["embedding"])
    assert parameters.together([first, second]) == values
    assert parameters.members(config.member, first) == [first]
    assert parameters.together([first]) == first


@pytest.mark.parametrize("tied", [False, True])
def test_no_weight_connects_the_parts_of_an_ensemble_that_is_one_network(tied: bool) -> None:
    config = ModelConfig(V, "lstm", 2, 8, 6, **VOTING, tied_output=tied)
    values = parameters.initial(config, seed=1)
    values["1.output.bias"] += 3
    dense, joined = parameters.joined(config, values)
    assert dense == dataclasses.replace(config, ensemble=1)
    assert {name: value.shape for name, value in joined.items()} == parameters.shapes(dense)
    weight = joined["layers.1.weight_hh"].reshape(4, 4, 2, 4, 2)  # gate, unit, network
    assert not weight[:, :, 0, :, 1].any()
    assert not weight[:, :, 1, :, 0].any()
    own = values["0.layers.1.weight_hh"].reshape(4, 4, 4)
    np.testing.assert_array_equal(weight[:, :, 0, :, 0], own)
    assert joined["output.bias"].tolist() == [1.5] * V
    units = slice(1, None, 2)
    matrix = joined["output.weight"][units if tied else slice(None), units]
    np.testing.assert_array_equal(2 * matrix, values["1.output.weight"])
    alone = parameters.members(config, values)[0]
    assert parameters.joined(config.member, alone) == (config.member, alone)


def test_an_ensemble_that_was_stored_as_one_network_is_read() -> None:
    config = ModelConfig(V, "lstm", 2, 8, 6, **VOTING)
    values = parameters.initial(config, seed=1)
    for k in range(2):
        values[f"{k}.output.bias"] += np.arange(V, dtype=np.float32)
    dense, joined = parameters.joined(config, values)
    assert parameters.as_stored(config, joined) == dense
    assert parameters.as_stored(config, values) == config
    for given in (joined, values):
        found = parameters.as_read(config, given)
        assert list(found) == list(values)
        for name, value in found.items():
            np.testing.assert_array_equal(value, values[name])


def test_shapes_of_a_pair_model_with_a_fixed_context_and_one_hot_tokens() -> None:
    config = ModelConfig(V, "elman", 2, H, 0, encoder="forward", context="fixed")
    shapes = parameters.shapes(config)
    assert shapes["encoder.layers.0.forward.weight_ih"] == (7, 12)
    assert shapes["context.input.weight"] == (12, 7)
    assert shapes["layers.1.weight_ih"] == (7, 7)
    assert shapes["output.weight"] == (11, 7)
    assert not [name for name in shapes if "backward" in name or name.startswith("attention")]


def test_skip_connections_and_deep_maps_of_a_pair_model() -> None:
    form = {"input_depth": 2, "output_depth": 2, "skip_connections": True}
    shapes = parameters.shapes(ModelConfig(V, "elman", 2, 6, E, **PAIRS, **form))
    assert shapes["encoder.layers.1.backward.input.0.weight"] == (3, 6 + 4)
    assert shapes["encoder.layers.1.backward.weight_ih"] == (3, 3)
    assert shapes["layers.1.input.0.weight"] == (6, 6 + 4 + 6)
    assert shapes["output.hidden.0.weight"] == (6, 2 * 6 + 6)


@pytest.mark.parametrize("cell", [name for name in ALL if name != "jordan"])
def test_initial_values_of_a_pair_model(cell: str) -> None:
    config = ModelConfig(V, cell, 2, 6, E, **PAIRS)
    values = parameters.initial(config, seed=1, forget_bias=2.0)
    assert {name: value.shape for name, value in values.items()} == parameters.shapes(config)
    assert list(values) == list(parameters.shapes(config))
    for name, value in values.items():
        if value.ndim == 2:
            assert value.any(1).all(), name
        elif name.startswith("context."):
            assert not value.any(), name
    if "f" in CELLS[cell].blocks:
        block = values["encoder.layers.1.backward.bias"].reshape(-1, 3)
        assert block[CELLS[cell].blocks.index("f")].tolist() == [2.0] * 3
