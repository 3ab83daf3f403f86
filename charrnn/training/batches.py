"""The values that a training exchanges with what it takes its batches from."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from charrnn.network.layers import State
from charrnn.storage.tensors import Arrays


@dataclass(frozen=True)
class BatchLoss:
    """The loss of a network on a batch.

    Attributes:
        nats: the mean over the tokens that count; a scalar.
        penalty: what regularizers add to it for the gradient.
        state: the recurrent state after the batch, each part (B, H).
    """

    nats: torch.Tensor
    penalty: torch.Tensor | float
    state: State


@dataclass(frozen=True)
class Position:
    """How far a training has read, as a checkpoint holds it.

    Attributes:
        epoch: epochs done.
        batch: batches of this epoch done.
        carried: the recurrent state before the next batch (B, H), as LAYER.PART.
    """

    epoch: int
    batch: int
    carried: Arrays
