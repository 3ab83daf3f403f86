"""What a training takes its batches from, and the values that it exchanges with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch

from charrnn.config import TrainConfig
from charrnn.network.layers import State
from charrnn.network.module import CharRNN
from charrnn.storage.tensors import Arrays
from charrnn.training.distributed import World


@dataclass(frozen=True)
class BatchLoss:
    """The loss of a network on a batch.

    Attributes:
        nats: the mean over the tokens that count; a scalar. Of a batch that several processes deal
            out among themselves, this process's part of that mean.
        penalty: what regularizers add to it for the gradient; likewise.
        state: the recurrent state after the batch, each part (B, H); () if none is carried on.
    """

    nats: torch.Tensor
    penalty: torch.Tensor | float
    state: State


Term = TypeVar("Term", torch.Tensor, "torch.Tensor | float")


def part_of(term: Term, share: float) -> Term:
    """Return a term of the loss by its share of that of the whole batch; 1: it is the whole."""
    return term if share == 1 else term * share


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


class Batches(Protocol):
    """The batches of a training text, and the position in them.

    Attributes:
        network: the network in training.
        config: how it is trained.
        world: the processes that share the batches.
        per_epoch: the number of batches in an epoch.
        characters: the mean number of characters that a batch reads.
        characters_per_token: the same per token whose loss counts.
        epochs: the passes over the text made so far, with fraction.
    """

    network: CharRNN
    config: TrainConfig
    world: World
    characters_per_token: float

    @property
    def per_epoch(self) -> int: ...  # noqa: D102 - described above

    @property
    def characters(self) -> float: ...  # noqa: D102

    @property
    def epochs(self) -> float: ...  # noqa: D102

    def loss(self) -> BatchLoss:
        """Return the loss of the next batch; the position stays until `advance`."""
        ...

    def advance(self, read: BatchLoss) -> None:
        """Go on to the batch after the one that was read."""
        ...

    def reset(self) -> None:
        """Forget what other weights have left; the position stays."""
        ...

    def position(self) -> Position:
        """Return a copy of the position."""
        ...

    def restore(self, position: Position) -> None:
        """Continue at a position.

        Raises:
            ModelError: the text ends before it.
        """
        ...
