"""What the author of a cell declares: its equation, the blocks of its weights, how they start.

The equation is plain Python over the values of one unit, so the same lines run on numbers, numpy
arrays and torch tensors, and on the symbols from which charrnn derives and compiles the gradient.
Shapes in this folder: T steps, B streams, V tokens, H hidden units, G blocks (gates) of a cell,
X values per step of a layer's input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

Parts = tuple[Any, ...]  # one value (number or array of equal shape) per block or per state
Function = Callable[[Any], Any]
Product = Callable[[Any], Parts]  # an operand, one value per unit -> the blocks of its product
Unit = Callable[..., Parts]  # unit(x, W, state) -> state, or unit(x, W, state, v) with peepholes


@dataclass(frozen=True, eq=False)
class Cell:
    """One recurrence.

    Attributes:
        name: what users type (``lstm``).
        title: its name in a sentence.
        equation: the equation as ``charrnn cells`` prints it.
        stages: the recurrent products of one step, in order, each with the names of its blocks.
            Together they are the G row blocks of ``weight_ih`` (G*H, X) and ``weight_hh`` (G*H, H).
        states: the names of what passes from step to step; the first is the layer's output.
        equations: given sigmoid, tanh and relu, returns ``unit(x, W, state) -> state``. ``x[g]`` is
            block g of ``weight_ih @ input + bias``; each call ``W(operand)`` returns the blocks of
            the next stage's product (plus ``bias_hh`` if the cell has two biases). The first
            operand must depend on the state alone.
        peepholes: names of vectors (H,) that the unit gets as a fourth argument, one value each.
        two_biases: whether the input part and the recurrent part each have a bias.
        starts_as_identity: whether ``weight_hh`` starts as the identity; otherwise it starts as a
            random orthogonal matrix.
        feeds_back: whether W multiplies the network's output p = softmax(output map of the
            operand) instead of the operand: ``weight_hh`` is then (G*H, V).
        bias: initial bias of a block, by its name; the other blocks start at zero.
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

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of all G blocks, in the order of the rows of the weights."""
        return tuple(chain.from_iterable(self.stages))
