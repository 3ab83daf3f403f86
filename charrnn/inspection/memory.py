"""Measure how far back a model remembers: its loss on the same tokens after longer contexts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats64, Ids
from charrnn.errors import CorpusError, InputError, counted
from charrnn.generator import Generator
from charrnn.inference.engine import Engine, check_finite
from charrnn.model.model_file import Model
from charrnn.text.tokenizer import Tokenizer

SPREAD = 8  # a context of n has n to n + n/8 tokens, so that n/8 are scored after one warm-up
_ROWS, _CHUNK = 256, 64  # texts side by side, and tokens read at a time


@dataclass(frozen=True)
class Memory:
    """The loss after contexts of different lengths, on the same tokens.

    Attributes:
        contexts: (K,), in tokens; each is twice the one before.
        nats: (K,), loss in nats per character.
        excess: (K,), loss minus the loss after the longest context.
        standard_error: (K,), of the excess over separate stretches of the text; NaN if there is
            only one.
        characters: number of characters scored after each context.
    """

    contexts: tuple[int, ...]
    nats: Floats64
    excess: Floats64
    standard_error: Floats64
    characters: int

    def to_json(self) -> dict[str, Any]:
        """Return all numbers for JSON."""
        return {
            "characters": self.characters,
            "contexts": list(self.contexts),
            "nats": self.nats.tolist(),
            "excess": self.excess.tolist(),
            "standard_error": self.standard_error.tolist(),
        }


def memories(
    models: Mapping[str, Model],
    text: str,
    *,
    longest: int,
    symbols: int,
    notify: Callable[[str], object],
) -> dict[str, Memory]:
    """Return how far back each model remembers, by its name; see `memory`.

    `notify` gets a sentence before each model is measured, and those of its engine.

    Raises:
        InputError: a model cannot read the text; the message names it.
    """
    found = {}
    for name, model in models.items():
        notify(f"measuring {name}")
        engine = Generator(model, notify=notify).engine
        try:
            ids = model.tokenizer.encode(text)
            found[name] = memory(engine, ids, model.tokenizer, longest=longest, symbols=symbols)
        except InputError as error:
            raise type(error)(f"{name}: {error.message}") from None
    return found


def memory(engine: Engine, ids: Ids, tokenizer: Tokenizer, *, longest: int, symbols: int) -> Memory:
    """Score the same tokens after contexts of 1, 2, 4, ... tokens, each from the start state.

    A stretch of the text is scored in pieces of n/8 tokens; the state is reset n tokens before
    each piece. So each token is scored after a context of n to n + n/8 tokens.

    Args:
        engine: of the model.
        ids: (N,), the text.
        tokenizer: of the model; counts characters.
        longest: limit of the context lengths.
        symbols: number of tokens to score, spread over the text.

    Raises:
        CorpusError: the text is too short.
        RunError: the network's numbers overflow.
    """
    contexts = tuple(1 << power for power in range(longest.bit_length()))
    stretch = max(1, contexts[-1] // SPREAD)
    available = len(ids) - contexts[-1]
    if available < stretch:
        raise CorpusError(
            f"the text has {counted(len(ids), 'token')}, {contexts[-1] + stretch:,} are needed for "
            f"--longest {longest}: use a longer text or a shorter context"
        )
    count = max(1, min(symbols, available) // stretch)
    # The distances are multiples of a stretch, so that no two overlap.
    indices = np.unique(np.linspace(0, available // stretch - 1, count).astype(np.int64))
    firsts = contexts[-1] + indices * stretch
    nats = np.stack([_after(engine, ids, firsts, context, stretch) for context in contexts])
    check_finite(nats)
    scored = firsts[:, None] + np.arange(stretch)
    characters = tokenizer.measure(ids[scored].ravel()).characters
    # (K, stretches); the means over the stretches are the losses.
    per_stretch = nats.sum(2) * len(firsts) / characters
    excess = per_stretch - per_stretch[-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        error = excess.std(1) / np.sqrt(len(firsts) - 1)
    return Memory(contexts, per_stretch.mean(1), excess.mean(1), error, characters)


def _after(
    engine: Engine, ids: Ids, firsts: NDArray[np.int64], context: int, stretch: int
) -> NDArray[Any]:
    """Return -ln p of each token of the stretches after a context, (stretches, stretch)."""
    piece = max(1, context // SPREAD)
    begins = (firsts[:, None] + np.arange(0, stretch, piece)).ravel()
    surprisals = []
    for first in range(0, len(begins), _ROWS):
        rows = begins[first : first + _ROWS]
        state = engine.start_state(len(rows))
        before = np.arange(-context, -1)
        for start in range(0, len(before), _CHUNK):
            read = rows + before[start : start + _CHUNK, None]
            state = engine.advance(ids[read].astype(np.int64), state)
        scored = rows + np.arange(piece)[:, None]
        inputs, targets = ids[scored - 1].astype(np.int64), ids[scored].astype(np.int64)
        nats, _ = engine.nats(inputs, targets, state)
        surprisals.append(nats.T)
    return np.concatenate(surprisals).reshape(len(firsts), stretch)
