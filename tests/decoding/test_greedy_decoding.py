import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

MakeChain = Callable[..., Any]
Run = Callable[..., tuple[tuple[int, ...], float]]


@pytest.fixture
def run(write_texts: Callable[..., Any]) -> Run:
    """Return `run(chain, length, stops=())`: the greedy text and its log-probability."""

    def write(chain: Any, length: int, stops: Any = ()) -> tuple[tuple[int, ...], float]:
        (text,) = write_texts(chain, length, stops=stops, temperature=0.0)
        return text.ids, sum(text.log_probs)

    return write


def _first_order(rows: list[list[float]]) -> np.ndarray[Any, Any]:
    """Return a table in which the next token depends only on the last one."""
    return np.tile(np.array(rows), (len(rows), 1, 1))


def test_the_most_likely_token_is_taken_at_each_step(make_chain: MakeChain, run: Run) -> None:
    chain = make_chain(_first_order([[0.2, 0.5, 0.3], [0.1, 0.3, 0.6], [0.9, 0.1, 0.0]]))
    ids, log_prob = run(chain, 4)
    assert ids == (1, 2, 0, 1)  # after 0 comes 1, after 1 comes 2, after 2 comes 0
    assert log_prob == pytest.approx(math.log(0.5 * 0.6 * 0.9 * 0.5))


def test_among_equals_the_lowest_id_is_taken(make_chain: MakeChain, run: Run) -> None:
    assert run(make_chain(_first_order([[0.2, 0.4, 0.4]] * 3)), 3)[0] == (1, 1, 1)


def test_the_state_is_passed_on(make_chain: MakeChain, run: Run) -> None:
    chain = make_chain(4, seed=3)
    ids, log_prob = run(chain, 30)
    older, last = 0, 0
    for token in ids:
        assert token == chain.table[older, last].argmax()
        older, last = last, token
    assert log_prob == pytest.approx(chain.log_prob(ids), rel=1e-12)


def test_a_stop_ends_the_text_after_it(make_chain: MakeChain, run: Run) -> None:
    chain = make_chain(_first_order([[0.2, 0.5, 0.3], [0.1, 0.3, 0.6], [0.9, 0.1, 0.0]]))
    assert run(chain, 20, [(2, 0)])[0] == (1, 2, 0)
    assert run(chain, 20, [(2, 1), (0, 1)])[0] == (1, 2, 0, 1)
