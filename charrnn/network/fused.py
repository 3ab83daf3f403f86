"""The shared scaffold: any cell's window near the speed of its matrix products, on the CPU.

    all input parts of the window in one product                     (T*B, X) x (X, G*H)
    the steps as one compiled function, shared out by rows           (B, H) x (H, n*H) each
    backward the same way round, the weights' gradients in one product at the end

Products are in float32, or in bfloat16 with float32 states, sums and master weights. What is
compiled, and its arrays: `charrnn.network.fused_codegen`; its products: `charrnn.compiler.matmul`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from charrnn.cells import Layer
from charrnn.cells.layer import EPSILON
from charrnn.compiler import matmul
from charrnn.network.fused_codegen import Window, compiled

LayerState = tuple[Tensor, ...]
_FUNCTIONS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}


def sequence(
    layer: Layer,
    x: Tensor,
    state: LayerState,
    weights: Mapping[str, Tensor],
    *,
    zone: tuple[Tensor, ...] = (),
    readout: Any = None,
    bf16: bool,
) -> tuple[Tensor, LayerState]:
    """One layer over a window, as `charrnn.network.layers.reference` computes it.

    Args:
        layer: the recurrence and its form.
        x: input (T, B, X), float32.
        state: its parts (B, H), float32.
        weights: the layer's parameters by name, float32.
        zone: for each part of the state, what part of the old one stays: to be spread to (T, B, H).
        readout: not used; a cell that feeds the output back does not run here.
        bf16: make the products in bfloat16.
    """
    matrices = layer.matrices(weights)
    vectors = [weights[name] for name in layer.vectors]
    window = compiled(layer, bool(zone), matmul.kind_of(bf16))
    layout = _Layout(
        window,
        states=len(state),
        blocks=layer.products,
        normalized=tuple(matrix.normalized for matrix in matrices),
        zone=tuple(part.expand(len(x), *state[0].shape).contiguous() for part in zone),
    )
    y, *after = _Window.apply(  # type: ignore[no-untyped-call]
        layout,
        x,
        weights["weight_ih"],
        None if layer.layer_norm else weights[layer.input_bias],
        torch.cat(vectors)[None, None] if vectors else None,
        window.first_operand(state, _FUNCTIONS),
        *state,
        *(matrix.weight for matrix in matrices),
        *(matrix.bias for matrix in matrices),
    )
    return y, tuple(after)


@dataclass(frozen=True)
class _Layout:
    """What a window is made of, besides the tensors that want gradients.

    Attributes:
        window: the compiled functions.
        states: how many parts the state has.
        blocks: for each product of a step, how many blocks it gives.
        normalized: for each of them, whether its blocks are; the input's are, if any is.
        zone: zoneout's masks, each (T, B, H).
    """

    window: Window
    states: int
    blocks: tuple[int, ...]
    normalized: tuple[bool, ...]
    zone: tuple[Tensor, ...]

    @property
    def dtype(self) -> torch.dtype:
        """Of the products."""
        return torch.float32 if self.window.kind == "float32" else torch.bfloat16

    def depth(self, size: int) -> int:
        """The width of what meets a product, with its padding."""
        return matmul.depth(size, self.window.kind)

    def common(self, batch: int) -> tuple[dict[str, NDArray[Any]], int]:
        """Arrays of both ways, and in how many threads they go."""
        threads = min(torch.get_num_threads(), batch)
        arrays = _arrays("zone", self.zone)
        if self.window.kind == "tiles":
            arrays["tiles"] = matmul.tiles_config(threads)
        return arrays, threads

    def room(self, threads: int, batch: int, widths: Sequence[int]) -> list[Tensor]:
        """Room of each thread's own for what products give."""
        rows = matmul.rows(-(-batch // threads))
        return [torch.empty(threads, rows, matmul.columns(width)) for width in widths]

    def operands(self, states: Tensor, first: Tensor) -> list[Tensor]:
        """Room for what meets the products; the first operand of all is known."""
        count, batch, hidden = states.shape
        shape = (batch, self.depth(hidden), hidden, self.dtype)
        later = [_operand(count - 1, *shape) for _ in self.blocks[1:]]
        if not self.window.own_operand:
            return [states, *later]
        own = _operand(count, *shape)
        own[0, :, :hidden] = first
        return [own, *later]

    def inputs(
        self,
        weight: Tensor,
        bias: Tensor,
        biases: Sequence[Tensor | None],
        threads: int,
        batch: int,
    ) -> dict[str, NDArray[Any]]:
        """Arrays of the input's products, stage by stage, and what all products start from."""
        hidden = len(weight) // sum(self.window.inputs)
        arrays: dict[str, Tensor] = {}
        first = 0
        for n, count in enumerate(self.window.inputs):
            own = [biases[n]]
            if count:
                rows = slice(first * hidden, (first + count) * hidden)
                arrays[f"wx{n}"] = self.pack(weight[rows])
                if self.window.merged[n]:
                    own.append(bias[rows])
                else:
                    (arrays[f"rx{n}"],) = self.room(threads, batch, [count * hidden])
                    arrays[f"biasx{n}"] = _start(count * hidden, bias[rows])
                first += count
            arrays[f"bias{n}"] = _start(self.blocks[n] * hidden, *own)
        return {name: _array(tensor) for name, tensor in arrays.items()}

    def pack(self, matrix: Tensor) -> Tensor:
        """A matrix (N, K) as `charrnn.compiler.matmul` reads it, in the products' type."""
        count, size = matrix.shape
        padded = (matmul.columns(count), self.depth(size))
        if padded != (count, size):
            whole = matrix.new_zeros(padded)
            whole[:count, :size] = matrix
            matrix = whole
        words = matrix.contiguous().view(torch.int32)  # a float, or a pair of bfloat16
        panels = words.view(-1, matmul.WIDTH, words.shape[1]).transpose(1, 2).contiguous()
        return panels.view(self.dtype)


class _Window(torch.autograd.Function):
    """A window forward, and backward as a whole."""

    @staticmethod
    def forward(
        ctx: Any,
        layout: _Layout,
        x: Tensor,
        weight_ih: Tensor,
        bias: Tensor | None,
        vectors: Tensor | None,
        operand: Tensor,
        *rest: Tensor | None,
    ) -> tuple[Tensor, ...]:
        window, dtype, count = layout.window, layout.dtype, len(layout.blocks)
        state, matrices, biases = _split(rest, layout.states, count)
        steps, batch, _ = x.shape
        hidden = operand.shape[1]
        weight_ih = weight_ih.to(dtype)
        matrices = [matrix.to(dtype) for matrix in matrices]
        arrays, threads = layout.common(batch)
        statistics: tuple[Tensor | None, ...] = (None, None, None)
        if window.own_input:
            inputs = _operand(steps, batch, layout.depth(x.shape[2]), x.shape[2], dtype)
            x = inputs[:, :, : x.shape[2]].copy_(x)
            arrays |= {"input": _array(inputs)}
            assert bias is not None
            arrays |= layout.inputs(weight_ih, bias, biases, threads, batch)
        else:
            x = x.to(dtype)
            parts, statistics = _input_parts(x, weight_ih, bias, len(weight_ih) // hidden)
            arrays["x"] = _array(parts)
            widths = [n * hidden for n in layout.blocks]
            arrays |= _arrays("bias", [_start(*pair) for pair in zip(widths, biases, strict=True)])
        states = [torch.empty(steps + 1, batch, hidden) for _ in state]
        for whole, before in zip(states, state, strict=True):
            whole[0] = before
        operands = layout.operands(states[0], operand)
        saved = torch.empty(steps, batch, window.saved * hidden, dtype=dtype)
        normals = [
            torch.empty(steps, batch, blocks * hidden) if normalized else None
            for blocks, normalized in zip(layout.blocks, layout.normalized, strict=True)
        ]
        scales = [
            torch.empty(steps, batch, blocks) if normalized else None
            for blocks, normalized in zip(layout.blocks, layout.normalized, strict=True)
        ]
        arrays |= {"saved": _array(saved)}
        arrays |= _arrays("state", states) | _arrays("operand", operands)
        arrays |= _arrays("w", [layout.pack(matrix) for matrix in matrices])
        arrays |= _arrays("r", layout.room(threads, batch, [n * hidden for n in layout.blocks]))
        arrays |= _arrays("normal", normals) | _arrays("scale", scales)
        if vectors is not None:
            arrays["v"] = _array(vectors)
        window.forward(arrays, (steps, batch, hidden), threads)
        ctx.layout = layout
        ctx.biased = [bias is not None for bias in (bias, *biases)]
        ctx.save_for_backward(
            *(x, weight_ih, vectors, saved, *statistics),
            *(*states, *matrices, *operands, *normals, *scales),
        )
        return states[0][1:], *(whole[steps] for whole in states)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, *d_after: Tensor) -> tuple[Any, ...]:
        layout: _Layout = ctx.layout
        window, dtype, count = layout.window, layout.dtype, len(layout.blocks)
        x, weight_ih, vectors, saved, *rest = ctx.saved_tensors
        statistics, rest = rest[:3], rest[3:]
        states, matrices, operands = _split(rest[: -2 * count], layout.states, count)
        steps, batch, _ = x.shape
        hidden = states[0].shape[2]
        d = [part.clone(memory_format=torch.contiguous_format)[None] for part in d_after]
        arrays, threads = layout.common(batch)
        widths = [blocks * hidden for blocks in layout.blocks]
        dr = [_operand(steps, batch, layout.depth(width), width, dtype) for width in widths]
        dm = layout.room(threads, batch, [hidden] * count)
        dm[0].zero_()
        x_type = torch.float32 if any(layout.normalized) else dtype
        dx = [
            part if one else torch.empty(steps, batch, inputs * hidden, dtype=x_type)
            for part, one, inputs in zip(dr, window.one_derivative, window.inputs, strict=True)
        ]
        arrays |= {"saved": _array(saved), "dy": _array(dy.contiguous())}
        arrays |= _arrays("state", states) | _arrays("d", d) | _arrays("dm", dm)
        arrays |= _arrays("dx", dx) | _arrays("dr", dr)
        if any(layout.normalized):
            arrays |= _arrays("dn", layout.room(threads, batch, widths))
        arrays["zero"] = _array(_start(hidden))
        arrays |= _arrays("normal", rest[-2 * count : -count]) | _arrays("scale", rest[-count:])
        arrays |= _arrays("w", [layout.pack(matrix.T) for matrix in matrices])
        dv = None
        if vectors is not None:
            dv = vectors.new_zeros(threads, *vectors.shape[1:])
            arrays |= {"v": _array(vectors), "dv": _array(dv)}
        window.backward(arrays, (steps, batch, hidden), threads)
        dr = [part[:, :, :width].flatten(0, 1) for part, width in zip(dr, widths, strict=True)]
        flat = _input_derivative(
            [dr[n] if one else dx[n].flatten(0, 1) for n, one in enumerate(window.one_derivative)],
            statistics,
            hidden,
        ).to(dtype)
        d_input = None
        if ctx.needs_input_grad[1]:
            d_input = (flat @ weight_ih).float().view(x.shape)
        met = [operand[:steps, :, :hidden].flatten(0, 1) for operand in operands]
        if flat is dr[0]:  # one product, whose derivative is the input's: both weights' at once
            (d_weight_ih, *d_weights), d_bias = _gradients(flat, x.flatten(0, 1), *met)
            sums = [d_bias]
        else:
            (d_weight_ih,), d_bias = _gradients(flat, x.flatten(0, 1))
            found = [_gradients(part, rows) for part, rows in zip(dr, met, strict=True)]
            d_weights, sums = [weight for (weight,), _ in found], [bias for _, bias in found]
        d_biases = [
            part if biased else None for part, biased in zip(sums, ctx.biased[1:], strict=True)
        ]
        d_vectors = None if dv is None else dv.sum(0, keepdim=True)
        return (
            *(None, d_input, d_weight_ih, d_bias if ctx.biased[0] else None, d_vectors),
            _joined(dm[0], batch, hidden),
            *(*(part[0] for part in d), *d_weights, *d_biases),
        )


def _input_parts(
    x: Tensor, weight: Tensor, bias: Tensor | None, blocks: int
) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """Input parts (T, B, G*H); where they are normalized, they are float32.

    Then what the way back needs of it comes with them: what was normalized, means and deviations.
    """
    flat = x.flatten(0, 1)
    if bias is not None:
        parts = torch.addmm(bias, flat, weight.T)
        return parts.view(*x.shape[:2], -1), (None, None, None)
    split = (flat @ weight.T).float().view(len(flat), blocks, -1)
    normal, mean, scale = torch.native_layer_norm(split, split.shape[2:], None, None, EPSILON)
    return normal.view(*x.shape[:2], -1), (split, mean, scale)


def _input_derivative(dx: list[Tensor], statistics: Sequence[Tensor | None], hidden: int) -> Tensor:
    """Derivatives (T*B, G*H) by the input's product, of those by the parts of every stage."""
    flat = dx[0] if len(dx) == 1 else torch.cat(dx, 1)
    split, mean, scale = statistics
    if split is None:
        return flat
    back = torch.ops.aten.native_layer_norm_backward
    wanted = [True, False, False]
    found, _, _ = back(flat.view(split.shape), split, [hidden], mean, scale, None, None, wanted)
    return found.flatten(1)  # type: ignore[no-any-return]


def _start(width: int, *parts: Tensor | None) -> Tensor:
    """What a product's sums start from (1, 1, N): the sum of these vectors, or zero."""
    start = torch.zeros(1, 1, matmul.columns(width))
    for part in parts:
        if part is not None:
            start[0, 0, :width] += part
    return start


def _gradients(derivative: Tensor, *rows: Tensor) -> tuple[list[Tensor], Tensor]:
    """What matrices (N, K) get of rows (R, K) that met them and of the derivative (R, N); the bias.

    A product whose left side is laid out by columns runs at half the speed: where it is narrower,
    what was met is laid out anew instead, all of it for one product, with ones for the bias.
    """
    count, width = derivative.shape
    ends = [0, *itertools.accumulate(part.shape[1] for part in rows)]
    if derivative.dtype == torch.float32:
        return [derivative.T @ part for part in rows], derivative.sum(0)
    if width <= ends[-1]:
        bias = derivative.new_ones(1, count) @ derivative  # adds in float32
        return [(derivative.T @ part).float() for part in rows], bias[0].float()
    met = derivative.new_empty(ends[-1] + 1, count)
    met[-1] = 1
    for part, (begin, end) in zip(rows, itertools.pairwise(ends), strict=True):
        met[begin:end] = part.T
    found = met @ derivative
    parts = [found[begin:end] for begin, end in itertools.pairwise(ends)]
    return [part.T.float().contiguous() for part in parts], found[-1].float()


def _operand(steps: int, batch: int, depth: int, used: int, dtype: torch.dtype) -> Tensor:
    """Room for what meets a product, (T, B, K), zero beyond what is used of K.

    Products read rows in groups: behind the last row there is room for such a group.
    """
    make = torch.empty if depth == used else torch.zeros
    count = steps * batch * depth
    return make(count + matmul.ROW_GROUP * depth, dtype=dtype)[:count].view(steps, batch, depth)


def _joined(parts: Tensor, batch: int, hidden: int) -> Tensor:
    """Rows (B, H) that threads have in room of their own."""
    threads = len(parts)
    bounds = [part * batch // threads for part in range(threads + 1)]
    return torch.cat([parts[n, : bounds[n + 1] - bounds[n], :hidden] for n in range(threads)])


def _split(tensors: Any, states: int, count: int) -> tuple[list[Any], list[Any], list[Any]]:
    """Parts of the state, and two tensors for each product."""
    return (
        list(tensors[:states]),
        list(tensors[states : states + count]),
        list(tensors[states + count :]),
    )


def _array(tensor: Tensor) -> NDArray[Any]:
    """The same memory as an array; bfloat16 as its bits."""
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.uint16)
    array: NDArray[Any] = tensor.detach().numpy()
    return array


def _arrays(name: str, tensors: Sequence[Tensor | None]) -> dict[str, NDArray[Any]]:
    """Arrays by name and number, of those tensors that there are."""
    return {
        f"{name}{number}": _array(tensor)
        for number, tensor in enumerate(tensors)
        if tensor is not None
    }
