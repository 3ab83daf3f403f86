import itertools
import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from brute_force import Stops, Text, all_texts, ended, stopped

from charrnn.config import BeamConfig, Limits
from charrnn.decoding import beam
from charrnn.decoding.beam import beam_search
from charrnn.decoding.constraints import build
from charrnn.decoding.hypotheses import Hypothesis
from charrnn.decoding.sampler import generator
from charrnn.decoding.step import log_softmax
from charrnn.errors import OptionError, RunError
from charrnn.inference.numpy_engine import NumpyEngine
from charrnn.model.model_file import Model
from charrnn.storage import machine

MakeChain = Callable[..., Any]
WriteTexts = Callable[..., list[Any]]


def _search(chain: Any, stops: Stops | None = None, **config: Any) -> list[Hypothesis]:
    made = BeamConfig(**config, stop=["?"] * len(stops or []))
    return beam_search(chain, *chain.begin(), made, stops=stops or [])


def _brute_force(
    chain: Any, size: int, length: int, alpha: float = 1.0, stops: Stops | None = None
) -> list[tuple[Text, float]]:
    """Return all texts with their log-probability divided by length^alpha, best first."""
    scored = [
        (text, chain.log_prob(text) / len(text) ** alpha)
        for text in all_texts(size, length, stops or [])
    ]
    return sorted(scored, key=lambda item: -item[1])


def _check(
    chain: Any, found: list[Hypothesis], expected: list[tuple[Text, float]], alpha: float = 1.0
) -> None:
    """Assert that the texts are distinct and have the expected scores.

    Texts made of the same transitions are equally probable, so their order may vary.
    """
    assert [h.score for h in found] == pytest.approx([score for _, score in expected], rel=1e-9)
    assert len({h.ids for h in found}) == len(found)
    for h in found:
        assert h.log_prob == pytest.approx(chain.log_prob(h.ids), rel=1e-9)
        assert h.score == pytest.approx(h.log_prob / len(h.ids) ** alpha, rel=1e-12)


THE, CAT, IS, HOME = range(4)


def _lecture() -> Any:
    """Return a chain in which "the" (0.55) is more likely than "is" (0.45) after "cat".

    But the word after "the cat the" is uncertain, and "home" follows "the cat is".
    """
    after: dict[int, list[float]] = {
        THE: [0.0, 0.4, 0.3, 0.3],
        CAT: [0.55, 0.0, 0.45, 0.0],
        IS: [0.05, 0.0, 0.0, 0.95],
        HOME: [1.0, 0.0, 0.0, 0.0],
    }
    return np.tile([after[word] for word in (THE, CAT, IS, HOME)], (4, 1, 1))


def test_beam_search_writes_the_cat_is_home_where_greedy_writes_the_cat_the(
    make_chain: MakeChain, write_texts: WriteTexts
) -> None:
    chain = make_chain(_lecture())
    begin = chain.begin(older=THE, last=CAT)
    (greedy,) = write_texts(chain, 2, begin=begin, temperature=0.0)
    assert greedy.ids == (THE, CAT)  # "the cat the ...": 0.55 * 0.4 = 0.22
    (best,) = beam_search(chain, *begin, BeamConfig(length=2, width=2))
    assert best.ids == (IS, HOME)  # "the cat is home": 0.45 * 0.95 = 0.4275
    assert math.exp(best.log_prob) == pytest.approx(0.4275)


def test_search_by_hand(make_chain: MakeChain) -> None:
    # two tokens with 0.6 and 0.4: the text 00 has 0.36, 01 and 10 have 0.24
    chain = make_chain(np.tile([0.6, 0.4], (2, 2, 1)))
    found = _search(chain, length=2, width=3, num_return=3, length_penalty=1.0)
    assert [h.ids for h in found] == [(0, 0), (0, 1), (1, 0)]
    assert [math.exp(h.log_prob) for h in found] == pytest.approx([0.36, 0.24, 0.24])
    assert [h.score for h in found] == pytest.approx([h.log_prob / 2 for h in found])
    assert {h.ended for h in found} == {"length"}


@pytest.mark.parametrize(("size", "length", "width"), [(3, 4, 27), (3, 5, 81), (4, 4, 64)])
@pytest.mark.parametrize("seed", range(4))
def test_an_exhaustive_width_equals_brute_force(
    make_chain: MakeChain, size: int, length: int, width: int, seed: int
) -> None:
    chain = make_chain(size, seed)
    found = _search(chain, length=length, width=width, num_return=width)
    _check(chain, found, _brute_force(chain, size, length)[:width])


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("stops", [[(0,)], [(1, 0)], [(0, 1), (2, 2, 0)], [(0,), (1,), (2,)]])
@pytest.mark.parametrize("num_return", [1, 4, 40])
def test_ranking_with_stops_equals_brute_force(
    make_chain: MakeChain, alpha: float, stops: Stops, num_return: int
) -> None:
    chain = make_chain(3, seed=5)
    found = _search(chain, stops, length=5, width=243, num_return=num_return, length_penalty=alpha)
    expected = _brute_force(chain, 3, 5, alpha, stops)
    _check(chain, found, expected[:num_return], alpha)
    assert {h.ids for h in found} <= {text for text, _ in expected}  # each ends where it should
    assert [h.ended for h in found] == [ended(h.ids, stops) for h in found]


@pytest.mark.parametrize("stops", [[], [(0,)], [(1, 0), (2,)]])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0])
def test_a_narrow_search_follows_its_definition(
    make_chain: MakeChain, seed: int, stops: Stops, alpha: float
) -> None:
    chain = make_chain(4, seed)
    width, length = 3, 6
    live: list[Text] = [()]
    complete: list[Text] = []
    for _ in range(length):  # extend all, keep the best, set aside what ended
        longer = [(*text, token) for text in live for token in range(4)]
        best = sorted(longer, key=lambda text: -chain.log_prob(text))[:width]
        complete += [text for text in best if stopped(text, stops)]
        live = [text for text in best if not stopped(text, stops)]
    ranked = sorted(complete + live, key=lambda text: -chain.log_prob(text) / len(text) ** alpha)
    wanted = {"width": width, "num_return": 2, "length_penalty": alpha}
    found = _search(chain, stops, length=length, **wanted)
    assert [h.ids for h in found] == ranked[:2]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("stops", [[], [(2, 0)]])
def test_width_one_is_greedy(
    make_chain: MakeChain, write_texts: WriteTexts, seed: int, stops: Stops
) -> None:
    chain = make_chain(3, seed)
    (greedy,) = write_texts(chain, 25, stops=stops, temperature=0.0)
    (best,) = _search(chain, stops, length=25, width=1)
    assert best.ids == greedy.ids
    assert best.log_prob == pytest.approx(sum(greedy.log_probs), rel=1e-12)


def test_width_one_takes_the_lowest_id_among_equals_as_greedy_does(make_chain: MakeChain) -> None:
    chain = make_chain(np.full((3, 3, 3), 1 / 3))
    (best,) = _search(chain, length=4, width=1)
    assert best.ids == (0, 0, 0, 0)


def test_wider_searches_never_find_worse_texts(make_chain: MakeChain) -> None:
    chain = make_chain(4, seed=9)
    found = [_search(chain, length=6, width=width)[0].log_prob for width in (1, 4**5)]
    assert found[1] >= found[0]
    assert found[1] == pytest.approx(_brute_force(chain, 4, 6)[0][1] * 6)


def test_a_width_beyond_all_texts_finds_them_all_once(make_chain: MakeChain) -> None:
    found = _search(make_chain(3, seed=0), length=2, width=50, num_return=50)
    assert sorted(h.ids for h in found) == sorted(itertools.product(range(3), repeat=2))


def test_an_impossible_text_is_not_returned(make_chain: MakeChain) -> None:
    chain = make_chain(np.tile([0.0, 1.0], (2, 2, 1)))
    (only,) = _search(chain, length=3, width=2, num_return=2)
    assert (only.ids, only.log_prob) == ((1, 1, 1), 0)


def test_length_zero_is_the_empty_text(make_chain: MakeChain) -> None:
    (best,) = _search(make_chain(3, seed=0), length=0)
    assert (best.ids, best.log_prob, best.ended) == ((), 0, "length")


def test_all_beams_are_one_batch_and_the_last_token_is_not_read(
    make_chain: MakeChain,
) -> None:
    chain = make_chain(3, seed=0)
    _search(chain, length=5, width=7)
    assert chain.batches == [3, 7, 7, 7]  # after one token there are three texts


def test_the_search_ends_when_no_live_beam_can_win(make_chain: MakeChain) -> None:
    # token 0, a stop, has 0.9: "0" with ln 0.9 beats every text that starts with 1, ln 0.1 at best
    chain = make_chain(np.tile([0.9, 0.1], (2, 2, 1)))
    (best,) = _search(chain, [(0,)], length=1000, width=2, length_penalty=0.0)
    assert (best.ids, best.ended) == ((0,), "stop")
    assert chain.batches == []


def _settling(chain: Any, stops: Stops, **config: Any) -> tuple[list[list[int]], Hypothesis]:
    settled: list[list[int]] = []
    found = beam_search(
        chain, *chain.begin(), BeamConfig(**config), stops=stops, on_settled=settled.append
    )
    return settled, found[0]


@pytest.mark.parametrize("stops", [[], [(0, 1)], [(2,), (1, 1, 1, 1)]])
@pytest.mark.parametrize("width", [1, 2, 4])
def test_settled_tokens_are_a_prefix_of_the_best_text(
    make_chain: MakeChain, width: int, stops: Stops
) -> None:
    pieces = 0
    for seed in range(20):
        chain = make_chain(3, seed)
        settled, best = _settling(chain, stops, length=60, width=width, length_penalty=2.0)
        ids = [token for piece in settled for token in piece]
        assert tuple(ids) == best.ids[: len(ids)]
        pieces += len(settled)
    assert pieces > 20


def test_a_prefix_that_all_beams_share_is_settled_soon(make_chain: MakeChain) -> None:
    # After 0 comes 0 with 0.9, after 1 with 0.8. The two beams are 0 (0.9) and 1 (0.1), then
    # 00 (0.81) and 01 (0.09), not 10 (0.08), then 000 and 001: all but the last is shared.
    chain = make_chain(np.tile([[0.9, 0.1], [0.8, 0.2]], (2, 1, 1)))
    settled, _ = _settling(chain, [], length=30, width=2)
    assert settled == [[0] * 7, [0] * 8, [0] * 8]


def test_on_settled_may_abort_the_search(make_chain: MakeChain) -> None:
    def stop(ids: list[int]) -> None:
        raise KeyboardInterrupt

    chain = make_chain(np.tile([[0.9, 0.1], [0.8, 0.2]], (2, 1, 1)))
    with pytest.raises(KeyboardInterrupt):
        beam_search(chain, *chain.begin(), BeamConfig(width=2), on_settled=stop)
    assert len(chain.batches) == 7


# Minimum and maximum lengths


@pytest.mark.parametrize("min_length", [1, 2, 4, 5])
@pytest.mark.parametrize("stops", [[(0,)], [(1, 0)], [(0, 1), (2, 2, 0), (1,)]])
def test_no_stop_ends_a_text_before_its_minimum_length(
    make_chain: MakeChain, stops: Stops, min_length: int
) -> None:
    chain = make_chain(3, seed=6)
    allowed = []
    for text, score in _brute_force(chain, 3, 5, stops=stops):
        stop = max((len(s) for s in stops if text[-len(s) :] == s), default=0)
        if not stop or len(text) - stop >= min_length:
            allowed.append((text, score))
    wanted = {"length": 5, "min_length": min_length, "width": 243, "num_return": 200}
    found = _search(chain, stops, **wanted)
    assert {h.ids for h in found} == {text for text, _ in allowed}
    _check(chain, found, allowed)


def test_an_unreachable_minimum_length_is_an_error(make_chain: MakeChain) -> None:
    with pytest.raises(RunError, match=r"no text can be written: .* lower `min_length`"):
        _search(make_chain(2, seed=0), [(0,), (1,)], length=5, min_length=2)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 3.0, 100.0])
@pytest.mark.parametrize("seed", range(8))
def test_ending_early_loses_nothing(make_chain: MakeChain, alpha: float, seed: int) -> None:
    """A search for more texts takes longer, but its best text is the same."""
    chain = make_chain(3, seed)
    stops = [(0, 0), (1,)]
    wanted = {"length": 12, "width": 4, "length_penalty": alpha}
    (best,) = _search(chain, stops, **wanted)
    steps = len(chain.batches)
    every = _search(chain, stops, **wanted, num_return=4)
    assert best == every[0]
    assert len(chain.batches) - steps >= steps


# A constraint


def test_texts_match_the_constraint_and_end_where_nothing_is_allowed(
    make_chain: MakeChain,
) -> None:
    chain = make_chain(4, seed=1)
    config = BeamConfig(length=6, width=200, num_return=50)
    limits = build("abcd", Limits(regex="(?:a[bc])*ad"), 6)
    found = beam_search(chain, *chain.begin(), config, constraint=limits)
    texts = {(0, 3)} | {(0, a, 0, 3) for a in (1, 2)}
    texts |= {(0, a, 0, b, 0, 3) for a in (1, 2) for b in (1, 2)}
    assert {h.ids for h in found} == texts
    assert [h.ended for h in found] == ["constraint" if len(h.ids) < 6 else "length" for h in found]
    scored = [(text, chain.log_prob(text) / len(text)) for text in texts]
    _check(chain, found, sorted(scored, key=lambda item: -item[1]))


# Groups


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("diversity", [0.3, 2.0])
def test_a_search_with_groups_follows_its_definition(
    make_chain: MakeChain, seed: int, diversity: float
) -> None:
    chain = make_chain(4, seed)
    length, groups, size = 5, 3, 2
    live: list[list[Text]] = [[()] for _ in range(groups)]
    for _ in range(length):
        taken: list[int] = []
        for group in range(groups):
            longer = [(*text, token) for text in live[group] for token in range(4)]
            live[group] = sorted(
                longer, key=lambda t: diversity * taken.count(t[-1]) - chain.log_prob(t)
            )[:size]
            taken += [text[-1] for text in live[group]]
    best = {max(texts, key=chain.log_prob) for texts in live}
    found = _search(chain, length=length, width=6, num_return=3, groups=groups, diversity=diversity)
    if len(best) == 3:
        assert {h.ids for h in found} == best
    else:
        assert best <= {h.ids for h in found}
    assert [h.log_prob for h in found] == sorted((h.log_prob for h in found), reverse=True)
    assert all(h.log_prob == pytest.approx(chain.log_prob(h.ids)) for h in found)


def test_groups_find_more_diverse_texts_than_a_plain_search(make_chain: MakeChain) -> None:
    chain = make_chain(np.tile([0.5, 0.3, 0.2], (3, 3, 1)))
    plain = _search(chain, length=4, width=3, num_return=3)
    apart = _search(chain, length=4, width=3, num_return=3, groups=3, diversity=9.0)
    assert [len(set(h.ids)) for h in apart] == [1, 1, 1]  # 0000, 1111, 2222
    assert sum(h.log_prob for h in plain) > sum(h.log_prob for h in apart)


def test_each_group_stops_on_its_own(make_chain: MakeChain) -> None:
    # the first group takes the stop at once and is done; the second continues to its own end
    chain = make_chain(np.tile([0.9, 0.1], (2, 2, 1)))
    wanted = {"width": 2, "num_return": 2, "groups": 2, "diversity": 5.0, "length_penalty": 0.0}
    found = _search(chain, [(0,)], length=20, **wanted)
    assert [h.ids for h in found] == [(0,), (1, 0)]
    assert chain.batches == [1]


# Memory


def test_a_beam_too_wide_for_memory_is_refused(
    make_chain: MakeChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "installed", lambda: 8 * 10**9)
    chain = make_chain(3, seed=0)
    logits, state = np.zeros((1, 40_000)), np.zeros(1)
    with pytest.raises(OptionError) as caught:
        beam_search(chain, logits, state, BeamConfig(width=50_000))
    assert str(caught.value) == (
        "`width` 50,000 with 40,000 tokens would take about 144 GB, and the machine has 8: "
        "lower `width`"
    )
    monkeypatch.setattr(machine, "installed", lambda: None)
    assert _search(chain, length=2, width=50_000)


@pytest.mark.parametrize("stochastic", [False, True])
def test_the_estimate_of_memory_is_an_upper_bound(stochastic: bool) -> None:
    width, tokens = 64, 4000

    class Flat:
        """A network for which all tokens are equally likely."""

        def step(self, ids: Any, state: Any) -> Any:
            return np.zeros((len(ids), tokens), np.float32), state

        def select(self, state: Any, rows: Any) -> Any:
            return state

    rng = generator(0, 0) if stochastic else None
    config = BeamConfig(length=4, width=width, stochastic=stochastic)
    tracemalloc.start()
    beam_search(Flat(), np.zeros((1, tokens), np.float32), None, config, rng=rng)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.5 * beam._BEAM_BYTES * width * tokens < peak < beam._BEAM_BYTES * width * tokens


@pytest.mark.parametrize("cell", ["elman", "lstm", "gru-reset-after"])
def test_searching_a_real_network_equals_brute_force(
    make_model: Callable[..., Model], cell: str
) -> None:
    model = make_model("abc", cell=cell, num_layers=2, scale=1.5)
    engine = NumpyEngine(model.config, model.values)
    start = np.array([model.config.start_token])

    def log_prob(text: Text) -> float:
        """Return the log-probability of a text, reading it from the start."""
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
