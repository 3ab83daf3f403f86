import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint import Model
from charrnn.config import BeamConfig
from charrnn.decoding.beam import Hypothesis, beam_search
from charrnn.decoding.greedy import greedy
from charrnn.decoding.step import log_softmax
from charrnn.kernels.numpy_engine import NumpyEngine

MakeChain = Callable[..., Any]
Text = tuple[int, ...]
Stops = list[Text]


def _search(chain: Any, stops: Stops | None = None, **config: Any) -> list[Hypothesis]:
    return beam_search(chain, *chain.begin(), BeamConfig(**config), stops=stops or [])


def _stopped(text: Text, stops: Stops) -> bool:
    return any(text[-len(stop) :] == stop for stop in stops)


def _all_texts(size: int, length: int, stops: Stops) -> list[Text]:
    """Every text of `length` symbols, or shorter where a stop ends it."""
    texts: set[Text] = set()
    for text in itertools.product(range(size), repeat=length):
        ends = [end for end in range(1, length) if _stopped(text[:end], stops)]
        texts.add(text[: ends[0]] if ends else text)
    return list(texts)


def _brute_force(
    chain: Any, size: int, length: int, alpha: float = 1.0, stops: Stops | None = None
) -> list[tuple[Text, float]]:
    """All texts with their log-probability over length^alpha, best first."""
    scored = [
        (text, chain.log_prob(text) / len(text) ** alpha)
        for text in _all_texts(size, length, stops or [])
    ]
    return sorted(scored, key=lambda item: -item[1])


def _check(
    chain: Any, found: list[Hypothesis], expected: list[tuple[Text, float]], alpha: float = 1.0
) -> None:
    """The scores are the expected ones, and those of different texts.

    Texts made of the same transitions are equally probable, so their order among themselves is
    free.
    """
    assert [h.score for h in found] == pytest.approx([score for _, score in expected], rel=1e-9)
    assert len({h.ids for h in found}) == len(found)
    for h in found:
        assert h.log_prob == pytest.approx(chain.log_prob(h.ids), rel=1e-9)
        assert h.score == h.log_prob / len(h.ids) ** alpha


THE, CAT, IS, HOME = range(4)


def _lecture() -> Any:
    """After "the" comes "cat"; after "cat" rather "the" (0.55) than "is" (0.45).

    But what follows "the cat the" is anyone's guess, and after "the cat is" comes "home".
    """
    after: dict[int, list[float]] = {
        THE: [0.0, 0.4, 0.3, 0.3],
        CAT: [0.55, 0.0, 0.45, 0.0],
        IS: [0.05, 0.0, 0.0, 0.95],
        HOME: [1.0, 0.0, 0.0, 0.0],
    }
    return np.tile([after[word] for word in (THE, CAT, IS, HOME)], (4, 1, 1))


def test_beam_search_writes_the_cat_is_home_where_greedy_writes_the_cat_the(
    make_chain: MakeChain,
) -> None:
    chain = make_chain(_lecture())
    begin = chain.begin(older=THE, last=CAT)
    written = tuple(symbol for symbol, _ in greedy(chain, *begin, 2))
    assert written == (THE, CAT)  # "the cat the ...": 0.55 * 0.4 = 0.22
    (best,) = beam_search(chain, *begin, BeamConfig(length=2, width=2))
    assert best.ids == (IS, HOME)  # "the cat is home": 0.45 * 0.95 = 0.4275
    assert math.exp(best.log_prob) == pytest.approx(0.4275)


def test_search_by_hand(make_chain: MakeChain) -> None:
    # two symbols, always 0.6 and 0.4: of the texts of two 00 has 0.36, 01 and 10 have 0.24
    chain = make_chain(np.tile([0.6, 0.4], (2, 2, 1)))
    found = _search(chain, length=2, width=3, num_return=3, length_penalty=1.0)
    assert [h.ids for h in found] == [(0, 0), (0, 1), (1, 0)]
    assert [math.exp(h.log_prob) for h in found] == pytest.approx([0.36, 0.24, 0.24])
    assert [h.score for h in found] == pytest.approx([h.log_prob / 2 for h in found])
    assert not any(h.stopped for h in found)


@pytest.mark.parametrize(("size", "length", "width"), [(3, 4, 27), (3, 5, 81), (4, 4, 64)])
@pytest.mark.parametrize("seed", range(4))
def test_a_width_that_loses_nothing_is_brute_force(
    make_chain: MakeChain, size: int, length: int, width: int, seed: int
) -> None:
    chain = make_chain(size, seed)
    found = _search(chain, length=length, width=width, num_return=width)
    _check(chain, found, _brute_force(chain, size, length)[:width])


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("stops", [[(0,)], [(1, 0)], [(0, 1), (2, 2, 0)], [(0,), (1,), (2,)]])
@pytest.mark.parametrize("num_return", [1, 4, 40])
def test_ranking_with_stops_is_that_of_brute_force(
    make_chain: MakeChain, alpha: float, stops: Stops, num_return: int
) -> None:
    chain = make_chain(3, seed=5)
    found = _search(chain, stops, length=5, width=243, num_return=num_return, length_penalty=alpha)
    expected = _brute_force(chain, 3, 5, alpha, stops)
    _check(chain, found, expected[:num_return], alpha)
    assert {h.ids for h in found} <= {text for text, _ in expected}  # each ends where it should
    assert [h.stopped for h in found] == [_stopped(h.ids, stops) for h in found]


@pytest.mark.parametrize("stops", [[], [(0,)], [(1, 0), (2,)]])
@pytest.mark.parametrize("seed", range(5))
def test_a_narrow_search_is_the_one_of_the_definition(
    make_chain: MakeChain, seed: int, stops: Stops
) -> None:
    chain = make_chain(4, seed)
    width, length = 3, 6
    live: list[Text] = [()]
    ended: list[Text] = []
    for _ in range(length):  # extend all, keep the best, set aside what ended
        longer = [(*text, symbol) for text in live for symbol in range(4)]
        best = sorted(longer, key=lambda text: -chain.log_prob(text))[:width]
        ended += [text for text in best if _stopped(text, stops)]
        live = [text for text in best if not _stopped(text, stops)]
    ranked = sorted(ended + live, key=lambda text: -chain.log_prob(text) / len(text))
    found = _search(chain, stops, length=length, width=width, num_return=2)
    assert [h.ids for h in found] == ranked[:2]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("stops", [[], [(2, 0)]])
def test_width_one_is_greedy(make_chain: MakeChain, seed: int, stops: Stops) -> None:
    chain = make_chain(3, seed)
    written = list(greedy(chain, *chain.begin(), 25, stops))
    (best,) = _search(chain, stops, length=25, width=1)
    assert best.ids == tuple(symbol for symbol, _ in written)
    assert best.log_prob == pytest.approx(sum(log_prob for _, log_prob in written), rel=1e-12)


def test_width_one_takes_the_lowest_among_equals_as_greedy_does(make_chain: MakeChain) -> None:
    chain = make_chain(np.full((3, 3, 3), 1 / 3))
    (best,) = _search(chain, length=4, width=1)
    assert best.ids == (0, 0, 0, 0)


def test_wider_searches_never_find_less(make_chain: MakeChain) -> None:
    chain = make_chain(4, seed=9)
    found = [_search(chain, length=6, width=width)[0].log_prob for width in (1, 4**5)]
    assert found[1] >= found[0]
    assert found[1] == pytest.approx(_brute_force(chain, 4, 6)[0][1] * 6)


def test_a_width_beyond_all_texts_finds_them_all_once(make_chain: MakeChain) -> None:
    found = _search(make_chain(3, seed=0), length=2, width=50, num_return=50)
    assert sorted(h.ids for h in found) == sorted(itertools.product(range(3), repeat=2))


def test_an_impossible_symbol_is_the_last_choice(make_chain: MakeChain) -> None:
    chain = make_chain(np.tile([0.0, 1.0], (2, 2, 1)))
    found = _search(chain, length=3, width=2, num_return=2)
    assert found[0].ids == (1, 1, 1)
    assert (found[0].log_prob, found[1].log_prob) == (0, -math.inf)


def test_no_length_is_the_empty_text(make_chain: MakeChain) -> None:
    (best,) = _search(make_chain(3, seed=0), length=0)
    assert (best.ids, best.log_prob, best.stopped) == ((), 0, False)


def test_all_beams_are_one_batch_and_nothing_is_read_after_the_last_symbol(
    make_chain: MakeChain,
) -> None:
    chain = make_chain(3, seed=0)
    _search(chain, length=5, width=7)
    assert chain.batches == [3, 7, 7, 7]  # after one symbol there are three texts


def test_the_search_ends_when_nothing_live_can_win(make_chain: MakeChain) -> None:
    # symbol 0, a stop, has 0.9: "0" with ln 0.9 beats whatever starts with 1, ln 0.1 at best
    chain = make_chain(np.tile([0.9, 0.1], (2, 2, 1)))
    (best,) = _search(chain, [(0,)], length=1000, width=2, length_penalty=0.0)
    assert (best.ids, best.stopped) == ((0,), True)
    assert chain.batches == []


@pytest.mark.parametrize("stops", [[], [(0, 1)]])
@pytest.mark.parametrize("seed", range(6))
def test_what_is_settled_grows_and_begins_the_best_text(
    make_chain: MakeChain, seed: int, stops: Stops
) -> None:
    chain = make_chain(3, seed)
    settled: list[Text] = []
    config = BeamConfig(length=30, width=4)
    (best,) = beam_search(
        chain,
        *chain.begin(),
        config,
        stops=stops,
        on_settled=lambda ids: settled.append(tuple(ids.tolist())),
    )
    for shorter, longer in itertools.pairwise([*settled, best.ids]):
        assert longer[: len(shorter)] == shorter


def test_what_all_beams_share_is_settled_at_once(make_chain: MakeChain) -> None:
    # After 0 comes 0 with 0.9, after 1 with 0.8. The two beams are 0 (0.9) and 1 (0.1), then
    # 00 (0.81) and 01 (0.09), not 10 (0.08), then 000 and 001: all but the last is shared.
    chain = make_chain(np.tile([[0.9, 0.1], [0.8, 0.2]], (2, 1, 1)))
    settled: list[list[int]] = []
    beam_search(
        chain,
        *chain.begin(),
        BeamConfig(length=4, width=2),
        on_settled=lambda ids: settled.append(ids.tolist()),
    )
    assert settled == [[], [0], [0, 0], [0, 0, 0]]


def test_on_settled_may_end_the_search(make_chain: MakeChain) -> None:
    def stop(ids: Any) -> None:
        raise KeyboardInterrupt

    chain = make_chain(3, seed=0)
    with pytest.raises(KeyboardInterrupt):
        beam_search(chain, *chain.begin(), BeamConfig(), on_settled=stop)
    assert chain.batches == []


@pytest.mark.parametrize("cell", ["elman", "lstm", "gru-reset-after"])
def test_a_real_network_is_searched_as_by_brute_force(
    make_model: Callable[..., Model], cell: str
) -> None:
    model = make_model("abc", cell=cell, num_layers=2, scale=1.5)
    engine = NumpyEngine(model.config, model.values)
    start = np.array([model.config.start_symbol])

    def log_prob(text: Text) -> float:
        """Read from the start again, with nothing shared between texts."""
        inputs = np.array([*start, *text[:-1]])[:, None]
        logits, _ = engine.read(inputs, engine.start_state(1))
        return float(log_softmax(logits[:, 0])[np.arange(len(text)), text].sum())

    texts = sorted(itertools.product(range(3), repeat=4), key=lambda text: -log_prob(text))
    begin = engine.step(start, engine.start_state(1))
    found = beam_search(engine, *begin, BeamConfig(length=4, width=27, num_return=10))
    assert [h.ids for h in found] == texts[:10]
    assert [h.log_prob for h in found] == pytest.approx(
        [log_prob(text) for text in texts[:10]], abs=1e-5
    )
