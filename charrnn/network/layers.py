"""One layer over a window of T steps, with gradients, in torch.

A sequence function takes the input (T, B, X), the layer's state (each part (B, H)) and its
parameters by name; it returns the outputs (T, B, H) and the state after the last step.

`reference` loops over the cell's equation: readable, for any dtype and any cell. For CUDA, it has
each step compiled by torch.
`library` is torch's kernel (oneDNN on the CPU, cuDNN on CUDA) for the cells that torch has.
`charrnn.network.fused` compiles a whole window of any cell, for the CPU.
`select` chooses between them.
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
from charrnn.compiler.cache import CFunction
from charrnn.compiler.processor import is_x86, multiplies_bfloat16, product_kind
from charrnn.errors import OptionError
from charrnn.network import fused, fused_codegen
from charrnn.network.functions import FUNCTIONS

LayerState = tuple[Tensor, ...]
State = tuple[LayerState, ...]  # of each layer
Readout = Callable[[Tensor], Tensor]
Step = Callable[..., LayerState]


class Sequence(Protocol):
    """A function that runs one layer over a window."""

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
        """Return the outputs (T, B, H) and the state after the last step.

        Args:
            layer: the recurrence and its form.
            x: the input (T, B, X).
            state: the parts of the state before the first step, each (B, H).
            weights: the layer's parameters by name.
            zone: for zoneout, the share of each part of the old state that stays, each
                broadcastable to (T, B, H).
            readout: maps outputs (B, H) to the network's distribution (B, V), for a cell that
                feeds it back.
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
    compiler: str | None = None,
) -> tuple[Tensor, LayerState]:
    """Run the recurrence as written, one step after the other.

    With a `compiler` (one of torch's) each step is compiled, which fuses elementwise operations.
    """
    states = list(
        reference_states(layer, x, state, weights, zone=zone, readout=readout, compiler=compiler)
    )
    return torch.stack([state[0] for state in states]), states[-1]


def reference_states(
    layer: Layer,
    x: Tensor,
    state: LayerState,
    weights: Mapping[str, Tensor],
    *,
    zone: tuple[Tensor, ...] = (),
    readout: Readout | None = None,
    compiler: str | None = None,
) -> Iterator[LayerState]:
    """Yield the state after each step, each computed from the one before; see `reference`."""
    step = _compiled_step(layer, compiler) if compiler else _plain_step(layer)
    matrices = layer.matrices(weights)
    hidden, count = state[0].shape[-1], len(layer.cell.blocks)
    v = tuple(part for name in layer.vectors for part in torch.split(weights[name], hidden))
    parts = x @ weights["weight_ih"].T
    parts = _normalize(parts, count) if layer.layer_norm else parts + weights[layer.input_bias]
    masks = [mask.expand(len(x), *state[0].shape) for mask in zone]
    readout = readout if layer.cell.feeds_back else None
    for t, part in enumerate(parts):
        state = step(part, state, v, tuple(mask[t] for mask in masks), matrices, readout)
        yield state


def _step(
    layer: Layer,
    run: Step,
    part: Tensor,
    state: LayerState,
    v: LayerState,
    zone: LayerState,
    matrices: list[Matrix],
    readout: Readout | None,
) -> LayerState:
    """Run the layer's step on tensors: input parts (B, G*H), each part of the state (B, H)."""
    x = torch.chunk(part, len(layer.cell.blocks), -1)
    return run(x, _products(matrices, readout), state, v, zone)


def _plain_step(layer: Layer) -> Step:
    return functools.partial(_step, layer, layer.step(FUNCTIONS))


@functools.cache
def _compiled_step(layer: Layer, compiler: str) -> Step:
    import torch._meta_registrations  # the command line leaves it out where nothing needs it

    return torch.compile(_plain_step(layer), backend=compiler, dynamic=False)


def _products(matrices: list[Matrix], readout: Readout | None) -> Callable[[Tensor], LayerState]:
    """Return a function that makes the products of one step, one per call."""
    left = iter(matrices)
    first = matrices[0] if matrices else None

    def product(operand: Tensor) -> LayerState:
        matrix = next(left)
        if readout is not None and matrix is first:
            operand = readout(operand)
        r = operand @ matrix.weight.T
        if matrix.normalized:
            r = _normalize(r, matrix.blocks)
        if matrix.bias is not None:
            r = r + matrix.bias
        return torch.chunk(r, matrix.blocks, -1)

    return product


def _normalize(parts: Tensor, blocks: int) -> Tensor:
    """Normalize every block (..., H) of parts (..., blocks*H) to mean 0 and variance 1."""
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
    """Run torch's own kernel, which computes the same as `reference`.

    Raises:
        OptionError: torch has no such cell, or not with this form or zoneout.
    """
    if zone or not in_library(layer):
        raise OptionError(f"the library has no {layer.cell.name} of this form")
    if layer.cell.two_biases:
        biases = [weights["bias_ih"], weights["bias_hh"]]
    else:  # the kernels add two biases: the second one is zero
        biases = [weights["bias"], torch.zeros_like(weights["bias"])]
    flat = [weights["weight_ih"], weights["weight_hh"], *biases]
    if not x.is_cuda:
        return LIBRARY[layer.cell.name](x, state, flat)
    with warnings.catch_warnings():
        # cuDNN copies separate parameters into one piece at each call: little beside the rest.
        warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous")
        return LIBRARY[layer.cell.name](x, state, flat)


def in_library(layer: Layer) -> bool:
    """Return whether torch has a kernel for this cell and form."""
    return layer.cell.name in LIBRARY and layer.recurrent_depth == 1 and not layer.layer_norm


@dataclass(frozen=True)
class Kernel:
    """The implementation that runs the layers of a network in training.

    Attributes:
        backend: reference, library or fused.
        precision: float32, or bfloat16 for the matrix products alone.
        reason: why this one was selected; it is stored in model files.
        run: the sequence function.
    """

    backend: str
    precision: str
    reason: str
    run: Sequence

    @property
    def bf16(self) -> bool:
        """Whether matrix products are in bfloat16."""
        return self.precision == "bfloat16"

    def functions(self, layer: Layer, zoneout: bool) -> tuple[CFunction, ...]:
        """Return the compiled functions of a window on the CPU, forward first: perhaps none."""
        if self.backend != "fused":
            return ()
        return fused_codegen.window_functions(layer, zoneout, product_kind(self.bf16))


def select(
    layer: Layer,
    device: torch.device,
    precision: str = "auto",
    backend: str = "auto",
    *,
    zoneout: bool = False,
) -> Kernel:
    """Select what trains `layer` on `device`: a pure function of its arguments and the machine.

    On x86 processors, `fused` was faster than the library wherever both were measured (`charrnn
    bench train`): in bfloat16 from 128 units on, in float32 with AVX2 from 64 units on. Nothing was
    measured on others: there torch's LSTM is used, as some systems have fast products of their own.

    Raises:
        OptionError: this machine cannot do what was asked for; the message says what it can do.
    """
    on_cpu = device.type == "cpu"
    compilable = on_cpu or importlib.util.find_spec("triton") is not None
    can = {
        "reference": True,
        "library": in_library(layer) and not zoneout,
        "fused": compilable and not layer.cell.feeds_back,
    }
    if not can.get(backend, True):
        raise OptionError(f"--backend {backend} {_why_not(layer, backend)}: use auto")
    allows_bf16 = on_cpu and can["fused"] and backend in ("auto", "fused")
    if precision == "bfloat16" and not allows_bf16:
        raise OptionError("--precision bfloat16 needs the fused backend on a CPU: use auto")
    if precision == "bfloat16" and not multiplies_bfloat16():
        raise OptionError(
            "--precision bfloat16 needs a CPU that multiplies it itself, by AVX512-BF16 or AMX: "
            "use auto"
        )
    if precision == "auto":
        precision = "bfloat16" if allows_bf16 and multiplies_bfloat16() else "float32"
    if backend != "auto":
        reason = "as asked"
    elif precision == "bfloat16":
        backend, reason = "fused", "this CPU multiplies bfloat16 itself"
    elif can["library"] and (not on_cpu or (layer.cell.name == "lstm" and not is_x86())):
        backend, reason = "library", "torch has this cell"
    elif can["fused"]:
        backend, reason = "fused", "faster than torch's own or than a plain loop"
    else:
        backend, reason = "reference", "nothing faster runs this cell here"
    return Kernel(backend, precision, reason, _sequence_function(backend, precision, on_cpu))


def reads_tokens(run: Sequence) -> bool:
    """Return whether a sequence function also takes `charrnn.network.tokens.Tokens`."""
    return getattr(run, "func", run) is fused.sequence


def _sequence_function(backend: str, precision: str, on_cpu: bool) -> Sequence:
    """Return the sequence function of a backend."""
    if backend == "fused" and on_cpu:
        return functools.partial(fused.sequence, bf16=precision == "bfloat16")
    if backend == "fused":
        return functools.partial(reference, compiler="inductor")
    return {"reference": reference, "library": library}[backend]


def _why_not(layer: Layer, backend: str) -> str:
    """Return why a backend cannot run a layer."""
    if backend == "library":
        return f"has no {layer.cell.name}, or not in this form"
    if layer.cell.feeds_back:
        return f"cannot run {layer.cell.name}, whose output map is inside the recurrence"
    return "needs Triton on CUDA, which is not installed"
