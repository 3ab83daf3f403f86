"""A whole window of any cell as compiled code, near the speed of its matrix products, on the CPU.

    float32: all input parts of the window in one product            (T*B, X) x (X, G*H)
             what tokens add to them, once for each                  (V, E) x (E, G*H)
    the steps in one compiled function, rows shared among threads    (B, H) x (H, n*H) each
    backward in the same way; the weights' gradients in one product at the end

Products are in float32, or in bfloat16 with float32 states, sums and master weights.
`charrnn.network.fused_codegen` writes the compiled code, `charrnn.network.window_arrays` describes
its arrays and `charrnn.network.window_layout` makes them for a layer; the products are those of
`charrnn.compiler.matmul`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from charrnn.cells import Layer
from charrnn.cells.layer import EPSILON
from charrnn.compiler import processor
from charrnn.network import weight_gradients
from charrnn.network.functions import FUNCTIONS
from charrnn.network.fused_codegen import CompiledLayer, compiled_layer
from charrnn.network.skips import Place
from charrnn.network.tokens import Tokens
from charrnn.network.window_arrays import numbered, start_row, with_rows
from charrnn.network.window_layout import WindowLayout

LayerState = tuple[Tensor, ...]


def sequence(
    layer: Layer,
    x: Tensor,
    state: LayerState,
    weights: Mapping[str, Tensor],
    *,
    zone: tuple[Tensor, ...] = (),
    readout: Any = None,
    tokens: Tokens | None = None,
    rounded: bool = False,
    mask: Tensor | None = None,
    place: Place | None = None,
    bf16: bool,
) -> tuple[Tensor, LayerState]:
    """Run one layer over a window; it computes what `charrnn.network.layers.reference` does.

    Args:
        layer: the recurrence and its form.
        x: the input (T, B, X), float32 or in the type of the products.
        state: the parts of the state (B, H), float32.
        weights: the layer's parameters by name, float32.
        zone: for each part of the state, the share of the old one that stays, broadcastable to
            (T, B, H).
        readout: not used; a cell that feeds the output back does not run here.
        tokens: what the layer reads behind `x`, if that follows from tokens.
        rounded: return the outputs in bfloat16, for readers that multiply them; needs `bf16`.
        mask: multiply the outputs by this mask of dropout (1, B, H); needs `rounded`. The state
            stays as it is.
        place: where the outputs go; needs `rounded`.
        bf16: compute the products in bfloat16.
    """
    matrices = layer.matrices(weights)
    vectors = [weights[name] for name in layer.vectors]
    kind = processor.product_kind(bf16)
    window = compiled_layer(layer, bool(zone), kind)
    zone = tuple(part.expand(len(x), *state[0].shape).contiguous() for part in zone)
    normalized = tuple(matrix.normalized for matrix in matrices)
    if bf16 and mask is None:
        mask = _ones(*state[0].shape)
    layout = _layout(layer, window, normalized, zone, mask, place)
    below = x
    if tokens is not None and layer.layer_norm:
        x, tokens = tokens.behind(x), None
    y, handed_on, *after = _Window.apply(  # type: ignore[no-untyped-call]
        layout,
        rounded,
        x,
        None if tokens is None else tokens.ids,
        None if tokens is None else tokens.vectors,
        weights["weight_ih"],
        None if layer.layer_norm else weights[layer.input_bias],
        torch.cat(vectors)[None, None] if vectors else None,
        window.first_operand(state, FUNCTIONS),
        *state,
        *(matrix.weight for matrix in matrices),
        *(matrix.bias for matrix in matrices),
    )
    if place and place.below is not None:
        place.below.append(below if handed_on is None else handed_on)
    return y, tuple(after)


def _layout(
    layer: Layer,
    window: CompiledLayer,
    normalized: tuple[bool, ...],
    zone: tuple[Tensor, ...],
    mask: Tensor | None,
    place: Place | None,
) -> WindowLayout:
    """Return the layout of a layer's window; see `sequence` and `WindowLayout`."""
    return WindowLayout(
        window,
        states=len(layer.cell.states),
        blocks=layer.products,
        normalized=normalized,
        layer_norm=layer.layer_norm,
        zone=zone,
        mask=mask,
        outputs=place.outputs if place else None,
        # A longer input, with the vectors of tokens, is not what others read.
        hands_on=place is not None and place.below is not None and window.own_input,
        backward=torch.is_grad_enabled(),
    )


class _Window(torch.autograd.Function):
    """A whole window as one node of autograd's graph."""

    @staticmethod
    def forward(
        ctx: Any,
        layout: WindowLayout,
        rounded: bool,
        x: Tensor,
        ids: Tensor | None,
        embedding: Tensor | None,
        weight_ih: Tensor,
        bias: Tensor | None,
        vectors: Tensor | None,
        operand: Tensor | None,
        *rest: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        window, dtype, count = layout.window, layout.dtype, len(layout.blocks)
        ctx.input_type, given = x.dtype, x
        state, matrices, biases = _split_products(rest, layout.states, count)
        steps, batch, _ = x.shape
        hidden = state[0].shape[1]
        widths = [blocks * hidden for blocks in layout.blocks]
        dense = weight_ih[:, : x.shape[2]]
        allocator = layout.allocator(steps, batch)
        arrays = layout.common(allocator.threads)
        statistics: tuple[Tensor | None, ...] = (None, None, None)
        starts = None if bias is None else _starts(x, ids, embedding, weight_ih, bias)
        if window.own_input:
            assert starts is not None
            inputs = allocator.input(x)
            x = inputs[:, :, : x.shape[2]]
            table, found = starts
            arrays |= {"input": inputs, "ids": found} | layout.inputs(table, biases, allocator)
        else:
            x = x.to(dtype)
            parts, statistics = _input_parts(x, dense.to(dtype), starts, len(dense) // hidden)
            arrays |= {"x": parts}
            arrays |= numbered("bias", list(map(start_row, widths, biases)))
        states = layout.states_from(state, allocator)
        operands = layout.operands(states[0], operand, allocator)
        saved = allocator.make("saved", window.saved * hidden)
        normals = layout.normalizations("normal", widths, allocator)
        scales = layout.normalizations("scale", layout.blocks, allocator)
        arrays |= {"saved": saved} | numbered("state", states)
        panels, transposed = layout.panels(dense if window.own_input else None, matrices)
        arrays |= panels | numbered("operand", operands)
        arrays |= layout.products(widths, dense.shape[1] if window.own_input else 0, allocator)
        arrays |= numbered("normal", normals) | numbered("scale", scales)
        arrays |= {} if vectors is None else {"v": vectors}
        if layout.mask is not None:
            outputs = layout.outputs
            arrays["y"] = allocator.make("y", hidden) if outputs is None else outputs
        window.forward(arrays, (steps, batch, hidden), allocator.threads)
        ctx.layout = layout
        ctx.biased = [bias is not None for bias in (bias, *biases)]
        ctx.save_for_backward(
            *(x, ids, embedding, weight_ih, vectors, saved, *statistics),
            *(*states, *transposed, *operands, *normals, *scales),
        )
        y = arrays["y"][:, :, :hidden] if rounded else states[0][1:, :, :hidden]
        handed_on = given.data if layout.hands_on else None
        return y, handed_on, *(whole[steps] for whole in states)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, dy: Tensor, d_handed_on: Tensor | None, *d_after: Tensor
    ) -> tuple[Any, ...]:
        layout: WindowLayout = ctx.layout
        window = layout.window
        x, ids, embedding, weight_ih, vectors, saved, *rest = ctx.saved_tensors
        count = len(layout.blocks)
        statistics, rest = rest[:3], rest[3:]
        rest, normals, scales = _split_products(rest, len(rest) - 2 * count, count)
        states, transposed, operands = _split_products(rest, layout.states, count)
        steps, batch, _ = x.shape
        hidden = states[0].shape[2]
        arrays = {"saved": saved, "dy": with_rows(dy.to(layout.dtype))}
        arrays |= numbered("state", states) | numbered("scale", scales)
        arrays |= numbered("normal", normals)
        arrays |= numbered("w", transposed)
        found = _run_backward(layout, arrays, vectors, d_after, (steps, batch, hidden))
        flat = _input_derivative(found.dx, statistics, hidden).to(layout.dtype)
        d_input = d_embedding = None
        if ctx.needs_input_grad[2]:
            dense = weight_ih[:, : x.shape[2]].to(layout.dtype)
            if d_handed_on is None:
                d_input = flat @ dense
            else:
                d_input = torch.addmm(d_handed_on.flatten(0, 1), flat, dense)
            d_input = d_input.view(x.shape).to(ctx.input_type)
        met = [operand[:steps, :, :hidden].flatten(0, 1) for operand in operands]
        # One product, with the input's derivative: both weights at once.
        gradients = weight_gradients.of(window.kind)
        together = bool(found.dr) and flat is found.dr[0]
        tokens = None if embedding is None else Tokens(ids.flatten(), embedding)
        of_input = gradients(flat, x.flatten(0, 1), *(met if together else ()), tokens=tokens)
        others = [] if together else list(map(gradients, found.dr, met))
        d_weight_ih, *d_weights = [each for part in (of_input, *others) for each in part.weights]
        sums = [part.bias for part in ([of_input] if together else others)]
        d_biases = [
            part if biased else None for part, biased in zip(sums, ctx.biased[1:], strict=True)
        ]
        if of_input.by_token is not None:
            d_embedding = of_input.by_token @ weight_ih[:, x.shape[2] :]
        return (
            *(None, None, d_input, None, d_embedding),
            *(d_weight_ih, of_input.bias if ctx.biased[0] else None, found.dv),
            *(found.operand, *found.state, *d_weights, *d_biases),
        )


@dataclass(frozen=True)
class _Derivatives:
    """Derivatives of the loss that the compiled backward function computes.

    Attributes:
        dr: by each product, (T*B, n*H).
        dx: by the input parts of each product's stage, (T*B, n*H); the same tensor as in `dr`
            where both are the same.
        dv: by the vectors, (1, 1, n*H); None without vectors.
        operand: by the first step's first operand, (B, H); None without products.
        state: by each part of the state before the window, (B, H).
    """

    dr: list[Tensor]
    dx: list[Tensor]
    dv: Tensor | None
    operand: Tensor | None
    state: list[Tensor]


def _run_backward(
    layout: WindowLayout,
    arrays: dict[str, Tensor],
    vectors: Tensor | None,
    d_after: Sequence[Tensor],
    sizes: tuple[int, int, int],
) -> _Derivatives:
    """Run the compiled backward function.

    Args:
        layout: the window.
        arrays: those of forward that backward reads, and ``dy``.
        vectors: as in forward.
        d_after: derivatives by the parts of the state after the window, each (B, H).
        sizes: T, B and H.
    """
    window, (steps, batch, hidden) = layout.window, sizes
    allocator = layout.allocator(steps, batch)
    d = [part.clone(memory_format=torch.contiguous_format)[None] for part in d_after]
    widths = [blocks * hidden for blocks in layout.blocks]
    dr = [allocator.make("dr", width) for width in widths]
    dm = [allocator.make("dm", hidden) for _ in widths]
    for first in dm[:1]:
        first.zero_()
    dx = [
        None if same else allocator.make("dx", inputs * hidden)
        for same, inputs in zip(window.one_derivative, window.inputs, strict=True)
    ]
    arrays |= layout.common(allocator.threads) | {"zero": start_row(hidden)}
    arrays |= numbered("d", d) | numbered("dm", dm) | numbered("dr", dr) | numbered("dx", dx)
    if any(layout.normalized):
        arrays |= numbered("dn", [allocator.make("dn", width) for width in widths])
    dv = None
    if vectors is not None:
        dv = vectors.new_zeros(allocator.threads, *vectors.shape[1:])
        arrays |= {"v": vectors, "dv": dv}
    window.backward(arrays, sizes, allocator.threads)
    flat = [part[:, :, :width].flatten(0, 1) for part, width in zip(dr, widths, strict=True)]
    return _Derivatives(
        flat,
        [flat[n] if part is None else part.flatten(0, 1) for n, part in enumerate(dx)],
        None if dv is None else dv.sum(0, keepdim=True),
        _joined(dm[0], batch, hidden) if dm else None,
        [part[0] for part in d],
    )


@functools.lru_cache(maxsize=4)
def _ones(batch: int, hidden: int) -> Tensor:
    """Return a mask of dropout that drops nothing."""
    return torch.ones(1, batch, hidden)


def _starts(
    x: Tensor, ids: Tensor | None, embedding: Tensor | None, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what the sums of the input's product start from (V, G*H), and the row at each step.

    Args:
        x: the input (T, B, X).
        ids: the tokens (T, B) whose vectors the layer reads behind `x`, if any.
        embedding: their vectors (V, E).
        weight: the input matrix (G*H, X + E).
        bias: its bias (G*H,).
    """
    if ids is None or embedding is None:
        return bias[None], torch.zeros(*x.shape[:2], 1, dtype=torch.int64)
    return torch.addmm(bias, embedding, weight[:, x.shape[2] :].T), ids.contiguous()[:, :, None]


def _input_parts(
    x: Tensor, weight: Tensor, starts: tuple[Tensor, Tensor] | None, blocks: int
) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """Return the input parts (T, B, G*H), and what their backward pass needs.

    Args:
        x: the input (T, B, X).
        weight: its matrix (G*H, X).
        starts: as of `_starts`; None with layer normalization.
        blocks: G.

    Returns:
        the input parts, and with layer normalization the product (T*B, G, H) in float32, its means
        and 1 / its deviations.
    """
    flat = x.flatten(0, 1)
    if starts is not None:
        table, ids = starts
        begun = table if len(table) == 1 else table.index_select(0, ids.flatten())
        parts = torch.addmm(begun, flat, weight.T)
        return parts.view(*x.shape[:2], -1), (None, None, None)
    split = (flat @ weight.T).float().view(len(flat), blocks, -1)
    normal, mean, scale = torch.native_layer_norm(split, split.shape[2:], None, None, EPSILON)
    return normal.view(*x.shape[:2], -1), (split, mean, scale)


def _input_derivative(dx: list[Tensor], statistics: Sequence[Tensor | None], hidden: int) -> Tensor:
    """Return the derivative (T*B, G*H) by the input's product, from those by each stage's parts."""
    flat = dx[0] if len(dx) == 1 else torch.cat(dx, 1)
    split, mean, scale = statistics
    if split is None:
        return flat
    back = torch.ops.aten.native_layer_norm_backward
    wanted = [True, False, False]
    found, _, _ = back(flat.view(split.shape), split, [hidden], mean, scale, None, None, wanted)
    return found.flatten(1)  # type: ignore[no-any-return]


def _joined(parts: Tensor, batch: int, hidden: int) -> Tensor:
    """Return the rows (B, H) that threads have in arrays of their own."""
    threads = len(parts)
    bounds = [part * batch // threads for part in range(threads + 1)]
    return torch.cat([parts[n, : bounds[n + 1] - bounds[n], :hidden] for n in range(threads)])


def _split_products(tensors: Any, first: int, count: int) -> tuple[list[Any], list[Any], list[Any]]:
    """Split tensors into some first ones, and two for each product."""
    return (
        list(tensors[:first]),
        list(tensors[first : first + count]),
        list(tensors[first + count :]),
    )
