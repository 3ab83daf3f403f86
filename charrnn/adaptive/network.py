"""A network that trains on a text as it is read: dynamic evaluation (Mikolov 2010, Krause 2018).

The text is read in order, in segments. Each is predicted first, with the current weights, and then
learned from:

    w <- w + DECAY * (w_0 - w) - RATE * g / (sqrt(mean of g^2) + EPSILON)

g is the gradient of the segment's mean loss, w_0 are the model's own weights. g^2 is averaged over
the segments so far; Krause averages over the training text, which is not needed this way. Each
network of an ensemble follows its own loss, as in training, and the mean of their logits predicts.

Predictions and the gradients of a network are made on one thread, so that whoever reads the same
text gets the same bits, whether its tokens are known or are decoded one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from charrnn.arrays import Ids, State
from charrnn.compiler.cache import CFunction, compile_exactly
from charrnn.config import ModelConfig
from charrnn.inference.compiled_engine import CompiledEngine, compiled_functions
from charrnn.inference.engine import check_finite
from charrnn.inference.network_arrays import Product, multiply
from charrnn.model import parameters
from charrnn.model.model_file import Model
from charrnn.network.layers import Kernel, LayerState, in_library, select
from charrnn.network.module import CharRNN
from charrnn.network.side_by_side import SideBySide

# Tuned on the held-out parts of War and Peace and of folk tunes.
SEGMENT = 32  # tokens between two updates
RATE = 1e-3
DECAY = 1e-2
EPSILON = 1e-8


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread: sums depend on the number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def functions(config: ModelConfig) -> list[CFunction]:
    """Return the compiled functions that predict and learn, in the order of their first use."""
    window = _kernel(config).functions(parameters.layer_of(config), bool(config.zone_rates(1)))
    return [*compiled_functions(config, "float32"), *window]


def _kernel(config: ModelConfig) -> Kernel:
    """Return what runs a layer with gradients.

    It is not what is fastest: an archive is only read with the sums that it was written with.
    """
    layer, zoneout = parameters.layer_of(config), bool(config.zone_rates(1))
    as_ever = layer.cell.name == "lstm" and in_library(layer) and not zoneout
    backend = "library" if as_ever else "auto"
    return select(layer, torch.device("cpu"), "float32", backend, zoneout=zoneout)


class _Follower:
    """One network that takes steps down the gradient of its own loss.

    Attributes:
        network: the network, with its present weights.
    """

    def __init__(self, model: Model) -> None:
        kernel = _kernel(model.config)

        def by_vectors(*given: Any, **named: Any) -> tuple[Tensor, LayerState]:
            """Run a layer on vectors: with tokens its sums would differ."""
            return kernel.run(*given, **named)

        self.network = CharRNN(model.config, model.values, sequence=by_vectors).eval()
        self._weights = list(self.network.parameters())
        self._first = [weight.detach().numpy().ravel().copy() for weight in self._weights]
        self._squares = [np.zeros_like(first) for first in self._first]

    def differentiate(self, inputs: Tensor, targets: Tensor, state: State) -> None:
        """Compute the gradients of the mean loss of targets (T,), read from `state` on."""
        before = tuple(tuple(map(torch.from_numpy, layer)) for layer in state)
        with _one_thread():
            logits, _ = self.network(inputs[:, None], before)
            self.network.zero_grad()
            loss = F.cross_entropy(logits[:, 0], targets)
            loss.backward()  # type: ignore[no-untyped-call]

    def update(self, length: int, segments: int) -> None:
        """Make a step down the gradient, and a small one back to the model's own weights.

        The gradient is that of a segment of `length` tokens, the last of `segments`.
        """
        share = length / SEGMENT  # of a whole step: less at the end of a text
        steps = np.array([RATE * share, DECAY * share, 1 / segments, EPSILON], np.float32)
        for weight, start, square in zip(self._weights, self._first, self._squares, strict=True):
            if weight.grad is not None:
                flat = weight.detach().numpy().ravel()
                _follow(flat, start, square, weight.grad.numpy().ravel(), steps)


class AdaptiveNetwork:
    """A network, or an ensemble, whose weights follow the text that it reads."""

    def __init__(
        self, model: Model, product: Product = multiply, *, threads: int | None = None
    ) -> None:
        """Start with the model's weights, which do not change.

        Args:
            model: a model of texts.
            product: multiplies the tokens' vectors by matrices.
            threads: of the networks of an ensemble, which learn at the same time if there are
                several; None: as many as torch uses. They compute the same.
        """
        self._product = product
        self._start_token = model.config.start_token
        self._followers = [_Follower(network) for network in model.networks]
        self._config = model.config
        self._side_by_side = SideBySide(len(self._followers), threads)
        self._engine = CompiledEngine(model.config, self.values(), threads=1)
        self._engine.load(self.values(), product)
        self._segments = 0
        self._targets: list[int] = []
        self.restart()
        first, before = self._parts()[0]
        first.differentiate(torch.tensor(self._inputs), torch.tensor([0]), before)  # compiles

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
        return parameters.together(
            [
                {name: weight.detach().numpy() for name, weight in each.network.weights().items()}
                for each in self._followers
            ]
        )

    def predict(self) -> NDArray[np.float32]:
        """Return the logits (1, V) of the next token.

        Raises:
            RunError: they overflow.
        """
        logits, self._state = self._engine.step(np.array([self._token]), self._state)
        check_finite(logits)
        return np.asarray(logits, np.float32)

    def segments(self, ids: Ids) -> Iterator[list[int]]:
        """Yield known tokens up to each after which the network learns; read them in between."""
        done = 0
        while done < len(ids):
            yield ids[done : (done := done + SEGMENT - len(self._targets))].tolist()

    def predict_known(self, tokens: list[int]) -> NDArray[np.float32]:
        """Return the logits (T, V) of the next tokens, which are known: a segment or less.

        They are those of `predict`, if the tokens before were read. Raises RunError as it does.
        """
        inputs = np.array([self._token, *tokens[:-1]])
        logits, self._state = self._engine.predictions(inputs, self._state)
        check_finite(logits)
        return np.asarray(logits, np.float32)

    def read(self, tokens: list[int]) -> None:
        """Read the tokens that were predicted; learn from a segment that is complete."""
        self._token = tokens[-1]
        self._targets += tokens
        self._inputs += tokens
        if len(self._targets) == SEGMENT:
            self._learn()
            self._begin_segment()

    def _learn(self) -> None:
        self._segments += 1
        inputs = torch.tensor(self._inputs[: len(self._targets)])
        targets = torch.tensor(self._targets)

        def learn(part: tuple[_Follower, State]) -> None:
            follower, before = part
            follower.differentiate(inputs, targets, before)
            follower.update(len(targets), self._segments)

        self._side_by_side.run([partial(learn, part) for part in self._parts()])
        self._engine.load(self.values(), self._product)

    def _parts(self) -> list[tuple[_Follower, State]]:
        """Return each network with its part of the state before the segment."""
        parts = parameters.by_network(self._config, self._before)
        return [(each, tuple(part)) for each, part in zip(self._followers, parts, strict=True)]


def followed(
    model: Model,
    texts: Sequence[Ids],
    progress: Callable[[int], object] = lambda done: None,
    *,
    threads: int | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Return the weights of a model after it has learnt from texts, in order.

    Args:
        model: a model of texts, which does not change.
        texts: tokens (N,) of each; each is read from the start token.
        progress: called after every segment with the number of tokens read.
        threads: see `AdaptiveNetwork`.

    Raises:
        RunError: the network's numbers overflow.
    """
    network, done = AdaptiveNetwork(model, threads=threads), 0
    for ids in texts:
        network.restart()
        for tokens in network.segments(ids):
            network.predict_known(tokens)
            network.read(tokens)
            done += len(tokens)
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
