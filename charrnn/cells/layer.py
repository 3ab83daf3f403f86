"""Derive a layer from a cell's declaration: its parameters, its step and its products."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from charrnn.arrays import Floats32
from charrnn.cells.base import Cell, Function, Parts, Product
from charrnn.cells.initial import glorot, he, orthogonal

Step = Callable[[Parts, Product, Parts, Parts, Parts], Parts]  # (x, W, state, v, zone) -> state
EPSILON = 1e-5  # added to the variance that a layer normalization divides by


@dataclass(frozen=True)
class Matrix:
    """One recurrent product of a step, with the parameters of one layer (of any array library).

    Attributes:
        weight: (blocks*H, H), or (blocks*H, V) where the network's output is fed back.
        bias: (blocks*H,), added to the product; None for no bias.
        blocks: the number of blocks of the product.
        normalized: whether each block is normalized to mean 0 and variance 1 over its H units.
    """

    weight: Any
    bias: Any
    blocks: int
    normalized: bool


@dataclass(frozen=True)
class Layer:
    """A recurrent layer: a cell, and the form that all layers of a network share.

    Attributes:
        cell: the recurrence.
        recurrent_depth: matrices between an operand and its blocks, with tanh between them
            (Pascanu et al. 2013).
        layer_norm: whether each block of ``weight_ih @ input`` and of every recurrent product is
            normalized over its H units, scaled by a gain, and only then gets its bias
            (Ba et al. 2016).
    """

    cell: Cell
    recurrent_depth: int = 1
    layer_norm: bool = False

    @property
    def input_bias(self) -> str:
        """The name of the bias that belongs to the input part."""
        return "bias_ih" if self.cell.two_biases else "bias"

    @property
    def vectors(self) -> tuple[str, ...]:
        """Names of the parameters that the step itself reads, each one value per unit and block.

        These are the peepholes and, with layer normalization, gains and biases.
        """
        names: tuple[str, ...] = ("peephole",) if self.cell.peepholes else ()
        if self.layer_norm:
            names += ("gain_ih", "gain_hh") if self.cell.stages else ("gain_ih",)
            names += (self.input_bias, "bias_hh") if self.cell.two_biases else (self.input_bias,)
        return names

    @property
    def vector_values(self) -> int:
        """The number of values that one unit's step reads from the `vectors`."""
        shapes = self.shapes(1, 1, 1)
        return sum(shapes[name][0] for name in self.vectors)

    @property
    def products(self) -> tuple[int, ...]:
        """The number of blocks of each product of a step, in order."""
        inner = [1] * (self.recurrent_depth - 1)
        return tuple(count for stage in self.cell.stages for count in (*inner, len(stage)))

    def step(self, functions: Mapping[str, Function]) -> Step:
        """Return one step of the layer: the cell's unit, and what the layer's form adds to it.

        Args:
            functions: `charrnn.cells.base.FUNCTIONS` by name, for the values that it runs on.

        Returns:
            ``step(x, W, state, v, zone) -> state``: `v` holds the blocks of the `vectors`; `zone`
            (one value per state, or empty) is the share of the old state that stays, zoneout
            (Krueger et al. 2017).
        """
        unit, tanh = self.cell.unit(functions), functions["tanh"]
        peepholes, blocks = len(self.cell.peepholes), len(self.cell.blocks)
        ends = [0, *accumulate((blocks, len(self.cell.recurrent_blocks)) * 2)]

        def run(x: Parts, W: Product, state: Parts, v: Parts = (), zone: Parts = ()) -> Parts:
            own, rest = v[:peepholes], v[peepholes:]
            W = self._deepen(W, tanh)
            if self.layer_norm:
                gain_ih, gain_hh, bias, bias_hh = (rest[a:b] for a, b in pairwise(ends))
                x = tuple(g * part + b for g, part, b in zip(gain_ih, x, bias, strict=True))
                W = _scale(W, gain_hh, bias_hh)
            new = unit(x, W, state, own) if own else unit(x, W, state)
            if not zone:
                return new
            parts = zip(new, state, zone, strict=True)
            return tuple(share * s + (1 - share) * n for n, s, share in parts)

        return run

    def _deepen(self, W: Product, tanh: Function) -> Product:
        """Return a product that runs through all matrices of a deep recurrent map."""

        def product(operand: Any) -> Parts:
            for _ in range(self.recurrent_depth - 1):
                operand = tanh(W(operand)[0])
            return W(operand)

        return product

    def matrices(self, weights: Mapping[str, Any]) -> list[Matrix]:
        """Return the recurrent products of a step in order, from a layer's parameters by name."""
        stages = self.cell.stages
        hidden_size = len(weights["weight_ih"]) // len(self.cell.blocks)
        matrices: list[Matrix] = []
        first = 0
        for stage, blocks in enumerate(stages):
            for depth in range(self.recurrent_depth - 1):
                name = f"hidden.{stage}.{depth}"
                weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
                matrices.append(Matrix(weight, bias, 1, normalized=False))
            rows = slice(first * hidden_size, (first + len(blocks)) * hidden_size)
            weight, bias = weights["weight_hh"], None
            if self.cell.two_biases and not self.layer_norm:
                bias = weights["bias_hh"]
            if len(stages) > 1:
                weight, bias = weight[rows], None if bias is None else bias[rows]
            matrices.append(Matrix(weight, bias, len(blocks), self.layer_norm))
            first += len(blocks)
        return matrices

    def shapes(
        self, input_size: int, hidden_size: int, output_size: int = 0
    ) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of one layer's parameters, in the order they are stored.

        `output_size` is V; only a cell that feeds the output back needs it.
        """
        cell, rows = self.cell, len(self.cell.blocks) * hidden_size
        recurrent = len(cell.recurrent_blocks) * hidden_size
        named: dict[str, tuple[int, ...]] = {"weight_ih": (rows, input_size)}
        if cell.stages:
            named["weight_hh"] = (recurrent, output_size if cell.feeds_back else hidden_size)
        for stage in range(len(cell.stages)):
            for depth in range(self.recurrent_depth - 1):
                columns = output_size if cell.feeds_back and not depth else hidden_size
                named[f"hidden.{stage}.{depth}.weight"] = (hidden_size, columns)
                named[f"hidden.{stage}.{depth}.bias"] = (hidden_size,)
                named["weight_hh"] = (recurrent, hidden_size)
        if cell.peepholes:
            named["peephole"] = (len(cell.peepholes) * hidden_size,)
        if self.layer_norm:
            named["gain_ih"] = (rows,)
            named |= {"gain_hh": (recurrent,)} if cell.stages else {}
        named[self.input_bias] = (rows,)
        return named | ({"bias_hh": (recurrent,)} if cell.two_biases else {})

    def initial(
        self,
        input_size: int,
        hidden_size: int,
        rng: np.random.Generator,
        *,
        output_size: int = 0,
        rule: str = "auto",
        forget_bias: float | None = None,
    ) -> dict[str, Floats32]:
        """Return one layer's initial parameters by name.

        Args:
            input_size: X.
            hidden_size: H.
            rng: the source of randomness.
            output_size: V, for a cell that feeds the output back.
            rule: ``auto`` uses Glorot for the input and what the cell declares for the recurrence
                (random orthogonal or identity); ``orthogonal`` makes every recurrent matrix
                orthogonal; ``glorot`` and ``he`` apply to all matrices.
            forget_bias: the initial bias of a forget gate, instead of the cell's own value.
        """
        start = {
            name: np.zeros(shape, np.float32)
            for name, shape in self.shapes(input_size, hidden_size, output_size).items()
        }
        for g, block in enumerate(self.cell.blocks):
            rows = slice(g * hidden_size, (g + 1) * hidden_size)
            for name, values in start.items():
                if values.ndim == 2 and len(values[rows]):
                    values[rows] = self._initial_block(name, values[rows].shape, rng, rule)
            bias = self.cell.bias.get(block, 0.0)
            if block == "f" and forget_bias is not None:
                bias = forget_bias
            start[self.input_bias][rows] = bias
        for name in start.keys() & {"gain_ih", "gain_hh"}:
            start[name][:] = 1.0
        return start

    def _initial_block(
        self, name: str, shape: tuple[int, ...], rng: np.random.Generator, rule: str
    ) -> Floats32:
        """Return the initial values of one block of a matrix."""
        rows, columns = shape
        if rule == "he":
            return he(rows, columns, rng)
        if name == "weight_ih" or rule == "glorot" or rows != columns:
            return glorot(rows, columns, rng)
        if name == "weight_hh" and self.cell.starts_as_identity and rule == "auto":
            return np.asarray(np.eye(rows), np.float32)
        return orthogonal(rows, rng)


def _scale(W: Product, gains: Parts, biases: Parts) -> Product:
    """Return a product whose blocks, counted over all its calls, get a gain and a bias each."""
    left = iter(range(len(gains)))

    def product(operand: Any) -> Parts:
        parts = []
        for part in W(operand):
            block = next(left)
            parts.append(gains[block] * part + (biases[block] if biases else 0.0))
        return tuple(parts)

    return product
