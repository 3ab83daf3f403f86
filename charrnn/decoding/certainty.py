"""Say whether a choice is the same for all logits that are near enough.

Two kinds of code that compute the same logits differ in their rounding. That matters where a text's
random number falls on the border between two tokens, or two tokens are almost equally likely where
a filter keeps one of them. So the choice is made for logits that are moved in several directions:
if it stays the same, it is sure.

With a temperature alone this is exact: the border before the chosen token moves most if all tokens
before it become likelier and all others less likely, and that behind it likewise. Filters have
borders at other places, between more and less likely tokens, and every one of their directions is
moved in, with the numbers of tokens doubling.
"""

from __future__ import annotations

import numpy as np

from charrnn.arrays import Floats, Floats64, Integers
from charrnn.decoding.choice import Batch, Choose, choose_token
from charrnn.decoding.filters import choose_by_temperature

_RANDOM = 16  # moves


def is_sure(batch: Batch, logits: Floats, choose: Choose, error: Floats64) -> bool:
    """Return whether the first choice of every text stays the same if its logits move a little.

    Args:
        batch: what the choices read; nothing in it that matters is changed.
        logits: (B, V).
        choose: chooses a token.
        error: by how much each logit of a row may differ, (B,).
    """
    # A tiny temperature turns distant logits into -inf; ending may be impossible.
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        for row, exact in enumerate(logits.astype(np.float64)):
            token = _chosen(batch, row, exact, choose)
            moves = _along(token, len(exact))
            if choose is not choose_by_temperature or batch.settings.temperature == 0:
                moves += _across(token, exact)
            if batch.settings.typical_p < 1:
                moves += _around(exact, batch.settings.temperature)
            if any(_chosen(batch, row, exact + error[row] * m, choose) != token for m in moves):
                return False
    return True


def _chosen(batch: Batch, row: int, logits: Floats, choose: Choose) -> int:
    """Return what is chosen for a text, without that being noted."""
    tried = batch._replace(
        states=batch.states.copy(),
        bounds=batch.bounds.copy(),
        used=batch.used.copy(),
        tokens=batch.tokens.copy(),
        log_probs=batch.log_probs.copy(),
    )
    choose_token(tried, 0, row, logits, choose)
    return int(tried.tokens[0, row])


def _along(token: int, size: int) -> list[Floats64]:
    """Return the two moves of logits (V,) that shift the borders of a token most."""
    before = np.where(np.arange(size) < token, 1.0, -1.0)
    behind = np.where(np.arange(size) <= token, -1.0, 1.0)
    return [before, behind]


def _across(token: int, logits: Floats) -> list[Floats64]:
    """Return moves of logits (V,) that change what filters keep."""
    alone = np.full(len(logits), -1.0)
    alone[max(token, 0)] = 1.0
    rank = np.argsort(np.argsort(-logits, kind="stable"))
    moves = [alone, *_by_rank(rank)]
    return [*moves, *(-move for move in moves)]


def _around(logits: Floats, temperature: float) -> list[Floats64]:
    """Return moves of logits (V,) to and from their mean, the entropy, by which typical goes.

    Another filter before it may have changed the mean: so there are random moves, too.
    """
    scores = (logits - logits.max()) / temperature
    weights = np.exp(scores)
    distance = scores - np.sum(weights * scores) / weights.sum()
    side = np.where(distance > 0, 1.0, -1.0)
    rank = np.argsort(np.argsort(np.abs(distance), kind="stable"))
    moves = [side * move for move in _by_rank(rank)]
    moves += list(np.random.default_rng(0).choice([-1.0, 1.0], (_RANDOM, len(logits))))
    return [*moves, *(-move for move in moves)]


def _by_rank(rank: Integers) -> list[Floats64]:
    """Return moves that part neighbours in an order, and its first 1, 2, 4, ... from the rest."""
    firsts = [2**power for power in range(len(rank).bit_length())]
    return [np.where(rank % 2, 1.0, -1.0), *(np.where(rank < each, 1.0, -1.0) for each in firsts)]
