"""Several networks for the same texts or pairs, whose logits are averaged.

Each is trained by itself, on its own loss and with its own dropout, so that they err in different
places; see `charrnn.training.training_step`. Together they are scored as one network, whose
parameters are those of all, as NUMBER.NAME, and whose state is the layers of one network after the
other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, ClassVar, TypeVar, cast

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from charrnn.config import ModelConfig
from charrnn.model import parameters
from charrnn.network import loss
from charrnn.network.layers import State
from charrnn.network.module import CharRNN
from charrnn.network.side_by_side import SideBySide

T = TypeVar("T")


class Ensemble(CharRNN):
    """An ensemble; see `CharRNN` for its arguments.

    Attributes:
        networks: the networks, each of the `kind` of this ensemble.
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
        self._side_by_side = SideBySide(config.ensemble)

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
            *(network(ids, part) for network, part in self._with_states(state)), strict=True
        )
        return torch.stack(logits).mean(0), tuple(chain.from_iterable(after))

    @torch.no_grad()
    def outputs(self, ids: Tensor, state: State, *, quick: bool) -> tuple[Tensor, State]:
        """Return what `CharRNN.outputs` does, of all networks beside each other (T, B, K*Y)."""
        read, after = zip(
            *self.together(
                [
                    partial(network.outputs, ids, part, quick=quick)
                    for network, part in self._with_states(state)
                ]
            ),
            strict=True,
        )
        return torch.cat(read, -1), tuple(chain.from_iterable(after))

    def _nats(self, read: Tensor, targets: Tensor, factors: tuple[float, ...]) -> Tensor:
        """Return -ln p of targets (F, N), given the outputs of all networks beside each other."""
        weight, bias, bf16 = self._output()
        count = self.config.ensemble
        pieces = [
            partial(loss.nats_by_factor, rows, wanted, weight, bias, bf16, factors)
            for rows, wanted in zip(read.chunk(count), targets.chunk(count), strict=True)
        ]
        return torch.cat(self.together(pieces), 1)

    def together(self, functions: Sequence[Callable[[], T]]) -> list[T]:
        """Call a function of each network, on the CPU at the same time; return what they return."""
        if self.device.type != "cpu":  # only on CUDA
            return [function() for function in functions]
        return self._side_by_side.run(functions)

    def _with_states(self, state: State) -> list[tuple[CharRNN, State]]:
        """Return each network with its state."""
        parts = parameters.by_network(self.config, state)
        return [(each, tuple(part)) for each, part in zip(self.members, parts, strict=True)]

    def _output(self) -> tuple[Tensor, Tensor, bool]:
        """Return the last matrix over the outputs of all networks, its bias, and the precision."""
        matrices, biases, bf16 = zip(*(network._output() for network in self.members), strict=True)
        count = len(matrices)
        return torch.cat(matrices, -1) / count, torch.stack(biases).mean(0), any(bf16)


def network_of(config: ModelConfig, values: Mapping[str, NDArray[Any]], **options: Any) -> CharRNN:
    """Return a network of texts, or an ensemble; see `CharRNN` for the arguments."""
    return (Ensemble if config.ensemble > 1 else CharRNN)(config, values, **options)
