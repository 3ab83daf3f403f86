"""The functions of equations, for tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from charrnn.cells.base import Function


def _of_two(function: Callable[[Tensor, Tensor], Tensor]) -> Function:
    """Return a function of two values, of which one may be a number."""

    def apply(a: Tensor | float, b: Tensor | float) -> Tensor:
        if not isinstance(a, Tensor):
            a, b = b, a  # both functions are symmetric
        assert isinstance(a, Tensor)
        return function(a, b if isinstance(b, Tensor) else torch.full_like(a, b))

    return apply


FUNCTIONS: Mapping[str, Function] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "exp": torch.exp,
    "abs": torch.abs,
    "max": _of_two(torch.maximum),
    "min": _of_two(torch.minimum),
}
