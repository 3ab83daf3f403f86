"""Truncated backpropagation through time, BPTT(k1, k2), over B streams with carried state.

After every k1 tokens of each stream comes an update: the gradient of their mean loss is taken k2
steps back. With k1 = k2 a window starts from the state that the last one left. With k2 > k1 it
first reads the k2 - k1 tokens before it again, from the state stored there.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from charrnn.config import TrainConfig
from charrnn.errors import ModelError
from charrnn.network.layers import State
from charrnn.network.module import CharRNN, detached
from charrnn.network.noise import Noise, OwnStreams
from charrnn.text.streams import Cursor, Streams, Window
from charrnn.training import regularizers
from charrnn.training.batches import BatchLoss, Position, part_of
from charrnn.training.distributed import ALONE, World
from charrnn.training.regularizers import Recorder


class StreamBatches:
    """The windows of B streams as batches, the position in them, and the state carried over.

    Nothing but this class knows that a training reads streams.

    Attributes:
        network: the network in training.
        streams: the text.
        config: how the network is trained.
        world: the processes that share the streams.
        characters_per_token: mean over the training text.
        cursor: the position in the streams.
        carried: the recurrent state of this process's streams before the next window, each part
            (B, H).
    """

    def __init__(
        self,
        network: CharRNN,
        streams: Streams,
        config: TrainConfig,
        characters_per_token: float = 1.0,
        world: World = ALONE,
    ) -> None:
        self.network, self.streams, self.config = network, streams, config
        self.characters_per_token, self.world = characters_per_token, world
        self.cursor = Cursor()
        self._own = world.share(streams.batch_size)
        self._count = self._own.stop - self._own.start
        self._share = self._count / streams.batch_size
        self.carried: State = network.start_state(self._count)

    @property
    def per_epoch(self) -> int:
        """The number of batches in an epoch."""
        return self.streams.windows

    @property
    def characters(self) -> float:
        """The mean number of characters that a batch reads."""
        return self.streams.counted * self.characters_per_token

    @property
    def epochs(self) -> float:
        """The passes over the text made so far, with fraction."""
        return self.cursor.epoch + self.cursor.window / self.streams.windows

    def loss(self) -> BatchLoss:
        """Return the loss of the next window; the position stays until `advance`.

        The steps before the counted ones are read again with the current weights, from the state
        stored at the window's start. They take part in the gradient, not in the loss.
        """
        network, device = self.network, self.network.device
        window = self.streams.window(self.cursor, self._own)
        inputs = torch.from_numpy(window.inputs).to(device)
        targets = torch.from_numpy(window.targets[-window.counted :]).to(device)
        recorder = Recorder() if self.config.omega else None
        outputs, after = network.run(
            inputs,
            self._state_before(window),
            self._draw(),
            counted=window.counted,
            cut=window.shift,
            sequence=recorder,
        )
        penalty = regularizers.activation(outputs, self.config)
        if recorder:  # omega takes the gradient of a gradient, which `mean_nats` does not have
            logits = network.logits(outputs.read).flatten(0, 1)
            nats = F.cross_entropy(logits, targets.flatten())
            carried = torch.from_numpy(self._is_carried(window)).to(device)
            by_omega = regularizers.omega(nats, recorder.layers, carried)
            penalty = penalty + self.config.omega * by_omega
        else:
            nats = network.mean_nats(outputs.read, targets)
        return BatchLoss(part_of(nats, window.share), part_of(penalty, self._share), after)

    def _draw(self) -> Noise:
        """Return the noise of an update."""
        count = self.streams.batch_size
        own = None if self._count == count else OwnStreams(count, self._own)
        return self.network.draw(count, own)

    def advance(self, read: BatchLoss) -> None:
        """Go on to the window after the one that was read."""
        self.carried = detached(read.state)
        self.cursor = self.streams.advance(self.cursor)

    def reset(self) -> None:
        """Forget the carried state, which other weights have left; the position stays."""
        self.carried = self.network.start_state(self._count)

    def position(self) -> Position:
        """Return a copy of the position, with the state of all streams."""
        names, count = self.network.layer.cell.states, self.streams.batch_size
        carried = {
            f"{layer}.{name}": self.world.joined(part.detach().cpu().numpy().copy(), count)
            for layer, parts in enumerate(self.carried)
            for name, part in zip(names, parts, strict=True)
        }
        return Position(self.cursor.epoch, self.cursor.window, carried)

    def restore(self, position: Position) -> None:
        """Continue at a position.

        Raises:
            ModelError: the text ends before it.
        """
        network = self.network
        if position.batch >= self.streams.windows:
            raise ModelError("the state is damaged: its position is past the end of the text")
        self.cursor = Cursor(position.epoch, position.batch)
        self.carried = tuple(
            tuple(
                torch.from_numpy(position.carried[f"{layer}.{name}"][self._own]).to(network.device)
                for name in network.layer.cell.states
            )
            for layer in range(network.config.num_layers)
        )

    def _state_before(self, window: Window) -> State:
        """Return the state before a window: that of the text before, or where it begins, a new one.

        Returns:
            each part (B, H).
        """
        if window.start == 0 or self.config.state == "reset":
            return self.network.start_state(self._count)
        if window.begins is not None and window.begins.any():
            return self.network.reset_rows(self.carried, torch.from_numpy(window.begins))
        return self.carried

    def _is_carried(self, window: Window) -> NDArray[np.bool_]:
        """Return whether each stream's state (B,) before a window is that after earlier text."""
        begins = window.start == 0 or self.config.state == "reset"
        carried = np.full(self._count, not begins)
        return carried if window.begins is None else carried & ~window.begins
