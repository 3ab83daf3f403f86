"""The compiled engine compared with the numpy engine: every cell, form and type of weights."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
from numba import carray, cfunc
from numpy.typing import NDArray
from own_cells import MINGRU, MIXED, OWN

from charrnn.arrays import State
from charrnn.cells import CELLS
from charrnn.compiler import cell_file
from charrnn.compiler.scalar_math import pointer
from charrnn.config import ModelConfig
from charrnn.inference import instructions, window_runner
from charrnn.inference.compiled_engine import CompiledEngine
from charrnn.inference.engine import Engine
from charrnn.inference.numpy_engine import NumpyEngine
from charrnn.inference.packing import PackedMatrix
from charrnn.inference.row_functions import floats
from charrnn.model import parameters
from charrnn.storage import machine

SYMBOLS = 29
EVERYTHING: dict[str, Any] = {
    "num_layers": 2,
    "hidden_size": 37,
    "skip_connections": True,
    "input_depth": 3,
    "recurrent_depth": 2,
    "output_depth": 3,
    "learned_start": True,
    "layer_norm": True,
    "zoneout": 0.1,
    "zoneout_cell": 0.2,
}
BACK = cell_file.use(dataclasses.replace(CELLS["jordan"], name="back"))
ENSEMBLES: dict[str, dict[str, Any]] = {
    "lstm-coupled": {
        "ensemble": 4,
        "num_layers": 2,
        "skip_connections": True,
        "tied_output": True,
        "output_depth": 2,
        "learned_start": True,
        "zoneout": 0.1,
    },
    "gru": {"ensemble": 2, "num_layers": 3, "input_depth": 2, "recurrent_depth": 2},
    "preactivation": {"ensemble": 2, "num_layers": 2},
    BACK: {"ensemble": 2, "output_depth": 2},
}
CASES = [pytest.param(name, {"num_layers": 2}, id=name) for name in CELLS]
CASES += [pytest.param(*own.values, {"num_layers": 2}, id=own.id) for own in OWN]
CASES += [
    pytest.param(name, EVERYTHING, id=f"{cell}-everything")
    for cell, name in (("mingru", MINGRU), ("mixed", MIXED))
]
CASES += [
    pytest.param(name, EVERYTHING, id=f"{name}-everything")
    for name in ("preactivation", "jordan", "lstm-peephole", "gru")
]
CASES += [
    pytest.param("lstm", {"num_layers": 3, "skip_connections": True}, id="skips"),
    pytest.param("lstm", {"embedding_size": 0, "num_layers": 3, "input_depth": 2}, id="one-hot"),
    pytest.param("gru", {"num_layers": 2, "tied_output": True}, id="tied"),
    pytest.param("lstm", {"hidden_size": 1, "embedding_size": 1}, id="one unit"),
    *(pytest.param(name, form, id=f"ensemble of {name[:12]}") for name, form in ENSEMBLES.items()),
]


def made(
    name: str, form: dict[str, Any], seed: int = 0
) -> tuple[ModelConfig, parameters.Parameters]:
    """Return a network with weights that are not small."""
    given = {"vocab_size": SYMBOLS, "hidden_size": 40, "embedding_size": 8, **form}
    if name in ("jordan", BACK):
        given["num_layers"] = 1
    config = ModelConfig(cell=name, **given)
    rng = np.random.default_rng(seed)
    values = {
        key: (0.3 * rng.standard_normal(shape)).astype(np.float32)
        for key, shape in parameters.shapes(config).items()
    }
    return config, values


def any_state(engine: Engine, batch: int) -> State:
    rng = np.random.default_rng(1)
    return tuple(
        tuple(part + 0.5 * rng.standard_normal(part.shape).astype(np.float32) for part in layer)
        for layer in engine.start_state(batch)
    )


def texts(steps: int, batch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    ids = np.random.default_rng(2).integers(0, SYMBOLS, (2, steps, batch))
    return ids[0], ids[1]


def assert_near(found: State, wanted: State) -> None:
    for layer, other in zip(found, wanted, strict=True):
        for part, same in zip(layer, other, strict=True):
            np.testing.assert_allclose(part, same, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "form"), CASES)
def test_equals_the_numpy_engine(name: str, form: dict[str, Any]) -> None:
    config, values = made(name, form)
    plain, engine = NumpyEngine(config, values), CompiledEngine(config, values, threads=1)
    inputs, targets = texts(5, 3)
    state = any_state(plain, 3)
    wanted, after = plain.nats(inputs, targets, state)
    found, ended = engine.nats(inputs, targets, state)
    np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=1e-5)
    assert_near(ended, after)
    assert_near(engine.advance(inputs, state), after)
    logits, _ = engine.step(inputs[0], state)
    np.testing.assert_allclose(logits, plain.step(inputs[0], state)[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *(
            pytest.param(name, form, id=f"{name}-{kind}")
            for name in ("lstm", "gru", "jordan", "preactivation")
            for kind, form in (("plain", {"num_layers": 2}), ("everything", EVERYTHING))
        ),
        *(
            pytest.param(name, form, id=f"ensemble of {name[:12]}")
            for name, form in ENSEMBLES.items()
        ),
    ],
)
def test_rows_threads_and_cuts_do_not_change_any_bit(name: str, form: dict[str, Any]) -> None:
    config, values = made(name, {**form, "hidden_size": 70 * form.get("ensemble", 1)})
    one = CompiledEngine(config, values, threads=1)
    inputs, targets = texts(6, 29)
    state = any_state(one, 29)
    wanted, after = one.nats(inputs, targets, state)
    for threads in (2, 3, 7):
        engine = CompiledEngine(config, values, threads=threads)
        found, ended = engine.nats(inputs, targets, state)
        np.testing.assert_array_equal(found, wanted)
        for rows in ([4], [7, 3], list(range(5, 18))):
            part = engine.select(state, rows)
            first, part = engine.nats(inputs[:3, rows], targets[:3, rows], part)
            second, part = engine.nats(inputs[3:, rows], targets[3:, rows], part)
            np.testing.assert_array_equal(np.concatenate([first, second]), wanted[:, rows])
            for found_layer, layer in zip(part, engine.select(after, rows), strict=True):
                for found_part, whole in zip(found_layer, layer, strict=True):
                    np.testing.assert_array_equal(found_part, whole)
        assert_near(ended, after)


@pytest.mark.parametrize(("name", "form"), CASES)
@pytest.mark.parametrize("batch", [1, 3])
def test_windows_are_bit_for_bit_the_same_as_steps(
    name: str, form: dict[str, Any], batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, values = made(name, form)
    engine = CompiledEngine(config, values, threads=batch)
    given = (*texts(26, batch), 3, any_state(engine, batch))
    with monkeypatch.context() as patch:
        patch.setattr(window_runner, "MAX_TEXTS", 0)
        wanted, after = engine.expected(*given)
    monkeypatch.setattr(window_runner, "MAX_ROWS", 10 * batch)  # 10, 10 and 6 steps
    found, ended = engine.expected(*given)
    advanced = engine.advance(given[0], given[3])
    assert bool(engine._windows.programs) == (name not in ("jordan", BACK))
    for field in ("nats", "likeliest", "likeliest_nats"):
        np.testing.assert_array_equal(getattr(found, field), getattr(wanted, field))
    for wanted_layer, *layers in zip(after, ended, advanced, strict=True):
        for layer in layers:
            for part, same in zip(layer, wanted_layer, strict=True):
                np.testing.assert_array_equal(part, same)


@pytest.mark.parametrize("batch", [1, 5, 13])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_product_read_from_the_end_is_the_same(batch: int, threads: int) -> None:
    config, values = made("lstm", {"hidden_size": 200})  # 13 panels of each block, where W is 16
    engine = CompiledEngine(config, values, threads=threads)
    (program,), work = engine._step_programs, engine._work
    work.reserve(batch)
    work.load(any_state(engine, batch), "0")
    layer = engine._networks[0].layers[0]
    (packed,), (bias,) = layer.matrices, layer.biases
    column, found = work.layout["0.r0"], []
    for backwards in (False, True):
        work.rows[:batch, column : column + 800] = 7.0
        call = program.product("0.0.0", packed, (bias.ctypes.data, 0), "0.r0", backwards)
        instructions.Program([call], [call]).run(np.zeros((1, batch), np.int64), threads)
        found.append(work.rows[:batch, column : column + 800].copy())
    np.testing.assert_array_equal(*found)
    assert (found[0] != 7.0).all()


def test_more_texts_are_worth_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 4)
    config = ModelConfig(20, "lstm", 1, 128, 16)
    engine = CompiledEngine(config, parameters.initial(config, 1))
    assert [engine.threads_for(rows) for rows in (1, 8, 48, 1000)] == [1, 1, 2, 4]
    assert engine.threads == 1
    assert CompiledEngine(config, parameters.initial(config, 1), threads=1).threads_for(1000) == 1


@pytest.mark.parametrize(("name", "form"), CASES)
def test_the_first_of_two_steps_makes_the_recurrent_products_of_both(
    name: str, form: dict[str, Any]
) -> None:
    config, values = made(name, form)
    engine = CompiledEngine(config, values, threads=1)
    engine._reserve(1)
    engine._program(1)
    each = [layer for network in engine._networks for layer in network.layers]
    layers = [layer.matrices[0] for layer in each if layer.matrices]
    recurrent = {matrix.values.ctypes.data for matrix in layers}
    product = instructions.product("float32")
    made_in = [
        [call.arguments[3] for call in calls if call.function == product]
        for calls in engine._steps[True, False]
    ]
    counts = [sum(matrix in recurrent for matrix in found) for found in made_in]
    if name in ("preactivation", "jordan", BACK):  # whose operand is not the state itself
        assert counts == [len(layers)] * 3
    else:
        assert counts == [2 * len(layers), 0, len(layers)]


@pytest.mark.parametrize("name", ["lstm-coupled", "gru", "preactivation"])
def test_an_ensemble_reads_what_its_networks_read_and_waits_like_one(name: str) -> None:
    config, values = made(name, ENSEMBLES[name])
    one = CompiledEngine(config.member, parameters.members(config, values)[0], threads=2)
    engine = CompiledEngine(config, values, threads=2)
    assert engine.weight_count == config.ensemble * one.weight_count
    waits = []
    for each in (one, engine):
        each._program(1)
        waits.append([calls.count(instructions.WAIT) for calls in each._steps[True, True]])
    assert waits[0] == waits[1]
    assert min(waits[0]) > 0


@pytest.mark.parametrize("count", [0, 1, 4, SYMBOLS])
@pytest.mark.parametrize("batch", [2, 13])
def test_the_most_likely_tokens_are_those_of_the_numpy_engine(count: int, batch: int) -> None:
    config, values = made("gru", {"num_layers": 2})
    engine, plain = CompiledEngine(config, values, threads=2), NumpyEngine(config, values)
    given = (*texts(12, batch), count, any_state(plain, batch))
    found, _ = engine.expected(*given)
    wanted, _ = plain.expected(*given)
    np.testing.assert_array_equal(found.likeliest, wanted.likeliest)
    np.testing.assert_allclose(found.likeliest_nats, wanted.likeliest_nats, atol=1e-5)
    assert found.likeliest.shape == (12, batch, count)


@pytest.mark.parametrize("form", [{}, {"ensemble": 2}], ids=str)
@pytest.mark.parametrize(("weights", "error"), [("bfloat16", 2**-8), ("int8", 1 / 127)])
def test_smaller_weight_types_are_rounded_weights(
    weights: str, error: float, form: dict[str, Any]
) -> None:
    config, values = made("lstm", {"num_layers": 2, **form})
    rounded = {}
    for name, value in values.items():
        peak = np.abs(value).max(-1, keepdims=True) if value.ndim == 2 else np.abs(value)
        rounded[name] = value
        if name.endswith(("weight_hh", "output.weight", "layers.1.weight_ih")):
            packed = PackedMatrix.of(value, 1, weights)
            columns = packed.values.swapaxes(1, 2).reshape(-1, value.shape[1])
            if weights == "bfloat16":
                columns = (columns.astype(np.uint32) << 16).view(np.float32)
            rounded[name] = (columns * packed.scale[:, None])[: len(value)].astype(np.float32)
            assert np.abs(rounded[name] - value).max() <= (error * peak).max()
    inputs, targets = texts(4, 2)
    state = any_state(NumpyEngine(config, values), 2)
    wanted, _ = NumpyEngine(config, rounded).nats(inputs, targets, state)
    found, _ = CompiledEngine(config, values, weights=weights, threads=2).nats(
        inputs, targets, state
    )
    np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=1e-5)
    assert np.abs(found - NumpyEngine(config, values).nats(inputs, targets, state)[0]).max() > 1e-5


class Alternating:
    """Chooses the most likely token at every other step, else token 3."""

    def __init__(self, batch: int) -> None:
        self.turn = 0
        self.chosen: list[NDArray[np.int64]] = []

    def choose(self, logits: NDArray[Any]) -> NDArray[np.int64]:
        self.turn += 1
        ids = logits.argmax(-1) if self.turn % 2 else np.full(len(logits), 3)
        self.chosen.append(ids)
        return ids

    def compiled(
        self, logits: int, stride: int, vocab_size: int, steps: int
    ) -> tuple[int, tuple[int, ...]]:
        return self.compile(), (logits, stride, vocab_size)

    def compile(self) -> int:
        return int(_choose_alternating().address)


@functools.cache
def _choose_alternating() -> Any:
    """Return a C function, compiled when a test first needs it."""

    @cfunc("void(voidptr, voidptr)")
    def compiled(context: Any, arguments: Any) -> None:
        c = carray(context, (instructions.CONTEXT,), np.int64)
        d = carray(arguments, (3,), np.int64)
        ids = carray(pointer(c[3]), (c[2],), np.int64)
        for b in range(c[0], c[2], c[1]):
            ids[b] = 3 if c[4] % 2 else floats(d[0] + b * d[1], d[2]).argmax()

    return compiled


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_writes_what_the_numpy_engine_writes(threads: int, count: int) -> None:
    config, values = made("gru", {"num_layers": 2})
    plain, engine = NumpyEngine(config, values), CompiledEngine(config, values, threads=threads)
    logits, state = plain.step(texts(1, 5)[0][0], any_state(plain, 5))
    wanted = plain.write(logits, state, Alternating(5), count)
    found = engine.write(logits, state, Alternating(5), count)
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-5, rtol=1e-4)
    assert_near(found[1], wanted[1])


def test_the_workspace_grows_with_the_number_of_rows() -> None:
    config, values = made("elman", {})
    engine, plain = CompiledEngine(config, values), NumpyEngine(config, values)
    for batch in (1, 4, 2, 33):
        inputs, targets = texts(3, batch)
        state = any_state(plain, batch)
        found, _ = engine.nats(inputs, targets, state)
        np.testing.assert_allclose(found, plain.nats(inputs, targets, state)[0], atol=1e-5)


def test_nan_stays_in_its_row_and_is_not_hidden() -> None:
    config, values = made("lstm", {})
    engine = CompiledEngine(config, values)
    (state,) = engine.start_state(2)
    broken = tuple(np.where(np.arange(2)[:, None] == 1, np.float32(np.nan), s) for s in state)
    nats, _ = engine.nats(*texts(2, 2), (broken,))
    assert np.isfinite(nats[:, 0]).all()
    assert np.isnan(nats[:, 1]).all()


def test_a_given_state_is_not_changed() -> None:
    config, values = made("lstm", {})
    engine = CompiledEngine(config, values)
    state = any_state(engine, 1)
    kept = [part.copy() for layer in state for part in layer]
    engine.advance(texts(3, 1)[0], state)
    for part, same in zip((part for layer in state for part in layer), kept, strict=True):
        np.testing.assert_array_equal(part, same)
