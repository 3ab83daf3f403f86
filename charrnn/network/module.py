"""The network as a torch module, for training: tokens -> layers -> logits.

The state is a value that goes in and comes out; the module stores none. Shapes: T steps, B streams,
V tokens, E embedding, H hidden units, Y values that the last matrix reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from charrnn.config import ModelConfig, Regularizers, check_device
from charrnn.errors import OptionError
from charrnn.model import parameters
from charrnn.network import loss
from charrnn.network import noise as noises
from charrnn.network.layers import LayerState, Sequence, State, reads_tokens, reference
from charrnn.network.named_parameters import NamedParameters
from charrnn.network.noise import Noise, OwnStreams
from charrnn.network.skips import Place, Skips
from charrnn.network.source import Source, beside
from charrnn.network.tokens import Tokens

_AT_ONCE = 3 * 2**18  # values (T, B, H) of a layer that `CharRNN.outputs` computes at once


@dataclass(frozen=True)
class Outputs:
    """The outputs of a window.

    Attributes:
        read: what the logits are computed from (T, B, Y); see `CharRNN.logits`.
        top: the last layer's outputs (T, B, H), before dropout if that matters to a penalty.
        dropped: the same after dropout, as the output map reads them.
    """

    read: Tensor
    top: Tensor
    dropped: Tensor


class CharRNN(NamedParameters):
    """Embedding (or one-hot tokens) -> stacked recurrent layers -> logits of the next token.

    Args:
        config: the architecture.
        values: parameters by name, as in `charrnn.model.parameters`; copied.
        regularizers: dropout and others; none by default.
        sequence: runs a layer over a window; by default the plain loop.
        scoring: runs it when losses are measured; by default the same.
        bf16: compute the output's product in bfloat16, too, in training; `sequence` is then
            `charrnn.network.fused.sequence`.

    Attributes:
        generator: draws dropout and other noise; None: torch's own generator.
    """

    def __init__(
        self,
        config: ModelConfig,
        values: Mapping[str, NDArray[Any]],
        *,
        regularizers: Regularizers | None = None,
        sequence: Sequence = reference,
        scoring: Sequence | None = None,
        bf16: bool = False,
    ) -> None:
        super().__init__({name: values[name] for name in parameters.shapes(config)})
        self.config = config
        self.regularizers = regularizers or Regularizers()
        self.dropout = self.regularizers.dropout or 0.0
        self.layer = parameters.layer_of(config)
        self._sequence = sequence
        self._scoring = scoring or sequence
        self._bf16 = bf16
        self.generator: torch.Generator | None = None

    def start_state(self, batch_size: int) -> State:
        """Return the state before a text, each part (B, H): zeros, or the learned start."""
        weights = self.weights()
        like = weights["output.bias"]
        shape = (batch_size, self.config.hidden_size)

        def part(layer: int, name: str) -> Tensor:
            learned = weights.get(f"layers.{layer}.start.{name}")
            return like.new_zeros(shape) if learned is None else learned.expand(shape)

        return tuple(
            tuple(part(layer, name) for name in self.layer.cell.states)
            for layer in range(self.config.num_layers)
        )

    def reset_rows(self, state: State, rows: Tensor) -> State:
        """Return the state in which the rows where `rows` (B,) is true are as before a text."""
        start = self.start_state(len(rows))
        chosen = rows.to(self.device)[:, None]
        return tuple(
            tuple(torch.where(chosen, new, old) for new, old in zip(*layers, strict=True))
            for layers in zip(start, state, strict=True)
        )

    def draw(self, batch_size: int, streams: OwnStreams | None = None) -> Noise:
        """Return the noise of one update; `streams`: those that are read, if they are not all."""
        layers = self.config.num_layers
        return self._draw(batch_size, [f"layers.{index}." for index in range(layers)], streams)

    def _draw(self, batch_size: int, prefixes: list[str], streams: OwnStreams | None) -> Noise:
        """Return the noise of the layers whose parameters begin with `prefixes`."""
        shape = (1, batch_size, self.config.hidden_size)
        layers = self.config.num_layers
        given = (shape, layers, prefixes, streams, self.generator)
        return noises.draw(self.weights(), self.regularizers, *given)

    def forward(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Return logits (T, B, V) from ids (T, B), and the state after the window."""
        noise = self.draw(ids.shape[1]) if self.training else Noise()
        outputs, state = self.run(ids, state, noise)
        return self.logits(outputs.read), state

    def run(
        self,
        ids: Tensor,
        state: State,
        noise: Noise,
        *,
        counted: int | None = None,
        cut: int | None = None,
        sequence: Sequence | None = None,
        source: Source | None = None,
    ) -> tuple[Outputs, State]:
        """Run a window with the noise that was drawn for it.

        Args:
            ids: (T, B).
            state: the state before the window.
            noise: from `draw`.
            counted: the number of last steps that have outputs; all by default.
            cut: the number of steps after which the returned state is; all by default.
            sequence: runs a layer, instead of the usual function.
            source: in a pair model, what the encoder read; see `charrnn.network.pair_module`.

        Returns:
            the outputs of the counted steps, and the state after `cut` steps.
        """
        config, weights = self.config, self.weights()

        def last(steps: Tensor) -> Tensor:
            """Return the counted steps; no slice if it is all, whose gradient would be a copy."""
            return steps if counted in (None, len(ids)) else steps[-counted:]

        rounded = self._bf16 and self.training and not (sequence or source)
        masked = rounded and bool(noise.dropped) and not self.regularizers.slowness_penalty
        tokens = None if source else self._tokens(ids, sequence or self._usual)
        nothing = ids.new_empty(*ids.shape, 0, dtype=torch.float32)
        embedded = nothing if tokens else self._embedded(ids)
        if source:
            embedded = embedded + source.added
        whole = (counted or len(ids)) == (cut or len(ids)) == len(ids)
        shared = self._skips(ids, masked) if tokens and rounded and whole else None
        x = top = dropped = embedded
        found: tuple[Tensor, ...] = ()  # by attention
        above, after = [], []
        for index in range(config.num_layers):
            layer = noise.masked(index, parameters.layer(weights, index))
            run = partial(self._run_layer, noise=noise, cut=cut, sequence=sequence, rounded=rounded)
            read_tokens = tokens if index == 0 or config.skip_connections else None
            mask = noise.dropped[index] if noise.dropped and masked else None
            place = shared.place(index) if shared else None
            top, at_cut = run(layer, x, state[index], tokens=read_tokens, mask=mask, place=place)
            dropped = top if masked else self._drop(top, noise, index)
            if source and index == 0:
                found = source.attend(dropped)
            above.append(last(dropped))
            after.append(at_cut)
            skips = config.skip_connections and not tokens
            x = beside(dropped, *[embedded] * skips, *found)
        above = above if config.skip_connections else above[-1:]
        read = shared.joined(top) if shared else beside(*above, *map(last, found))
        return Outputs(self._mapped(read), last(top), last(dropped)), tuple(after)

    @property
    def _usual(self) -> Sequence:
        """What runs a layer if nothing else is asked for."""
        return self._sequence if self.training else self._scoring

    def _tokens(self, ids: Tensor, run: Sequence) -> Tokens | None:
        """Return the tokens with their vectors if layers can read them so, and are faster then."""
        vectors = self.weights().get("embedding")
        if not reads_tokens(run) or self.config.input_depth > 1 or vectors is None:
            return None
        return Tokens(ids, vectors) if 2 * len(vectors) <= ids.numel() else None

    def _skips(self, ids: Tensor, masked: bool) -> Skips | None:
        """Return one array for all layers' outputs, unless dropout copies them.

        Masks that stay the same are applied by the layers themselves (`masked`).
        """
        (steps, batch), hidden, layers = ids.shape, self.config.hidden_size, self.config.num_layers
        useful = self.config.skip_connections and layers > 1 and (masked or not self.dropout)
        return Skips(steps, batch, hidden, layers) if useful and Skips.fits(hidden) else None

    def _embedded(self, ids: Tensor) -> Tensor:
        """Return the embeddings of tokens, (T, B, E), or their one-hot vectors (T, B, V + 1)."""
        weights = self.weights()
        if "embedding" in weights:
            return F.embedding(ids, weights["embedding"])
        return F.one_hot(ids, self.config.vocab_size + 1).to(weights["output.bias"].dtype)

    def _run_layer(
        self,
        layer: Mapping[str, Tensor],
        x: Tensor,
        state: LayerState,
        noise: Noise,
        *,
        cut: int | None = None,
        sequence: Sequence | None = None,
        tokens: Tokens | None = None,
        rounded: bool = False,
        mask: Tensor | None = None,
        place: Place | None = None,
    ) -> tuple[Tensor, LayerState]:
        """Run a layer with its input map; return its outputs and its state after `cut` steps.

        It reads the vectors of `tokens`, if any, behind `x`. With `rounded` the outputs are
        bfloat16, as their readers multiply them, `mask` is applied to them, and they go to their
        `place`; see `charrnn.network.fused.sequence`.
        """
        run = sequence or self._usual
        for weight, bias in parameters.maps(layer, "input."):
            x = torch.tanh(F.linear(x.to(weight.dtype), weight, bias))
        more: dict[str, Any] = {"rounded": True, "mask": mask} if rounded else {}
        more |= {"place": place} if place else {}
        run_layer = partial(run, self.layer, weights=layer, readout=self._distribution, **more)
        rates = self.config.zone_rates(len(self.layer.cell.states))
        zone = noise.zone(rates, state[0], (len(x), *state[0].shape), self.training)
        return _run_cut(run_layer, x, state, zone, cut, tokens)

    def _drop(self, outputs: Tensor, noise: Noise, index: int) -> Tensor:
        """Return the outputs of a layer after dropout."""
        if noise.dropped:
            return noises.masked(outputs, noise.dropped[index])
        return noise.drop(outputs, self.dropout, self.training)

    def _mapped(self, outputs: Tensor) -> Tensor:
        """Return what the last matrix reads, from the layers' outputs."""
        for weight, bias in parameters.maps(self.weights(), "output.hidden."):
            outputs = torch.tanh(F.linear(outputs.to(weight.dtype), weight, bias))
        if self.config.tied_output:
            bf16 = self._bf16 and self.training
            outputs = loss.product(outputs, self.weights()["output.weight"], bf16)
        return outputs

    def logits(self, read: Tensor) -> Tensor:
        """Return the logits of the next tokens, (..., V), from `Outputs.read`."""
        return loss.logits(read, *self._output())

    def mean_nats(self, read: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of targets (T, B) in nats, a scalar; it has no second derivative."""
        return loss.mean_nats(read.flatten(0, 1), targets.flatten(), *self._output())

    def _output(self) -> tuple[Tensor, Tensor, bool]:
        """Return the last matrix, its bias, and whether the product is in bfloat16."""
        weights = self.weights()
        bf16 = self._bf16 and self.training
        matrix: Tensor = weights["output.weight"]
        if self.config.tied_output:
            matrix = weights["embedding"][: self.config.vocab_size]
        return matrix, weights["output.bias"], bf16

    def _distribution(self, outputs: Tensor) -> Tensor:
        """Return the distribution of the next token (B, V) from the last layer's outputs (B, H)."""
        return torch.softmax(self.logits(self._mapped(outputs)), -1)

    def nats(
        self,
        inputs: NDArray[np.int64],
        targets: NDArray[np.int64],
        state: State,
        *,
        quick: bool = False,
    ) -> tuple[NDArray[np.float32], State]:
        """Return -ln p of every target (T, B) without dropout, and the state after the window.

        With `quick` the layers run as in training, perhaps in bfloat16.
        """
        nats, state = self.nats_by_factor((1.0,), inputs, targets, state, quick=quick)
        return nats[0], state

    @torch.no_grad()
    def nats_by_factor(
        self,
        factors: tuple[float, ...],
        inputs: NDArray[np.int64],
        targets: NDArray[np.int64],
        state: State,
        *,
        quick: bool,
    ) -> tuple[NDArray[np.float32], State]:
        """Return what `nats` does, (F, T, B), with all logits multiplied by each of F factors."""
        was_training = self.training
        self.eval()
        read, state = self.outputs(torch.from_numpy(inputs).to(self.device), state, quick=quick)
        wanted = torch.from_numpy(targets).to(self.device)
        nats = self._nats(read.flatten(0, 1), wanted.flatten(), factors)
        self.train(was_training)
        return nats.view(len(factors), *wanted.shape).cpu().numpy(), state

    def _nats(self, read: Tensor, targets: Tensor, factors: tuple[float, ...]) -> Tensor:
        """Return -ln p of targets (F, N), given what logits are computed from (N, Y)."""
        return loss.nats_by_factor(read, targets, *self._output(), factors)

    @torch.no_grad()
    def outputs(self, ids: Tensor, state: State, *, quick: bool) -> tuple[Tensor, State]:
        """Return what logits are computed from (T, B, Y), without noise, and the state after.

        With `quick` the layers run as in training, perhaps in bfloat16.
        """
        sequence = self._sequence if quick else None
        read = []
        for part in ids.chunk(math.ceil(ids.numel() * self.config.hidden_size / _AT_ONCE)):
            outputs, state = self.run(part, state, Noise(), sequence=sequence)
            read.append(outputs.read)
        return torch.cat(read), state

    @property
    def members(self) -> list[CharRNN]:
        """The networks that are trained by themselves: of an ensemble several."""
        return [self]


def _run_cut(
    run: Callable[..., tuple[Tensor, LayerState]],
    x: Tensor,
    state: LayerState,
    zone: tuple[Tensor, ...],
    cut: int | None,
    tokens: Tokens | None,
) -> tuple[Tensor, LayerState]:
    """Run a layer over a window; return its outputs (T, B, H) and its state after `cut` steps."""
    if cut in (None, 0, len(x)):  # without slices, whose gradients would be copies
        y, after = run(x=x, state=state, zone=zone, **({"tokens": tokens} if tokens else {}))
        return y, state if cut == 0 else after

    def part(rows: slice, state: LayerState) -> tuple[Tensor, LayerState]:
        masks = tuple(mask if len(mask) == 1 else mask[rows] for mask in zone)
        more = {"tokens": Tokens(tokens.ids[rows], tokens.vectors)} if tokens else {}
        return run(x=x[rows], state=state, zone=masks, **more)

    first, at_cut = part(slice(None, cut), state)
    second, _ = part(slice(cut, None), at_cut)
    return torch.cat([first, second]), at_cut


def detached(state: Any) -> Any:
    """Return a state, however nested, detached from autograd's graph."""
    return state.detach() if isinstance(state, Tensor) else tuple(map(detached, state))


def choose_device(name: str) -> torch.device:
    """Return the device named ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        OptionError: this machine has no such device.
    """
    check_device(name, auto=True)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        why = "no such CUDA device here" if torch.cuda.is_available() else "PyTorch sees no CUDA"
        raise OptionError(f"--device {name}: {why}; use --device cpu")
    return torch.device(name)
