"""A torch module that holds parameters by their names in the model file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


class NamedParameters(nn.Module):
    """Parameters by name.

    Args:
        values: arrays by name, in the order in which they are stored; copied.
    """

    def __init__(self, values: Mapping[str, NDArray[Any]]) -> None:
        super().__init__()
        self._attributes = {name: _attribute(name) for name in values}
        for name, value in values.items():
            self.register_parameter(_attribute(name), nn.Parameter(torch.tensor(np.array(value))))

    def weights(self) -> dict[str, nn.Parameter]:
        """Return the parameters by their names in the model file."""
        known: Any = self._parameters  # which `getattr` would look up much more slowly
        return {name: known[attribute] for name, attribute in self._attributes.items()}

    def values(self) -> dict[str, NDArray[np.float32]]:
        """Return a copy of the parameters as arrays."""
        return {name: w.detach().cpu().numpy().copy() for name, w in self.weights().items()}

    def load(self, values: Mapping[str, NDArray[Any]]) -> None:
        """Copy `values` into the parameters."""
        with torch.no_grad():
            for name, weight in self.weights().items():
                weight.copy_(torch.from_numpy(values[name]))

    @property
    def device(self) -> torch.device:
        """The device that holds the parameters."""
        return next(self.parameters()).device


def _attribute(name: str) -> str:
    """Return a parameter's name in the module: torch allows no dots there."""
    return name.replace(".", "_")
