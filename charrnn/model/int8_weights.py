"""Matrices of a model file in int8: a byte for each weight, and a factor for each row.

NAME         I8 (rows, ...)   the weights, divided by the factor of their row and rounded
NAME.scale   F32 (rows,)      the largest magnitude of the row / 127; 1 for a row of zeros

Vectors (biases, gains, peepholes) stay float32. An embedding has a row for each token, a weight
matrix one for each unit or token that it computes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from charrnn.model.parameters import Parameters, Shape
from charrnn.storage.tensors import Arrays, Spec

LARGEST = 127


def _scale_name(name: str) -> str:
    return f"{name}.scale"


def specs(shapes: Mapping[str, Shape]) -> dict[str, Spec]:
    """Return the tensors that hold parameters of these shapes."""
    found = {}
    for name, shape in shapes.items():
        if len(shape) < 2:
            found[name] = Spec("F32", shape)
        else:
            found |= {name: Spec("I8", shape), _scale_name(name): Spec("F32", shape[:1])}
    return found


def pack(values: Parameters) -> Arrays:
    """Return the tensors that hold these float32 parameters."""
    packed: Arrays = {}
    for name, value in values.items():
        if value.ndim < 2:
            packed[name] = value
            continue
        peak = np.abs(value).max(axis=tuple(range(1, value.ndim)), keepdims=True)
        scale = np.where(peak > 0, peak / np.float32(LARGEST), np.float32(1))
        packed[name] = np.rint(value / scale).astype(np.int8)
        packed[_scale_name(name)] = scale.reshape(-1)
    return packed


def unpack(arrays: Arrays) -> Arrays:
    """Return the parameters that these tensors hold, in float32; of float32 tensors, themselves."""
    whole = {name for name, array in arrays.items() if array.dtype == np.int8}
    scales = {_scale_name(name) for name in whole}
    values = {name: array for name, array in arrays.items() if name not in scales}
    with np.errstate(all="ignore"):  # whoever reads a file refuses what is not finite
        for name in whole:
            scale = arrays.get(_scale_name(name), np.ones(len(values[name]), np.float32))
            rows = scale.reshape(-1, *[1] * (values[name].ndim - 1))
            values[name] = values[name] * rows
    return values
