import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import covering
from numpy.typing import NDArray

from charrnn.cells import CELLS
from charrnn.compiler import cell_file
from charrnn.config import ModelConfig
from charrnn.inference.numpy_engine import NumpyEngine, relu, sigmoid
from charrnn.model import parameters
from charrnn.network.layers import LIBRARY, library, reference
from charrnn.network.module import CharRNN, detached

ALL = sorted(CELLS)
EACH = [
    (run, cell)
    for cell in ALL
    for run in (reference, library)
    if run is reference or cell in LIBRARY
]
BACK = cell_file.use(dataclasses.replace(CELLS["jordan"], name="back"))
SIZES = {"hidden_size": 20, "embedding_size": 12}
Make = Callable[..., dict[str, NDArray[Any]]]


def _config(
    cell: str, layers: int = 2, hidden: int = 5, embedding: int = 3, **form: Any
) -> ModelConfig:
    """Return a config; with one layer if the cell allows only one."""
    return ModelConfig(4, cell, 1 if cell == "jordan" else layers, hidden, embedding, **form)


def _ids(steps: int, rows: int) -> NDArray[np.int64]:
    """Return random tokens, including the start token 4."""
    return np.random.default_rng(1).integers(0, 5, (steps, rows))


def _random_state(engine: NumpyEngine, rows: int) -> Any:
    rng = np.random.default_rng(2)
    zero = engine.start_state(rows)
    return tuple(
        tuple(rng.standard_normal(part.shape).astype(part.dtype) for part in layer)
        for layer in zero
    )


def _flat(state: Any) -> list[NDArray[Any]]:
    return [np.asarray(part) for layer in state for part in layer]


@pytest.mark.parametrize(("run", "cell"), EACH)
@pytest.mark.parametrize(("dtype", "close"), [(np.float64, 1e-12), (np.float32, 1e-5)])
@pytest.mark.parametrize(
    ("steps", "rows", "layers", "hidden", "embedding"),
    [(1, 1, 1, 1, 1), (1, 3, 2, 5, 3), (6, 1, 1, 3, 0), (7, 3, 3, 17, 0), (5, 2, 2, 3, 7)],
)
def test_engine_equals_the_trained_network(
    make_values: Make,
    cell: str,
    steps: int,
    rows: int,
    layers: int,
    hidden: int,
    embedding: int,
    dtype: Any,
    close: float,
    run: Any,
) -> None:
    config = _config(cell, layers, hidden, embedding)
    values = {name: value.astype(dtype) for name, value in make_values(config).items()}
    engine, network = NumpyEngine(config, values), CharRNN(config, values, sequence=run)
    ids, state = _ids(steps, rows), _random_state(engine, rows)
    logits, after = engine.read(ids, state)
    torch_state = tuple(tuple(torch.tensor(part) for part in layer) for layer in state)
    with torch.no_grad():
        expected, last = network(torch.tensor(ids), torch_state)
    assert logits.dtype == dtype
    np.testing.assert_allclose(logits, expected.numpy(), rtol=close, atol=close)
    for part, wanted in zip(_flat(after), _flat(last), strict=True):
        np.testing.assert_allclose(part, wanted, rtol=close, atol=close)


def _compare(config: ModelConfig, values: Any, **more: Any) -> None:
    """Compare logits, states and start state of the engine with those of the network."""
    engine, network = NumpyEngine(config, values), CharRNN(config, values, **more).eval()
    ids = _ids(6, 3)
    logits, after = engine.read(ids, engine.start_state(3))
    start = detached(network.start_state(3))
    with torch.no_grad():
        expected, last = network(torch.tensor(ids), start)
    assert logits.dtype == np.float64
    np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-10, atol=1e-11)
    for ours, theirs in ((engine.start_state(3), start), (after, last)):
        for part, wanted in zip(_flat(ours), _flat(theirs), strict=True):
            np.testing.assert_allclose(part, wanted, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("embedding", [0, 3])
@pytest.mark.parametrize(("cell", "form"), covering(ALL), indirect=["form"])
def test_engine_equals_the_network_in_every_form(
    make_values: Make, cell: str, embedding: int, form: dict[str, Any]
) -> None:
    config = _config(cell, embedding=embedding, **form)
    values = {name: value.astype(np.float64) for name, value in make_values(config).items()}
    _compare(config, values)


@pytest.mark.parametrize("form", [{}, {"skip_connections": True, "output_depth": 2}])
@pytest.mark.parametrize("cell", ["lstm-coupled", "jordan"])
def test_engine_equals_a_network_whose_output_is_tied(
    make_values: Make, cell: str, form: dict[str, Any]
) -> None:
    config = _config(cell, tied_output=True, **form)
    values = {name: value.astype(np.float64) for name, value in make_values(config).items()}
    _compare(config, values)


@pytest.mark.parametrize("cell", ALL)
@pytest.mark.parametrize("given", [{"zoneout": 0.3}, {"zoneout_cell": 0.3}])
def test_zoneout_changes_the_result_without_a_parameter(
    make_values: Make, cell: str, given: dict[str, Any]
) -> None:
    values = make_values(_config(cell))
    engines = [NumpyEngine(_config(cell, **form), values) for form in (given, {})]
    one, other = (engine.read(_ids(6, 3), engine.start_state(3))[0] for engine in engines)
    nothing_to_keep = "zoneout_cell" in given and len(engines[0].start_state(1)[0]) == 1
    assert np.allclose(one, other, atol=1e-3) is nothing_to_keep


@pytest.mark.parametrize("cell", sorted(LIBRARY))
@pytest.mark.parametrize(
    "given",
    [
        {"skip_connections": True},
        {"input_depth": 3},
        {"output_depth": 2},
        {"learned_start": True},
        {"skip_connections": True, "input_depth": 2, "output_depth": 3, "learned_start": True},
    ],
)
def test_engine_equals_torch_kernels_in_the_forms_that_they_support(
    make_values: Make, cell: str, given: dict[str, Any]
) -> None:
    config = _config(cell, **given)
    values = {name: value.astype(np.float64) for name, value in make_values(config).items()}
    _compare(config, values, sequence=library)


@pytest.mark.parametrize(
    ("cell", "form"),
    [
        ("lstm", {}),
        ("gru", {"skip_connections": True, "tied_output": True, "learned_start": True}),
        ("lstm-coupled", {"output_depth": 2, "zoneout": 0.2}),
        (BACK, {"ensemble": 4, "num_layers": 1, "recurrent_depth": 2}),
    ],
)
def test_an_ensemble_is_the_mean_of_its_networks(
    make_values: Make, cell: str, form: dict[str, Any]
) -> None:
    config = ModelConfig(4, cell, **{"num_layers": 2, "ensemble": 2, **form, **SIZES})
    values = {name: value.astype(np.float64) for name, value in make_values(config).items()}
    engine, ids = NumpyEngine(config, values), _ids(6, 3)
    logits, after = engine.read(ids, engine.start_state(3))
    assert tuple(layer[0].shape[1] for layer in after) == config.state_sizes
    each, states = [], []
    for own in parameters.members(config, values):
        network = NumpyEngine(config.member, own)
        found, state = network.read(ids, network.start_state(3))
        each.append(found)
        states += state
    np.testing.assert_allclose(logits, np.mean(each, 0), rtol=1e-12, atol=1e-12)
    assert not np.allclose(each[0], each[1])
    for part, wanted in zip(_flat(after), _flat(states), strict=True):
        np.testing.assert_array_equal(part, wanted)


def test_a_learned_start_state_is_repeated_for_every_row(make_values: Make) -> None:
    config = _config("lstm", learned_start=True)
    values = make_values(config)
    engine = NumpyEngine(config, values)
    for layer, parts in enumerate(engine.start_state(3)):
        for name, part in zip("hc", parts, strict=True):
            start = values[f"layers.{layer}.start.{name}"]
            assert start.any()
            assert part.tolist() == [start.tolist()] * 3


def test_zoneout_by_hand() -> None:
    # weights are zero: an Elman step alone gives tanh(b) = tanh(1) = 0.7615942; with zoneout 0.25
    # from h = 2: 0.75 * 0.7615942 + 0.25 * 2 = 1.0711956
    config = ModelConfig(2, "elman", 1, 1, 1, zoneout=0.25)
    values = {n: np.zeros(shape) for n, shape in parameters.shapes(config).items()}
    values["layers.0.bias"][:] = 1.0
    after = NumpyEngine(config, values).advance(np.array([[0]]), ((np.array([[2.0]]),),))
    assert after[0][0].item() == pytest.approx(1.0711956, abs=1e-7)


@pytest.mark.parametrize(("cell", "form"), covering(ALL), indirect=["form"])
def test_a_window_equals_its_steps_and_its_parts(
    make_values: Make, cell: str, form: dict[str, Any]
) -> None:
    config = _config(cell, **form)
    engine = NumpyEngine(config, make_values(config))
    ids, begin = _ids(7, 3), engine.start_state(3)
    logits, last = engine.read(ids, begin)
    stepped, state = [], begin
    for row in ids:
        one, state = engine.step(row, state)
        stepped.append(one)
    np.testing.assert_allclose(np.stack(stepped), logits, rtol=1e-5, atol=1e-6)
    halves = engine.advance(ids[3:], engine.advance(ids[:3], begin))
    for a, b, c in zip(_flat(state), _flat(halves), _flat(last), strict=True):
        np.testing.assert_allclose(a, c, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(b, c, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("cell", "form"), covering(ALL), indirect=["form"])
def test_a_given_state_stays_unchanged(make_values: Make, cell: str, form: dict[str, Any]) -> None:
    config = _config(cell, **form)
    engine = NumpyEngine(config, make_values(config))
    state = _random_state(engine, 3)
    before = [part.copy() for part in _flat(state)]
    engine.read(_ids(4, 3), state)
    engine.step(_ids(1, 3)[0], state)
    engine.nats(_ids(4, 3), _ids(4, 3) % 4, state)
    assert all(np.array_equal(a, b) for a, b in zip(_flat(state), before, strict=True))


def test_rows_are_independent_and_can_be_selected(make_values: Make) -> None:
    config = _config("lstm")
    engine = NumpyEngine(config, make_values(config))
    ids, state = _ids(4, 3), _random_state(engine, 3)
    logits, after = engine.read(ids, state)
    for rows in ([2, 0, 2, 2], np.array([False, True, True])):
        chosen, last = engine.read(ids[:, rows], engine.select(state, rows))
        np.testing.assert_allclose(chosen, logits[:, rows], rtol=1e-5, atol=1e-6)
        for part, wanted in zip(_flat(last), _flat(engine.select(after, rows)), strict=True):
            np.testing.assert_allclose(part, wanted, rtol=1e-5, atol=1e-6)


def test_one_hot_tokens_equal_an_identity_embedding(make_values: Make) -> None:
    one_hot, embedded = _config("lstm", embedding=0), _config("lstm", embedding=5)
    values = make_values(one_hot)
    ids = _ids(6, 2)
    first = NumpyEngine(one_hot, values)
    second = NumpyEngine(embedded, {**values, "embedding": np.eye(5, dtype=np.float32)})
    logits, _ = first.read(ids, first.start_state(2))
    np.testing.assert_allclose(
        second.read(ids, second.start_state(2))[0], logits, rtol=1e-6, atol=1e-6
    )


def _constant(config: ModelConfig, logits: list[float]) -> NumpyEngine:
    """Return an engine with constant logits, whatever it reads."""
    values = {
        "embedding": np.zeros((3, 1), np.float32),
        "layers.0.weight_ih": np.zeros((1, 1), np.float32),
        "layers.0.weight_hh": np.zeros((1, 1), np.float32),
        "layers.0.bias": np.zeros(1, np.float32),
        "output.weight": np.zeros((2, 1), np.float32),
        "output.bias": np.array(logits, np.float32),
    }
    return NumpyEngine(config, values)


def test_nats_by_hand() -> None:
    # logits 0 and ln 3: p = 1/4 and 3/4; -ln p = ln 4 = 1.3862944 and ln 4/3 = 0.2876821
    engine = _constant(ModelConfig(2, "elman", 1, 1, 1), [0.0, math.log(3)])
    ids = np.array([[2], [0]])
    nats, _ = engine.nats(ids, np.array([[0], [1]]), engine.start_state(1))
    assert nats.flatten().tolist() == pytest.approx([1.3862944, 0.2876821], abs=1e-6)


def test_nats_of_distant_logits_are_exact() -> None:
    # the difference is 1000 on either side of zero: -ln p is 0 and 1000
    for logits in ([1000.0, 2000.0], [-2000.0, -1000.0]):
        engine = _constant(ModelConfig(2, "elman", 1, 1, 1), logits)
        ids = np.array([[2, 2]])
        nats, _ = engine.nats(ids, np.array([[0, 1]]), engine.start_state(2))
        assert nats.tolist() == [[1000.0, 0.0]]


@pytest.mark.parametrize("cell", ALL)
def test_nats_equal_those_of_the_network(make_values: Make, cell: str) -> None:
    config = _config(cell)
    values = make_values(config)
    engine, network = NumpyEngine(config, values), CharRNN(config, values)
    inputs, targets = _ids(9, 3), _ids(9, 3) % 4
    ours, after = engine.nats(inputs, targets, engine.start_state(3))
    theirs, last = network.nats(inputs, targets, network.start_state(3))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    for part, wanted in zip(_flat(after), _flat(last), strict=True):
        np.testing.assert_allclose(part, wanted, rtol=1e-5, atol=1e-5)


def test_the_start_state_is_zero_for_every_row_layer_and_part(make_values: Make) -> None:
    config = _config("lstm", layers=3)
    engine = NumpyEngine(config, make_values(config))
    state = engine.start_state(2)
    assert [part.shape for part in _flat(state)] == [(2, 5)] * 6
    assert not any(part.any() for part in _flat(state))


def test_sigmoid_and_relu_by_hand() -> None:
    x = np.array([-1000.0, -1.0, 0.0, 2.0, 1000.0])
    assert sigmoid(x).tolist() == pytest.approx([0, 0.2689414, 0.5, 0.8807971, 1], abs=1e-7)
    assert relu(x).tolist() == [0, 0, 0, 2, 1000]
    assert math.isnan(relu(np.array([math.nan]))[0])
