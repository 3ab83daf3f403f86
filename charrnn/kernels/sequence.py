"""One layer over a window of T steps, with gradients, in torch.

A sequence function takes the input (T, B, X), the layer's state (each (B, H)) and its parameters
by name, and returns outputs (T, B, H) and the state after the last step.

`reference` is the plain loop over the cell's own equation: readable, any dtype, any cell.
`library` is torch's kernel (oneDNN on the CPU, cuDNN on CUDA) for the cells that it covers.
`charrnn.kernels.scaffold` runs any cell on the CPU at the speed of its products. `select` chooses.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from charrnn.cells import Cell
from charrnn.errors import OptionError
from charrnn.kernels import scaffold

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


def _irnn(x: Tensor, state: LayerState, flat: list[Tensor]) -> tuple[Tensor, LayerState]:
    y, h = torch.rnn_relu(x, state[0][None], flat, *_KERNEL_SETTINGS)
    return y, (h[0],)


def _lstm(x: Tensor, state: LayerState, flat: list[Tensor]) -> tuple[Tensor, LayerState]:
    y, h, c = torch.lstm(x, (state[0][None], state[1][None]), flat, *_KERNEL_SETTINGS)
    return y, (h[0], c[0])


def _gru(x: Tensor, state: LayerState, flat: list[Tensor]) -> tuple[Tensor, LayerState]:
    y, h = torch.gru(x, state[0][None], flat, *_KERNEL_SETTINGS)
    return y, (h[0],)


LIBRARY = {"elman": _elman, "irnn": _irnn, "lstm": _lstm, "gru-reset-after": _gru}


def library(
    cell: Cell, x: Tensor, state: LayerState, weights: Mapping[str, Tensor]
) -> tuple[Tensor, LayerState]:
    """Torch's own kernel; the same function of the same parameters as `reference`."""
    if cell.two_biases:
        biases = [weights["bias_ih"], weights["bias_hh"]]
    else:  # the kernels add two biases; a cell with one has the other at zero
        biases = [weights["bias"], torch.zeros_like(weights["bias"])]
    flat = [weights["weight_ih"], weights["weight_hh"], *biases]
    return LIBRARY[cell.name](x, state, flat)


@dataclass(frozen=True)
class Kernel:
    """What runs the layers of a network in training.

    Attributes:
        backend: reference, library or scaffold.
        precision: float32, or bfloat16 for the products alone.
        run: the sequence function.
    """

    backend: str
    precision: str
    run: Sequence


def select(
    cell: Cell, device: torch.device, precision: str = "auto", backend: str = "auto"
) -> Kernel:
    """What trains `cell` on `device`; a pure function of its arguments and the machine.

    On a CPU that multiplies bfloat16 itself the scaffold was faster than the library in float32 at
    every size tried; without that, the library is taken where it has the cell.

    Raises:
        OptionError: the wish cannot be granted; says what can.
    """
    on_cpu = device.type == "cpu"
    if not on_cpu:  # only on CUDA
        # Parameters of their own are copied into one piece at each call: small beside the rest.
        warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous")
    covered = cell.name in LIBRARY
    if backend == "library" and not covered:
        raise OptionError(f"--backend library has no {cell.name}: use auto")
    if backend == "scaffold" and not on_cpu:
        raise OptionError("--backend scaffold runs on the CPU only: use auto")
    if precision == "bfloat16" and not (on_cpu and backend in ("auto", "scaffold")):
        raise OptionError("--precision bfloat16 needs the scaffold on a CPU: use auto")
    if precision == "auto":
        fitting = on_cpu and multiplies_bfloat16() and backend in ("auto", "scaffold")
        precision = "bfloat16" if fitting else "float32"
    if backend == "auto":
        if precision == "bfloat16":
            backend = "scaffold"
        elif covered:
            backend = "library"
        else:
            backend = "scaffold" if on_cpu else "reference"
    if backend == "scaffold":
        half = precision == "bfloat16"
        return Kernel(backend, precision, functools.partial(scaffold.sequence, half=half))
    return Kernel(backend, precision, library if backend == "library" else reference)


def multiplies_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 itself; where it does not, that is slow."""
    if not hasattr(torch.cpu, "get_capabilities"):  # newer than the oldest torch we run with
        return False
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
