"""Several networks of pairs that are trained side by side, and whose logits are averaged.

Each is a network of its own, with its own dropout and its own loss: so each learns the task by
itself, and they err in different places. Only the batches are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from charrnn.config import ModelConfig
from charrnn.model import parameters
from charrnn.network.layers import Sequence
from charrnn.network.module import Outputs
from charrnn.network.noise import OwnStreams
from charrnn.network.pair_module import PairRNN
from charrnn.text.pair_order import PairBatch


class PairEnsemble(PairRNN):
    """An ensemble; see `CharRNN` for its arguments."""

    def __init__(
        self, config: ModelConfig, values: Mapping[str, NDArray[Any]], **options: Any
    ) -> None:
        nn.Module.__init__(self)  # all parameters are those of the networks
        self.config = config
        each = parameters.members(config, values)
        self.networks = nn.ModuleList(PairRNN(config.member, one, **options) for one in each)
        self._sequence = self._each()[0]._sequence

    def _each(self) -> list[PairRNN]:
        return cast(list[PairRNN], list(self.networks))

    def weights(self) -> dict[str, nn.Parameter]:
        """Return the parameters of all networks by their names in the model file."""
        return parameters.together([network.weights() for network in self._each()])

    def run_pairs(
        self,
        batch: PairBatch,
        *,
        sequence: Sequence | None = None,
        streams: OwnStreams | None = None,
    ) -> Outputs:
        """Return the outputs of all networks beside each other."""
        found = [
            network.run_pairs(batch, sequence=sequence, streams=streams) for network in self._each()
        ]
        return Outputs(
            torch.cat([outputs.read for outputs in found], -1),
            torch.cat([outputs.top for outputs in found], -1),
            torch.cat([outputs.dropped for outputs in found], -1),
        )

    def mean_nats(self, read: Tensor, targets: Tensor) -> Tensor:
        """Return the mean of the networks' losses; each has the gradient of its own loss."""
        parts = read.chunk(self.config.ensemble, -1)
        found = [
            network.mean_nats(part, targets)
            for network, part in zip(self._each(), parts, strict=True)
        ]
        total = torch.stack(found).sum()
        return total - (total - total / len(found)).detach()

    def _output(self) -> tuple[Tensor, Tensor, bool]:
        """Return the last matrix over the outputs of all networks, its bias, and the precision."""
        matrices, biases, _ = zip(*(network._output() for network in self._each()), strict=True)
        return torch.cat(matrices, -1) / len(matrices), torch.stack(biases).mean(0), False


def pair_network(
    config: ModelConfig, values: Mapping[str, NDArray[Any]], **options: Any
) -> PairRNN:
    """Return a network of pairs, or an ensemble; see `CharRNN` for the arguments."""
    return (PairEnsemble if config.ensemble > 1 else PairRNN)(config, values, **options)
