"""Read and write safetensors files, checking the whole header before anything is allocated.

The library makes sure that offsets lie in the file and neither overlap nor leave gaps. The reader
says which tensors a file must hold, by name, type and shape.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from charrnn.errors import ModelError
from charrnn.storage.files import is_special, json_text, load_json

Arrays = dict[str, NDArray[Any]]
# Bytes of each type that charrnn writes, in the order in which the tensors stand in a file.
SIZES = {"F64": 8, "F32": 4, "U32": 4, "U16": 2, "I8": 1, "U8": 1}
_NAMES = dict(zip(["f8", "f4", "u4", "u2", "i1", "u1"], SIZES, strict=True))  # by numpy's names
_MAX_HEADER = 64 * 2**20
# Files that people pass by mistake, by their first bytes.
_FOREIGN = {
    b"PK\x03\x04": "a zip archive, as PyTorch's torch.save writes it",
    b"\x80\x02": "a Python pickle",
    b"\x80\x03": "a Python pickle",
    b"\x80\x04": "a Python pickle",
    b"\x80\x05": "a Python pickle",
    b"GGUF": "a GGUF model",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "a gzip archive",
}


@dataclass(frozen=True)
class Spec:
    """What a tensor must be.

    Attributes:
        dtype: one of `SIZES`, as safetensors spells them.
        shape: its shape.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Its size in the file."""
        return SIZES[self.dtype] * math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """The header of a file, not yet checked.

    Attributes:
        metadata: strings by name.
        entries: the description of each tensor.
        size: bytes of the whole file.
        start: where the tensors' bytes begin.
    """

    metadata: Mapping[str, Any]
    entries: Mapping[str, Any]
    size: int
    start: int


def blocks(
    arrays: Mapping[str, NDArray[Any]], metadata: dict[str, str] | None = None
) -> list[memoryview]:
    """Return the bytes of a file block by block; equal arrays give equal bytes.

    They are those of `safetensors.numpy.save`, which needs twice the memory of the arrays: each
    block after the header is the memory of an array.

    Args:
        arrays: the tensors by name, of the types in `SIZES`.
        metadata: strings by name.
    """
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    contents: list[memoryview] = []
    offset = 0
    types = {name: _NAMES[array.dtype.str[1:]] for name, array in arrays.items()}
    for name in sorted(arrays, key=lambda name: (list(SIZES).index(types[name]), name)):
        array = arrays[name]
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        contents.append(little.reshape(-1).view(np.uint8).data)
        end = offset + array.nbytes
        header[name] = {"dtype": types[name], "shape": array.shape, "data_offsets": [offset, end]}
        offset = end
    text = json_text(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of 8
    return [memoryview(struct.pack("<Q", len(text)) + text), *contents]


def read(path: Path, check: Callable[[Header], None]) -> tuple[Header, Arrays]:
    """Return a file's header and its tensors.

    Args:
        path: the file.
        check: called with the header before any tensor is read; raises an error to refuse it,
            usually by calling `expect`.

    Raises:
        ModelError: it is damaged, foreign, or not what `check` expects.
        OSError: it cannot be read.
    """
    if is_special(path):
        raise ModelError(f"{path} is a device or a pipe: name a file")
    with path.open("rb") as file:
        header = _header(path, file)
        check(header)
        file.seek(0)
        data = file.read(header.size + 1)
    try:
        arrays = safetensors.numpy.load(data)
    except safetensors.SafetensorError as error:
        raise ModelError(f"{path} is damaged: {error}") from error
    for name, array in arrays.items():
        if list(array.shape) != header.entries[name]["shape"]:
            raise ModelError(f"{path} is damaged: tensor '{name}' is described twice")
    return header, arrays


def expect(path: Path, header: Header, specs: Mapping[str, Spec]) -> None:
    """Refuse a header that does not have exactly these tensors, or a file of another size.

    Raises:
        ModelError: the message says what is wrong.
    """
    if header.entries.keys() != specs.keys():
        odd = sorted(header.entries.keys() ^ specs.keys())[:3]
        raise ModelError(f"{path} is damaged: its tensors are not those of its config ({odd})")
    for name, spec in specs.items():
        entry = header.entries[name]
        if not isinstance(entry, dict) or (
            (entry.get("dtype"), entry.get("shape")) != (spec.dtype, list(spec.shape))
        ):
            raise ModelError(
                f"{path} is damaged: tensor '{name}' does not have the shape {spec.shape}"
            )
    expected = header.start + sum(spec.bytes for spec in specs.values())
    if expected != header.size:
        how = "cut off at" if header.size < expected else "too long with"
        raise ModelError(f"{path} is damaged: it is {how} {header.size:,} bytes of {expected:,}")


def claimed(header: Header) -> dict[str, Spec]:
    """Return the tensors that a header says it has, where nothing else is known of them."""
    specs = {}
    for name, entry in header.entries.items():
        stated = entry if isinstance(entry, dict) else {}
        dtype, shape = stated.get("dtype"), stated.get("shape")
        if not isinstance(shape, list) or dtype not in SIZES:
            continue
        if all(type(size) is int and size > 0 for size in shape):
            specs[name] = Spec(dtype, tuple(shape))
    return specs


def _header(path: Path, file: Any) -> Header:
    """Read the JSON header, after checking its length."""
    size = file.seek(0, 2)
    file.seek(0)
    beginning = file.read(32)
    is_json = beginning[8:9] == b"{"  # then the bytes before are a length, whatever they look like
    for magic, what in _FOREIGN.items():
        if beginning.startswith(magic) and not is_json:
            raise ModelError(f"{path} is {what}; charrnn reads its own files only")
    length = struct.unpack("<Q", beginning[:8])[0] if len(beginning) >= 8 else size
    if length > min(size - 8, _MAX_HEADER):
        raise ModelError(f"{path} is not a charrnn model, or is cut off ({size:,} bytes)")
    file.seek(8)
    try:
        content = load_json(file.read(length))
    except ValueError as error:
        raise ModelError(f"{path} is damaged: its header is not readable ({error})") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} is damaged: its header is not an object")
    metadata = content.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise ModelError(f"{path} is damaged: its metadata is not an object")
    return Header(metadata, content, size, 8 + length)
