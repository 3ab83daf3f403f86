"""The CUDA engine: on the CPU, without the capture, and on a CUDA device if there is one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FORMS, covering
from numpy.typing import NDArray
from own_cells import MINGRU, MIXED, OWN, SLSTM
from torch.utils._python_dispatch import TorchDispatchMode

from charrnn.cells import CELLS
from charrnn.config import BeamConfig, ModelConfig, SampleConfig
from charrnn.errors import OptionError
from charrnn.generator import Generator
from charrnn.inference import cuda_engine
from charrnn.inference.cuda_engine import CudaEngine
from charrnn.inference.numpy_engine import NumpyEngine
from charrnn.model.model_file import Model
from charrnn.network.module import CharRNN

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
Values = dict[str, NDArray[Any]]
MakeValues = Callable[..., Values]
ON = [CPU, pytest.param(CUDA, marks=pytest.mark.cuda)]
EVERYTHING: dict[str, Any] = {
    "skip_connections": True,
    "input_depth": 3,
    "recurrent_depth": 2,
    "output_depth": 2,
    "learned_start": True,
    "layer_norm": True,
    "zoneout": 0.3,
    "zoneout_cell": 0.15,
}


def _config(cell: str, embedding: int = 3, **form: Any) -> ModelConfig:
    layers = 1 if cell == "jordan" else 2
    return ModelConfig(6, cell, layers, 5, embedding, **form)


def _embedding(cell: str, form: dict[str, Any]) -> int:
    """Return the size of an embedding: none or 3 in turn, so each cell and each form has both."""
    cells = [*CELLS, MINGRU, SLSTM, MIXED]
    return 3 * ((cells.index(cell) + list(FORMS.values()).index(form)) % 2)


def _ids(steps: int, rows: int) -> NDArray[np.int64]:
    """Return random tokens, including the start token 6."""
    return np.random.default_rng(1).integers(0, 7, (steps, rows))


def _random_state(engine: NumpyEngine, rows: int) -> Any:
    rng = np.random.default_rng(2)
    return tuple(
        tuple(rng.standard_normal(part.shape).astype(part.dtype) for part in layer)
        for layer in engine.start_state(rows)
    )


def _flat(state: Any) -> list[NDArray[Any]]:
    return [part for layer in state for part in layer]


def _assert_near(found: Any, wanted: Any) -> None:
    for part, same in zip(_flat(found), _flat(wanted), strict=True):
        assert part.dtype == same.dtype
        np.testing.assert_allclose(part, same, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("cell", "form"), covering([*CELLS, *OWN]), indirect=["form"])
def test_equals_the_numpy_engine(make_values: MakeValues, cell: str, form: dict[str, Any]) -> None:
    config = _config(cell, _embedding(cell, form), **form)
    _compare(config, make_values(config), CPU)


@pytest.mark.parametrize("device", ON)
@pytest.mark.parametrize("networks", [1, 2])
def test_equals_the_numpy_engine_where_the_output_is_tied(
    make_values: MakeValues, device: torch.device, networks: int
) -> None:
    form = {"skip_connections": True, "tied_output": True, "ensemble": networks}
    config = ModelConfig(6, "lstm-coupled", 2, 6, 4, **form)
    _compare(config, make_values(config), device)


def _compare(config: ModelConfig, values: Values, device: torch.device) -> None:
    """Compare all results of the engines, for one row and for several."""
    plain, engine = NumpyEngine(config, values), CudaEngine(config, values, device)
    _assert_near(engine.start_state(2), plain.start_state(2))
    for rows in (1, 5):
        state, ids = _random_state(plain, rows), _ids(4, rows)
        before = [part.copy() for part in _flat(state)]
        for row in ids:
            logits, after = engine.step(row, state)
            wanted, expected = plain.step(row, state)
            assert logits.dtype == wanted.dtype
            np.testing.assert_allclose(logits, wanted, rtol=1e-5, atol=1e-5)
            _assert_near(after, expected)
        assert all(map(np.array_equal, _flat(state), before))  # a given state is not changed
        logits, after = engine.read(ids, state)
        wanted, expected = plain.read(ids, state)
        np.testing.assert_allclose(logits, wanted, rtol=1e-5, atol=1e-5)
        _assert_near(after, expected)
        _assert_near(engine.advance(ids, state), expected)
        found, after = engine.expected(ids, ids % 6, 3, state)
        known, _ = plain.expected(ids, ids % 6, 3, state)
        np.testing.assert_allclose(found.nats, known.nats, rtol=1e-5, atol=1e-5)
        _assert_near(after, expected)


@pytest.mark.parametrize("device", ON)
def test_windows_equal_their_steps_bit_for_bit_and_results_are_copies(
    make_values: MakeValues, device: torch.device
) -> None:
    config = _config("lstm")
    engine = CudaEngine(config, make_values(config), device)
    ids, state = _ids(7, 5), _random_state(engine, 5)
    logits, after = engine.read(ids, state)
    kept = [logits.copy(), *(part.copy() for part in _flat(after))]
    stepped = state
    for t, row in enumerate(ids):
        one, stepped = engine.step(row, stepped)
        assert np.array_equal(one, logits[t])
    halves = engine.advance(ids[3:], engine.advance(ids[:3], state))
    assert all(map(np.array_equal, _flat(stepped), _flat(after)))
    assert all(map(np.array_equal, _flat(halves), _flat(after)))
    assert all(map(np.array_equal, _flat(engine.advance(ids[:0], state)), _flat(state)))
    assert all(map(np.array_equal, [logits, *_flat(after)], kept))


def test_graphs_are_made_once_for_each_power_of_two(make_values: MakeValues) -> None:
    config = _config("gru")
    engine = CudaEngine(config, make_values(config), CPU)
    made = []
    for rows in (1, 2, 3, 5, 8, 7, 4, 1):
        state = engine.start_state(rows)
        logits, _ = engine.step(_ids(1, rows)[0], state)
        assert logits.shape == (rows, 6)
        made.append(len(engine._rows))
    assert made == [1, 2, 3, 4, 4, 4, 4, 4]
    assert sorted(engine._rows) == [1, 2, 4, 8]


def test_prepare_makes_all_that_generation_needs(tiny_model: Model) -> None:
    _, other = _generators(tiny_model)
    config = SampleConfig(length=5, num_samples=5, seed=1)
    read = other.read("hello")
    assert isinstance(other.engine, CudaEngine)
    assert sorted(other.engine._rows) == [1]
    other.prepare(config)
    assert sorted(other.engine._rows) == [1, 8]
    other.samples(read, config)
    assert sorted(other.engine._rows) == [1, 8]


def test_rows_are_independent_and_can_be_selected(make_values: MakeValues) -> None:
    config = _config("lstm")
    engine = CudaEngine(config, make_values(config), CPU)
    ids, state = _ids(4, 5), _random_state(engine, 5)
    logits, after = engine.read(ids, state)
    for rows in ([2, 0, 2], [4]):
        chosen, last = engine.read(ids[:, rows], engine.select(state, rows))
        np.testing.assert_allclose(chosen, logits[:, rows], rtol=1e-5, atol=1e-6)
        _assert_near(last, engine.select(after, rows))


class _Elsewhere(TorchDispatchMode):
    """Records every operation, and those with a tensor that is not on the device."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device
        self.seen: list[str] = []
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        tensors = [found for found in (*args, made) if isinstance(found, torch.Tensor)]
        self.seen.append(str(func))
        if any(found.device.type != self.device for found in tensors):
            self.found.append(str(func))
        return made


def _without_values(config: ModelConfig, values: Values, act: Callable[..., None]) -> _Elsewhere:
    """Run a step on the meta device, whose tensors have no values: reading one is an error."""
    network = CharRNN(config, values).requires_grad_(False).eval().to("meta")
    parts = (config.num_layers, len(network.layer.cell.states), 3, config.hidden_size)
    ids = torch.zeros(3, dtype=torch.int64, device="meta")
    state, logits = torch.zeros(parts, device="meta"), torch.zeros(3, 6, device="meta")
    with _Elsewhere("meta") as elsewhere:
        act(network, ids, state, logits)
    return elsewhere


@pytest.mark.parametrize(("cell", "form"), covering([*CELLS, *OWN]), indirect=["form"])
def test_a_step_can_be_captured(make_values: MakeValues, cell: str, form: dict[str, Any]) -> None:
    config = _config(cell, _embedding(cell, form), **form)
    elsewhere = _without_values(config, make_values(config), cuda_engine.step)
    assert len(elsewhere.seen) > 5
    assert elsewhere.found == []


def test_operations_that_cannot_be_captured_are_detected(make_values: MakeValues) -> None:
    config = _config("lstm")

    def asks(network: Any, ids: Any, state: Any, logits: Any) -> None:
        logits.sum().item()

    def sends(network: Any, ids: Any, state: Any, logits: Any) -> None:
        state.copy_(torch.zeros(state.shape))

    with pytest.raises(RuntimeError, match="meta"):
        _without_values(config, make_values(config), asks)
    assert _without_values(config, make_values(config), sends).found


def test_a_step_works_in_place(make_values: MakeValues) -> None:
    config = _config("lstm")
    engine = CudaEngine(config, make_values(config), CPU)
    state = engine.start_state(4)
    engine.step(_ids(1, 4)[0], state)
    rows = engine._rows[4]
    both = (rows.ids, rows.state, rows.logits)
    places = [(each.tensor.data_ptr(), each.array.ctypes.data) for each in both]
    engine.read(_ids(5, 4), state)
    assert [(each.tensor.data_ptr(), each.array.ctypes.data) for each in both] == places


def _generators(model: Model, device: torch.device = CPU) -> tuple[Generator, Generator]:
    """Return a generator with the numpy engine, and one with the CUDA engine."""
    plain, other = Generator(model), Generator(model)
    plain.engine = NumpyEngine(model.config, model.values)
    other.engine = CudaEngine(model.config, model.values, device)
    return plain, other


@pytest.mark.parametrize("device", ON)
@pytest.mark.parametrize("cell", ["lstm", "gru", "jordan"])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"num_samples": 5, "stop": ("l", "ow"), "temperature": 0.7},
        {"num_samples": 3, "top_k": 3, "repeat_penalty": 1.3, "repeat_last_n": 8},
        {"num_samples": 4, "regex": "(he|lo)*w"},
        {"temperature": 0.0},
    ],
    ids=["temperature", "stops", "filters", "regex", "greedy"],
)
def test_writes_what_numpy_writes(
    make_model: Callable[..., Model], cell: str, given: dict[str, Any], device: torch.device
) -> None:
    layers = 1 if cell == "jordan" else 2
    model = make_model("helo w\n", cell=cell, num_layers=layers, hidden_size=9)
    plain, other = _generators(model, device)
    config = SampleConfig(length=60, seed=3, **given)
    wanted, found = (one.samples("hello", config) for one in (plain, other))
    assert [text.ids for text in found] == [text.ids for text in wanted]
    assert [text.finished_by for text in found] == [text.finished_by for text in wanted]
    for one, same in zip(found, wanted, strict=True):
        assert one.log_prob == pytest.approx(same.log_prob, abs=1e-3)


@pytest.mark.parametrize("device", ON)
def test_beam_search_finds_what_the_numpy_engine_finds(
    tiny_model: Model, device: torch.device
) -> None:
    plain, other = _generators(tiny_model, device)
    config = BeamConfig(length=20, width=5, num_return=5)
    wanted, found = (one.beams("hello", config) for one in (plain, other))
    assert [text.text for text in found] == [text.text for text in wanted]


@pytest.mark.parametrize("device", ON)
def test_generation_from_a_saved_state_continues_as_if_never_interrupted(
    tiny_model: Model, device: torch.device, tmp_path: Path
) -> None:
    _, other = _generators(tiny_model, device)
    whole = other.sample("hello", length=40, seed=5).text
    read = other.read("hello")
    (first,) = other.samples(read, SampleConfig(length=15, seed=5))
    other.save_state(tmp_path / "state", other.after(read, first))
    again = other.load_state(tmp_path / "state")
    assert first.text + other.sample(again, length=25).text == whole
    # The same state can be continued twice, and by the compiled engine, too.
    assert other.sample(again, length=25, seed=6).text != whole[15:]
    here = Generator(tiny_model)
    assert here.sample(here.load_state(tmp_path / "state"), length=25).text == whole[15:]


def test_an_out_of_memory_error_of_the_device_is_a_memory_error(
    make_values: MakeValues, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config("lstm")
    engine = CudaEngine(config, make_values(config), CPU)

    def full(*given: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(cuda_engine, "step", full)
    with pytest.raises(MemoryError, match="CUDA out of memory"):
        engine.step(_ids(1, 1)[0], engine.start_state(1))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"device": "gpu"}, "`device` 'gpu' is not known: use cpu, cuda or cuda:N"),
        ({"device": "auto"}, "`device` 'auto' is not known: use cpu, cuda or cuda:N"),
        ({"device": "cuda", "weights": "int8"}, "`weights` int8 is for the CPU: .* `device` cuda"),
        ({"device": "cuda:1", "threads": 1}, "`threads=1` is for the CPU: .* `device` cuda:1"),
    ],
)
def test_contradicting_options_are_refused(
    tiny_model: Model, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(OptionError, match=words):
        Generator(tiny_model, **given)


def test_a_missing_device_is_refused_without_a_fallback(
    tiny_model: Model,
) -> None:
    with pytest.raises(OptionError, match=r"`device` cuda:99: .*; use `device` cpu"):
        _ = Generator(tiny_model, device="cuda:99").engine


def test_a_failure_on_the_device_is_reported(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charrnn.network.module.choose_device", lambda name: CPU)
    generator = Generator(tiny_model, device="cuda")
    assert isinstance(generator.engine, CudaEngine)

    class Fails:
        @property
        def address(self) -> int:
            raise RuntimeError("no compiler")

    monkeypatch.setattr("charrnn.decoding.compiled.by_temperature", Fails())
    with pytest.raises(OptionError, match="`device` cuda fails here: no compiler"):
        generator.sample(length=3)


@pytest.mark.cuda
@pytest.mark.parametrize("form", [{}, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("cell", [*CELLS, *OWN])
def test_a_replay_is_what_was_captured(
    make_values: MakeValues, monkeypatch: pytest.MonkeyPatch, cell: str, form: dict[str, Any]
) -> None:
    config = _config(cell, **form)
    values = make_values(config)
    _compare(config, values, CUDA)
    engine, plain = (CudaEngine(config, values, CUDA) for _ in range(2))
    for rows in (1, 5, 64):
        ids, state = _ids(6, rows), _random_state(engine, rows)
        logits, after = engine.read(ids, state)
        with monkeypatch.context() as patch:
            patch.setattr(cuda_engine, "captured", lambda run: run)
            wanted, expected = plain.read(ids, state)
        np.testing.assert_allclose(logits, wanted, rtol=1e-6, atol=1e-6)
        _assert_near(after, expected)
