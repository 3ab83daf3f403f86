"""The parameters of a whole network by name: their shapes, their first values, their number.

embedding               (V + 1, E)   row V is the start symbol; absent when symbols are one-hot
layers.l.weight_ih      (G*H, X)     X = E (or V + 1) in layer 0, H above
layers.l.weight_hh      (G*H, H)
layers.l.bias           (G*H,)       or bias_ih and bias_hh, as the cell declares
output.weight           (V, H)
output.bias             (V,)
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from charrnn.cells import CELLS
from charrnn.cells.base import glorot
from charrnn.config import ModelConfig

Parameters = Mapping[str, NDArray[np.float32]]


def input_sizes(config: ModelConfig) -> list[int]:
    """X of every layer."""
    first = config.embedding_size or config.vocab_size + 1
    return [first] + [config.hidden_size] * (config.num_layers - 1)


def shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all parameters, in the order they are stored."""
    cell = CELLS[config.cell]
    named: dict[str, tuple[int, ...]] = {}
    if config.embedding_size:
        named["embedding"] = (config.vocab_size + 1, config.embedding_size)
    for layer, size in enumerate(input_sizes(config)):
        for name, shape in cell.shapes(size, config.hidden_size).items():
            named[f"layers.{layer}.{name}"] = shape
    named["output.weight"] = (config.vocab_size, config.hidden_size)
    named["output.bias"] = (config.vocab_size,)
    return named


def count(config: ModelConfig) -> int:
    """The number of trained values."""
    return sum(math.prod(shape) for shape in shapes(config).values())


def initial(config: ModelConfig, seed: int) -> dict[str, NDArray[np.float32]]:
    """First values: unit normal embedding, the cells' own rules, Glorot output, zero bias."""
    rng = np.random.default_rng([seed, 0x1217])
    cell = CELLS[config.cell]
    values: dict[str, NDArray[np.float32]] = {}
    if config.embedding_size:
        shape = shapes(config)["embedding"]
        values["embedding"] = rng.standard_normal(shape).astype(np.float32)
    for layer, size in enumerate(input_sizes(config)):
        for name, value in cell.initial(size, config.hidden_size, rng).items():
            values[f"layers.{layer}.{name}"] = value
    values["output.weight"] = glorot(config.vocab_size, config.hidden_size, rng)
    values["output.bias"] = np.zeros(config.vocab_size, np.float32)
    return values


def layer(
    parameters: Mapping[str, NDArray[np.float32]], index: int
) -> dict[str, NDArray[np.float32]]:
    """The parameters of one layer, by their names within it."""
    prefix = f"layers.{index}."
    return {
        name.removeprefix(prefix): value
        for name, value in parameters.items()
        if name.startswith(prefix)
    }
