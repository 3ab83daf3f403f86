"""The network as a torch module, for training: symbols -> layers -> logits.

The state is a value that goes in and comes out; the module keeps none. Shapes: T steps, B streams,
V symbols, E embedding, H hidden units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    """What is drawn once for an update and stays the same along its window.

    Attributes:
        dropped: for each layer, masks (1, B, H) of its outputs; empty where they are drawn anew at
            every step.
        weights: for each layer, a mask of its recurrent weights by name; empty without weight-drop.
    """

    dropped: tuple[Tensor, ...] = ()
    weights: tuple[Mapping[str, Tensor], ...] = ()


@dataclass(frozen=True)
class Outputs:
    """What a window came to.

    Attributes:
        read: what the logits are made of (T, B, Y); see `CharRNN.logits`.
        top: the last layer's outputs (T, B, H), as they came from the recurrence.
        dropped: the same after dropout, as the output map reads them.
    """

    read: Tensor
    top: Tensor
    dropped: Tensor


class CharRNN(nn.Module):
    """Embedding (or one-hot symbols) -> stacked recurrent layers -> logits of the next symbol.

    Args:
        config: the architecture.
        values: parameters by name, as in `charrnn.model.parameters`; copied.
        regularizers: dropout and its kin; none by default.
        sequence: what runs a layer over a window; by default the plain loop.
        scoring: what runs it where losses are measured; by default the same.
        bf16: make also the output's product in bfloat16 in training.
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
        """The parameters by their names in the model file."""
        return {name: getattr(self, _attribute(name)) for name in self._names}

    def values(self) -> dict[str, NDArray[np.float32]]:
        """A copy of the parameters as arrays."""
        return {
            name: weight.detach().cpu().numpy().copy() for name, weight in self.weights().items()
        }

    def load(self, values: Mapping[str, NDArray[Any]]) -> None:
        """Take over `values`."""
        with torch.no_grad():
            for name, weight in self.weights().items():
                weight.copy_(torch.from_numpy(values[name]))

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    def start_state(self, batch_size: int) -> State:
        """The state before a text, each part (B, H): zeros, or what is learned."""
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

    def begun(self, state: State, rows: Tensor) -> State:
        """The state with those of `rows` (B,) as before a text."""
        start = self.start_state(len(rows))
        chosen = rows.to(self.device)[:, None]
        return tuple(
            tuple(torch.where(chosen, new, old) for new, old in zip(*layers, strict=True))
            for layers in zip(start, state, strict=True)
        )

    def draw(self, batch_size: int) -> Noise:
        """The noise of one update."""
        weights, kept = self.weights(), self.regularizers
        dropped: tuple[Tensor, ...] = ()
        masks: tuple[Mapping[str, Tensor], ...] = ()
        if kept.locked_dropout and self.dropout:
            ones = weights["output.bias"].new_ones(1, batch_size, self.config.hidden_size)
            layers = range(self.config.num_layers)
            dropped = tuple(F.dropout(ones, self.dropout) for _ in layers)
        if kept.weight_drop:
            masks = tuple(
                {
                    name: F.dropout(torch.ones_like(weight), kept.weight_drop)
                    for name, weight in parameters.layer(weights, index).items()
                    if is_recurrent(name)
                }
                for index in range(self.config.num_layers)
            )
        return Noise(dropped, masks)

    def forward(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Ids (T, B) -> logits (T, B, V), and the state after the window."""
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
        """A window with the noise that was drawn for it.

        Args:
            ids: (T, B).
            state: before the window.
            noise: what is drawn once.
            counted: how many of the last steps have outputs; all by default.
            cut: after how many steps the returned state is; by default after all.
            sequence: what runs a layer, in place of the usual.
        """
        config, weights = self.config, self.weights()
        run = sequence or (self._sequence if self.training else self._scoring)
        symbols = self._symbols(ids)

        def last(steps: Tensor) -> Tensor:
            """Those that are counted; all of them are no slice, whose gradient would be a copy."""
            return steps if counted in (None, len(ids)) else steps[-counted:]

        x = top = dropped = symbols
        above, after = [], []
        for index in range(config.num_layers):
            layer: dict[str, Tensor] = {**parameters.layer(weights, index)}
            if noise.weights:
                layer |= {name: layer[name] * mask for name, mask in noise.weights[index].items()}
            for weight, bias in parameters.maps(layer, "input."):
                x = torch.tanh(F.linear(x, weight, bias))
            top, at_cut = self._run_layer(run, x, state[index], layer, cut)
            if noise.dropped:
                dropped = top * noise.dropped[index]
            else:
                dropped = F.dropout(top, self.dropout, self.training)
            above.append(last(dropped))
            after.append(at_cut)
            x = torch.cat([dropped, symbols], -1) if config.skip_connections else dropped
        read = torch.cat(above, -1) if config.skip_connections else above[-1]
        return Outputs(self._mapped(read), last(top), last(dropped)), tuple(after)

    def _run_layer(
        self,
        run: Sequence,
        x: Tensor,
        state: LayerState,
        weights: Mapping[str, Tensor],
        cut: int | None,
    ) -> tuple[Tensor, LayerState]:
        """A layer's outputs (T, B, H), and its state after `cut` steps."""
        zone = self._zone(*x.shape[:2])
        if cut is None or cut == len(x):
            return run(self.layer, x, state, weights, zone=zone, readout=self._distribution)
        if cut == 0:
            y, _ = run(self.layer, x, state, weights, zone=zone, readout=self._distribution)
            return y, state

        def part(rows: slice, state: LayerState) -> tuple[Tensor, LayerState]:
            masks = tuple(mask if len(mask) == 1 else mask[rows] for mask in zone)
            return run(self.layer, x[rows], state, weights, zone=masks, readout=self._distribution)

        first, at_cut = part(slice(None, cut), state)
        second, _ = part(slice(cut, None), at_cut)
        return torch.cat([first, second]), at_cut

    def _symbols(self, ids: Tensor) -> Tensor:
        """What stands for the symbols, (T, B, E) or one-hot."""
        weights = self.weights()
        if self.config.embedding_size:
            return F.embedding(ids, weights["embedding"])
        return F.one_hot(ids, self.config.vocab_size + 1).to(weights["output.bias"].dtype)

    def _zone(self, steps: int, batch_size: int) -> tuple[Tensor, ...]:
        """What stays of each part of the old state: drawn in training, else the mean."""
        like = self.weights()["output.bias"]
        shape = (steps, batch_size, self.config.hidden_size)

        def mask(rate: float) -> Tensor:
            if self.training:
                return torch.bernoulli(like.new_full(shape, rate))
            return like.new_full((1, 1, 1), rate)

        return tuple(map(mask, self.config.zone_rates(len(self.layer.cell.states))))

    def _mapped(self, outputs: Tensor) -> Tensor:
        """The layers' outputs (..., Y) -> what the last matrix reads."""
        for weight, bias in parameters.maps(self.weights(), "output.hidden."):
            outputs = torch.tanh(F.linear(outputs, weight, bias))
        return outputs

    def logits(self, read: Tensor) -> Tensor:
        """Of the next symbols, (..., V), from `Outputs.read`."""
        return loss.logits(read, *self._output())

    def mean_nats(self, read: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of targets (T, B), a scalar; its gradient has no gradient."""
        return loss.mean_nats(read.flatten(0, 1), targets.flatten(), *self._output())

    def _output(self) -> tuple[Tensor, Tensor, bool]:
        """The last matrix, its bias, and whether the product is made in bfloat16."""
        weights = self.weights()
        bf16 = self._bf16 and self.training
        return weights["output.weight"], weights["output.bias"], bf16

    def _distribution(self, outputs: Tensor) -> Tensor:
        """The last layer's outputs (B, H) -> the distribution of the next symbol (B, V)."""
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
        """-ln p of every target (T, B), and the state after; no dropout (what scoring needs).

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


def detached(state: Any) -> Any:
    """The same values, cut off from the graph that made them; of a state however nested."""
    return state.detach() if isinstance(state, Tensor) else tuple(map(detached, state))


def choose_device(name: str) -> torch.device:
    """The device meant by ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        OptionError: there is no such device here.
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
    """Whether a layer's parameter is a matrix that the state meets."""
    return name == "weight_hh" or (name.startswith("hidden.") and name.endswith(".weight"))


def _attribute(name: str) -> str:
    """Torch allows no dots in a parameter's own name."""
    return name.replace(".", "_")
