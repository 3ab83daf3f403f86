"""The network as a torch module, for training: tokens -> layers -> logits.

The state is a value that goes in and comes out; the module stores none. Shapes: T steps, B streams,
V tokens, E embedding, H hidden units, Y values that the last matrix reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from charrnn.config import ModelConfig, Regularizers, check_device
from charrnn.errors import OptionError
from charrnn.model import parameters
from charrnn.network import loss
from charrnn.network.layers import LayerState, Sequence, reference

State = tuple[LayerState, ...]


@dataclass(frozen=True)
class Noise:
    """Random masks that are drawn once per update and stay the same along its window.

    Attributes:
        dropped: for each layer, masks (1, B, H) of its outputs (Gal and Ghahramani 2016); empty
            if they are drawn anew at every step.
        weights: for each layer, masks of its recurrent weights by name (Merity et al. 2017); empty
            without weight-drop.
    """

    dropped: tuple[Tensor, ...] = ()
    weights: tuple[Mapping[str, Tensor], ...] = ()


@dataclass(frozen=True)
class Outputs:
    """The outputs of a window.

    Attributes:
        read: what the logits are computed from (T, B, Y); see `CharRNN.logits`.
        top: the last layer's outputs (T, B, H), before dropout.
        dropped: the same after dropout, as the output map reads them.
    """

    read: Tensor
    top: Tensor
    dropped: Tensor


class CharRNN(nn.Module):
    """Embedding (or one-hot tokens) -> stacked recurrent layers -> logits of the next token.

    Args:
        config: the architecture.
        values: parameters by name, as in `charrnn.model.parameters`; copied.
        regularizers: dropout and others; none by default.
        sequence: runs a layer over a window; by default the plain loop.
        scoring: runs it when losses are measured; by default the same.
        bf16: compute the output's product in bfloat16, too, in training.
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
        super().__init__()
        self.config = config
        self.regularizers = regularizers or Regularizers()
        self.dropout = self.regularizers.dropout or 0.0
        self.layer = parameters.layer_of(config)
        self._sequence = sequence
        self._scoring = scoring or sequence
        self._bf16 = bf16
        self._names = list(parameters.shapes(config))
        for name in self._names:
            tensor = torch.tensor(np.array(values[name]))
            self.register_parameter(_attribute(name), nn.Parameter(tensor))

    def weights(self) -> dict[str, nn.Parameter]:
        """Return the parameters by their names in the model file."""
        return {name: getattr(self, _attribute(name)) for name in self._names}

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

    def draw(self, batch_size: int) -> Noise:
        """Return the noise of one update."""
        shape = (1, batch_size, self.config.hidden_size)
        return _draw_noise(self.weights(), self.regularizers, shape, self.config.num_layers)

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
    ) -> tuple[Outputs, State]:
        """Run a window with the noise that was drawn for it.

        Args:
            ids: (T, B).
            state: the state before the window.
            noise: from `draw`.
            counted: the number of last steps that have outputs; all by default.
            cut: the number of steps after which the returned state is; all by default.
            sequence: runs a layer, instead of the usual function.

        Returns:
            the outputs of the counted steps, and the state after `cut` steps.
        """
        config, weights = self.config, self.weights()
        run = sequence or (self._sequence if self.training else self._scoring)
        tokens = _embed(ids, weights, config.vocab_size)

        def last(steps: Tensor) -> Tensor:
            """Return the counted steps; no slice if it is all, whose gradient would be a copy."""
            return steps if counted in (None, len(ids)) else steps[-counted:]

        x = top = dropped = tokens
        above, after = [], []
        for index in range(config.num_layers):
            layer: dict[str, Tensor] = {**parameters.layer(weights, index)}
            if noise.weights:
                layer |= {name: layer[name] * mask for name, mask in noise.weights[index].items()}
            for weight, bias in parameters.maps(layer, "input."):
                x = torch.tanh(F.linear(x, weight, bias))
            run_layer = partial(run, self.layer, weights=layer, readout=self._distribution)
            top, at_cut = _run_cut(run_layer, x, state[index], self._zone(*x.shape[:2]), cut)
            if noise.dropped:
                dropped = top * noise.dropped[index]
            else:
                dropped = F.dropout(top, self.dropout, self.training)
            above.append(last(dropped))
            after.append(at_cut)
            x = torch.cat([dropped, tokens], -1) if config.skip_connections else dropped
        read = torch.cat(above, -1) if config.skip_connections else above[-1]
        return Outputs(self._mapped(read), last(top), last(dropped)), tuple(after)

    def _zone(self, steps: int, batch_size: int) -> tuple[Tensor, ...]:
        """Return the share of each part of the old state that stays: random only in training."""
        like = self.weights()["output.bias"]
        shape = (steps, batch_size, self.config.hidden_size)

        def mask(rate: float) -> Tensor:
            if self.training:
                return torch.bernoulli(like.new_full(shape, rate))
            return like.new_full((1, 1, 1), rate)

        return tuple(map(mask, self.config.zone_rates(len(self.layer.cell.states))))

    def _mapped(self, outputs: Tensor) -> Tensor:
        """Return what the last matrix reads, from the layers' outputs."""
        for weight, bias in parameters.maps(self.weights(), "output.hidden."):
            outputs = torch.tanh(F.linear(outputs, weight, bias))
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
        return weights["output.weight"], weights["output.bias"], bf16

    def _distribution(self, outputs: Tensor) -> Tensor:
        """Return the distribution of the next token (B, V) from the last layer's outputs (B, H)."""
        return torch.softmax(self.logits(self._mapped(outputs)), -1)

    @torch.no_grad()
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
        was_training = self.training
        self.eval()
        ids = torch.from_numpy(inputs).to(self.device)
        outputs, state = self.run(ids, state, Noise(), sequence=self._sequence if quick else None)
        wanted = torch.from_numpy(targets).to(self.device)
        nats = loss.nats(outputs.read.flatten(0, 1), wanted.flatten(), *self._output())
        self.train(was_training)
        return nats.view(wanted.shape).cpu().numpy(), state


def _embed(ids: Tensor, weights: Mapping[str, Tensor], vocab_size: int) -> Tensor:
    """Return the embeddings of tokens, (T, B, E), or their one-hot vectors (T, B, V + 1)."""
    if "embedding" in weights:
        return F.embedding(ids, weights["embedding"])
    return F.one_hot(ids, vocab_size + 1).to(weights["output.bias"].dtype)


def _run_cut(
    run: Callable[..., tuple[Tensor, LayerState]],
    x: Tensor,
    state: LayerState,
    zone: tuple[Tensor, ...],
    cut: int | None,
) -> tuple[Tensor, LayerState]:
    """Run a layer over a window; return its outputs (T, B, H) and its state after `cut` steps."""
    if cut in (None, 0, len(x)):
        y, after = run(x=x, state=state, zone=zone)
        return y, state if cut == 0 else after

    def part(rows: slice, state: LayerState) -> tuple[Tensor, LayerState]:
        masks = tuple(mask if len(mask) == 1 else mask[rows] for mask in zone)
        return run(x=x[rows], state=state, zone=masks)

    first, at_cut = part(slice(None, cut), state)
    second, _ = part(slice(cut, None), at_cut)
    return torch.cat([first, second]), at_cut


def _draw_noise(
    weights: Mapping[str, Tensor],
    regularizers: Regularizers,
    shape: tuple[int, int, int],
    num_layers: int,
) -> Noise:
    """Return the noise of one update; `shape` is that of a layer's output mask, (1, B, H)."""
    dropped: tuple[Tensor, ...] = ()
    masks: tuple[Mapping[str, Tensor], ...] = ()
    if regularizers.locked_dropout and regularizers.dropout:
        ones = weights["output.bias"].new_ones(shape)
        dropped = tuple(F.dropout(ones, regularizers.dropout) for _ in range(num_layers))
    if regularizers.weight_drop:
        masks = tuple(
            {
                name: F.dropout(torch.ones_like(weight), regularizers.weight_drop)
                for name, weight in parameters.layer(weights, index).items()
                if is_recurrent(name)
            }
            for index in range(num_layers)
        )
    return Noise(dropped, masks)


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


def is_recurrent(name: str) -> bool:
    """Return whether a layer's parameter is a matrix that multiplies the state."""
    return name == "weight_hh" or (name.startswith("hidden.") and name.endswith(".weight"))


def _attribute(name: str) -> str:
    """Return a parameter's name in the module: torch allows no dots there."""
    return name.replace(".", "_")
