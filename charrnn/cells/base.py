"""What a cell declares: its equation once, the blocks of its weights, and how they start.

Shapes use the letters of the whole project: T steps, B streams, V symbols, E embedding, H hidden
units, L layers; here also G, the number of blocks (gates) of a cell and X, the size of its input.
A cell is torch-free and numpy-light: its arithmetic is written for one unit over plain numbers,
so that the same lines serve numpy and torch arrays of any shape (elementwise).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Parts = tuple[Any, ...]  # one value (number or array of equal shape) per block or per state
Unit = Callable[[Parts, Parts, Parts], Parts]
Function = Callable[[Any], Any]
Weights = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Cell:
    """One recurrence.

    Attributes:
        name: what users type (``lstm``).
        title: its name in a sentence.
        equation: the equation as printed by ``charrnn cells``.
        blocks: names of the G row blocks of ``weight_ih`` (G*H, X) and ``weight_hh`` (G*H, H).
        states: names of what is carried from step to step; the first is the layer's output.
        equations: given sigmoid, tanh and relu, returns ``unit(x, r, state) -> state`` where
            ``x[g]`` is block g of ``weight_ih @ input + bias``, ``r[g]`` block g of
            ``weight_hh @ state[0]`` (plus ``bias_hh`` where the cell keeps two biases).
        two_biases: whether input and recurrent part keep a bias each.
        starts_as_identity: whether ``weight_hh`` starts as the identity, not as a random
            orthogonal matrix.
        bias: the value at which a block's bias starts, zero for the others.
    """

    name: str
    title: str
    equation: str
    blocks: tuple[str, ...]
    states: tuple[str, ...]
    equations: Callable[[Function, Function, Function], Unit]
    two_biases: bool = False
    starts_as_identity: bool = False
    bias: Mapping[str, float] = field(default_factory=dict)

    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of one layer's parameters, in the order they are stored."""
        rows = len(self.blocks) * hidden_size
        biases = ("bias_ih", "bias_hh") if self.two_biases else ("bias",)
        return {
            "weight_ih": (rows, input_size),
            "weight_hh": (rows, hidden_size),
            **dict.fromkeys(biases, (rows,)),
        }

    def initial(
        self, input_size: int, hidden_size: int, rng: np.random.Generator
    ) -> dict[str, Weights]:
        """One layer's first weights: Glorot for the input, orthogonal ones for the recurrence."""
        start = {
            name: np.zeros(shape, np.float32)
            for name, shape in self.shapes(input_size, hidden_size).items()
        }
        for g, block in enumerate(self.blocks):
            rows = slice(g * hidden_size, (g + 1) * hidden_size)
            start["weight_ih"][rows] = glorot(hidden_size, input_size, rng)
            random = not self.starts_as_identity
            start["weight_hh"][rows] = (
                orthogonal(hidden_size, rng) if random else np.eye(hidden_size)
            )
            start["bias_ih" if self.two_biases else "bias"][rows] = self.bias.get(block, 0.0)
        return start


def glorot(rows: int, columns: int, rng: np.random.Generator) -> Weights:
    """Uniform weights that keep the variance forward and backward (Glorot and Bengio 2010)."""
    bound = (6.0 / (rows + columns)) ** 0.5
    return rng.uniform(-bound, bound, (rows, columns)).astype(np.float32)


def orthogonal(size: int, rng: np.random.Generator) -> Weights:
    """A random orthogonal matrix (size, size): all its singular values are 1 (Saxe et al. 2014)."""
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    # Without the signs of r's diagonal the matrices would not be uniformly distributed.
    return np.asarray(q * np.sign(np.diagonal(r)), np.float32)
