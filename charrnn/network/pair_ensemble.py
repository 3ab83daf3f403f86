"""Several networks for the same pairs; see `charrnn.network.ensemble`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from numpy.typing import NDArray

from charrnn.config import ModelConfig
from charrnn.network.ensemble import Ensemble
from charrnn.network.layers import Sequence
from charrnn.network.module import Outputs
from charrnn.network.noise import OwnStreams
from charrnn.network.pair_module import PairRNN
from charrnn.text.pair_order import PairBatch


class PairEnsemble(Ensemble, PairRNN):
    """An ensemble; see `CharRNN` for its arguments."""

    kind = PairRNN

    def run_pairs(
        self,
        batch: PairBatch,
        *,
        sequence: Sequence | None = None,
        streams: OwnStreams | None = None,
    ) -> Outputs:
        """Return the outputs of all networks beside each other."""
        found = [
            cast(PairRNN, network).run_pairs(batch, sequence=sequence, streams=streams)
            for network in self.members
        ]
        return Outputs(
            torch.cat([outputs.read for outputs in found], -1),
            torch.cat([outputs.top for outputs in found], -1),
            torch.cat([outputs.dropped for outputs in found], -1),
        )


def pair_network(
    config: ModelConfig, values: Mapping[str, NDArray[Any]], **options: Any
) -> PairRNN:
    """Return a network of pairs, or an ensemble; see `CharRNN` for the arguments."""
    return (PairEnsemble if config.ensemble > 1 else PairRNN)(config, values, **options)
