"""Reads prompts and continuations, and returns the state after them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from charrnn.arrays import Integers
from charrnn.inference.engine import Engine, check_finite
from charrnn.model.saved_state import Prompted

_WINDOW = 256  # tokens read at a time


def read_start(engine: Engine, start_token: int) -> Prompted:
    """Return the state after the start token.

    This and the functions below raise RunError where the logits overflow.
    """
    logits, state = engine.step(np.array([start_token], np.int64), engine.start_state(1))
    check_finite(logits)
    return Prompted(logits, state)


def read_ids(
    engine: Engine, ids: Integers, before: Prompted, progress: Callable[[int], object]
) -> Prompted:
    """Return the state after ids (N,) that follow what was read before.

    `progress` is called after every window with the number of tokens read; it may raise.
    """
    if len(ids) == 0:
        return before
    state = before.state
    for first in range(0, len(ids) - 1, _WINDOW):
        part = ids[first : min(first + _WINDOW, len(ids) - 1)]
        state = engine.advance(part[:, None], state)
        progress(first + len(part))
    logits, state = engine.step(ids[-1:], state)
    check_finite(logits)
    read, ids = before.read + len(ids), np.concatenate([before.ids, ids])
    return replace(before, logits=logits, state=state, read=read, ids=ids)


def read_sample(engine: Engine, ids: Integers, seed: int | None, before: Prompted) -> Prompted:
    """Return the state after ids (N,) that were sampled with this seed.

    It is the state that the engine had when it sampled them, bit for bit.
    """
    logits, state = before.logits, before.state
    if engine.reproducible and len(ids):
        state = engine.advance(ids[:-1, None], state)
        logits, state = engine.step(ids[-1:], state)
    else:
        for token in ids:
            logits, state = engine.step(token[None], state)
    check_finite(logits)
    drawn = len(ids) + (before.drawn if seed == before.seed else 0)
    read, ids = before.read + len(ids), np.concatenate([before.ids, ids])
    return Prompted(logits, state, read, seed, drawn, ids)
