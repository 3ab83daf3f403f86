"""What a cell declares: its equation once, the blocks of its weights, and how they start.

Shapes use the letters of the whole project: T steps, B streams, V symbols, E embedding, H hidden
units, L layers; here also G, the number of blocks (gates) of a cell and X, the size of its input.
A cell is torch-free and numpy-light: its arithmetic is written for one unit over plain numbers,
so that the same lines serve numpy and torch arrays of any shape, and the compiler of the kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from charrnn.arrays import Floats32

Parts = tuple[Any, ...]  # one value (number or array of equal shape) per block or per state
Function = Callable[[Any], Any]
Product = Callable[[Any], Parts]  # an operand, one value per unit -> the blocks of its product
Unit = Callable[..., Parts]  # unit(x, W, state) -> state, or unit(x, W, state, v) with vectors
Step = Callable[[Parts, Product, Parts, Parts, Parts], Parts]  # (x, W, state, v, zone) -> state
EPSILON = 1e-5  # added to the variance that a layer normalisation divides by


@dataclass(frozen=True)
class Matrix:
    """One recurrent product of a step, with the parameters of one layer (of any array library).

    Attributes:
        weight: (blocks*H, H), or (blocks*H, V) where the network's output is fed back.
        bias: (blocks*H,), added to the product; None where there is none.
        blocks: how many blocks it gives.
        normalised: whether each block is brought to mean 0 and variance 1 over its H units.
    """

    weight: Any
    bias: Any
    blocks: int
    normalised: bool


@dataclass(frozen=True, eq=False)
class Cell:
    """One recurrence.

    Attributes:
        name: what users type (``lstm``).
        title: its name in a sentence.
        equation: the equation as printed by ``charrnn cells``.
        stages: the recurrent products of one step, in order, each with the names of its blocks;
            all together the G row blocks of ``weight_ih`` (G*H, X) and ``weight_hh`` (G*H, H).
        states: names of what is carried from step to step; the first is the layer's output.
        equations: given sigmoid, tanh and relu, returns ``unit(x, W, state) -> state`` where
            ``x[g]`` is block g of ``weight_ih @ input + bias``, and each call ``W(operand)`` is
            the next stage's product (plus ``bias_hh`` where the cell keeps two biases), by block.
            The first operand may depend on the state alone.
        peepholes: names of vectors (H,) that the unit gets as a fourth argument, a value each.
        two_biases: whether input and recurrent part keep a bias each.
        starts_as_identity: whether ``weight_hh`` starts as the identity, not as a random
            orthogonal matrix.
        feeds_back: whether W meets the network's output, p = softmax(output map of the operand),
            in place of the operand: ``weight_hh`` is (G*H, V) then.
        bias: the value at which a block's bias starts, zero for the others.
        recurrent_depth: matrices on the way from an operand to its blocks; between them tanh.
        layer_norm: whether every block of ``weight_ih @ input`` and of every stage's product is
            normalised over its H units, scaled by a gain, and only then given its bias.
    """

    name: str
    title: str
    equation: str
    stages: tuple[tuple[str, ...], ...]
    states: tuple[str, ...]
    equations: Callable[[Function, Function, Function], Unit]
    peepholes: tuple[str, ...] = ()
    two_biases: bool = False
    starts_as_identity: bool = False
    feeds_back: bool = False
    bias: Mapping[str, float] = field(default_factory=dict)
    recurrent_depth: int = 1
    layer_norm: bool = False

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of all G blocks, in the order of the rows of the weights."""
        return tuple(chain.from_iterable(self.stages))

    @property
    def input_bias(self) -> str:
        """The name of the bias that belongs to the input part."""
        return "bias_ih" if self.two_biases else "bias"

    @property
    def vectors(self) -> tuple[str, ...]:
        """Parameters that the unit itself meets: peepholes, and what follows a normalisation."""
        named: tuple[str, ...] = ("peephole",) if self.peepholes else ()
        if self.layer_norm:
            named += ("gain_ih", "gain_hh", self.input_bias)
            named += ("bias_hh",) if self.two_biases else ()
        return named

    def step(self, sigmoid: Function, tanh: Function, relu: Function) -> Step:
        """One step of a layer: the unit, with what the layer's form adds to it.

        Returns:
            ``step(x, W, state, v, zone) -> state``: `v` are the blocks of the `vectors`; `zone`
            (one value per state, or nothing) is the part of the old state that stays, zoneout
            (Krueger et al. 2017).
        """
        unit = self.equations(sigmoid, tanh, relu)
        own, count = len(self.peepholes), len(self.blocks)

        def deep(W: Product) -> Product:
            def product(operand: Any) -> Parts:
                for _ in range(self.recurrent_depth - 1):
                    operand = tanh(W(operand)[0])
                return W(operand)

            return product

        def scaled(W: Product, gains: Parts, biases: Parts) -> Product:
            """Every block times its gain, plus its bias; blocks are counted over the stages."""
            left = iter(range(count))

            def product(operand: Any) -> Parts:
                parts = []
                for part in W(operand):
                    block = next(left)
                    parts.append(gains[block] * part + (biases[block] if biases else 0.0))
                return tuple(parts)

            return product

        def run(x: Parts, W: Product, state: Parts, v: Parts = (), zone: Parts = ()) -> Parts:
            peepholes, rest = v[:own], v[own:]
            W = deep(W)
            if self.layer_norm:
                gain_ih, gain_hh, bias, bias_hh = (
                    rest[k * count : (k + 1) * count] for k in range(4)
                )
                x = tuple(g * part + b for g, part, b in zip(gain_ih, x, bias, strict=True))
                W = scaled(W, gain_hh, bias_hh)
            new = unit(x, W, state, peepholes) if own else unit(x, W, state)
            if not zone:
                return new
            parts = zip(new, state, zone, strict=True)
            return tuple(keep * s + (1 - keep) * n for n, s, keep in parts)

        return run

    def first_operand(self, sigmoid: Function, tanh: Function, relu: Function) -> Function:
        """``state -> operand`` of a step's first product, found by running the unit up to it."""
        unit = self.equations(sigmoid, tanh, relu)

        def operand(state: Parts) -> Any:
            def W(operand: Any) -> Parts:
                raise _FoundError(operand)

            given = (state[0],) * len(self.blocks)  # any values: the operand depends on none
            try:
                unit(given, W, state, *([given] if self.peepholes else []))
            except _FoundError as found:
                return found.operand
            raise TypeError(f"the equation of {self.name} makes no product")

        return operand

    def matrices(self, weights: Mapping[str, Any]) -> list[Matrix]:
        """All recurrent products of a step in order, of one layer's parameters by name."""
        hidden_size = len(weights["weight_ih"]) // len(self.blocks)
        found: list[Matrix] = []
        first = 0
        for stage, blocks in enumerate(self.stages):
            for depth in range(self.recurrent_depth - 1):
                name = f"hidden.{stage}.{depth}"
                weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
                found.append(Matrix(weight, bias, 1, normalised=False))
            rows = slice(first * hidden_size, (first + len(blocks)) * hidden_size)
            weight, bias = weights["weight_hh"], None
            if self.two_biases and not self.layer_norm:
                bias = weights["bias_hh"]
            if len(self.stages) > 1:
                weight, bias = weight[rows], None if bias is None else bias[rows]
            found.append(Matrix(weight, bias, len(blocks), self.layer_norm))
            first += len(blocks)
        return found

    def shapes(
        self, input_size: int, hidden_size: int, output_size: int = 0
    ) -> dict[str, tuple[int, ...]]:
        """Names and shapes of one layer's parameters, in the order they are stored.

        `output_size` is V, asked for by a cell that feeds the output back.
        """
        rows = len(self.blocks) * hidden_size
        named: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, input_size),
            "weight_hh": (rows, output_size if self.feeds_back else hidden_size),
        }
        for stage in range(len(self.stages)):
            for depth in range(self.recurrent_depth - 1):
                columns = output_size if self.feeds_back and not depth else hidden_size
                named[f"hidden.{stage}.{depth}.weight"] = (hidden_size, columns)
                named[f"hidden.{stage}.{depth}.bias"] = (hidden_size,)
                named["weight_hh"] = (rows, hidden_size)
        if self.peepholes:
            named["peephole"] = (len(self.peepholes) * hidden_size,)
        if self.layer_norm:
            named |= {"gain_ih": (rows,), "gain_hh": (rows,)}
        named[self.input_bias] = (rows,)
        return named | ({"bias_hh": (rows,)} if self.two_biases else {})

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
        """One layer's first weights.

        Args:
            input_size: X.
            hidden_size: H.
            rng: the randomness.
            output_size: V, for a cell that feeds the output back.
            rule: ``auto``: Glorot for the input, for the recurrence what the cell wants (random
                orthogonal or the identity); ``orthogonal``: so for every recurrence; ``glorot``
                and ``he``: so for all matrices.
            forget_bias: where a forget gate's bias starts, in place of the cell's own value.
        """
        start = {
            name: np.zeros(shape, np.float32)
            for name, shape in self.shapes(input_size, hidden_size, output_size).items()
        }
        for g, block in enumerate(self.blocks):
            rows = slice(g * hidden_size, (g + 1) * hidden_size)
            for name, values in start.items():
                if values.ndim == 2 and len(values[rows]):
                    values[rows] = self._block(name, values[rows].shape, rng, rule)
            given = forget_bias if block == "f" else None
            start[self.input_bias][rows] = self.bias.get(block, 0.0) if given is None else given
        for name in ("gain_ih", "gain_hh") if self.layer_norm else ():
            start[name][:] = 1.0
        return start

    def _block(
        self, name: str, shape: tuple[int, ...], rng: np.random.Generator, rule: str
    ) -> Floats32:
        """The first values of one block of a matrix."""
        rows, columns = shape
        if rule == "he":
            return he(rows, columns, rng)
        if name == "weight_ih" or rule == "glorot" or rows != columns:
            return glorot(rows, columns, rng)
        if name == "weight_hh" and self.starts_as_identity and rule == "auto":
            return np.asarray(np.eye(rows), np.float32)
        return orthogonal(rows, rng)


class _FoundError(Exception):
    """Ends a unit's run at its first product."""

    def __init__(self, operand: Any) -> None:
        super().__init__()
        self.operand = operand


def glorot(rows: int, columns: int, rng: np.random.Generator) -> Floats32:
    """Uniform weights that keep the variance forward and backward (Glorot and Bengio 2010)."""
    bound = (6.0 / (rows + columns)) ** 0.5
    return rng.uniform(-bound, bound, (rows, columns)).astype(np.float32)


def he(rows: int, columns: int, rng: np.random.Generator) -> Floats32:
    """Normal weights that keep the variance through rectified units (He et al. 2015)."""
    normal = rng.standard_normal((rows, columns)) * (2.0 / columns) ** 0.5
    return np.asarray(normal, np.float32)


def orthogonal(size: int, rng: np.random.Generator) -> Floats32:
    """A random orthogonal matrix (size, size): all its singular values are 1 (Saxe et al. 2014)."""
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    # Without the signs of r's diagonal the matrices would not be uniformly distributed.
    return np.asarray(q * np.sign(np.diagonal(r)), np.float32)
