"""One layer over a window of T steps, with gradients, in torch.

A sequence function takes the input (T, B, X), the layer's state (each (B, H)) and its parameters
by name, and returns outputs (T, B, H) and the state after the last step.

`reference` is the plain loop over the cell's own equation: readable, any dtype, any cell.
`library` is torch's kernel (oneDNN on the CPU, cuDNN on CUDA) for the cells that it covers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from charrnn.cells import Cell

LayerState = tuple[Tensor, ...]
Sequence = Callable[[Cell, Tensor, LayerState, Mapping[str, Tensor]], tuple[Tensor, LayerState]]


def reference(
    cell: Cell, x: Tensor, state: LayerState, weights: Mapping[str, Tensor]
) -> tuple[Tensor, LayerState]:
    """The recurrence as written, one step after the other."""
    unit = cell.equations(torch.sigmoid, torch.tanh, torch.relu)
    count = len(cell.blocks)
    parts = x @ weights["weight_ih"].T + weights["bias_ih" if cell.two_biases else "bias"]
    outputs = []
    for part in parts:
        r = state[0] @ weights["weight_hh"].T
        if cell.two_biases:
            r = r + weights["bias_hh"]
        state = unit(part.chunk(count, -1), r.chunk(count, -1), state)
        outputs.append(state[0])
    return torch.stack(outputs), state


# The arguments of torch's kernels after the weights: biases, layers, dropout, train,
# bidirectional, batch first.
_KERNEL_SETTINGS = (True, 1, 0.0, True, False, False)


def _elman(x: Tensor, state: LayerState, flat: list[Tensor]) -> tuple[Tensor, LayerState]:
    y, h = torch.rnn_tanh(x, state[0][None], flat, *_KERNEL_SETTINGS)
    return y, (h[0],)


def _lstm(x: Tensor, state: LayerState, flat: list[Tensor]) -> tuple[Tensor, LayerState]:
    y, h, c = torch.lstm(x, (state[0][None], state[1][None]), flat, *_KERNEL_SETTINGS)
    return y, (h[0], c[0])


def _gru(x: Tensor, state: LayerState, flat: list[Tensor]) -> tuple[Tensor, LayerState]:
    y, h = torch.gru(x, state[0][None], flat, *_KERNEL_SETTINGS)
    return y, (h[0],)


_LIBRARY = {"elman": _elman, "lstm": _lstm, "gru-reset-after": _gru}


def select(cell: Cell) -> Sequence:
    """What trains `cell`: the library's kernel where there is one, else the plain loop."""
    return library if cell.name in _LIBRARY else reference


def library(
    cell: Cell, x: Tensor, state: LayerState, weights: Mapping[str, Tensor]
) -> tuple[Tensor, LayerState]:
    """Torch's own kernel; the same function of the same parameters as `reference`."""
    if cell.two_biases:
        biases = [weights["bias_ih"], weights["bias_hh"]]
    else:  # the kernels add two biases; a cell with one has the other at zero
        biases = [weights["bias"], torch.zeros_like(weights["bias"])]
    flat = [weights["weight_ih"], weights["weight_hh"], *biases]
    return _LIBRARY[cell.name](x, state, flat)
