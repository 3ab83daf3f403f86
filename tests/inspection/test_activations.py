from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import covering

from charrnn.cells import CELLS, Layer
from charrnn.config import ModelConfig
from charrnn.errors import CharRNNError
from charrnn.inference.numpy_engine import NumpyEngine
from charrnn.inspection.activations import activations, calls, saturation
from charrnn.model import parameters
from charrnn.model.model_file import Model
from charrnn.text.tokenizer import CharTokenizer

TEXT = "abcabbacbca" * 30  # longer than one window

BLOCKS = {
    "elman": "",
    "irnn": "",
    "preactivation": "",
    "jordan": "",
    "lstm": "ifgo",
    "lstm-sigmoid": "ifgo",
    "lstm-peephole": "ifgo",
    "lstm-peephole-gers": "ifgo",
    "lstm-coupled": "fgo",
    "lstm-multiplicative": "ifgo",
    "gru": "rzn",
    "gru-reset-after": "rzn",
}


@pytest.mark.parametrize("cell", CELLS)
def test_functions_are_named_by_their_blocks(cell: str) -> None:
    named = [(kind, name) for kind, name in calls(Layer(CELLS[cell])) if name]
    assert [name for _, name in named] == [*BLOCKS[cell]]
    contents = "g" if "lstm" in cell and cell != "lstm-sigmoid" else "n"
    assert all(kind == ("tanh" if name == contents else "sigmoid") for kind, name in named)


@pytest.mark.parametrize(("cell", "form"), covering(CELLS), indirect=["form"])
def test_states_match_the_engine(cell: str, form: dict[str, Any], make_model: Any) -> None:
    layers = 1 if cell == "jordan" else 2
    shape = {"cell": cell, "num_layers": layers, **form}
    model: Model = make_model("abc", seed=3, scale=0.2, **shape)
    ids = model.tokenizer.encode(TEXT)
    found = activations(model, ids)
    assert [*found.parts] == [*CELLS[cell].states, *BLOCKS[cell]]
    assert {values.shape for values in found.parts.values()} == {(layers, len(TEXT), 5)}
    engine = NumpyEngine(model.config, model.values)
    _, read = engine.step(np.array([model.config.start_token]), engine.start_state(1))
    begin = 0
    for at in (*range(3), 255, 256, len(ids) - 1):
        read = engine.advance(ids[begin : at + 1, None].astype(np.int64), read)
        begin = at + 1
        for layer, parts in enumerate(read):
            for name, values in zip(found.states, parts, strict=True):
                assert found.parts[name][layer, at] == pytest.approx(values[0], abs=1e-6)


def test_the_layers_of_an_ensemble_are_those_of_its_networks(tiny_ensemble: Model) -> None:
    ids = tiny_ensemble.tokenizer.encode("hello low\n" * 30)
    found = activations(tiny_ensemble, ids, documents=[10])
    each = [activations(network, ids, documents=[10]) for network in tiny_ensemble.networks]
    assert found.gates == each[0].gates == ("i", "f", "o")
    for name, values in found.parts.items():
        assert values.shape == (4, len(ids), 5)
        np.testing.assert_array_equal(values[:2], each[0].parts[name])
        np.testing.assert_array_equal(values[2:], each[1].parts[name])


EQUATIONS = {
    "lstm": lambda p, c, h: (p["f"] * c + p["i"] * p["g"], p["o"] * np.tanh(p["c"])),
    "lstm-peephole-gers": lambda p, c, h: (p["f"] * c + p["i"] * p["g"], p["o"] * np.tanh(p["c"])),
    "lstm-coupled": lambda p, c, h: (p["f"] * c + (1 - p["f"]) * p["g"], p["o"] * np.tanh(p["c"])),
    "gru": lambda p, c, h: (None, (1 - p["z"]) * h + p["z"] * p["n"]),
    "gru-reset-after": lambda p, c, h: (None, (1 - p["z"]) * p["n"] + p["z"] * h),
}


@pytest.mark.parametrize("cell", EQUATIONS)
def test_gates_satisfy_the_cells_equations(cell: str, make_model: Any) -> None:
    """The next state follows from the old one and the recorded values by the textbook equations."""
    model: Model = make_model("abc", cell=cell, num_layers=2, layer_norm=True, recurrent_depth=2)
    parts = activations(model, model.tokenizer.encode(TEXT)).parts
    now = {name: values[:, 1:] for name, values in parts.items()}
    before = {name: values[:, :-1] for name, values in parts.items()}
    c, h = EQUATIONS[cell](now, before.get("c"), before["h"])
    assert now["h"] == pytest.approx(h, abs=1e-6)
    if c is not None:
        assert now["c"] == pytest.approx(c, abs=1e-6)


def test_saturation_is_the_share_of_the_text() -> None:
    """The first token opens the input gate, the second closes it; the other gates stay between."""
    config = ModelConfig(2, "lstm", hidden_size=3, embedding_size=0)
    values = {
        name: np.zeros(shape, np.float32) for name, shape in parameters.shapes(config).items()
    }
    values["layers.0.weight_ih"][:3, :2] = (9.0, -9.0)
    values["layers.0.bias"][3:6] = (9.0, 0.0, -9.0)
    model = Model(config, CharTokenizer("ab"), values)
    found = saturation(activations(model, model.tokenizer.encode("aaab")))
    assert [*found] == ["i", "f", "o"]
    assert found["i"].right.tolist() == [[0.75] * 3]
    assert found["i"].left.tolist() == [[0.25] * 3]
    assert (found["f"].left.tolist(), found["f"].right.tolist()) == ([[0, 0, 1]], [[1, 0, 0]])
    assert not found["o"].left.any()


def test_an_overflowing_state_is_an_error(make_model: Any) -> None:
    model: Model = make_model("abc", cell="irnn")
    model.values["layers.0.weight_hh"][:] = 1e30
    with pytest.raises(CharRNNError, match="overflow"):
        activations(model, model.tokenizer.encode(TEXT))
