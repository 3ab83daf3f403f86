"""How far back a model remembers: its loss on the same symbols after more and more of the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats64, Ids
from charrnn.errors import CorpusError
from charrnn.inference.engine import Engine
from charrnn.inspection.json_values import numbers
from charrnn.text.tokenizer import Tokenizer

SPREAD = 8  # a context of n is one of n to n + n/8 symbols, so that several are scored at a time
_ROWS, _READ = 256, 64  # texts side by side, and symbols read at a time


@dataclass(frozen=True)
class Memory:
    """The loss after contexts of different lengths, on the same symbols.

    Attributes:
        contexts: (K,), in symbols, each twice the one before.
        nats: (K,), per character.
        excess: (K,), what the longest context saves, in nats per character.
        standard_error: (K,), of the excess, from places of the text that are far apart; NaN where
            there is only one.
        characters: scored after each context.
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
            "nats": numbers(self.nats),
            "excess": numbers(self.excess),
            "standard_error": numbers(self.standard_error),
        }


def memory(engine: Engine, ids: Ids, tokenizer: Tokenizer, *, longest: int, symbols: int) -> Memory:
    """Score some symbols again and again, from nothing, after 1, 2, 4, ... symbols before them.

    A stretch of the text is scored in pieces of n/8 symbols; for each the state is reset n symbols
    before it. So every symbol has a context of n to n + n/8, and all contexts the same symbols.

    Args:
        engine: of the model.
        ids: (N,) the text.
        tokenizer: of the model, which counts characters.
        longest: no context is longer than this.
        symbols: how many to score, spread over the text.

    Raises:
        CorpusError: the text is too short.
    """
    contexts = tuple(1 << power for power in range(longest.bit_length()))
    stretch = max(1, contexts[-1] // SPREAD)
    room = len(ids) - contexts[-1]
    if room < stretch:
        raise CorpusError(
            f"the text has {len(ids):,} symbols, {contexts[-1] + stretch:,} are needed for "
            f"--longest {longest}: name a longer one, or a shorter context"
        )
    count = max(1, min(symbols, room) // stretch)
    # Whole stretches apart, so that none overlaps another.
    places = np.unique(np.linspace(0, room // stretch - 1, count).astype(np.int64))
    firsts = contexts[-1] + places * stretch
    nats = np.stack([_after(engine, ids, firsts, context, stretch) for context in contexts])
    scored = firsts[:, None] + np.arange(stretch)
    characters = tokenizer.measure(ids[scored].ravel()).characters
    per_place = nats.sum(2) * len(firsts) / characters  # (K, places), whose means are the losses
    excess = per_place - per_place[-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        error = excess.std(1) / np.sqrt(len(firsts) - 1)
    return Memory(contexts, per_place.mean(1), excess.mean(1), error, characters)


def _after(
    engine: Engine, ids: Ids, firsts: NDArray[np.int64], context: int, stretch: int
) -> NDArray[Any]:
    """-ln p of every symbol of some stretches of the text, (places, stretch), after `context`."""
    piece = max(1, context // SPREAD)
    begins = (firsts[:, None] + np.arange(0, stretch, piece)).ravel()
    found = []
    for first in range(0, len(begins), _ROWS):
        rows = begins[first : first + _ROWS]
        state = engine.start_state(len(rows))
        before = np.arange(-context, -1)
        for at in range(0, len(before), _READ):
            read = rows + before[at : at + _READ, None]
            state = engine.advance(ids[read].astype(np.int64), state)
        scored = rows + np.arange(piece)[:, None]
        inputs, targets = ids[scored - 1].astype(np.int64), ids[scored].astype(np.int64)
        nats, _ = engine.nats(inputs, targets, state)
        found.append(nats.T)
    return np.concatenate(found).reshape(len(firsts), stretch)
