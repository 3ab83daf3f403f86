import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn import checkpoint, generator
from charrnn.checkpoint import Model
from charrnn.config import BeamConfig, SampleConfig
from charrnn.decoding import sampling
from charrnn.errors import CharRNNError, ModelError, OptionError, PromptError
from charrnn.generator import Generator, Sample
from charrnn.kernels.numpy_engine import NumpyEngine

MakeModel = Callable[..., Model]


class Counting(NumpyEngine):
    """An engine that notes how many symbols it has read, in which batches."""

    def __init__(self, model: Model) -> None:
        super().__init__(model.config, model.values)
        self.shapes: list[tuple[int, ...]] = []

    def _run(self, ids: Any, state: Any) -> Any:
        self.shapes.append(ids.shape)
        return super()._run(ids, state)


@pytest.fixture
def writer(tiny_model: Model) -> Generator:
    return Generator(tiny_model)


def _expected(text: str, stops: tuple[str, ...]) -> tuple[str, str]:
    """What is left of a text when the first stop string has ended it, and why it ended."""
    for end in range(1, len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            return text[: end - max(map(len, ending))], "stop"
    return text, "length"


def test_samples_have_the_length_asked(writer: Generator) -> None:
    for length in (0, 1, 300):
        (sample,) = writer.samples("he", SampleConfig(length=length))
        assert (len(sample.text), sample.finished_by) == (length, "length")
    assert math.isfinite(sample.log_prob)
    assert sample.log_prob < 0


def test_a_seed_repeats_a_text_and_another_gives_another(writer: Generator) -> None:
    texts = [writer.sample("he", length=60, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_the_seed_that_was_made_up_repeats_the_text(writer: Generator) -> None:
    one, other = (writer.samples("", SampleConfig(length=60))[0] for _ in range(2))
    assert one.seed != other.seed
    assert writer.samples("", SampleConfig(length=60, seed=one.seed)) == [one]


def test_sample_i_of_a_seed_is_the_same_however_many_are_written(writer: Generator) -> None:
    alone, many = (
        writer.samples("he", SampleConfig(length=80, seed=5, num_samples=n)) for n in (1, 9)
    )
    assert many[0].text == alone[0].text
    assert len({sample.text for sample in many}) == 9


def test_log_prob_is_the_models_own_score_of_the_text(writer: Generator) -> None:
    def nats(text: str) -> float:
        return writer.score(text, exact=True).total_nats

    config = SampleConfig(length=50, temperature=0.5, top_k=4, num_samples=3, seed=1)
    for sample in writer.samples("hello", config):
        assert sample.log_prob == pytest.approx(
            nats("hello") - nats("hello" + sample.text), rel=1e-4
        )


def test_a_stops_log_probability_counts(writer: Generator) -> None:
    config = SampleConfig(length=500, stop=("w",), seed=1)
    (sample,) = writer.samples("", config)
    assert (sample.finished_by, "w" in sample.text) == ("stop", False)
    whole = writer.score(sample.text + "w", exact=True).total_nats
    assert sample.log_prob == pytest.approx(-whole, rel=1e-4)


STOPS = [
    ("a",),
    ("aab",),
    ("abab", "bb"),
    ("aaaa", "abaab", "bbb"),
    ("ab", "b"),  # both end at once: the longer one is taken out
    ("aaaaaaaaaaaaaaaaaaaaaaaa",),
    ("babba", "abbab"),
]


@pytest.mark.parametrize("stop", STOPS)
def test_stops_end_a_text_before_them_and_the_pieces_are_the_text(
    make_model: MakeModel, stop: tuple[str, ...]
) -> None:
    writer = Generator(make_model("ab", seed=1))
    finished = set()
    for seed in range(12):
        free = writer.sample(length=40, seed=seed, temperature=1.0)
        text, finished_by = _expected(free, stop)
        pieces: list[str] = []
        config = SampleConfig(length=40, seed=seed, temperature=1.0, stop=stop)
        (sample,) = writer.samples("", config, write=pieces.append)
        assert (sample.text, sample.finished_by) == (text, finished_by)
        assert "".join(pieces) == text
        assert "".join(writer.stream(**vars(config))) == text
        finished.add(finished_by)
    assert finished <= {"stop", "length"}


def test_pieces_come_as_they_are_written(
    writer: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # three at a time; with a stop of three symbols the last three are held back, no more
    monkeypatch.setattr(sampling, "_FIRST", 3)
    monkeypatch.setattr(sampling, "_pace", lambda count, seconds: 3)
    pieces = list(writer.stream("he", length=20, seed=1, stop=("www",)))
    assert list(map(len, pieces)) == [3, 3, 3, 3, 3, 2, 3]
    assert "".join(pieces) == writer.sample("he", length=20, seed=1, stop=("www",))


@pytest.mark.parametrize("cell", ["lstm", "gru", "jordan"])
def test_every_form_reads_and_writes_one_symbol_after_the_other(
    make_model: MakeModel, cell: str, form: dict[str, Any]
) -> None:
    layers = 1 if cell == "jordan" else 2
    writer = Generator(make_model("helo w\n", cell=cell, num_layers=layers, **form))
    text = writer.greedy("hello", length=12).text
    for position, symbol in enumerate(text):  # as if each were the first to be written
        logits = writer.read("hello" + text[:position]).logits
        assert writer.tokenizer.symbols[int(logits.argmax())] == symbol
    samples = writer.samples("hello", SampleConfig(length=20, num_samples=3, seed=1))
    before = writer.score("hello", exact=True).total_nats
    for sample in samples:
        whole = writer.score("hello" + sample.text, exact=True).total_nats
        assert sample.log_prob == pytest.approx(before - whole, rel=1e-3)
    (beam,) = writer.beam("hello", BeamConfig(length=12, width=1))
    assert beam.text == text


def test_stream_is_sample(writer: Generator) -> None:
    assert "".join(writer.stream("he", length=50, seed=3)) == writer.sample("he", length=50, seed=3)


def test_only_the_first_sample_is_streamed(writer: Generator) -> None:
    pieces: list[str] = []
    samples = writer.samples("", SampleConfig(length=9, num_samples=3, seed=0), pieces.append)
    assert "".join(pieces) == samples[0].text


def test_greedy_writes_what_is_most_likely(writer: Generator) -> None:
    pieces: list[str] = []
    sample = writer.greedy("he", length=12, write=pieces.append)
    text = ""
    for _ in range(12):
        logits = writer.read("he" + text).logits
        text += writer.tokenizer.symbols[int(logits.argmax())]
    assert sample.text == "".join(pieces) == text
    assert (sample.seed, sample.finished_by) == (None, "length")
    assert sample.text == writer.sample("he", length=12, temperature=0)


@pytest.mark.parametrize("stop", [(), ("lo",), ("h", "w")])
@pytest.mark.parametrize("seed", range(4))
def test_greedy_is_beam_of_width_one(make_model: MakeModel, seed: int, stop: Any) -> None:
    writer = Generator(make_model("helo w\n", seed, num_layers=2))
    greedy = writer.greedy("he", length=30, stop=stop)
    (beam,) = writer.beam("he", BeamConfig(length=30, width=1, stop=stop))
    assert (beam.text, beam.finished_by) == (greedy.text, greedy.finished_by)
    assert beam.log_prob == pytest.approx(greedy.log_prob, rel=1e-6)


def test_greedy_stops(writer: Generator) -> None:
    free = writer.greedy(length=30).text
    stop = free[4:7]
    stopped = writer.greedy(length=30, stop=[stop])
    assert (stopped.text, stopped.finished_by) == _expected(free, (stop,))


def test_beams_come_best_first_with_their_log_probabilities(writer: Generator) -> None:
    config = BeamConfig(length=8, width=6, num_return=4)
    samples = writer.beam("he", config)
    before = writer.score("he", exact=True).total_nats
    assert len({sample.text for sample in samples}) == 4
    for sample in samples:
        whole = writer.score("he" + sample.text, exact=True).total_nats
        assert sample.log_prob == pytest.approx(before - whole, rel=1e-4)
    log_probs = [sample.log_prob for sample in samples]
    assert log_probs == sorted(log_probs, reverse=True)


@pytest.mark.parametrize("stop", [(), ("o",), ("l", "he")])
def test_what_beam_writes_as_it_goes_is_its_best_text(
    make_model: MakeModel, stop: tuple[str, ...]
) -> None:
    for seed in range(4):
        writer = Generator(make_model("helo w\n", seed))
        pieces: list[str] = []
        samples = writer.beam("", BeamConfig(length=25, width=4, stop=stop), pieces.append)
        assert "".join(pieces) == samples[0].text
        assert not any(end in samples[0].text for end in stop)


@pytest.mark.parametrize("length", [0, 1, 255, 256, 257, 600])
def test_a_prompt_is_read_as_one_symbol_after_the_other(writer: Generator, length: int) -> None:
    prompt = "hello world\n"[:9] * 70
    prompt = prompt.replace("r", "w")[:length]
    read = writer.read(prompt)
    engine = writer.engine
    logits, state = engine.step(np.array([writer.config.start_symbol]), engine.start_state(1))
    for symbol in writer.tokenizer.encode(prompt):
        logits, state = engine.step(np.array([symbol]), state)
    np.testing.assert_allclose(read.logits, logits, rtol=1e-4, atol=1e-5)
    for layer, wanted in zip(read.state, state, strict=True):
        np.testing.assert_allclose(layer, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cut", [0, 1, 4, 7])
def test_reading_goes_on_after_what_was_read(writer: Generator, cut: int) -> None:
    whole = writer.read("hello w")
    read = writer.read("hello w"[cut:], writer.read("hello w"[:cut]))
    np.testing.assert_allclose(read.logits, whole.logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(read.state, whole.state, rtol=1e-5, atol=1e-6)


def test_a_prompt_is_read_once_however_many_continue_it(tiny_model: Model) -> None:
    writer = Generator(tiny_model)
    engine = Counting(tiny_model)
    writer.engine = engine  # type: ignore[misc]
    writer.beam("hello w" * 50, BeamConfig(length=4, width=5))
    rows = [shape[1] for shape in engine.shapes]
    symbols = sum(shape[0] for shape in engine.shapes if shape[1] == 1)
    assert symbols == 1 + 350  # the start symbol and the prompt
    assert rows[-3:] == [5, 5, 5]
    engine.shapes.clear()
    writer.samples("hello w" * 50, SampleConfig(length=4, num_samples=9))
    assert sum(steps for steps, rows in engine.shapes if rows == 1) == 351
    assert engine.shapes[-3:] == [(1, 9)] * 3


def test_a_prompt_that_was_read_can_be_continued_many_times(writer: Generator) -> None:
    read = writer.read("hell")
    for _ in range(2):
        assert writer.sample(read, length=20, seed=1) == writer.sample("hell", length=20, seed=1)
        assert writer.greedy(read, length=20) == writer.greedy("hell", length=20)
        config = BeamConfig(length=9, width=3)
        assert writer.beam(read, config) == writer.beam("hell", config)


def test_unknown_symbols_of_a_prompt_or_a_stop_are_refused(writer: Generator) -> None:
    with pytest.raises(PromptError, match=r"'X' \(U\+0058\)"):
        writer.sample("heX")
    with pytest.raises(PromptError, match=r"'X' \(U\+0058\)"):
        writer.greedy("he", stop=["X"])


def test_a_single_stop_given_as_a_plain_string_is_not_taken_apart(writer: Generator) -> None:
    """`stop="lo"` does not mean "l" or "o": it is taken whole, or refused for what it is."""

    def stopped(write: Callable[[], str]) -> str:
        try:
            return write()
        except OptionError as error:
            return str(error)

    free = writer.greedy("w", length=40).text
    stop = next(free[i : i + 2] for i in range(2, 38) if free.find(free[i : i + 2]) == i)
    assert set(stop) & set(free[: free.find(stop)])  # taken apart it would stop earlier
    whole, _ = _expected(free, (stop,))
    for text in (
        stopped(lambda: writer.greedy("w", length=40, stop=stop).text),
        stopped(lambda: writer.sample("w", length=40, temperature=0, stop=stop)),
    ):
        assert text == whole or ("--stop" in text and "''" not in text)


def test_options_out_of_bounds_are_refused(writer: Generator) -> None:
    with pytest.raises(OptionError, match="--temperature"):
        writer.sample(temperature=-1)
    with pytest.raises(OptionError, match="--length"):
        writer.greedy(length=-1)


def test_score_counts_characters_and_bytes(make_model: MakeModel) -> None:
    writer = Generator(make_model("aé"))
    score = writer.score("aéé")
    assert (score.characters, score.num_bytes) == (3, 5)


def test_load_takes_a_file_or_a_folder_and_says_what_is_missing(
    tmp_path: Path, tiny_model: Model
) -> None:
    checkpoint.save(tmp_path / checkpoint.MODEL_NAME, tiny_model)
    expected = Generator(tiny_model).sample("he", length=30, seed=1)
    for path in (tmp_path, str(tmp_path), tmp_path / checkpoint.MODEL_NAME):
        loaded = generator.load(path)
        assert loaded.sample("he", length=30, seed=1) == expected
        assert loaded.training == {"steps": 3}
    with pytest.raises(ModelError, match="none does not exist"):
        generator.load(tmp_path / "none")


def test_the_package_offers_load_train_and_its_error() -> None:
    assert charrnn.load is generator.load
    assert charrnn.CharRNNError is CharRNNError
    assert charrnn.train.__name__ == "train_files"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        charrnn.nothing  # noqa: B018
    assert set(charrnn.__all__) == {"CharRNNError", "load", "train"}


def test_a_sample_is_a_value() -> None:
    sample = Sample("text", 1, -2.0, "length")
    assert replace(sample, log_prob=-3.0) != sample
