import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from charrnn.config import SampleConfig
from charrnn.decoding import sampling

MakeChain = Callable[..., Any]


def _run(chain: Any, length: int, stops: Any = ()) -> tuple[tuple[int, ...], float]:
    config = SampleConfig(length=length, temperature=0)
    steps = sampling.sample(chain, *chain.begin(), config, [sampling.generator(0, 0)], stops)
    written = [step[0][1:] for step in steps]
    return tuple(symbol for symbol, _ in written), sum(log_prob for _, log_prob in written)


def _first_order(rows: list[list[float]]) -> np.ndarray[Any, Any]:
    """A table whose next symbol depends on the last one alone."""
    return np.tile(np.array(rows), (len(rows), 1, 1))


def test_the_most_likely_symbol_is_taken_at_each_step(make_chain: MakeChain) -> None:
    chain = make_chain(_first_order([[0.2, 0.5, 0.3], [0.1, 0.3, 0.6], [0.9, 0.1, 0.0]]))
    ids, log_prob = _run(chain, 4)
    assert ids == (1, 2, 0, 1)  # after 0 comes 1, after 1 comes 2, after 2 comes 0
    assert log_prob == pytest.approx(math.log(0.5 * 0.6 * 0.9 * 0.5))


def test_among_equals_the_lowest_symbol_is_taken(make_chain: MakeChain) -> None:
    assert _run(make_chain(_first_order([[0.2, 0.4, 0.4]] * 3)), 3)[0] == (1, 1, 1)


def test_the_state_is_carried(make_chain: MakeChain) -> None:
    chain = make_chain(4, seed=3)
    ids, log_prob = _run(chain, 30)
    older, last = 0, 0
    for symbol in ids:
        assert symbol == chain.table[older, last].argmax()
        older, last = last, symbol
    assert log_prob == pytest.approx(chain.log_prob(ids), rel=1e-12)


def test_a_stop_ends_the_text_after_it(make_chain: MakeChain) -> None:
    chain = make_chain(_first_order([[0.2, 0.5, 0.3], [0.1, 0.3, 0.6], [0.9, 0.1, 0.0]]))
    assert _run(chain, 20, [(2, 0)])[0] == (1, 2, 0)
    assert _run(chain, 20, [(2, 1), (0, 1)])[0] == (1, 2, 0, 1)


@pytest.mark.parametrize("length", [0, 1, 6])
def test_nothing_is_read_after_the_last_symbol(make_chain: MakeChain, length: int) -> None:
    chain = make_chain(3, seed=0)
    assert len(_run(chain, length)[0]) == length
    assert len(chain.batches) == max(length - 1, 0)
