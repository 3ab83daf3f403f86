"""Needs the packages that write and run the file; an installation for tests has both."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FORMS, covering, random_values
from own_cells import MIXED

from charrnn.cells import CELLS
from charrnn.config import ModelConfig
from charrnn.config.exporting import ExportOptions
from charrnn.errors import OptionError
from charrnn.export import export
from charrnn.inference.numpy_engine import NumpyEngine
from charrnn.model.model_file import Model
from charrnn.text.tokenizer import CharTokenizer

onnx = pytest.importorskip("onnx", reason="needs 'pip install onnx onnxruntime'")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs 'pip install onnx onnxruntime'")


def session(model: Model) -> Any:
    from charrnn.export import onnx_graph

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        onnx_graph.model_bytes(model), options, providers=["CPUExecutionProvider"]
    )


def assert_same_logits(model: Model) -> None:
    """Read some tokens in two rows with both, from the start token on, carrying the state."""
    running, engine = session(model), NumpyEngine(model.config, model.values)
    names = [each.name for each in running.get_inputs() if each.name != "token"]
    carried = dict.fromkeys(names, np.zeros((2, model.config.state_sizes[0]), np.float32))
    state = engine.start_state(2)
    start, size = model.config.start_token, model.config.vocab_size
    outputs = [each.name for each in running.get_outputs()]
    for token in (np.full(2, start), *np.random.default_rng(1).integers(0, size, (4, 2))):
        made = running.run(outputs, {"token": token, **carried})
        found = dict(zip(outputs, made, strict=True))
        expected, state = engine.step(token, state)
        np.testing.assert_allclose(found["logits"], expected, rtol=1e-4, atol=2e-5)
        carried = {name: found[f"next.{name}"] for name in names}


@pytest.mark.parametrize(("cell", "form"), covering(CELLS), indirect=["form"])
def test_every_cell_in_every_form_gives_our_logits(cell: str, form: dict[str, Any]) -> None:
    layers = 1 if cell == "jordan" else 2
    config = ModelConfig(4, hidden_size=5, embedding_size=3, cell=cell, num_layers=layers, **form)
    values = random_values(config, seed=3, scale=0.7)
    assert_same_logits(Model(config, CharTokenizer("abcd"), values))


def test_tokens_may_be_one_hot_and_a_cell_ones_own(make_model: Callable[..., Model]) -> None:
    assert_same_logits(make_model(embedding_size=0, num_layers=3, **FORMS["skip_connections"]))
    assert_same_logits(make_model(cell=MIXED, num_layers=2))


def test_the_output_may_be_tied(make_model: Callable[..., Model]) -> None:
    assert_same_logits(make_model(num_layers=2, skip_connections=True, tied_output=True))


def test_the_networks_of_an_ensemble_stand_side_by_side(make_model: Callable[..., Model]) -> None:
    forms = {name: value for name, value in FORMS["all"].items() if name != "layer_norm"}
    sizes = {"hidden_size": 10, "embedding_size": 6, "num_layers": 2, "ensemble": 2}
    for form in ({"cell": "gru"}, {"tied_output": True, **forms}):
        model = make_model("helo w\n", **sizes, **form)
        assert_same_logits(model)
        names = [each.name for each in session(model).get_inputs()][1:]
        assert {name.split(".")[1] for name in names} == {*"0123"}


def test_the_start_token_begins_a_text_anew_where_the_start_is_learned(
    make_model: Callable[..., Model],
) -> None:
    model = make_model(learned_start=True)
    running, start = session(model), model.config.start_token
    names = [each.name for each in running.get_inputs() if each.name != "token"]
    for number in (0.0, 7.0):  # whatever the state was
        before = dict.fromkeys(names, np.full((1, 5), number, np.float32))
        (logits,) = running.run(["logits"], {"token": np.array([start]), **before})
        engine = NumpyEngine(model.config, model.values)
        expected, _ = engine.step(np.array([start]), engine.start_state(1))
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


def test_the_file_says_how_to_use_it_and_equal_models_give_equal_files(
    tiny_model: Model, tmp_path: Path
) -> None:
    for name in ("a.onnx", "b.onnx"):
        export(tiny_model, ExportOptions(to="onnx", out=tmp_path / name))
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    found = onnx.load(tmp_path / "a.onnx")
    metadata = {each.key: each.value for each in found.metadata_props}
    assert json.loads(metadata["tokens"]) == list("\n ehlow")
    assert metadata["start_token"] == "7"
    assert "zeros at the start of a text" in found.doc_string
    inputs = [each.name for each in found.graph.input]
    assert inputs == ["token", "state.0.h", "state.0.c", "state.1.h", "state.1.c"]
    outputs = [each.name for each in found.graph.output]
    assert outputs == ["logits", *(f"next.{name}" for name in inputs[1:])]


def test_a_network_that_is_too_large_for_the_format_is_refused(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from charrnn.export import onnx_graph

    monkeypatch.setattr(onnx_graph, "_MAX_BYTES", 100)
    with pytest.raises(OptionError, match="at most 2 GB"):
        onnx_graph.model_bytes(tiny_model)
