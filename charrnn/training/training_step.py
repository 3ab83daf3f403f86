"""Truncated backpropagation through time, BPTT(k1, k2), over B streams with carried state.

After every k1 tokens of each stream comes an update: the gradient of their mean loss is taken k2
steps back, its norm is clipped, and the optimizer makes a step. With k1 = k2 a window starts from
the state that the last one left. With k2 > k1 it first reads the k2 - k1 tokens before it again,
from the state stored there.
"""

from __future__ import annotations

import math
import time

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from charrnn.config import TrainConfig
from charrnn.network.module import CharRNN, State, detached
from charrnn.text.streams import Cursor, Streams, Window
from charrnn.training import optimizer, regularizers
from charrnn.training.events import Values
from charrnn.training.regularizers import Recorder


class BPTT:
    """A network, its optimizer, and the position in the text up to which it was trained.

    Attributes:
        network: the network in training.
        streams: the text.
        config: how it is trained.
        optimizer: makes the updates.
        cursor: the position in the streams.
        carried: the recurrent state before the next window, each part (B, H).
        step: updates made.
        losses: of each update since the last report, mean nats per token.
        norms: of the same updates, the gradient's norm before clipping.
        durations: of all updates, seconds.
    """

    def __init__(self, network: CharRNN, streams: Streams, config: TrainConfig) -> None:
        self.network, self.streams, self.config = network, streams, config
        self.optimizer = optimizer.make(network, config)
        self.cursor, self.step = Cursor(), 0
        self.carried: State = network.start_state(streams.batch_size)
        self.losses: list[torch.Tensor] = []
        self.norms: list[float] = []
        self.durations: list[float] = []

    def restart(self, values: Values) -> None:
        """Continue from other weights, with a new optimizer and state; the position stays."""
        self.network.load(values)
        self.optimizer = optimizer.make(self.network, self.config)
        self.carried = self.network.start_state(self.streams.batch_size)

    def update(self, learning_rate: float) -> bool:
        """Train on one window: forward, backward, clip, step.

        Returns:
            False if the loss or the gradient is not finite. Weights and position are then as they
            were.
        """
        began = time.perf_counter()
        window = self.streams.window(self.cursor)
        if window.start == 0 or self.config.state == "reset":
            self.carried = self.network.start_state(self.streams.batch_size)
        elif window.begins is not None and window.begins.any():
            self.carried = self.network.reset_rows(self.carried, torch.from_numpy(window.begins))
        optimizer.set_rate(self.optimizer, learning_rate)
        self.optimizer.zero_grad()
        loss, penalty, carried = self.loss(window)
        (loss + penalty).backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.losses.append(loss.detach())
        self.norms.append(float(norm))
        if not (math.isfinite(float(norm)) and math.isfinite(float(loss.detach()))):
            return False
        self.optimizer.step()
        self.carried = detached(carried)
        self.cursor = self.streams.advance(self.cursor)
        self.step += 1
        self.durations.append(time.perf_counter() - began)
        return True

    def loss(self, window: Window) -> tuple[torch.Tensor, torch.Tensor | float, State]:
        """Return the mean nats of the counted steps, the penalty, and the next window's state.

        The steps before the counted ones are read again with the current weights, from the state
        stored at the window's start. They take part in the gradient, not in the loss.
        """
        network, device = self.network, self.network.device
        inputs = torch.from_numpy(window.inputs).to(device)
        targets = torch.from_numpy(window.targets[-window.counted :]).to(device)
        recorder = Recorder() if self.config.omega else None
        outputs, after = network.run(
            inputs,
            self.carried,
            network.draw(self.streams.batch_size),
            counted=window.counted,
            cut=window.shift,
            sequence=recorder,
        )
        penalty = regularizers.activation(outputs, self.config)
        if recorder:  # omega takes the gradient of a gradient, which `mean_nats` does not have
            logits = network.logits(outputs.read).flatten(0, 1)
            loss = F.cross_entropy(logits, targets.flatten())
            carried = torch.from_numpy(self._is_carried(window)).to(device)
            by_omega = regularizers.omega(loss, recorder.layers, carried)
            penalty = penalty + self.config.omega * by_omega
        else:
            loss = network.mean_nats(outputs.read, targets)
        return loss, penalty, after

    def _is_carried(self, window: Window) -> NDArray[np.bool_]:
        """Return whether each stream's state (B,) before a window is that after earlier text."""
        begins = window.start == 0 or self.config.state == "reset"
        carried = np.full(self.streams.batch_size, not begins)
        return carried if window.begins is None else carried & ~window.begins
