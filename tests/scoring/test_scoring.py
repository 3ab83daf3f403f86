import dataclasses
import html
import itertools
import math
import re
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import covering
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from charrnn import scoring
from charrnn.config import ModelConfig
from charrnn.generator import Generator
from charrnn.inference.numpy_engine import NumpyEngine
from charrnn.model.model_file import Model
from charrnn.network.module import CharRNN
from charrnn.scoring import Score, measure
from charrnn.text.tokenizer import ByteTokenizer, CharTokenizer, train_pieces

MakeModel = Callable[..., Model]
START = 3  # of the models here, which have three tokens


class Constant:
    """An engine with a constant distribution, whatever came before."""

    def __init__(self, *probabilities: float) -> None:
        self.nats_of = -np.log(probabilities)

    def start_state(self, batch_size: int) -> Any:
        return ((np.zeros((batch_size, 1)),),)

    def nats(
        self, inputs: NDArray[Any], targets: NDArray[Any], state: Any
    ) -> tuple[NDArray[Any], Any]:
        return self.nats_of[targets], state


LETTERS = CharTokenizer("aé" + "".join(map(chr, range(0x100, 0x140))))  # é has two bytes


def _text(length: int, seed: int = 5) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 3, length).astype(np.uint8)


def _float64(model: Model) -> NumpyEngine:
    values = {name: value.astype(np.float64) for name, value in model.values.items()}
    return NumpyEngine(model.config, values)


@pytest.fixture
def remembering(make_model: MakeModel) -> Model:
    """An LSTM that sums up slowly and forgets nothing: what it read 512 tokens ago
    counts as much as what it read last.
    """
    model = make_model("abc", seed=3, hidden_size=4, scale=1.0)
    model.values["layers.0.bias"][:8] = [-5.0] * 4 + [9.0] * 4  # i nearly closed, f nearly open
    model.values["layers.0.weight_hh"][:] *= 0.1
    return model


class Naive:
    """The LSTM written out for one token at a time, in float64."""

    def __init__(self, model: Model) -> None:
        self.w = {name: value.astype(np.float64) for name, value in model.values.items()}
        self.h = self.c = np.zeros(model.config.hidden_size)

    def read(self, symbol: int) -> NDArray[np.float64]:
        """Return log-probabilities of the next token."""
        w, hidden = self.w, len(self.h)
        z = w["layers.0.weight_ih"] @ w["embedding"][symbol] + w["layers.0.bias"]
        z = z + w["layers.0.weight_hh"] @ self.h
        i, f, o = (1 / (1 + np.exp(-z[g * hidden : (g + 1) * hidden])) for g in (0, 1, 3))
        self.c = f * self.c + i * np.tanh(z[2 * hidden : 3 * hidden])
        self.h = o * np.tanh(self.c)
        e = np.exp(w["output.weight"] @ self.h + w["output.bias"])
        return np.log(e / e.sum())


def _naive_streams(model: Model, ids: NDArray[Any], starts: list[int], warm_up: int) -> float:
    """Return the total nats of a text, read by one network after another, from `starts` on."""
    total = 0.0
    inputs = [START, *ids.tolist()]  # token p is predicted after reading inputs[p]
    for start, end in zip(starts, [*starts[1:], len(ids)], strict=True):
        network = Naive(model)
        for position in range(max(0, start - warm_up), start):
            network.read(inputs[position])
        for position in range(start, end):
            total -= network.read(inputs[position])[ids[position]]
    return total


def test_nats_bpc_and_bits_per_byte_by_hand() -> None:
    # "aéa" with p(a) = 1/4, p(é) = 1/2: ln 4 + ln 2 + ln 4 = 5 ln 2 = 3.4657359 nats, 5 bits
    # 3 characters: 1.1552453 nats and 5/3 bits each; é takes two bytes: 5 bits over 4 bytes
    score = scoring.score(Constant(0.25, 0.5), np.array([0, 1, 0], np.uint8), LETTERS, START)
    assert score.total_nats == pytest.approx(3.4657359)
    assert score.nats == pytest.approx(1.1552453)
    assert score.bpc == pytest.approx(5 / 3)
    assert score.bits_per_byte == pytest.approx(1.25)
    assert (score.characters, score.num_bytes) == (3, 4)


def test_score_is_the_total_divided_by_the_length() -> None:
    score = Score(total_nats=10 * math.log(2), characters=5, num_bytes=20)
    assert (score.bpc, score.bits_per_byte) == (pytest.approx(2), pytest.approx(0.5))


@pytest.mark.parametrize("length", [1, 2, 127, 128, 129, 700])
def test_one_stream_reads_one_character_at_a_time_from_the_start_token(
    remembering: Model, length: int
) -> None:
    ids = _text(length)
    naive = _naive_streams(remembering, ids, [0], 0)
    exact = scoring.score(_float64(remembering), ids, LETTERS, START, exact=True)
    assert exact.total_nats == pytest.approx(naive, rel=1e-12)
    assert exact.characters == length


def test_the_first_token_is_predicted_from_the_start_token(remembering: Model) -> None:
    score = scoring.score(_float64(remembering), np.array([2], np.uint8), LETTERS, START)
    assert score.nats == pytest.approx(-Naive(remembering).read(START)[2], rel=1e-12)


@pytest.mark.parametrize(
    ("length", "starts"),
    [
        (1023, [0]),
        (1024, [0, 512]),
        (1025, [0, 513]),  # ceil(1025 / 2) each, the last one is short
        (3001, [0, 601, 1202, 1803, 2404]),
        (17_000, [*range(0, 17_000, 532)]),  # 32 streams at most, the last one of 508
    ],
)
def test_streams_are_warmed_up_on_512_uncounted_characters(
    remembering: Model, length: int, starts: list[int]
) -> None:
    ids = _text(length)
    score = scoring.score(_float64(remembering), ids, LETTERS, START)
    assert score.total_nats == pytest.approx(
        _naive_streams(remembering, ids, starts, 512), rel=1e-12
    )


def test_a_warm_up_of_another_length_changes_the_result(remembering: Model) -> None:
    ids = _text(1100)
    totals = [_naive_streams(remembering, ids, [0, 550], n) for n in (0, 256, 511, 512, 513)]
    for one, other in itertools.pairwise(totals):
        assert one != pytest.approx(other, rel=1e-7)


def test_32_streams_give_nearly_the_result_of_one(make_model: MakeModel) -> None:
    model = make_model("abc", seed=1)
    ids = _text(32 * 512)
    many = scoring.score(_float64(model), ids, LETTERS, START).nats
    one = scoring.score(_float64(model), ids, LETTERS, START, exact=True).nats
    assert many == pytest.approx(one, abs=1e-9)  # this network forgets within 512 tokens


@pytest.mark.parametrize("exact", [True, False])
def test_the_result_does_not_depend_on_the_chunk(
    remembering: Model, monkeypatch: pytest.MonkeyPatch, exact: bool
) -> None:
    ids, engine = _text(1500), _float64(remembering)
    totals = []
    for chunk in (1, 7, 128, 10_000):
        monkeypatch.setattr(measure, "_CHUNK", chunk)
        totals.append(scoring.score(engine, ids, LETTERS, START, exact=exact).total_nats)
    assert totals == pytest.approx([totals[0]] * 4, rel=1e-12)


def test_every_character_counts_once_for_any_length() -> None:
    for length in (*range(1, 5), *range(500, 530), 1023, 1024, 1025, 1537, 16_383, 16_385, 99_999):
        ids = _text(length)
        counts = np.bincount(ids, minlength=3)
        score = scoring.score(Constant(0.5, 0.25, 0.25), ids, LETTERS, START)
        bits = counts @ [1, 2, 2]
        assert score.total_nats == pytest.approx(bits * math.log(2), rel=1e-12)


@pytest.mark.parametrize(
    ("cell", "form"),
    covering(["lstm", "jordan"]),  # the engines are compared with every cell in tests/inference
    indirect=["form"],
)
def test_the_trained_network_and_the_engine_give_the_same_score(
    make_model: MakeModel, cell: str, form: dict[str, Any]
) -> None:
    model = make_model("abc", cell=cell, num_layers=1 if cell == "jordan" else 2, **form)
    ids = _text(1100)  # two streams
    engines = [NumpyEngine(model.config, model.values), CharRNN(model.config, model.values)]
    nats = [scoring.score(engine, ids, LETTERS, START).nats for engine in engines]
    assert nats[0] == pytest.approx(nats[1], abs=1e-5)
    windows = [scoring.window_nats(engine, ids, LETTERS) for engine in engines]
    assert windows[0] == pytest.approx(windows[1], abs=1e-5)


def test_a_learned_start_state_is_used_only_before_the_text(
    make_model: MakeModel,
) -> None:
    model = make_model("abc", learned_start=True, scale=1.0)
    engine = _float64(model)
    ids = _text(1400)  # two streams of 700; the second is read from 512 tokens before it on
    state = engine.start_state(1)
    targets = ids.astype(np.int64)
    inputs = np.concatenate([[START], targets[:-1]])
    first, _ = engine.nats(inputs[:700, None], targets[:700, None], state)
    before = engine.advance(inputs[700 - 512 : 700, None], state)
    second, _ = engine.nats(inputs[700:, None], targets[700:, None], before)
    score = scoring.score(engine, ids, LETTERS, START)
    assert score.total_nats == pytest.approx(first.sum() + second.sum(), rel=1e-12)
    for name, value in model.values.items():
        if ".start." in name:
            value[:] = 0  # type: ignore[index]
    other = scoring.score(_float64(model), ids, LETTERS, START)
    assert abs(other.total_nats - score.total_nats) > 1e-3


def _naive_windows(model: Model, ids: NDArray[Any], windows: list[int]) -> float:
    total = 0.0
    for window in windows:
        network = Naive(model)
        for position in range(window * 256, (window + 1) * 256):
            total -= network.read(ids[position])[ids[position + 1]]
    return total / (len(windows) * 256)


@pytest.mark.parametrize(
    ("length", "windows"), [(257, 1), (512, 1), (513, 2), (1500, 5), (256 * 66 + 1, 66)]
)
def test_windows_of_256_start_from_zero_without_a_start_token(
    remembering: Model, length: int, windows: int
) -> None:
    ids = _text(length)
    nats = scoring.window_nats(_float64(remembering), ids, LETTERS)
    assert nats == pytest.approx(_naive_windows(remembering, ids, [*range(windows)]), rel=1e-12)


@pytest.mark.parametrize("length", [0, 1, 256])
def test_a_text_shorter_than_a_window_has_no_windows(remembering: Model, length: int) -> None:
    assert scoring.window_nats(_float64(remembering), _text(length), LETTERS) is None


def test_too_many_windows_are_thinned_evenly(
    remembering: Model,
) -> None:
    ids = _text(256 * 5 + 1)
    nats = scoring.window_nats(_float64(remembering), ids, LETTERS, limit=3)
    assert nats == pytest.approx(_naive_windows(remembering, ids, [0, 2, 4]), rel=1e-12)


def test_a_vocabulary_of_more_than_256_tokens_is_scored(make_model: MakeModel) -> None:
    symbols = "".join(map(chr, range(0x100, 0x100 + 256)))
    model = make_model(symbols)
    assert isinstance(model.config, ModelConfig)
    ids = model.tokenizer.encode(symbols * 3)
    start = model.config.start_token
    score = scoring.score(_float64(model), ids, model.tokenizer, start)
    assert math.isfinite(score.nats)
    assert score.characters == 768


@pytest.mark.parametrize("exact", [False, True])
def test_losses_are_per_character_and_byte_for_any_token(exact: bool) -> None:
    # "é" is two tokens of 1/256 each: 2 ln 256 nats for one character of two bytes
    tokenizer = ByteTokenizer()
    even = Constant(*[1 / 256] * 256)
    ids = tokenizer.encode("é" * 700)
    score = scoring.score(even, ids, tokenizer, 256, exact=exact)
    assert (score.characters, score.num_bytes) == (700, 1400)
    assert score.nats == pytest.approx(2 * math.log(256))
    assert score.bits_per_byte == pytest.approx(8)


def test_windows_are_of_characters_or_there_are_none() -> None:
    tokenizer = ByteTokenizer()
    even = Constant(*[1 / 256] * 256)
    plain = tokenizer.encode("a" * 700)
    assert scoring.window_nats(even, plain, tokenizer) == pytest.approx(math.log(256))
    # "é" is two tokens of 1/256 each
    two_bytes = tokenizer.encode("é" * 700)
    assert scoring.window_nats(even, two_bytes, tokenizer) == pytest.approx(2 * math.log(256))
    half = tokenizer.encode("a" + "aé" * 128)
    assert scoring.window_nats(even, half, tokenizer) == pytest.approx(1.5 * math.log(256))
    assert scoring.window_nats(even, tokenizer.encode("é" * 256), tokenizer) is None
    text = b"the cat is home. " * 99
    pieces = train_pieces([text], len(text), "bpe", 300)
    ids = pieces.encode(text.decode())
    assert scoring.window_nats(Constant(*[1 / 300] * 300), ids, pieces) is None


@pytest.mark.parametrize("apart", [False, True])
def test_windows_of_a_text_partly_in_bytes_hold_256_characters(
    make_values: Callable[..., dict[str, Any]], apart: bool
) -> None:
    """The expected value reads each window by itself, a character at a time."""
    tokenizer = CharTokenizer("ab", byte_fallback=True)
    config = ModelConfig(tokenizer.vocab_size, hidden_size=5, embedding_size=3)
    model = Model(config, tokenizer, make_values(config))
    text = "".join(np.random.default_rng(5).choice([*"abé中"], 256 * 34))
    documents = [0, 300, 300 + 256] if apart else [0]  # the second one is too short for a window
    starts = [
        start
        for begin, end in zip(documents, [*documents[1:], len(text)], strict=True)
        for start in range(begin, end - 256, 256)
    ]
    total = 0.0
    for start in starts:
        network = Naive(model)
        for token in tokenizer.encode(text[start]):
            expected = network.read(token)
        for token in tokenizer.encode(text[start + 1 : start + 257]):
            total -= expected[token]
            expected = network.read(token)
    ids = tokenizer.encode(text)
    begins = np.array([len(tokenizer.encode(text[:each])) for each in documents], np.uint64)
    nats = scoring.window_nats(_float64(model), ids, tokenizer, begins if apart else None)
    assert nats == pytest.approx(total / (256 * len(starts)), rel=1e-12)


def test_windows_start_from_zero_where_the_start_is_learned(make_model: MakeModel) -> None:
    model = make_model("abc", learned_start=True, num_layers=2)
    ids = np.array(np.random.default_rng(3).integers(0, 3, 300), np.uint8)
    nats = scoring.window_nats(_float64(model), ids, model.tokenizer)
    zero = {name: value * (".start." not in name) for name, value in model.values.items()}
    without = dataclasses.replace(model, values=zero)
    assert nats == scoring.window_nats(_float64(without), ids, model.tokenizer)
    assert scoring.score(_float64(model), ids, model.tokenizer, 3).nats != pytest.approx(
        scoring.score(_float64(without), ids, model.tokenizer, 3).nats
    )


def _texts(lengths: list[int]) -> list[NDArray[np.uint8]]:
    return [_text(length, seed=number) for number, length in enumerate(lengths)]


@given(
    st.lists(st.integers(0, 60), max_size=9),
    st.integers(1, 4),
    st.integers(1, 20),
)
def test_texts_read_side_by_side_give_the_result_of_each_alone(
    lengths: list[int], texts: int, shortest: int
) -> None:
    engine, given_texts = _Counting(), _texts(lengths)
    progress: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "_MAX_TEXTS", texts)
        patch.setattr(measure, "_MIN_CHUNK", shortest)
        found = scoring.surprisals(engine, given_texts, START, progress=progress.append)
    assert [read.ids.tolist() for read in found] == [text.tolist() for text in given_texts]
    for read, text in zip(found, given_texts, strict=True):
        assert read.nats.tolist() == _alone(text)
    assert progress == sorted(set(progress))
    assert progress[-1:] == [sum(lengths)] * bool(sum(lengths))


class _Counting:
    """An engine whose nats encode what was read before, in order."""

    def start_state(self, batch_size: int) -> Any:
        return ((np.ones((batch_size, 1)),),)

    def nats(
        self, inputs: NDArray[Any], targets: NDArray[Any], state: Any
    ) -> tuple[NDArray[Any], Any]:
        ((read,),) = state
        read, nats = read[:, 0].copy(), np.empty(inputs.shape)
        for t, (before, wanted) in enumerate(zip(inputs, targets, strict=True)):
            read = (read * 5 + before) % 999_983
            nats[t] = read + wanted / 8
        return nats, ((read[:, None],),)


def _alone(text: NDArray[np.uint8]) -> list[float]:
    read, nats, before = 1, [], START
    for symbol in text.tolist():
        read = (read * 5 + before) % 999_983
        nats.append(read + symbol / 8)
        before = symbol
    return nats


def test_the_most_likely_tokens_are_reported(remembering: Model) -> None:
    (text, other) = _texts([300, 7])
    engine = _float64(remembering)
    found, short = scoring.surprisals(engine, [text, other], START, count=2)
    alone = scoring.surprisals(engine, [text], START)
    np.testing.assert_allclose(found.nats, alone[0].nats, rtol=1e-12)
    assert alone[0].likeliest.shape == (300, 0)
    network = Naive(remembering)
    for before, symbol, nats, best, best_nats in zip(
        [START, *text], text, found.nats, found.likeliest, found.likeliest_nats, strict=False
    ):
        log_probs = network.read(int(before))
        assert nats == pytest.approx(-log_probs[symbol], rel=1e-9)
        assert best.tolist() == np.argsort(-log_probs)[:2].tolist()
        assert best_nats == pytest.approx(-log_probs[best], rel=1e-5)
    assert short.likeliest.shape == (7, 2)


def test_a_score_in_one_stream_is_the_sum_of_surprisals(remembering: Model) -> None:
    engine, ids = _float64(remembering), _text(700)
    (found,) = scoring.surprisals(engine, [ids], START)
    score = scoring.score(engine, ids, LETTERS, START, exact=True)
    assert (score.characters, score.num_bytes) == LETTERS.measure(ids)
    assert score.total_nats == pytest.approx(found.score(LETTERS).total_nats, rel=1e-12)


def test_no_texts_have_no_surprisals(remembering: Model) -> None:
    assert scoring.surprisals(_float64(remembering), [], START) == []


def test_a_limit_reads_the_beginnings_of_the_streams(make_model: MakeModel) -> None:
    model = make_model("abc", seed=3, hidden_size=4)
    ids = _text(3 * 512 + 100)  # three streams of 546, 546 and 544
    engine = _float64(model)
    found = scoring.score(engine, ids, model.tokenizer, START, limit=620)
    starts = [0, 546, 1092]
    expected = 0.0
    for start in starts:
        network = Naive(model)
        inputs = [START, *ids.tolist()]
        for position in range(max(0, start - scoring.WARM_UP), start):
            network.read(inputs[position])
        expected -= sum(network.read(inputs[p])[ids[p]] for p in range(start, start + 206))
    assert found.total_nats == pytest.approx(expected, rel=1e-9)
    assert found.characters == 3 * 206
    chosen = np.concatenate([ids[start : start + 206] for start in starts])
    assert np.array_equal(scoring.spread(ids, 620), chosen)
    whole = scoring.score(engine, ids, model.tokenizer, START)
    assert scoring.score(engine, ids, model.tokenizer, START, limit=10**6) == whole
    assert scoring.spread(ids, None) is ids


# What a person sees of a score


def test_a_score_says_what_it_is(tiny_model: Model) -> None:
    score = Generator(tiny_model).score("hello")
    assert repr(score) == (
        f"<Score of 5 characters: {score.nats:.4f} nats per character, {score.bpc:.4f} bits per "
        f"character, {score.bits_per_byte:.4f} bits per byte>"
    )


def test_a_notebook_shows_the_text_of_a_score_in_colors(tiny_model: Model) -> None:
    model = Generator(tiny_model)
    score = model.score("he\nw")
    assert score.surprise is not None
    assert score.surprise.text == "he\nw"
    assert score.total_nats == pytest.approx(
        model.scorer.score_ids(model.tokenizer.encode("he\nw"), exact=True).total_nats
    )
    shown = score._repr_html_()
    (text,) = re.findall(r"<pre [^>]*>(.*)</pre>", shown, re.DOTALL)
    plain = html.unescape(re.sub(r"<[^>]+>", "", text))
    assert plain.replace("↵", "") == "he\nw"
    for unit, bits in zip(score.surprise.units, score.surprise.bits, strict=True):
        assert (f"{bits:.2f} bits" in shown) == (bits >= 1), unit
    assert f"{score.bpc:.4f} bits per character" in shown
    assert "<script" not in shown
    assert "<style" not in shown


def test_html_of_a_score_escapes_the_text(make_model: Callable[..., Model]) -> None:
    shown = Generator(make_model("<b>&\x1b")).score("<b>&\x1b")._repr_html_()
    text = re.sub(r"</?(?:p|pre|i|span)\b[^>]*>", "", shown)
    assert "<" not in text
    assert "\x1b" not in shown
    assert "␛" in text


def test_a_long_text_is_shown_by_its_numbers(tiny_model: Model) -> None:
    model = Generator(tiny_model)
    text = "hello w\n" * 150
    score = model.score(text)
    assert score.surprise is None
    assert score._repr_html_() == f"<p>{score.described}</p>"
    exact = model.score(text, exact=True)
    assert exact.surprise is not None
    assert exact.surprise.text == text
    assert exact.nats == pytest.approx(score.nats, rel=0.05)


@pytest.mark.parametrize("documents", [None, 40])
@pytest.mark.parametrize("exact", [False, True])
def test_a_long_text_needs_no_more_memory_than_a_short_one(
    exact: bool, documents: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for a few numbers of each document."""
    monkeypatch.setattr("charrnn.text.tokenizer.base._COUNTED", 1000)
    monkeypatch.setattr("charrnn.scoring.character_starts._BLOCK", 1000)
    engine, tokenizer = Constant(*[1 / 256] * 256), ByteTokenizer()

    def peak(length: int) -> int:
        ids = np.tile(np.frombuffer("é é".encode(), np.uint8), length // 5)
        starts = np.arange(0, length, documents) if documents else None
        tracemalloc.start()
        scoring.score(engine, ids, tokenizer, 256, exact=exact, documents=starts)
        scoring.window_nats(engine, ids, tokenizer, starts, limit=4)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10_000)
    grown = peak(100_000) - peak(50_000)
    assert grown < (50_000 if documents is None else 50_000 / documents * 60)
