"""One layer over a window of T steps, with gradients, in torch.

A sequence function takes the input (T, B, X), the layer's state (each (B, H)) and its parameters
by name, and returns outputs (T, B, H) and the state after the last step.

`reference` is the plain loop over the cell's own equation: readable, any dtype, any cell;
`stepwise` is the same with each step compiled by torch, for CUDA.
`library` is torch's kernel (oneDNN on the CPU, cuDNN on CUDA) for the cells that it covers.
`charrnn.network.fused` runs any cell on the CPU at the speed of its products. `select` chooses.
"""

from __future__ import annotations

import functools
import importlib.util
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from charrnn.cells import Layer
from charrnn.cells.layer import EPSILON, Matrix
from charrnn.compiler.matmul import multiplies_bfloat16
from charrnn.errors import OptionError
from charrnn.network import fused

LayerState = tuple[Tensor, ...]
Readout = Callable[[Tensor], Tensor]
Step = Callable[..., LayerState]


class Sequence(Protocol):
    """What runs one layer over a window."""

    def __call__(
        self,
        layer: Layer,
        x: Tensor,
        state: LayerState,
        weights: Mapping[str, Tensor],
        *,
        zone: tuple[Tensor, ...] = (),
        readout: Readout | None = None,
    ) -> tuple[Tensor, LayerState]:
        """Input (T, B, X) and state -> outputs (T, B, H) and the state after the last step.

        Args:
            layer: the recurrence, and the form of the layers.
            x: the input.
            state: its parts, each (B, H).
            weights: the layer's parameters by name.
            zone: for zoneout, what part of the old state stays in each of its parts: spread to
                (T, B, H).
            readout: outputs (B, H) -> the network's distribution (B, V), for a cell that feeds
                it back.
        """
        ...


def reference(
    layer: Layer,
    x: Tensor,
    state: LayerState,
    weights: Mapping[str, Tensor],
    *,
    zone: tuple[Tensor, ...] = (),
    readout: Readout | None = None,
    step: Step | None = None,
) -> tuple[Tensor, LayerState]:
    """The recurrence as written, one step after the other; `step`: `_step` of `layer`."""
    states = list(reference_states(layer, x, state, weights, zone=zone, readout=readout, step=step))
    return torch.stack([state[0] for state in states]), states[-1]


def stepwise(
    layer: Layer,
    x: Tensor,
    state: LayerState,
    weights: Mapping[str, Tensor],
    *,
    zone: tuple[Tensor, ...] = (),
    readout: Readout | None = None,
    compiler: str = "inductor",
) -> tuple[Tensor, LayerState]:
    """The same loop with each step compiled by torch: what is elementwise becomes one kernel."""
    step = _compiled_step(layer, compiler)
    return reference(layer, x, state, weights, zone=zone, step=step)


def reference_states(
    layer: Layer,
    x: Tensor,
    state: LayerState,
    weights: Mapping[str, Tensor],
    *,
    zone: tuple[Tensor, ...] = (),
    readout: Readout | None = None,
    step: Step | None = None,
) -> Iterator[LayerState]:
    """The state after each step, each computed from the one before; `step`: `_step` of `layer`."""
    step = step or functools.partial(_step, layer)
    matrices = layer.matrices(weights)
    hidden, count = state[0].shape[-1], len(layer.cell.blocks)
    v = tuple(part for name in layer.vectors for part in torch.split(weights[name], hidden))
    parts = x @ weights["weight_ih"].T
    parts = _normalised(parts, count) if layer.layer_norm else parts + weights[layer.input_bias]
    masks = [mask.expand(len(x), *state[0].shape) for mask in zone]
    readout = readout if layer.cell.feeds_back else None
    for t, part in enumerate(parts):
        state = step(part, state, v, tuple(mask[t] for mask in masks), matrices, readout)
        yield state


def _step(
    layer: Layer,
    part: Tensor,
    state: LayerState,
    v: LayerState,
    zone: LayerState,
    matrices: list[Matrix],
    readout: Readout | None,
) -> LayerState:
    """The cell's own step on tensors: input parts (B, G*H), each part of the state (B, H)."""
    step = layer.step(torch.sigmoid, torch.tanh, torch.relu)
    x = torch.chunk(part, len(layer.cell.blocks), -1)
    return step(x, _products(matrices, readout), state, v, zone)


@functools.cache
def _compiled_step(layer: Layer, compiler: str) -> Step:
    return torch.compile(functools.partial(_step, layer), backend=compiler, dynamic=False)


def _products(matrices: list[Matrix], readout: Readout | None) -> Callable[[Tensor], LayerState]:
    """The products of one step, one by one."""
    left = iter(matrices)
    first = matrices[0]

    def product(operand: Tensor) -> LayerState:
        matrix = next(left)
        if readout is not None and matrix is first:
            operand = readout(operand)
        r = operand @ matrix.weight.T
        if matrix.normalized:
            r = _normalised(r, matrix.blocks)
        if matrix.bias is not None:
            r = r + matrix.bias
        return torch.chunk(r, matrix.blocks, -1)

    return product


def _normalised(parts: Tensor, blocks: int) -> Tensor:
    """Every block (..., H) of parts (..., blocks*H) with mean 0 and variance 1."""
    split = parts.view(*parts.shape[:-1], blocks, -1)
    return F.layer_norm(split, split.shape[-1:], eps=EPSILON).flatten(-2)


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


FASTER_IN_LIBRARY = ("lstm",)  # than the scaffold in float32, on the CPU
LIBRARY = {"elman": _elman, "irnn": _irnn, "lstm": _lstm, "gru-reset-after": _gru}


def library(
    layer: Layer,
    x: Tensor,
    state: LayerState,
    weights: Mapping[str, Tensor],
    *,
    zone: tuple[Tensor, ...] = (),
    readout: Readout | None = None,
) -> tuple[Tensor, LayerState]:
    """Torch's own kernel; the same function of the same parameters as `reference`."""
    if zone or not _in_library(layer):
        raise OptionError(f"the library has no {layer.cell.name} of this form")
    if layer.cell.two_biases:
        biases = [weights["bias_ih"], weights["bias_hh"]]
    else:  # the kernels add two biases; a cell with one has the other at zero
        biases = [weights["bias"], torch.zeros_like(weights["bias"])]
    flat = [weights["weight_ih"], weights["weight_hh"], *biases]
    return LIBRARY[layer.cell.name](x, state, flat)


def _in_library(layer: Layer) -> bool:
    return layer.cell.name in LIBRARY and layer.recurrent_depth == 1 and not layer.layer_norm


@dataclass(frozen=True)
class Kernel:
    """What runs the layers of a network in training.

    Attributes:
        backend: reference, library or scaffold.
        precision: float32, or bfloat16 for the products alone.
        reason: why this one.
        run: the sequence function.
    """

    backend: str
    precision: str
    reason: str
    run: Sequence

    @property
    def half(self) -> bool:
        """Whether products are made in bfloat16."""
        return self.precision == "bfloat16"


def select(
    layer: Layer,
    device: torch.device,
    precision: str = "auto",
    backend: str = "auto",
    *,
    zoneout: bool = False,
) -> Kernel:
    """What trains `layer` on `device`; a pure function of its arguments and the machine.

    On a CPU that multiplies bfloat16 itself the scaffold was faster than the library in float32
    from 128 units on (of 32 it was some tenths of a millisecond a window slower). In float32 the
    library's LSTM was faster than the scaffold, its other cells slower (`charrnn bench train`
    measures both).

    Raises:
        OptionError: the wish cannot be granted; says what can.
    """
    on_cpu = device.type == "cpu"
    if not on_cpu:  # only on CUDA
        # Parameters of their own are copied into one piece at each call: small beside the rest.
        warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous")
    compilable = on_cpu or importlib.util.find_spec("triton") is not None
    can = {
        "reference": True,
        "library": _in_library(layer) and not zoneout,
        "scaffold": compilable and not layer.cell.feeds_back,
    }
    if not can.get(backend, True):
        raise OptionError(f"--backend {backend} {_why_not(layer, backend)}: use auto")
    halved = on_cpu and can["scaffold"] and backend in ("auto", "scaffold")
    if precision == "bfloat16" and not halved:
        raise OptionError("--precision bfloat16 needs the scaffold on a CPU: use auto")
    if precision == "bfloat16" and not multiplies_bfloat16():
        raise OptionError(
            "--precision bfloat16 needs a CPU that multiplies it itself, by AVX512-BF16 or AMX: "
            "use auto"
        )
    if precision == "auto":
        precision = "bfloat16" if halved and multiplies_bfloat16() else "float32"
    if backend != "auto":
        reason = "as asked"
    elif precision == "bfloat16":
        backend, reason = "scaffold", "this CPU multiplies bfloat16 itself"
    elif can["library"] and (not on_cpu or layer.cell.name in FASTER_IN_LIBRARY):
        backend, reason = "library", "torch has this cell"
    elif can["scaffold"]:
        backend, reason = "scaffold", "faster than torch's own or than a plain loop"
    else:
        backend, reason = "reference", "nothing faster runs this cell here"
    return Kernel(backend, precision, reason, _run(backend, precision, on_cpu))


def _run(backend: str, precision: str, on_cpu: bool) -> Sequence:
    """The sequence function of a backend."""
    if backend == "scaffold" and on_cpu:
        return functools.partial(fused.sequence, half=precision == "bfloat16")
    return {"reference": reference, "library": library, "scaffold": stepwise}[backend]


def _why_not(layer: Layer, backend: str) -> str:
    """Why a backend cannot run a cell."""
    if backend == "library":
        return f"has no {layer.cell.name}, or not in this form"
    if layer.cell.feeds_back:
        return f"cannot run {layer.cell.name}, whose output map is inside the recurrence"
    return "needs Triton on CUDA, which is not installed"
