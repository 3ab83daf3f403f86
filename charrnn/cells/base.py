"""The declaration of a cell: its equation, the blocks of its weights, how they start.

The equation is plain Python over the values of one unit, so the same lines run on numbers, numpy
arrays and torch tensors, and on the symbols from which charrnn derives and compiles the gradient.
It may use ``+ - * /`` and the functions in `FUNCTIONS`; it cannot compare values or branch on them.
Shapes in this folder: T steps, B streams, V tokens, H hidden units, G blocks (gates) of a cell,
X values per step of a layer's input.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

Parts = tuple[Any, ...]  # one value (number or array of equal shape) per block or per state
Function = Callable[..., Any]  # of one value, or of two
Product = Callable[[Any], Parts]  # an operand, one value per unit -> the blocks of its product
Unit = Callable[..., Parts]  # unit(x, W, state) -> state, or unit(x, W, state, v) with peepholes

# What an equation may ask for by naming it as an argument of ``equations``. Of equal values, max
# and min pass half of the derivative to each; abs and relu have derivative 0 at 0.
FUNCTIONS = ("sigmoid", "tanh", "relu", "exp", "abs", "max", "min")
_NAME = re.compile(r"[A-Za-z][\w-]{0,63}", re.ASCII)  # of a cell; it occurs in names of files
_WORD = re.compile(r"[a-z]+", re.ASCII)  # of a part; "1.c.37" names a unit of it


@dataclass(frozen=True, eq=False)
class Cell:
    """One recurrence.

    Attributes:
        name: what users type (``lstm``).
        title: its name in a sentence.
        equation: the equation as ``charrnn cells`` prints it.
        stages: the recurrent products of one step, in order, each with the names of its blocks.
            Together they are the R row blocks of ``weight_hh`` (R*H, H); () for a cell without.
        states: the names of what passes from step to step; the first is the layer's output.
        equations: given the `FUNCTIONS` that its arguments name, returns ``unit(x, W, state) ->
            state``. ``x[g]`` is block g of ``weight_ih @ input + bias``; each call ``W(operand)``
            returns the blocks of the next stage's product (plus ``bias_hh`` if the cell has two
            biases). The first operand must depend on the state alone.
        input_blocks: names of further blocks that the input alone has. After those of the stages
            they are the last of the G row blocks of ``weight_ih`` (G*H, X).
        peepholes: names of vectors (H,) that the unit gets as a fourth argument, one value each.
        two_biases: whether the input part and the recurrent part each have a bias.
        starts_as_identity: whether ``weight_hh`` starts as the identity; otherwise it starts as a
            random orthogonal matrix.
        feeds_back: whether W multiplies the network's output p = softmax(output map of the
            operand) instead of the operand: ``weight_hh`` is then (R*H, V).
        bias: initial bias of a block, by its name; the other blocks start at zero.

    Raises:
        ValueError: the declaration contradicts itself; the message is a sentence.
    """

    name: str
    title: str
    equation: str
    stages: tuple[tuple[str, ...], ...]
    states: tuple[str, ...]
    equations: Callable[..., Unit]
    input_blocks: tuple[str, ...] = ()
    peepholes: tuple[str, ...] = ()
    two_biases: bool = False
    starts_as_identity: bool = False
    feeds_back: bool = False
    bias: Mapping[str, float] = field(default_factory=dict)

    functions: tuple[str, ...] = field(init=False)  # those that `equations` asks for

    def __post_init__(self) -> None:
        """Check the declaration and find what its equations ask for."""
        _check(self)
        parameters = inspect.signature(self.equations).parameters
        asked = [name for name in parameters if name in FUNCTIONS]
        object.__setattr__(self, "functions", tuple(asked))
        for name, parameter in parameters.items():
            if name not in FUNCTIONS and parameter.default is parameter.empty:
                known = ", ".join(FUNCTIONS)
                raise ValueError(f"equations asks for '{name}': its arguments can be {known}")

    @property
    def recurrent_blocks(self) -> tuple[str, ...]:
        """Names of the R blocks of the recurrent products, in the order of the rows."""
        return tuple(chain.from_iterable(self.stages))

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of all G blocks, in the order of the rows of ``weight_ih``."""
        return self.recurrent_blocks + self.input_blocks

    def unit(self, functions: Mapping[str, Function]) -> Unit:
        """Return the equation of one unit, over values for which `functions` has `FUNCTIONS`."""
        return self.equations(**{name: functions[name] for name in self.functions})


def _check(cell: Cell) -> None:
    """Refuse a declaration that contradicts itself."""
    if not isinstance(cell.name, str) or not _NAME.fullmatch(cell.name):
        raise ValueError(
            f"the cell's name is {cell.name!r}: use letters, digits, - and _, a letter first"
        )
    for what, texts in {"title": cell.title, "equation": cell.equation}.items():
        if not isinstance(texts, str):
            raise ValueError(f"{what} must be a text")
    if not callable(cell.equations):
        raise ValueError("equations must be a function that returns the unit")
    if not isinstance(cell.stages, tuple) or () in cell.stages:
        raise ValueError("stages must be a tuple with a tuple of names for each call of W")
    named = {"states": cell.states, "input_blocks": cell.input_blocks, "peepholes": cell.peepholes}
    named |= {f"stages[{number}]": names for number, names in enumerate(cell.stages)}
    for what, names in named.items():
        if not isinstance(names, tuple) or not all(map(_is_word, names)):
            raise ValueError(
                f"{what} is {names!r}: it must be a tuple of names in small letters, as ('h',)"
            )
    if not cell.states or not cell.blocks:
        missing = "states" if cell.blocks else "stages or input_blocks"
        raise ValueError(f"the cell has no {missing}: name at least one")
    for what, names in {"block": cell.blocks, "state": cell.states}.items():
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two {what}s are called '{twice[0]}': give each a name of its own")
    if unknown := sorted({*cell.bias} - {*cell.blocks}):
        raise ValueError(f"bias has '{unknown[0]}': the blocks are {', '.join(cell.blocks)}")
    if not cell.stages and (cell.two_biases or cell.starts_as_identity or cell.feeds_back):
        raise ValueError(
            "two_biases, starts_as_identity and feeds_back are about W, which stages=() never calls"
        )


def _is_word(name: Any) -> bool:
    return isinstance(name, str) and bool(_WORD.fullmatch(name))
