"""Batches of pairs, each read from its beginning to its end: no state is carried on."""

from __future__ import annotations

import torch

from charrnn.config import TrainConfig
from charrnn.errors import ModelError
from charrnn.network.module import CharRNN
from charrnn.network.noise import OwnStreams
from charrnn.network.pair_module import PairRNN
from charrnn.text.gaps import Pairs, order_of
from charrnn.text.pair_order import PairBatch, batch
from charrnn.text.pairs import PairPart
from charrnn.text.streams import IGNORED
from charrnn.text.tokenizer import Tokenizer
from charrnn.training import regularizers
from charrnn.training.batches import BatchLoss, Position, part_of
from charrnn.training.distributed import ALONE, World


class PairBatches:
    """The batches of a training on pairs, and the position in them.

    Attributes:
        network: the network in training.
        config: how it is trained.
        world: the processes that share the pairs of each batch.
        characters_per_token: of the targets, whose ends are tokens but no characters.
        characters: the mean number of characters of a batch, of sources and targets.
    """

    def __init__(
        self,
        network: PairRNN,
        pairs: Pairs,
        tokenizer: Tokenizer,
        config: TrainConfig,
        world: World = ALONE,
    ) -> None:
        self.network: CharRNN = network
        self.config, self.world = config, world
        self._pairs = network
        self._order = order_of(pairs, config.batch_size, config.seed)
        self._epoch = self._batch = 0
        # Of a text with gaps, all is missing once in an epoch, on average.
        targets = pairs.targets if isinstance(pairs, PairPart) else pairs.ids
        written = tokenizer.measure(targets).characters
        self.characters_per_token = written / (len(targets) + len(pairs))
        read = tokenizer.measure(pairs.ids).characters * self._order.tokens / len(pairs.ids)
        self.characters = read / self._order.batches

    @property
    def per_epoch(self) -> int:
        """The number of batches in an epoch."""
        return self._order.batches

    @property
    def epochs(self) -> float:
        """The passes over the pairs made so far, with fraction."""
        return self._epoch + self._batch / self._order.batches

    def loss(self) -> BatchLoss:
        """Return the loss of the next batch; the position stays until `advance`."""
        network, config = self._pairs, self._pairs.config
        part, which = self._order.pairs(self._epoch, self._batch)
        whole = batch(part, which, config.start_token, config.end_token)
        read, streams = self._dealt(whole, len(which))
        outputs = network.run_pairs(read, streams=streams)
        targets = torch.from_numpy(read.targets).to(network.device)
        nats, counted = network.mean_nats(outputs.read, targets), targets != IGNORED
        if streams is None:
            return BatchLoss(nats, regularizers.activation(outputs, self.config, counted), ())
        if self.world.share(len(which)) != streams.own:  # fewer pairs than processes, and none here
            return BatchLoss(0 * nats, 0.0, ())
        among = torch.from_numpy(whole.targets != IGNORED).to(network.device)
        penalty = regularizers.activation(outputs, self.config, counted, among)
        share = int(counted.sum()) / int(among.sum())
        return BatchLoss(part_of(nats, share), penalty, ())

    def _dealt(self, whole: PairBatch, count: int) -> tuple[PairBatch, OwnStreams | None]:
        """Return this process's pairs of a batch, at least one; and which these are, if not all."""
        if self.world.size == 1:
            return whole, None
        own = self.world.share(count)
        own = own if own.start < own.stop else slice(0, 1)
        return whole.some(own), OwnStreams(count, own)

    def advance(self, read: BatchLoss) -> None:
        """Go on to the batch after the one that was read."""
        self._batch += 1
        if self._batch == self._order.batches:
            self._epoch, self._batch = self._epoch + 1, 0

    def reset(self) -> None:
        """Do nothing: no state is left by other weights."""

    def position(self) -> Position:
        """Return a copy of the position."""
        return Position(self._epoch, self._batch, {})

    def restore(self, position: Position) -> None:
        """Continue at a position.

        Raises:
            ModelError: the pairs end before it.
        """
        if position.batch >= self._order.batches:
            raise ModelError("the state is damaged: its position is behind the last pair")
        self._epoch, self._batch = position.epoch, position.batch
