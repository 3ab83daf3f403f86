"""The weights of a mixture."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.arrays import Floats64, Integers
from charrnn.counts import build, fit, mixing

V = 6


def _nats(logits: np.ndarray, targets: Integers) -> float:
    z = logits - logits.max(1, keepdims=True)
    found = np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), targets]
    return float(found.mean())


def _chain(length: int) -> tuple[Floats64, Integers]:
    rng = np.random.default_rng(0)
    table = rng.dirichlet(np.full(V, 0.3), V)
    ids = [0]
    for _ in range(length):
        ids.append(int(rng.choice(V, p=table[ids[-1]])))
    return table, np.array(ids)


def test_counts_gain_where_the_network_knows_nothing() -> None:
    _, ids = _chain(6000)
    table = build.build(ids[:5000], V, 10**6, 3)
    places = np.arange(5003, 6000)
    contexts = np.stack([ids[places - k] + 1 for k in (3, 2, 1)], 1).astype(np.float32)
    logits, targets = np.zeros((len(places), V), np.float32), ids[places]
    found = fit.fit(table, logits, contexts, targets)
    assert found.network_nats == pytest.approx(np.log(V))
    mixed = mixing.mixed(found.table, logits, contexts)
    assert found.mixed_nats == pytest.approx(_nats(mixed, targets), abs=1e-5)
    assert found.gain == pytest.approx(found.network_nats - found.mixed_nats)
    assert found.gain > 0.3
    assert found.table.weights.min() >= 0
    assert found.table.weights.max() <= 1


def test_a_network_that_knows_it_better_keeps_its_predictions() -> None:
    chain, ids = _chain(6000)
    table = build.build(ids[:300], V, 10**6, 3)
    places = np.arange(5003, 6000)
    contexts = np.stack([ids[places - k] + 1 for k in (3, 2, 1)], 1).astype(np.float32)
    logits = np.log(chain[ids[places - 1]] + 1e-9).astype(np.float32)
    found = fit.fit(table, logits, contexts, ids[places])
    assert 0 <= found.gain < 0.01
    assert found.network_nats == pytest.approx(_nats(logits, ids[places]), abs=1e-5)


def test_the_share_is_interpolated_by_the_network_s_certainty() -> None:
    table = build.build(np.array([0, 1, 2] * 100), V, 10**6, 2)
    table.weights[:] = np.arange(mixing.KNOTS) / 10
    contexts = np.array([[1, 2]], np.float32)
    counts = np.log(mixing.counted(table, contexts).probabilities)
    rest = np.exp(-2.5 * mixing.CERTAINTY)  # halfway from the third knot to the fourth
    p = np.array([[1 - rest, *[rest / (V - 1)] * (V - 1)]])
    expected = 0.75 * np.log(p) + 0.25 * counts
    assert mixing.mixed(table, np.log(p), contexts) == pytest.approx(expected)


def test_certainty_is_limited_and_survives_numbers_that_overflow() -> None:
    logits = np.array([[0.0, -1e4], [np.inf, 0.0], [np.nan, 0.0], [0.0, 0.0]], np.float32)
    with np.errstate(all="ignore"):
        below, _ = mixing.knots(mixing.certainties(logits))
    assert ((below >= 0) & (below <= mixing.KNOTS - 2)).all()
