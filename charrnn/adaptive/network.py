"""A network that trains on a text as it is read: dynamic evaluation (Mikolov 2010, Krause 2018).

The text is read in order, in segments. Each is predicted first, with the current weights, and then
learned from:

    w <- w + DECAY * (w_0 - w) - RATE * g / (sqrt(mean of g^2) + EPSILON)

g is the gradient of the segment's mean loss, w_0 are the model's own weights. g^2 is averaged over
the segments so far; Krause averages over the training text, which is not needed this way.

Predictions are made token by token by the compiled engine and gradients on one thread, so that
whoever reads the same text gets the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from charrnn.arrays import Ids, State
from charrnn.compiler.cache import compile_exactly
from charrnn.inference.compiled_engine import CompiledEngine
from charrnn.inference.engine import check_finite
from charrnn.model import parameters
from charrnn.model.model_file import Model
from charrnn.network.layers import select
from charrnn.network.module import CharRNN

# Tuned on the held-out parts of War and Peace and of folk tunes.
SEGMENT = 32  # tokens between two updates
RATE = 1e-3
DECAY = 1e-2
EPSILON = 1e-8


class AdaptiveNetwork:
    """A network whose weights follow the text that it reads."""

    def __init__(self, model: Model, threads: int | None = None) -> None:
        """Start with the model's weights, which do not change.

        Args:
            model: a model of texts.
            threads: how many predict; None: as many as are worthwhile.
        """
        self._start_token = model.config.start_token
        kernel = select(parameters.layer_of(model.config), torch.device("cpu"), "float32")
        self._network = CharRNN(model.config, model.values, sequence=kernel.run).eval()
        self._engine = CompiledEngine(model.config, self.values(), threads=threads)
        self._weights = list(self._network.parameters())
        self._first = [weight.detach().numpy().ravel().copy() for weight in self._weights]
        self._squares = [np.zeros_like(first) for first in self._first]
        self._segments = 0
        self._targets: list[int] = []
        self.restart()
        self._targets = [0]
        self._differentiate()  # compiles
        self._begin_segment()

    def restart(self) -> None:
        """Begin another text: what was learned stays, also from the end of the last one."""
        if self._targets:
            self._learn()
        self._token, self._state = self._start_token, self._engine.start_state(1)
        self._begin_segment()

    def _begin_segment(self) -> None:
        self._inputs, self._targets = [self._token], []
        self._before: State = self._state

    def values(self) -> dict[str, NDArray[np.float32]]:
        """Return the current weights: views, not copies."""
        return {name: w.detach().numpy() for name, w in self._network.weights().items()}

    def predict(self) -> NDArray[np.float32]:
        """Return the logits (1, V) of the next token.

        Raises:
            RunError: they overflow.
        """
        logits, self._state = self._engine.step(np.array([self._token]), self._state)
        check_finite(logits)
        return np.asarray(logits, np.float32)

    def read(self, token: int) -> None:
        """Read the token that was predicted; learn from a segment that is complete."""
        self._token = token
        self._targets.append(token)
        if len(self._targets) < SEGMENT:
            self._inputs.append(token)
        else:
            self._learn()
            self._begin_segment()

    def _learn(self) -> None:
        self._differentiate()
        self._update()
        self._engine.load(self.values())

    def _differentiate(self) -> None:
        """Compute the gradients of the segment's mean loss."""
        state = tuple(tuple(map(torch.from_numpy, layer)) for layer in self._before)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # sums depend on it
        try:
            inputs = torch.tensor(self._inputs[: len(self._targets)])
            logits, _ = self._network(inputs[:, None], state)
            self._network.zero_grad()
            loss = F.cross_entropy(logits[:, 0], torch.tensor(self._targets))
            loss.backward()  # type: ignore[no-untyped-call]
        finally:
            torch.set_num_threads(threads)

    def _update(self) -> None:
        """Make a step down the gradient, and a small one back to the model's own weights."""
        self._segments += 1
        share = len(self._targets) / SEGMENT  # of a whole step: less at the end of a text
        steps = np.array([RATE * share, DECAY * share, 1 / self._segments, EPSILON], np.float32)
        for weight, start, square in zip(self._weights, self._first, self._squares, strict=True):
            if weight.grad is not None:
                flat = weight.detach().numpy().ravel()
                _follow(flat, start, square, weight.grad.numpy().ravel(), steps)


def followed(
    model: Model,
    texts: Sequence[Ids],
    threads: int | None = None,
    progress: Callable[[int], object] = lambda done: None,
) -> dict[str, NDArray[np.float32]]:
    """Return the weights of a model after it has learnt from texts, in order.

    Args:
        model: a model of texts, which does not change.
        texts: tokens (N,) of each; each is read from the start token.
        threads: how many predict; None: as many as are worthwhile.
        progress: called after every segment with the number of tokens read.

    Raises:
        RunError: the network's numbers overflow.
    """
    network, done = AdaptiveNetwork(model, threads), 0
    for ids in texts:
        network.restart()
        for token in ids.tolist():
            network.predict()
            network.read(token)
            done += 1
            if done % SEGMENT == 0:
                progress(done)
    network.restart()  # learns from what is left
    return {name: value.copy() for name, value in network.values().items()}


@compile_exactly
def _follow(weights, first, squares, gradients, steps):  # type: ignore[no-untyped-def]
    """Apply the rule to weights (n,), given RATE, DECAY, 1 / number of segments and EPSILON."""
    rate, decay, share, epsilon = steps
    for i in range(len(weights)):
        g = gradients[i]
        squares[i] += g * g
        moved = weights[i] - rate * (g / (np.sqrt(squares[i] * share) + epsilon))
        weights[i] = moved + decay * (first[i] - moved)
