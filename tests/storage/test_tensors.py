"""Safetensors files are those of the library, byte for byte, and are made without copies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from charrnn.storage import files, tensors

RANDOM = np.random.default_rng(1)
ARRAYS = {
    "b.matrix": RANDOM.standard_normal((5, 3)).astype(np.float32),
    "a.matrix": RANDOM.standard_normal((2, 3, 4)).astype(np.float32),
    "turned": RANDOM.standard_normal((4, 6)).astype(np.float32).T,
    "part": RANDOM.standard_normal((4, 6)).astype(np.float32)[:, 1:4],
    "number": np.array(2.5, np.float32),
    "nothing": np.zeros((0, 3), np.float32),
    "norms": RANDOM.standard_normal(7),
    "big-endian": np.arange(5, dtype=">f4"),
    "counts": np.arange(3, dtype=np.uint32),
    "tokens": np.arange(5, dtype=np.uint16),
    "rounded": np.arange(-3, 4, dtype=np.int8),
    "rng.cpu": np.arange(9, dtype=np.uint8),
}
METADATA = {"charrnn": 'a "quoted" é 字 \N{GRINNING FACE} \\ \n\t\x01\x7f'}


@pytest.mark.parametrize("metadata", [None, METADATA])
@pytest.mark.parametrize("names", [tuple(ARRAYS), tuple(reversed(ARRAYS)), ("tokens",), ()])
def test_a_file_is_that_of_the_library(
    names: tuple[str, ...], metadata: dict[str, str] | None, tmp_path: Path
) -> None:
    arrays = {name: ARRAYS[name] for name in names}
    path = tmp_path / "made.safetensors"
    files.write_atomically(path, tensors.blocks(arrays, metadata))
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    assert path.read_bytes() == safetensors.numpy.save(contiguous, metadata)
    header, read = tensors.read(path, lambda header: None)
    assert header.metadata == (metadata or {})
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array, strict=name != "big-endian")


def test_the_memory_of_arrays_is_not_copied() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    _, block = tensors.blocks({"x": array})
    array[0, 0] = 7
    assert bytes(block) == array.tobytes()


def test_a_type_that_charrnn_does_not_write_is_refused() -> None:
    with pytest.raises(KeyError):
        tensors.blocks({"x": np.zeros(2, np.complex64)})
