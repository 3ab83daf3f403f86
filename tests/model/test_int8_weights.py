from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from charrnn.errors import ModelError
from charrnn.model import int8_weights, model_file, parameters
from charrnn.model.model_file import FORMAT_VERSION, INT8_FORMAT, Model

MakeModel = Callable[..., Model]


@pytest.fixture
def model(make_model: MakeModel) -> Model:
    return replace(make_model("abcdé", cell="lstm-peephole", num_layers=2), format=INT8_FORMAT)


def test_each_weight_is_within_half_a_step_of_its_row_and_vectors_are_exact(model: Model) -> None:
    packed = int8_weights.pack(model.values)
    restored = int8_weights.unpack(packed)
    assert restored.keys() == model.values.keys()
    for name, value in model.values.items():
        assert restored[name].dtype == np.float32
        if value.ndim < 2:
            np.testing.assert_array_equal(restored[name], value)
            continue
        assert packed[name].dtype == np.int8
        steps = np.abs(value).max(1, keepdims=True) / 127
        assert np.all(np.abs(restored[name] - value) <= 0.5001 * steps)
        assert np.abs(restored[name] - value).max() > 0


def test_a_row_of_zeros_stays_zero() -> None:
    values = {"w": np.array([[0, 0], [-2, 1]], np.float32)}
    restored = int8_weights.unpack(int8_weights.pack(values))["w"]
    np.testing.assert_allclose(restored, [[0, 0], [-2, 1]], atol=2 / 127 / 2)
    assert not restored[0].any()


def test_a_saved_model_is_loaded_with_rounded_weights(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "m"
    model_file.save(path, model)
    loaded = model_file.load(path)
    assert (loaded.config, loaded.tokenizer) == (model.config, model.tokenizer)
    assert (loaded.training, loaded.format) == (model.training, INT8_FORMAT)
    expected = int8_weights.unpack(int8_weights.pack(model.values))
    for name, value in expected.items():
        np.testing.assert_array_equal(loaded.values[name], value)
    model_file.save(tmp_path / "again", loaded)  # rounding again changes no weight
    for name, value in model_file.load(tmp_path / "again").values.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-6)
    model_file.save(tmp_path / "float", replace(loaded, format=FORMAT_VERSION))
    assert model_file.load(tmp_path / "float").format == FORMAT_VERSION


def test_a_file_takes_about_a_byte_for_each_weight(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model("abc", hidden_size=64, embedding_size=32)
    model_file.save(tmp_path / "m", replace(model, format=INT8_FORMAT))
    assert (tmp_path / "m").stat().st_size < 1.3 * parameters.count(model.config) + 4000


def _changed(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Write other tensors below the header's metadata of a file."""
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    arrays = dict(safetensors.numpy.load_file(path))
    change(arrays)
    safetensors.numpy.save_file(arrays, path, metadata)


def _without_factors(arrays: dict[str, Any]) -> None:
    del arrays["output.weight.scale"]


def _with_float_weights(arrays: dict[str, Any]) -> None:
    arrays["output.weight"] = arrays["output.weight"].astype(np.float32)


def _with_another_weight(arrays: dict[str, Any]) -> None:
    arrays["output.weight"] = arrays["output.weight"] ^ 1


@pytest.mark.parametrize("change", [_without_factors, _with_float_weights, _with_another_weight])
def test_a_damaged_file_is_refused(
    model: Model, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    path = tmp_path / "m"
    model_file.save(path, model)
    _changed(path, change)
    with pytest.raises(ModelError, match="is damaged"):
        model_file.load(path)
