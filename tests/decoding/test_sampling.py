import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from charrnn.config import Limits, SampleConfig
from charrnn.decoding import sampler
from charrnn.decoding.constraints import build
from charrnn.decoding.sampler import Sampler, generator
from charrnn.decoding.step import log_softmax

MakeChain = Callable[..., Any]
WriteTexts = Callable[..., list[Any]]


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return `cut(n)`, which makes the loop write n tokens at a time, however long they take."""

    def every(count: int) -> None:
        monkeypatch.setattr(sampler, "FIRST_COUNT", count)
        monkeypatch.setattr(sampler, "next_count", lambda written, seconds: count)

    return every


def test_each_sample_has_its_own_randomness() -> None:
    numbers = {(s, i): generator(s, i).random() for s in (0, 1, 2**63 - 1) for i in (0, 1)}
    assert len(set(numbers.values())) == 6
    assert numbers[1, 1] == generator(1, 1).random()


def test_sample_i_does_not_depend_on_the_number_of_samples(
    make_chain: MakeChain, write_texts: WriteTexts
) -> None:
    chain = make_chain(4, seed=0)
    alone, three, ten = ([t.ids for t in write_texts(chain, 40, rows=n)] for n in (1, 3, 10))
    assert ten[:3] == three
    assert three[:1] == alone
    assert len(set(ten)) == 10


STOPS = [(0, 0), (2, 1, 2)]


@pytest.mark.parametrize("count", [1, 2, 7, 100])
@pytest.mark.parametrize("regex", [None, "[abc]{2,}", "(?:ab|c)*"])
def test_texts_do_not_depend_on_how_many_tokens_are_written_at_a_time(
    make_chain: MakeChain,
    write_texts: WriteTexts,
    cut: Callable[[int], None],
    count: int,
    regex: str | None,
) -> None:
    wanted = {
        "constraint": build("abc", Limits(regex=regex), 30),
        "stops": STOPS,
        "rows": 8,
        "repeat_penalty": 1.5,
    }
    whole, cut_up = make_chain(3, seed=1), make_chain(3, seed=1)
    expected = write_texts(whole, 30, **wanted)
    cut(count)
    found = write_texts(cut_up, 30, **wanted)
    assert [vars(text) for text in found] == [vars(text) for text in expected]
    if count == 1:  # no text waits for another one to end
        assert len(cut_up.batches) == max(len(text.log_probs) for text in found)


def test_a_sample_does_not_depend_on_when_others_stop(
    make_chain: MakeChain, write_texts: WriteTexts
) -> None:
    chain = make_chain(3, seed=1)
    free = write_texts(chain, 30, rows=8)
    stopped = write_texts(chain, 30, rows=8, stops=STOPS)
    for whole, text in zip(free, stopped, strict=True):
        starts = [whole.ids[:end] for end in range(1, 31)]
        ends = [len(ids) for ids in starts if any(tuple(ids[-len(s) :]) == s for s in STOPS)]
        assert text.ids == whole.ids[: ends[0] if ends else 30]
    assert len({len(text.ids) for text in stopped}) > 3


def test_a_text_that_has_ended_leaves_the_batch(
    make_chain: MakeChain, write_texts: WriteTexts, cut: Callable[[int], None]
) -> None:
    cut(3)
    chain = make_chain(3, seed=1)
    texts = write_texts(chain, 30, rows=8, stops=[(0,)])
    rows = [sum(len(text.ids) > 3 * (t // 3) for text in texts) for t in range(len(chain.batches))]
    assert chain.batches == rows
    assert 1 < rows[0] > rows[-1] > 0


def test_the_loop_ends_with_the_last_text(make_chain: MakeChain, write_texts: WriteTexts) -> None:
    chain = make_chain(np.full((1, 1, 1), 1.0))
    write_texts(chain, 10**9, stops=[(0,) * 20])
    assert len(chain.batches) <= 8 + 32


def test_the_loop_yields_between_batches_of_tokens(
    make_chain: MakeChain, cut: Callable[[int], None]
) -> None:
    """Between them the text can be shown and Ctrl-C works."""
    cut(4)
    chain = make_chain(3, seed=0)

    class Growing:
        length = 0

        def extend(self, ids: Any, log_probs: Any) -> bool:
            assert ids.shape == log_probs.shape
            self.length += len(ids)
            return True

    text, chooser = Growing(), Sampler(SampleConfig(), [generator(0, 0)], 10)
    writing = sampler.write(chain, *chain.begin(), chooser, [text], 10)
    assert [text.length for _ in writing] == [4, 8, 10]


def test_each_batch_of_tokens_takes_about_the_same_time() -> None:
    tenth = sampler.YIELD_SECONDS / 10
    assert sampler.next_count(10, 2 * tenth) == 40  # the maximum growth
    assert sampler.next_count(10, 8 * tenth) == 12
    assert sampler.next_count(10, 20 * tenth) == 5
    assert sampler.next_count(10, 1000 * tenth) == sampler.next_count(1, 1e9) == 1
    assert sampler.next_count(4000, 0.0) == sampler._MAX_COUNT


def test_log_probs_are_the_models_before_filters(
    make_chain: MakeChain, write_texts: WriteTexts
) -> None:
    chain = make_chain(4, seed=2)
    for text in write_texts(chain, 12, rows=3, temperature=0.3, top_k=2):
        assert sum(text.log_probs) == pytest.approx(chain.log_prob(text.ids), rel=1e-12)


@pytest.mark.parametrize(
    "penalty", [{"presence_penalty": 100.0}, {"frequency_penalty": 100.0}, {"repeat_last_n": 3}]
)
def test_penalties_see_the_prompt_and_the_text(
    make_chain: MakeChain, write_texts: WriteTexts, penalty: dict[str, Any]
) -> None:
    chain = make_chain(5, seed=2)
    penalty = {"presence_penalty": 100.0, "repeat_last_n": 4, **penalty}
    last_n = penalty["repeat_last_n"]
    for text in write_texts(chain, 30, rows=4, read=[4, 3], **penalty):
        whole = [4, 3, *text.ids]
        for end in range(2, 32):
            assert whole[end] not in whole[max(end - last_n, 0) : end]


def test_no_ngram_is_repeated_including_the_prompt(
    make_chain: MakeChain, write_texts: WriteTexts
) -> None:
    chain = make_chain(4, seed=2)
    (text,) = write_texts(chain, 40, read=[0, 1, 2], no_repeat_ngram_size=3)
    whole = [0, 1, 2, *text.ids]
    runs = [tuple(whole[i : i + 3]) for i in range(len(whole) - 2)]
    assert len(set(runs)) == len(runs)


def test_a_bias_of_minus_100_forbids_and_of_100_forces_a_token(
    make_chain: MakeChain, write_texts: WriteTexts
) -> None:
    chain = make_chain(3, seed=2)
    (text,) = write_texts(chain, 50, bias=np.array([0.0, -100.0, 0.0]))
    assert set(text.ids) == {0, 2}
    (text,) = write_texts(chain, 50, bias=np.array([0.0, 100.0, 0.0]))
    assert set(text.ids) == {1}


def test_a_tiny_temperature_raises_no_warning(
    make_chain: MakeChain, write_texts: WriteTexts
) -> None:
    chain = make_chain(4, seed=3)
    cold, coldest = (write_texts(chain, 9, temperature=t)[0] for t in (5e-324, 0.0))
    assert cold.ids == coldest.ids


def test_the_history_of_long_texts_is_complete(
    make_chain: MakeChain, write_texts: WriteTexts
) -> None:
    """The array of the history grows; nothing that penalties look at may be lost."""
    chain = make_chain(4, seed=0)
    read, written = list(range(4)) * 100, 700
    (text,) = write_texts(chain, written, read=read, no_repeat_ngram_size=6)
    whole = [*read, *text.ids]
    runs = {tuple(whole[i : i + 6]) for i in range(394, len(whole) - 5)}
    assert len(runs) == written + 1


@pytest.mark.parametrize("length", [0, 1, 5])
def test_texts_have_the_requested_length(
    make_chain: MakeChain, write_texts: WriteTexts, length: int
) -> None:
    chain = make_chain(3, seed=0)
    (text,) = write_texts(chain, length)
    assert len(text.ids) == len(chain.batches) == length


def test_log_softmax_by_hand() -> None:
    # logits 0, ln 3: p = 1/4, 3/4; a constant offset has no effect and does not overflow
    for constant in (0.0, 1e4, -1e4):
        logits: NDArray[Any] = np.array([[0.0, math.log(3)]]) + constant
        assert np.exp(log_softmax(logits))[0].tolist() == pytest.approx([0.25, 0.75], rel=1e-9)
