"""Measure how error flows back through a network: what vanishes, explodes, and carries it.

A layer's state s holds all that it carries from step to step: h, and c if the cell has it, side by
side. Everything is measured by autograd on the reference loop in float64, which runs every cell in
every form. Shapes: T steps, B windows, H hidden units, S parts of the state, N = S*H.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from charrnn.arrays import Floats64, Ids
from charrnn.cells import Cell, Layer
from charrnn.config import ModelConfig, cell_name
from charrnn.config.inspection import FlowOptions, UntrainedOptions
from charrnn.errors import CharRNNError, CorpusError, OptionError, counted
from charrnn.inspection.activations import check_reads_text
from charrnn.model import parameters
from charrnn.model.model_file import Model
from charrnn.network.layers import LayerState, reference_states
from charrnn.network.module import CharRNN
from charrnn.network.noise import Noise
from charrnn.text.tokenizer import CharTokenizer
from charrnn.training.regularizers import omega

MAX_WARM_UP = 100  # tokens read before a window, if the text has them
_MAX_LOG = 700.0  # logarithm of a number that float64 still holds


@dataclass(frozen=True)
class JacobianProduct:
    """The product of the Jacobians over `lag` steps, ds_t/ds_{t-lag} (N, N), in one window.

    Attributes:
        lag: k.
        singular_values: (N,), in descending order.
        spectral_radius: the largest modulus of an eigenvalue.
    """

    lag: int
    singular_values: Floats64
    spectral_radius: float


@dataclass(frozen=True)
class Flow:
    """How error flows back through one layer; numbers that overflow are NaN.

    Attributes:
        norms: (K+1,), the median over windows of |dL_t/ds_{t-k}|, where L_t is the loss of step t.
        parts: the same for each part of the state alone, with the other parts fixed.
        products: the products of the Jacobians over some lags.
        eigenvalues: (H,) for each block of W_hh; empty if the output is fed back instead of h.
        omega: regularizer of Pascanu et al. (2013), summed over a window's steps, for all losses.
    """

    norms: Floats64
    parts: Mapping[str, Floats64]
    products: tuple[JacobianProduct, ...]
    eigenvalues: Mapping[str, NDArray[np.complex128]]
    omega: float

    @property
    def per_step(self) -> float:
        """The factor of the norm per step: the geometric mean from lag 1 to K."""
        first, last = self.norms[min(1, len(self.norms) - 2)], self.norms[-1]
        if first == 0:
            return 0.0
        return float((last / first) ** (1 / max(1, len(self.norms) - 2)))

    def to_json(self) -> dict[str, Any]:
        """Return all numbers for JSON."""
        return {
            "norms": self.norms.tolist(),
            "parts": {name: values.tolist() for name, values in self.parts.items()},
            "per_step": self.per_step,
            "products": [
                {
                    "lag": product.lag,
                    "spectral_radius": product.spectral_radius,
                    "singular_values": product.singular_values.tolist(),
                }
                for product in self.products
            ],
            "eigenvalues": {
                name: [[value.real, value.imag] for value in values.tolist()]
                for name, values in self.eigenvalues.items()
            },
            "omega": self.omega,
        }


@dataclass(frozen=True)
class NetworkFlow:
    """How error flows back through the layers of one network.

    Attributes:
        name: the model's or the cell's.
        when: "at start" or "trained".
        layers: from the bottom up.
    """

    name: str
    when: str
    layers: Sequence[Flow]

    def label(self, layer: int) -> str:
        """Return a name for the curve of a layer."""
        which = f" layer {layer + 1}" if len(self.layers) > 1 else ""
        return f"{self.name}{which}, {self.when}"

    def to_json(self) -> dict[str, Any]:
        """Return all numbers for JSON."""
        layers = [flow.to_json() for flow in self.layers]
        return {"name": self.name, "when": self.when, "layers": layers}


def network_flows(
    models: Mapping[str, Model],
    options: UntrainedOptions,
    text: str,
    measured: FlowOptions,
    notify: Callable[[str], object],
) -> list[NetworkFlow]:
    """Return how error flows back through untrained networks and models while they read a text.

    Args:
        models: by name; each is measured at its start and as it was trained, and so is each network
            of an ensemble, in which no error flows from one network to another.
        options: the untrained networks.
        text: what all of them read.
        measured: how far back, and at how many positions in the text.
        notify: called with a sentence before each network is measured.

    Raises:
        OptionError: the text is empty.
        CharRNNError: a network cannot read the text; the message names it.
    """
    if options.cell and not text:
        raise OptionError("the text is empty (0 characters): there is nothing to read")
    found = []
    for name, when, model in _networks(models, options, text):
        notify(f"measuring {name}, {when}")
        try:
            layers = flows(model, text, lags=measured.lags, windows=measured.windows)
        except CharRNNError as error:
            raise type(error)(f"{name}: {error.message}") from None
        found.append(NetworkFlow(name, when, layers))
    return found


def _networks(
    models: Mapping[str, Model], options: UntrainedOptions, text: str
) -> Iterator[tuple[str, str, Model]]:
    """Yield name, when, and each network: untrained cells, then models at start and trained."""
    for cell, scale in options.cells:
        name = cell_name(cell)
        label = name if scale == 1 else f"{name} × {scale:g}"
        yield label, "at start", untrained(text, cell, scale, options)
    for name, model in models.items():
        each = zip(at_start(model).networks, model.networks, strict=True)
        for number, (start, trained) in enumerate(each, 1):
            label = f"{name} network {number}" if model.config.ensemble > 1 else name
            yield label, "at start", start
            yield label, "trained", trained


def untrained(text: str, cell: str, scale: float, options: UntrainedOptions) -> Model:
    """Return an untrained network that knows the characters of a text.

    Args:
        text: what it will read.
        cell: its name.
        scale: factor of the recurrent weights.
        options: size and seed.
    """
    tokenizer = CharTokenizer.from_texts(text)
    config = ModelConfig(
        tokenizer.vocab_size,
        cell,
        hidden_size=options.hidden_size,
        num_layers=options.num_layers,
    )
    values = parameters.initial(config, options.seed)
    for name in values:
        if name.endswith(".weight_hh"):
            values[name] = values[name] * values[name].dtype.type(scale)
    return Model(config, tokenizer, values)


def at_start(model: Model) -> Model:
    """Return the network before its training, which must have begun from random weights."""
    made = model.training.get("train")
    made = made if isinstance(made, dict) else {}
    seed, rule, bias = made.get("seed"), made.get("init"), made.get("forget_bias")
    values = parameters.initial(
        model.config,
        seed if isinstance(seed, int) and seed >= 0 else 1,
        rule if isinstance(rule, str) else "auto",
        float(bias) if isinstance(bias, int | float) else None,
    )
    return Model(model.config, model.tokenizer, values, model.training)


def flows(model: Model, text: str, *, lags: int, windows: int) -> list[Flow]:
    """How error flows back through each layer of a model while it reads a text.

    Args:
        model: of one network; runs as in scoring: without dropout, with the mean of zoneout.
        text: read in windows spread over it, each after up to 100 tokens of warm-up.
        lags: K, the largest number of steps back.
        windows: B, number of windows.

    Raises:
        PromptError: the text has characters that the model does not know.
        CorpusError: the text is too short.
    """
    check_reads_text(model)
    network = CharRNN(model.config, model.values).double().requires_grad_(False).eval()
    ids = model.tokenizer.encode(text)
    inputs, targets, before = _windows(ids, model.config.start_token, lags, windows)
    layers, losses = _traced(network, inputs, targets, before)
    # The products are matrices, gradients are vectors: one window is enough for the products.
    single, _ = _traced(network, inputs[:, :1], targets[:, :1], before)
    return [
        _flow(network, index, states, losses, list(_products(one, lags)))
        for index, (states, one) in enumerate(zip(layers, single, strict=True))
    ]


def _flow(
    network: CharRNN,
    index: int,
    states: list[Tensor],
    losses: Tensor,
    products: list[JacobianProduct],
) -> Flow:
    """Return the measurements of one layer from its states s_0 ... s_T and the losses (T, B)."""
    arriving = torch.autograd.grad(losses[-1].sum(), states, retain_graph=True)
    back = torch.stack(arriving).flip(0)  # (K+1, B, N), by lag
    names = network.layer.cell.states
    parts = zip(names, torch.chunk(back, len(names), -1), strict=True)
    norms = _median_norm(back)
    # Omega skips steps without a gradient, and would skip NaN as well.
    known = np.isfinite(norms).all()
    return Flow(
        norms=norms,
        parts={name: _median_norm(part) for name, part in parts},
        products=tuple(products),
        eigenvalues=_eigenvalues(network.layer.cell, parameters.layer(network.weights(), index)),
        omega=omega(losses.sum(), [states]).item() if known else math.nan,
    )


def _median_norm(gradients: Tensor) -> Floats64:
    """Return the median norm over windows, (K+1,), of gradients (K+1, B, N)."""
    return np.asarray(np.median(gradients.norm(dim=-1).numpy(), axis=1), np.float64)


def _windows(ids: Ids, start: int, lags: int, windows: int) -> tuple[Tensor, Tensor, int]:
    """Return inputs and targets (before + lags, B), and `before`, the warm-up steps: 1 at least."""
    if len(ids) < lags + 1:
        raise CorpusError(
            f"the text has {counted(len(ids), 'token')}, {lags + 1:,} are needed for --lags "
            f"{lags}: use a longer text or fewer lags"
        )
    before = min(MAX_WARM_UP, len(ids) - lags)
    last = len(ids) - lags - before
    firsts = np.unique(np.linspace(0, last, windows).astype(np.int64))
    positions = firsts[None, :] + np.arange(before + lags)[:, None]
    targets = ids.astype(np.int64)
    inputs = np.concatenate([[start], targets[:-1]])
    return torch.from_numpy(inputs[positions]), torch.from_numpy(targets[positions]), before


def _traced(
    network: CharRNN, inputs: Tensor, targets: Tensor, before: int
) -> tuple[list[list[Tensor]], Tensor]:
    """Return each layer's states s_0 ... s_T (B, N) after the warm-up, and the losses (T, B).

    The last step of the warm-up is traced as well: s_0 of a layer reaches the losses also through
    s_0 of the layers above it.
    """
    state = network.start_state(inputs.shape[1])
    if before > 1:
        with torch.no_grad():
            _, state = network(inputs[: before - 1], state)
    tracer = _Tracer()
    outputs, _ = network.run(inputs[before - 1 :], state, Noise(), sequence=tracer)
    wanted = targets[before:]
    logits = network.logits(outputs.read[1:])
    losses = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none")
    return [states[1:] for states in tracer.layers], losses.view(wanted.shape)


class _Tracer:
    """A sequence function that joins each state into one tensor through which all error flows.

    If h and c were separate, the gradient of c would include what reaches it through h of the same
    step.

    Attributes:
        layers: for each layer run so far, its states before and after each step, each (B, N).
    """

    def __init__(self) -> None:
        self.layers: list[list[Tensor]] = []

    def __call__(
        self,
        layer: Layer,
        x: Tensor,
        state: LayerState,
        weights: Mapping[str, Tensor],
        **more: Any,
    ) -> tuple[Tensor, LayerState]:
        """Do what `charrnn.network.layers.reference` does."""
        states = [torch.cat(state, -1).detach().requires_grad_()]
        for t in range(len(x)):
            before = _split_state(layer.cell, states[-1])
            (after,) = reference_states(layer, x[t : t + 1], before, weights, **more)
            states.append(torch.cat(after, -1))
        self.layers.append(states)
        outputs = torch.stack([_split_state(layer.cell, s)[0] for s in states[1:]])
        return outputs, _split_state(layer.cell, states[-1])


def _split_state(cell: Cell, state: Tensor) -> LayerState:
    return torch.chunk(state, len(cell.states), -1)


def _products(states: list[Tensor], lags: int) -> Iterator[JacobianProduct]:
    """Yield the products of one window's Jacobians, from its end, over some lags up to `lags`.

    ``P_k = P_{k-1} ds_{t-k+1}/ds_{t-k}``, with all N rows going back a step at once. P is scaled to
    norm 1 and the logarithm of its norm is stored apart, so that P neither vanishes nor explodes.
    """
    wanted = {*product_lags(lags)}
    (size,) = states[-1].shape[1:]
    product, log_scale = torch.eye(size, dtype=torch.float64), 0.0
    for lag, (before, after) in enumerate(reversed(list(pairwise(states))), start=1):
        (rows,) = torch.autograd.grad(
            after, before, product[:, None], retain_graph=True, is_grads_batched=True
        )
        product = rows[:, 0]
        length = float(product.norm())
        if length:
            product = product / length
            log_scale += math.log(length)
        if not log_scale < _MAX_LOG:  # or NaN: all further products are unknown
            return
        if lag in wanted:
            scale = np.exp(np.float64(log_scale))
            radius = torch.linalg.eigvals(product).abs().max() if length else 0.0
            singular = torch.linalg.svdvals(product).numpy()
            yield JacobianProduct(lag, scale * singular, float(scale * float(radius)))


def product_lags(lags: int) -> list[int]:
    """Return the lags whose products are decomposed: 1, 2, 5, 10, ... and the largest."""
    return sorted({1, lags} | {n * d for n in (1, 2, 5) for d in (1, 10, 100) if n * d <= lags})


def _eigenvalues(cell: Cell, weights: Mapping[str, Tensor]) -> dict[str, NDArray[np.complex128]]:
    """Return the eigenvalues of each block of ``weight_hh``, if it has any and they are square."""
    if not cell.stages:
        return {}
    blocks = torch.chunk(weights["weight_hh"], len(cell.recurrent_blocks))
    if blocks[0].shape[0] != blocks[0].shape[1]:
        return {}
    return {
        name: torch.linalg.eigvals(block).numpy()
        for name, block in zip(cell.recurrent_blocks, blocks, strict=True)
    }
