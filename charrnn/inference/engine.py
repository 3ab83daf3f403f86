"""The interface of every engine: read, predict and generate with a trained network.

Shapes: T steps, B rows, V tokens, H hidden units. The state is a value: a method takes one and
returns a new one, and never changes the one that it was given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats, Floats64, Ids, State
from charrnn.compiler.cache import CFunction
from charrnn.errors import RunError


class Chooser(Protocol):
    """Chooses the next token of each row, and records what it chose."""

    @property
    def function(self) -> CFunction:
        """The same choice as compiled code."""
        ...

    def is_sure(self, logits: Floats, error: Floats64) -> bool:
        """Return whether all logits that differ from these by at most `error` (B,) choose the same.

        Nothing is chosen.
        """
        ...

    def choose(self, logits: Floats) -> Ids:
        """Return the tokens (B,) to read next, given logits (B, V)."""
        ...

    def compiled(
        self, logits: int, stride: int, vocab_size: int, steps: int
    ) -> tuple[int, tuple[int, ...]]:
        """Return the same choice as compiled code.

        Args:
            logits: the address of the first row's logits.
            stride: bytes from one row's logits to the next row's.
            vocab_size: V.
            steps: how many tokens each row gets.

        Returns:
            address and arguments of a function of `charrnn.inference.instructions`, which writes
            the ids.
        """
        ...

    def compile(self) -> int:
        """Return the address of the compiled choice; compiling takes some seconds once."""
        ...


@dataclass(frozen=True)
class Expected:
    """What a network predicted at every position of a window.

    Attributes:
        nats: -ln p (T, B) of the targets.
        likeliest: the ids (T, B, K) of the most likely tokens, best first.
        likeliest_nats: -ln p (T, B, K) of those.
    """

    nats: Floats
    likeliest: NDArray[np.int32]
    likeliest_nats: Floats


class Scorer(Protocol):
    """The part of an engine that scoring needs; `charrnn.network.module.CharRNN` has it, too."""

    def start_state(self, batch_size: int) -> Any:
        """Return the state before a text, for `batch_size` rows."""
        ...

    def nats(self, inputs: Ids, targets: Ids, state: Any) -> tuple[Floats, Any]:
        """Return -ln p of each target (T, B), and the state after the window."""
        ...


class Engine(Scorer, Protocol):
    """A network that can be run forward; `select` and `nats` are the same in every engine.

    So is `write` in those that choose each token in Python.

    Attributes:
        reproducible: whether a row's numbers are the same bit for bit, however many tokens are read
            at a time and on however many threads.
    """

    reproducible: bool

    def start_state(self, batch_size: int) -> State:
        """Return the state before a text, for `batch_size` rows: zeros, or what was learned."""
        ...

    def select(self, state: State, rows: Any) -> State:
        """Return the rows of a state by index (repeats allowed) or mask."""
        return select_rows(state, rows)

    def step(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read one token per row: ids (B,) -> logits (B, V) of the next one, and the state."""
        ...

    def advance(self, ids: Ids, state: State) -> State:
        """Read a window (T, B) and return only the state after it."""
        ...

    def nats(self, inputs: Ids, targets: Ids, state: State) -> tuple[Floats, State]:
        """Return -ln p of each target (T, B), and the state after the window."""
        expected, state = self.expected(inputs, targets, 0, state)
        return expected.nats, state

    def expected(
        self, inputs: Ids, targets: Ids, count: int, state: State
    ) -> tuple[Expected, State]:
        """Return what was predicted in place of each target (T, B), and the state after.

        Args:
            inputs: (T, B).
            targets: (T, B), the tokens that followed.
            count: K, how many of the most likely tokens to return, at most V.
            state: before the window.
        """
        ...

    def write(
        self, logits: Floats, state: State, chooser: Chooser, count: int
    ) -> tuple[Floats, State]:
        """Choose a token per row and read it, `count` times.

        Args:
            logits: (B, V) of the first tokens.
            state: the state that gave them.
            chooser: chooses the tokens, and records them.
            count: how many tokens.

        Returns:
            logits and state after the last token.
        """
        for _ in range(count):
            logits, state = self.step(chooser.choose(logits), state)
        return logits, state

    def prepare(self, chooser: Chooser, batch_size: int) -> None:
        """Compile or capture what `write` needs for this chooser and this many rows."""
        ...


def check_finite(*numbers: NDArray[np.floating[Any]] | float) -> None:
    """Refuse logits, or what was computed from them, that are not finite.

    The weights of a model file are finite; what a network computes with them need not be.

    Raises:
        RunError: they overflow.
    """
    if not all(np.isfinite(values).all() for values in numbers):
        raise RunError(
            "the numbers of this network overflow, so that its predictions mean nothing: its "
            "weights are too large, as after a training that diverged; use another model"
        )


def select_rows(state: State, rows: Any) -> State:
    """Return the rows of a state by index (repeats allowed) or mask."""
    return tuple(tuple(part[rows] for part in layer) for layer in state)


@np.errstate(all="ignore")
def predicted(logits: Floats, targets: Ids, count: int) -> Expected:
    """Return how well logits (T, B, V) predict targets (T, B); see `Engine.expected`."""
    peak = logits.max(-1, keepdims=True)
    log_sum = np.log(np.exp(logits - peak).sum(-1, dtype=np.float64, keepdims=True)) + peak
    likeliest = np.argsort(-logits, axis=-1, kind="stable")[..., :count]

    def nats(ids: Ids) -> Floats:
        return np.asarray(log_sum - np.take_along_axis(logits, ids, -1))

    return Expected(nats(targets[..., None])[..., 0], likeliest.astype(np.int32), nats(likeliest))
