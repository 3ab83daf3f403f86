"""The compiled engine of pairs compared with the numpy engine, and a row with itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from charrnn.arrays import State
from charrnn.config import ModelConfig
from charrnn.inference import compiled_encoder, compiled_pair_engine
from charrnn.inference.compiled_pair_engine import CompiledPairEngine
from charrnn.inference.numpy_pair_engine import NumpyPairEngine
from charrnn.inference.pair_engine import PairEngine
from charrnn.model import parameters
from charrnn.text.pair_order import batch
from charrnn.text.pairs import PairPart

MakeValues = Callable[..., dict[str, Any]]
SYMBOLS = 9
FORMS: list[dict[str, Any]] = [
    {},
    {"encoder": "forward", "num_layers": 1, "cell": "gru"},
    {"context": "fixed", "skip_connections": True, "cell": "lstm-coupled"},
    {"encoder": "forward", "context": "fixed", "embedding_size": 0},
    {"skip_connections": True, "embedding_size": 0, "output_depth": 2},
    {"layer_norm": True, "input_depth": 2, "skip_connections": True},
    {"cell": "preactivation", "recurrent_depth": 2, "zoneout": 0.2, "num_layers": 3},
]


def _config(**form: Any) -> ModelConfig:
    sizes = {"vocab_size": SYMBOLS + 1, "cell": "lstm", "num_layers": 2, "hidden_size": 38}
    pair = {"encoder": "bidirectional", "context": "attention", "embedding_size": 5}
    return ModelConfig(**{**sizes, **pair, **form})


def _pairs(count: int) -> PairPart:
    """Return pairs with sources of 1 to 11 tokens, most of them of other lengths than the next."""
    rng = np.random.default_rng(3)
    lengths = [(7 * row + 4) % 11 + 1 for row in range(count)]
    return PairPart.of(
        [(rng.integers(0, SYMBOLS, n), rng.integers(0, SYMBOLS, 5)) for n in lengths]
    )


def _read(engine: PairEngine, pairs: PairPart, rows: list[int]) -> tuple[Any, State]:
    """Return a batch of pairs, and the state before their targets."""
    config = engine.config
    made = batch(pairs, np.array(rows), config.start_token, config.end_token)
    return made, engine.encode(made.sources, made.lengths)


def _parts(state: State) -> list[NDArray[Any]]:
    return [part for layer in state[:-1] for part in layer]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())))
def test_equals_the_numpy_engine(form: dict[str, Any], make_values: MakeValues) -> None:
    config, pairs = _config(**form), _pairs(5)
    values = make_values(config, scale=0.2)
    plain, engine = NumpyPairEngine(config, values), CompiledPairEngine(config, values, threads=2)
    made, wanted = _read(plain, pairs, [0, 1, 2, 3, 4])
    _, found = _read(engine, pairs, [0, 1, 2, 3, 4])
    for part, same in zip(_parts(found), _parts(wanted), strict=True):
        np.testing.assert_allclose(part, same, atol=1e-5, rtol=1e-4)
    targets = np.maximum(made.targets, 0)
    nats, found = engine.nats(made.inputs, targets, found)
    same_nats, wanted = plain.nats(made.inputs, targets, wanted)
    np.testing.assert_allclose(nats, same_nats, atol=1e-5, rtol=1e-5)
    rows = np.array([4, 0, 0, 2])
    logits, after = engine.step(rows, engine.select(found, rows))
    same_logits, same_after = plain.step(rows, plain.select(wanted, rows))
    np.testing.assert_allclose(logits, same_logits, atol=1e-5, rtol=1e-5)
    for part, same in zip(_parts(after), _parts(same_after), strict=True):
        np.testing.assert_allclose(part, same, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("form", [{}, {"layer_norm": True, "skip_connections": True}])
def test_rows_threads_and_batches_do_not_change_any_bit(
    form: dict[str, Any], make_values: MakeValues, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, pairs = _config(**form, hidden_size=70), _pairs(29)
    values = make_values(config, scale=0.3)

    def written(rows: list[int], threads: int) -> list[NDArray[Any]]:
        engine = CompiledPairEngine(config, values, threads=threads)
        made, state = _read(engine, pairs, rows)
        nats, after = engine.nats(made.inputs, np.maximum(made.targets, 0), state)
        logits, _ = engine.step(made.inputs[1], state)
        return [nats.T, logits, *_parts(state), *_parts(after)]

    wanted = written(list(range(29)), 1)
    cases = [(list(range(29)), 2), ([4], 1), ([7, 3], 2), (list(range(5, 18)), 3)]
    for size, steps in ((192, 1024), (4, 7)):
        monkeypatch.setattr(compiled_pair_engine, "_SOURCES", size)
        monkeypatch.setattr(compiled_pair_engine, "_ROWS", size)
        monkeypatch.setattr(compiled_encoder, "_ROWS", steps)
        for rows, threads in cases:
            for found, whole in zip(written(rows, threads), wanted, strict=True):
                np.testing.assert_array_equal(found, whole[rows])


@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_smaller_weight_types_are_rounded_weights(weights: str, make_values: MakeValues) -> None:
    config, pairs = _config(skip_connections=True), _pairs(4)

    def nats(kind: type[Any], values: parameters.Parameters, **options: Any) -> NDArray[Any]:
        engine = kind(config, values, **options)
        made, state = _read(engine, pairs, [0, 1, 2, 3])
        found: NDArray[Any] = engine.nats(made.inputs, np.maximum(made.targets, 0), state)[0]
        return found

    values = make_values(config, scale=0.3)
    # Rounding does not change these: of every row of a matrix, each is 0 or the largest.
    exact = {name: np.float32(0.25) * np.sign(value.round(1)) for name, value in values.items()}
    wanted = nats(NumpyPairEngine, exact)
    np.testing.assert_allclose(nats(CompiledPairEngine, exact, weights=weights), wanted, atol=1e-5)
    changes = nats(CompiledPairEngine, values, weights=weights) - nats(NumpyPairEngine, values)
    assert 1e-5 < np.abs(changes).max() < 0.5


def test_attention_is_that_of_the_numpy_engine(make_values: MakeValues) -> None:
    config, pairs = _config(), _pairs(5)
    values = make_values(config, scale=0.3)
    plain, engine = NumpyPairEngine(config, values), CompiledPairEngine(config, values)
    made, state = _read(plain, pairs, [3, 0, 4])
    wanted = plain.attention(made.inputs, state)
    found = engine.attention(made.inputs, _read(engine, pairs, [3, 0, 4])[1])
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_long_sources_are_read_some_steps_at_a_time(
    make_values: MakeValues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled_encoder, "_ROWS", 64)
    monkeypatch.setattr(compiled_pair_engine, "_SYMBOLS", 500)
    config, rng = _config(), np.random.default_rng(4)
    lengths = (301, 7, 300)
    pairs = PairPart.of([(rng.integers(0, SYMBOLS, length), [1]) for length in lengths])
    values = make_values(config, scale=0.3)
    wanted = _read(NumpyPairEngine(config, values), pairs, [0, 1, 2])[1]
    found = _read(CompiledPairEngine(config, values, threads=1), pairs, [0, 1, 2])[1]
    for part, same in zip(_parts(found), _parts(wanted), strict=True):
        np.testing.assert_allclose(part, same, atol=1e-5, rtol=1e-4)


def test_nan_stays_in_its_row_and_is_not_hidden(make_values: MakeValues) -> None:
    config = _config()
    values = make_values(config, scale=0.3)
    values["embedding"] = values["embedding"].copy()
    values["embedding"][8] = np.nan
    engine = CompiledPairEngine(config, values)
    sources = np.array([[1, 8, 2], [3, 4, 8]])
    state = engine.encode(sources, np.array([2, 2, 1]))
    logits, _ = engine.step(np.full(3, config.start_token), state)
    assert np.isfinite(logits[[0, 2]]).all()  # of the last source it is padding
    assert np.isnan(logits[1]).all()
