"""The network as a torch module, for training: symbols -> layers -> logits.

The state is a value that goes in and comes out; the module keeps none. Shapes: T steps, B streams,
V symbols, E embedding, H hidden units.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from charrnn import parameters
from charrnn.cells import CELLS
from charrnn.config import ModelConfig
from charrnn.kernels.sequence import LayerState, Sequence, reference

State = tuple[LayerState, ...]


class CharRNN(nn.Module):
    """Embedding (or one-hot symbols) -> stacked recurrent layers -> logits of the next symbol.

    Args:
        config: the architecture.
        values: parameters by name, as in `charrnn.parameters`; copied.
        dropout: probability by which each layer's outputs are dropped on their way up.
        sequence: what runs a layer over a window; by default the plain loop.
        scoring: what runs it where losses are measured; by default the same.
    """

    def __init__(
        self,
        config: ModelConfig,
        values: Mapping[str, NDArray[Any]],
        *,
        dropout: float = 0.0,
        sequence: Sequence = reference,
        scoring: Sequence | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.dropout = dropout
        self.cell = CELLS[config.cell]
        self._sequence = sequence
        self._scoring = scoring or sequence
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

    def zero_state(self, batch_size: int) -> State:
        """The state before a text: zeros, each (B, H)."""
        like = next(self.parameters())
        zeros = like.new_zeros(batch_size, self.config.hidden_size)
        return tuple(
            tuple(zeros.clone() for _ in self.cell.states) for _ in range(self.config.num_layers)
        )

    def forward(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Ids (T, B) -> logits (T, B, V), and the state after the window."""
        weights = self.weights()
        sequence = self._sequence if self.training else self._scoring
        if self.config.embedding_size:
            x = F.embedding(ids, weights["embedding"])
        else:
            x = F.one_hot(ids, self.config.vocab_size + 1).to(weights["output.bias"].dtype)
        after = []
        for index in range(self.config.num_layers):
            prefix = f"layers.{index}."
            layer = {
                name.removeprefix(prefix): weight
                for name, weight in weights.items()
                if name.startswith(prefix)
            }
            x, last = sequence(self.cell, x, state[index], layer)
            x = F.dropout(x, self.dropout, self.training)
            after.append(last)
        return F.linear(x, weights["output.weight"], weights["output.bias"]), tuple(after)

    @torch.no_grad()
    def nats(
        self, inputs: NDArray[np.int64], targets: NDArray[np.int64], state: State
    ) -> tuple[NDArray[np.float32], State]:
        """-ln p of every target (T, B), and the state after; no dropout (what scoring needs)."""
        was_training = self.training
        self.eval()
        logits, state = self(torch.from_numpy(inputs).to(self.device), state)
        wanted = torch.from_numpy(targets).to(self.device)
        nats = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none")
        self.train(was_training)
        return nats.view(wanted.shape).cpu().numpy(), state


def detached(state: State) -> State:
    """The same values, cut off from the graph that made them."""
    return tuple(tuple(part.detach() for part in layer) for layer in state)


def _attribute(name: str) -> str:
    """Torch allows no dots in a parameter's own name."""
    return name.replace(".", "_")
