"""Several networks for the same texts or pairs, whose logits are averaged.

Each is trained by itself, on its own loss and with its own dropout, so that they err in different
places; see `charrnn.training.training_step`. Together they are scored as one network, whose
parameters are those of all, as NUMBER.NAME, and whose state is the layers of one network after the
other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from charrnn.config import ModelConfig
from charrnn.model import parameters
from charrnn.network import loss
from charrnn.network.layers import State
from charrnn.network.module import CharRNN
from charrnn.network.side_by_side import SideBySide


class Ensemble(CharRNN):
    """An ensemble; see `CharRNN` for its arguments.

    Attributes:
        networks: the networks, each of the `kind` of this ensemble.
        side_by_side: runs them at the same time.
    """

    kind: ClassVar[type[CharRNN]] = CharRNN

    def __init__(
        self, config: ModelConfig, values: Mapping[str, NDArray[Any]], **options: Any
    ) -> None:
        nn.Module.__init__(self)  # all parameters are those of the networks
        self.config = config
        self.layer = parameters.layer_of(config)
        each = parameters.members(config, values)
        self.networks = nn.ModuleList(self.kind(config.member, one, **options) for one in each)
        self._sequence = self.members[0]._sequence
        self.side_by_side = SideBySide(config.ensemble)

    @property
    def members(self) -> list[CharRNN]:
        """The networks."""
        return cast(list[CharRNN], list(self.networks))

    def weights(self) -> dict[str, nn.Parameter]:
        """Return the parameters of all networks, as NUMBER.NAME."""
        return parameters.together([network.weights() for network in self.members])

    def start_state(self, batch_size: int) -> State:
        """Return the state before a text: K*L layers, each part (B, H/K)."""
        return tuple(layer for network in self.members for layer in network.start_state(batch_size))

    def forward(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Return logits (T, B, V) from ids (T, B), and the state after the window."""
        logits, after = zip(
            *(
                network(ids, part)
                for network, part in zip(self.members, self._parts(state), strict=True)
            ),
            strict=True,
        )
        return torch.stack(logits).mean(0), tuple(layer for part in after for layer in part)

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
        read, after = zip(
            *self._together(
                [
                    partial(network.outputs, ids, part, quick=quick)
                    for network, part in zip(self.members, self._parts(state), strict=True)
                ]
            ),
            strict=True,
        )
        wanted = torch.from_numpy(targets).to(self.device)
        nats = self._nats(torch.cat(read, -1).flatten(0, 1), wanted.flatten())
        self.train(was_training)
        return nats.view(wanted.shape).cpu().numpy(), tuple(x for part in after for x in part)

    def _nats(self, read: Tensor, targets: Tensor) -> Tensor:
        """Return -ln p of targets (N,), given the outputs of all networks beside each other."""
        weight, bias, bf16 = self._output()
        count = self.config.ensemble
        pieces = [
            partial(loss.nats, rows, wanted, weight, bias, bf16)
            for rows, wanted in zip(read.chunk(count), targets.chunk(count), strict=True)
        ]
        return torch.cat(self._together(pieces))

    def _together(self, functions: Sequence[Callable[[], Any]]) -> list[Any]:
        if self.device.type != "cpu":  # only on CUDA
            return [function() for function in functions]
        return self.side_by_side.run(functions)

    def _parts(self, state: State) -> list[State]:
        """Return the state of each network."""
        layers = self.config.num_layers
        return [state[first : first + layers] for first in range(0, len(state), layers)]

    def _output(self) -> tuple[Tensor, Tensor, bool]:
        """Return the last matrix over the outputs of all networks, its bias, and the precision."""
        matrices, biases, bf16 = zip(*(network._output() for network in self.members), strict=True)
        count = len(matrices)
        return torch.cat(matrices, -1) / count, torch.stack(biases).mean(0), any(bf16)


def network_of(config: ModelConfig, values: Mapping[str, NDArray[Any]], **options: Any) -> CharRNN:
    """Return a network of texts, or an ensemble; see `CharRNN` for the arguments."""
    return (Ensemble if config.ensemble > 1 else CharRNN)(config, values, **options)
