import errno
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import strict_json
from conftest import covering
from waiting import HANGS

import charrnn
from charrnn.compiler import background, cache, codegen
from charrnn.config import BeamConfig, SampleConfig
from charrnn.decoding import sampler
from charrnn.decoding.output_text import Sample
from charrnn.decoding.sampler import Sampler
from charrnn.decoding.sampler import generator as randomness
from charrnn.errors import ModelError, OptionError, PromptError
from charrnn.generator import Generator
from charrnn.inference import (
    compiled_engine,
    compiled_pair_engine,
    instructions,
    step_codegen,
)
from charrnn.inference.numpy_engine import NumpyEngine
from charrnn.inference.numpy_pair_engine import NumpyPairEngine
from charrnn.inference.select import COMPILING
from charrnn.model import model_file, parameters
from charrnn.model.model_file import Model
from charrnn.text.tokenizer import ByteTokenizer

MakeModel = Callable[..., Model]


class Counting(NumpyEngine):
    """An engine that records the shapes of what it reads."""

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
    """Return a text up to the first stop string, and why it ended."""
    for end in range(1, len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            return text[: end - max(map(len, ending))], "stop"
    return text, "length"


def test_samples_have_the_requested_length(writer: Generator) -> None:
    for length in (0, 1, 300):
        (sample,) = writer.samples("he", SampleConfig(length=length))
        assert (len(sample.text), sample.finished_by) == (length, "length")
    assert math.isfinite(sample.log_prob)
    assert sample.log_prob < 0


def test_a_seed_repeats_a_text_and_another_gives_another(writer: Generator) -> None:
    texts = [writer.sample("he", length=60, seed=seed).text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_a_random_seed_is_reported_and_repeats_the_text(writer: Generator) -> None:
    one, other = (writer.samples("", SampleConfig(length=60))[0] for _ in range(2))
    assert one.seed != other.seed
    assert writer.samples("", SampleConfig(length=60, seed=one.seed)) == [one]


def test_sample_i_of_a_seed_does_not_depend_on_the_number_of_samples(writer: Generator) -> None:
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


def test_the_log_probability_includes_the_stop_string(writer: Generator) -> None:
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
    ("ab", "b"),  # both end at the same place: the longer one is removed
    ("aaaaaaaaaaaaaaaaaaaaaaaa",),
    ("babba", "abbab"),
]


@pytest.mark.parametrize("stop", STOPS)
def test_a_text_ends_before_a_stop_string_and_the_pieces_make_up_the_text(
    make_model: MakeModel, stop: tuple[str, ...]
) -> None:
    writer = Generator(make_model("ab", seed=1))
    finished = set()
    for seed in range(12):
        free = writer.sample(length=40, seed=seed, temperature=1.0).text
        text, finished_by = _expected(free, stop)
        pieces: list[str] = []
        config = SampleConfig(length=40, seed=seed, temperature=1.0, stop=stop)
        (sample,) = writer.samples("", config, write=pieces.append)
        assert (sample.text, sample.finished_by) == (text, finished_by)
        assert "".join(pieces) == text
        assert "".join(writer.stream(length=40, seed=seed, temperature=1.0, stop=stop)) == text
        finished.add(finished_by)
    assert finished <= {"stop", "length"}


def test_pieces_are_streamed_as_they_are_generated(
    writer: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # three at a time; with a stop of three symbols the last three are held back, no more
    monkeypatch.setattr(sampler, "FIRST_COUNT", 3)
    monkeypatch.setattr(sampler, "next_count", lambda count, seconds: 3)
    pieces = list(writer.stream("he", length=20, seed=1, stop=("www",)))
    assert list(map(len, pieces)) == [3, 3, 3, 3, 3, 2, 3]
    assert "".join(pieces) == writer.sample("he", length=20, seed=1, stop=("www",)).text


@pytest.mark.parametrize(
    ("cell", "form"), covering(["lstm", "gru", "jordan", "elman"]), indirect=["form"]
)
def test_every_form_reads_and_writes_one_token_after_the_other(
    make_model: MakeModel, cell: str, form: dict[str, Any]
) -> None:
    layers = 1 if cell == "jordan" else 2
    writer = Generator(make_model("helo w\n", cell=cell, num_layers=layers, **form))
    text = writer.greedy("hello", length=12).text
    for position, symbol in enumerate(text):  # as if each were the first token
        logits = writer.read("hello" + text[:position]).logits
        assert writer.tokenizer.alphabet[int(logits.argmax())] == symbol
    samples = writer.samples("hello", SampleConfig(length=20, num_samples=3, seed=1))
    before = writer.score("hello", exact=True).total_nats
    for sample in samples:
        whole = writer.score("hello" + sample.text, exact=True).total_nats
        assert sample.log_prob == pytest.approx(before - whole, rel=1e-3)
    (beam,) = writer.beams("hello", BeamConfig(length=12, width=1))
    assert beam.text == text


@pytest.mark.parametrize("separator", ["\n", "b\n"])
def test_a_model_of_documents_ends_each_text_at_the_separator(
    separator: str, apart_model: MakeModel
) -> None:
    writer = Generator(apart_model("ab\n", separator))
    plain = Generator(replace(apart_model("ab\n", separator), training={}))
    config = SampleConfig(length=200, num_samples=30, seed=2)
    samples = writer.samples("a", config)
    for sample, whole in zip(samples, plain.samples("a", config), strict=True):
        assert (sample.text, sample.finished_by) == (whole.text.split(separator)[0], "stop")
    assert "".join(writer.stream("a", length=200, seed=2)) == samples[0].text
    assert writer.samples("a", replace(config, stop="a"))[3].text.count("a") == 0
    greedy = plain.greedy("a", length=50, stop=separator)
    assert writer.greedy("a", length=50) == greedy
    beam = BeamConfig(length=20, width=8, num_return=8)
    assert writer.beams("a", beam) == plain.beams("a", replace(beam, stop=separator))


@pytest.mark.parametrize("kind", [None, ByteTokenizer()], ids=["char", "byte"])
@pytest.mark.parametrize(
    ("separator", "prompt"),
    [
        ("\n\n", "a\n"),
        ("\n\n\n", "a\n"),
        ("\n\n\n", "a\n\n"),
        ("ab\n", "ba"),
        ("b\n", "b"),
        ("é\n", "é"),
    ],
)
def test_a_separator_that_the_prompt_began_ends_the_text(
    separator: str,
    prompt: str,
    kind: ByteTokenizer | None,
    apart_model: MakeModel,
    make_values: Callable[..., Any],
) -> None:
    model = apart_model("abé\n", separator)
    if kind:
        model = _of_bytes(model, "abé\n", make_values)
    writer = Generator(model)
    plain = Generator(replace(model, training={}))
    config = SampleConfig(length=60, num_samples=60, seed=2)
    samples = writer.samples(prompt, config)
    split = 0
    for sample, whole in zip(samples, plain.samples(prompt, config), strict=True):
        end = (prompt + whole.text).find(separator)
        written = whole.text[: max(0, end - len(prompt))] if end >= 0 else whole.text
        assert (sample.text, sample.finished_by) == (written, "stop" if end >= 0 else "length")
        split += 0 <= end < len(prompt)
    assert split > 1
    kept = writer.samples(prompt, replace(config, keep_stop=True))
    assert (
        sum(
            (prompt + each.text).index(separator) < len(prompt)
            for each in kept
            if each.finished_by == "stop"
        )
        == split
    )
    ended = next(each for each in samples if each.finished_by == "stop" and not each.text)
    assert writer.after(writer.read(prompt), ended).ids.size == 0  # the next document begins
    streamed = ["".join(writer.stream(prompt, length=60, seed=seed)) for seed in range(8)]
    assert streamed == [writer.sample(prompt, length=60, seed=seed).text for seed in range(8)]
    wide: dict[str, Any] = {"length": 6, "width": 64, "num_return": 64, "length_penalty": 0.0}
    beams = writer.beams(prompt, BeamConfig(**wide))
    for beam in beams:
        ids = writer.tokenizer.decode([*writer.read(prompt).ids.tolist(), *beam.ids])
        assert (separator in ids) == (beam.finished_by == "stop")
        assert ids.startswith(prompt + beam.text)
    assert any(beam.text == "" for beam in beams)
    late: dict[str, Any] = {"stop": "aaaaaa", "min_length": 2}  # which also delays the separator
    longer = writer.beams(prompt, BeamConfig(**wide, **late))
    assert longer
    assert not any(beam.text == "" for beam in longer)


def _of_bytes(model: Model, likely: str, values_of: Callable[..., Any]) -> Model:
    """Return a model of bytes that nearly always writes these characters."""
    config = replace(model.config, vocab_size=256)
    values = values_of(config)
    for byte in set(range(256)) - set(likely.encode()):
        values["output.bias"][byte] = -30
    return replace(model, config=config, tokenizer=ByteTokenizer(), values=values)


def test_a_separator_that_the_text_did_not_have_ends_nothing(apart_model: MakeModel) -> None:
    writer = Generator(apart_model("ab", "\n"))
    assert len(writer.sample(length=20).text) == 20


@pytest.mark.parametrize("separator", ["\n", "b\n"])
def test_a_model_of_documents_begins_anew_after_each_separator(
    separator: str, apart_model: MakeModel
) -> None:
    writer = Generator(apart_model("ab\n", separator))

    def logits(*parts: str) -> Any:
        read = None
        for part in parts:
            read = writer.read(part, read)
        assert read
        return read.logits.tolist(), read.ids.tolist()

    assert logits(f"aa{separator}ab{separator}ba") == logits("ba")
    assert logits(f"aa{separator}") == logits("") != logits("aa")
    assert logits("aab", "\nba") == logits("ba")
    assert logits("aa\n", "ba") == (logits("ba") if separator == "\n" else logits("aa\nba"))


def test_the_next_document_follows_a_text_that_ended(apart_model: MakeModel) -> None:
    writer = Generator(apart_model("ab\n", "\n"))
    first = writer.read("a")
    (sample,) = writer.samples(first, SampleConfig(length=200, seed=3))
    assert sample.finished_by == "stop"
    after = writer.after(first, sample)
    assert after.logits.tolist() == writer.read("").logits.tolist()
    assert (after.seed, after.drawn) == (3, len(sample.ids))  # its random numbers go on
    cut_off = replace(sample, ids=sample.ids[:1], finished_by="length")
    assert writer.after(first, cut_off).ids.tolist() == [*first.ids, sample.ids[0]]


def test_stream_is_sample(writer: Generator) -> None:
    assert (
        "".join(writer.stream("he", length=50, seed=3))
        == writer.sample("he", length=50, seed=3).text
    )


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
        text += writer.tokenizer.alphabet[int(logits.argmax())]
    assert sample.text == "".join(pieces) == text
    assert (sample.seed, sample.finished_by) == (None, "length")
    assert sample.text == writer.sample("he", length=12, temperature=0).text


@pytest.mark.parametrize("stop", [(), ("lo",), ("h", "w")])
@pytest.mark.parametrize("seed", range(4))
def test_greedy_is_beam_of_width_one(make_model: MakeModel, seed: int, stop: Any) -> None:
    writer = Generator(make_model("helo w\n", seed, num_layers=2))
    greedy = writer.greedy("he", length=30, stop=stop)
    (beam,) = writer.beams("he", BeamConfig(length=30, width=1, stop=stop))
    assert (beam.text, beam.finished_by) == (greedy.text, greedy.finished_by)
    assert beam.log_prob == pytest.approx(greedy.log_prob, rel=1e-6)


def test_greedy_stops(writer: Generator) -> None:
    free = writer.greedy(length=30).text
    stop = free[4:7]
    stopped = writer.greedy(length=30, stop=[stop])
    assert (stopped.text, stopped.finished_by) == _expected(free, (stop,))


def test_beam_texts_are_sorted_by_their_log_probabilities(writer: Generator) -> None:
    config = BeamConfig(length=8, width=6, num_return=4)
    samples = writer.beams("he", config)
    before = writer.score("he", exact=True).total_nats
    assert len({sample.text for sample in samples}) == 4
    for sample in samples:
        whole = writer.score("he" + sample.text, exact=True).total_nats
        assert sample.log_prob == pytest.approx(before - whole, rel=1e-4)
    log_probs = [sample.log_prob for sample in samples]
    assert log_probs == sorted(log_probs, reverse=True)


@pytest.mark.parametrize("stop", [(), ("o",), ("l", "he")])
def test_what_beam_search_streams_is_its_best_text(
    make_model: MakeModel, stop: tuple[str, ...]
) -> None:
    for seed in range(4):
        writer = Generator(make_model("helo w\n", seed))
        pieces: list[str] = []
        samples = writer.beams("", BeamConfig(length=25, width=4, stop=stop), pieces.append)
        assert "".join(pieces) == samples[0].text
        assert not any(end in samples[0].text for end in stop)


@pytest.mark.parametrize("length", [0, 1, 255, 256, 257, 600])
def test_reading_a_prompt_equals_reading_one_token_after_the_other(
    writer: Generator, length: int
) -> None:
    prompt = "hello world\n"[:9] * 70
    prompt = prompt.replace("r", "w")[:length]
    read = writer.read(prompt)
    engine = writer.engine
    logits, state = engine.step(np.array([writer.config.start_token]), engine.start_state(1))
    for symbol in writer.tokenizer.encode(prompt):
        logits, state = engine.step(np.array([symbol]), state)
    np.testing.assert_allclose(read.logits, logits, rtol=1e-4, atol=1e-5)
    for layer, wanted in zip(read.state, state, strict=True):
        np.testing.assert_allclose(layer, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cut", [0, 1, 4, 7])
def test_reading_continues_after_what_was_read_before(writer: Generator, cut: int) -> None:
    whole = writer.read("hello w")
    read = writer.read("hello w"[cut:], writer.read("hello w"[:cut]))
    np.testing.assert_allclose(read.logits, whole.logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(read.state, whole.state, rtol=1e-5, atol=1e-6)


def test_a_prompt_is_read_once_however_many_continue_it(tiny_model: Model) -> None:
    writer = Generator(tiny_model)
    engine = Counting(tiny_model)
    writer.engine = engine  # type: ignore[misc]
    writer.beams("hello w" * 50, BeamConfig(length=4, width=5))
    rows = [shape[1] for shape in engine.shapes]
    symbols = sum(shape[0] for shape in engine.shapes if shape[1] == 1)
    assert symbols == 1 + 350  # the start token and the prompt
    assert rows[-3:] == [5, 5, 5]
    engine.shapes.clear()
    writer.samples("hello w" * 50, SampleConfig(length=4, num_samples=9))
    assert sum(steps for steps, rows in engine.shapes if rows == 1) == 351
    assert engine.shapes[-3:] == [(1, 9)] * 3


def test_a_prompt_that_was_read_can_be_continued_many_times(writer: Generator) -> None:
    read = writer.read("hell")
    for _ in range(2):
        assert (
            writer.sample(read, length=20, seed=1).text
            == writer.sample("hell", length=20, seed=1).text
        )
        assert writer.greedy(read, length=20) == writer.greedy("hell", length=20)
        config = BeamConfig(length=9, width=3)
        assert writer.beams(read, config) == writer.beams("hell", config)


def test_unknown_characters_of_a_prompt_or_a_stop_string_are_refused(writer: Generator) -> None:
    with pytest.raises(PromptError, match=r"'X' \(U\+0058\)"):
        writer.read("heX")
    with pytest.raises(PromptError, match=r"'X' \(U\+0058\).* or use `unknown` nearest"):
        writer.sample("heX", unknown="error")
    with pytest.raises(PromptError, match=r"'X' \(U\+0058\)"):
        writer.greedy("he", stop=["X"])


def test_unknown_characters_of_a_prompt_are_replaced_with_a_note(tiny_model: Model) -> None:
    notes: list[str] = []
    writer = Generator(tiny_model, notify=notes.append)
    options = {"length": 20, "seed": 1}
    assert writer.sample("Hé", **options) == writer.sample("he", **options)
    assert notes == [
        "unknown characters: 'H' (U+0048) -> 'h' (U+0068); 'é' (U+00E9) -> 'e' (U+0065)"
    ]
    assert "".join(writer.stream("hé", **options)) == writer.sample("he", **options).text
    assert writer.greedy("hé", length=9) == writer.greedy("he", length=9)
    (found,) = writer.beams("hé", BeamConfig(length=5))
    assert found == writer.beams("he", BeamConfig(length=5))[0]
    assert writer.sample("hé", unknown="skip", **options) == writer.sample("h", **options)


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_a_stop_string_can_be_kept(kind: str, writer: Generator, make_model: MakeModel) -> None:
    if kind == "byte":
        made = make_model("abc")
        config = replace(made.config, vocab_size=256)
        values = parameters.initial(config, seed=1)
        writer = Generator(Model(config, ByteTokenizer(), values, {}))
    whole = writer.sample(length=300, seed=2).text
    stop = whole[100:102]
    end = whole.index(stop) + len(stop)
    pieces: list[str] = []
    config = SampleConfig(length=300, seed=2, stop=stop, keep_stop=True)
    (kept,) = writer.samples("", config, pieces.append)
    assert kept.text == "".join(pieces) == whole[:end]
    assert kept.finished_by == "stop"
    (cut,) = writer.samples("", replace(config, keep_stop=False))
    assert cut == replace(kept, text=whole[: end - len(stop)])
    options = {"length": 40, "stop": (stop[0],)}
    best = writer.beams("", BeamConfig(**options))[0]
    ended = writer.beams("", BeamConfig(**options, keep_stop=True))[0]
    assert ended.ids == best.ids
    assert ended.text == best.text + (stop[0] if best.finished_by == "stop" else "")


def test_texts_of_a_seed_can_be_written_in_two_calls(writer: Generator) -> None:
    whole = writer.samples("he", SampleConfig(length=20, seed=5, num_samples=3))
    part = SampleConfig(length=20, seed=5)
    assert [writer.samples("he", part, first=index)[0] for index in range(3)] == whole


@pytest.mark.parametrize(
    ("characters", "sequence", "count"),
    [
        ("a-z👩\u200d🚀b", "👩\u200d🚀", 3),
        ("👍🏽", "👍🏽", 2),
        ("🇩🇪🇫🇷", "🇩🇪", 2),
        ("e\u0301", "e\u0301", 2),
    ],
)
def test_characters_of_several_code_points_are_explained_once(
    characters: str, sequence: str, count: int, make_model: MakeModel
) -> None:
    notes: list[str] = []
    writer = Generator(make_model("a👩\u200d🚀👍🏽🇩🇪🇫🇷e\u0301"), notify=notes.append)
    for _ in range(2):
        writer.sample(length=5, allow=characters)
    points = ", ".join(f"U+{ord(point):04X}" for point in sequence)
    said = f"--allow: {sequence} is {count} characters to a model ({points}), "
    assert notes[0] == said + "each of which counts by itself"
    assert len(notes) == (2 if "🇫" in characters else 1)
    writer.sample(length=5, forbid="👍🏽")
    assert notes[-1].startswith("--forbid: ")
    notes.clear()
    writer.sample(length=5, allow="a👍🚀", forbid="é")
    assert notes == []


def test_only_accepted_and_different_texts_are_returned(tiny_model: Model) -> None:
    notes: list[str] = []
    writer = Generator(tiny_model, notify=notes.append)
    options = {"length": 2, "seed": 3}
    plain = [sample.text for sample in writer.samples("he", num_samples=200, **options)]
    different = list(dict.fromkeys(plain))
    pieces: list[str] = []
    config = SampleConfig(num_samples=20, unique=True, **options)
    unique = writer.samples("he", config, pieces.append)
    assert [sample.text for sample in unique] == different[:20]
    assert pieces == different[:1]
    with_l = writer.samples("he", num_samples=5, accept=lambda text: "l" in text, **options)
    assert [sample.text for sample in with_l] == [text for text in plain if "l" in text][:5]
    assert notes == []
    none = writer.samples("he", num_samples=2, unique=True, accept=lambda text: False, **options)
    assert none == []
    greedy = writer.samples("he", temperature=0.0, accept=lambda text: False)
    assert greedy == []
    assert notes == [
        "0 of 2 texts after 500 tries: the others repeat one of these, or are not new",
        "0 of 1 text after 1 try: the others repeat one of these, or are not new",
    ]
    with pytest.raises(OptionError, match="`unique` has no effect on one text"):
        writer.samples(unique=True)


def test_a_stop_given_as_a_plain_string_is_not_split_into_characters(writer: Generator) -> None:
    """`stop="lo"` does not mean "l" or "o": it is taken as a whole, or refused."""

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
        stopped(lambda: writer.sample("w", length=40, temperature=0, stop=stop).text),
    ):
        assert text == whole or ("--stop" in text and "''" not in text)


def test_options_out_of_range_are_refused(writer: Generator) -> None:
    with pytest.raises(OptionError, match="`temperature`"):
        writer.sample(temperature=-1)
    with pytest.raises(OptionError, match="`length`"):
        writer.greedy(length=-1)


def test_score_counts_characters_and_bytes(make_model: MakeModel) -> None:
    writer = Generator(make_model("aé"))
    score = writer.score("aéé")
    assert (score.characters, score.num_bytes) == (3, 5)


def test_load_accepts_a_file_or_a_folder_and_reports_what_is_missing(
    tmp_path: Path, tiny_model: Model
) -> None:
    model_file.save(tmp_path / model_file.MODEL_NAME, tiny_model)
    expected = Generator(tiny_model).sample("he", length=30, seed=1).text
    for path in (tmp_path, str(tmp_path), tmp_path / model_file.MODEL_NAME):
        loaded = charrnn.load(path)
        assert loaded.sample("he", length=30, seed=1).text == expected
        assert loaded.training == {"steps": 3}
    with pytest.raises(ModelError, match="none does not exist"):
        charrnn.load(tmp_path / "none")


# The compiled engine and the numpy engine


OPTIONS: list[dict[str, Any]] = [
    {},
    {"stop": ("lo", "w")},
    {"top_p": 0.9, "repeat_penalty": 1.3, "logit_bias": {"h": 1.0}},
    {"regex": r"[helo]{5,} \w+", "no_repeat_ngram_size": 4},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_a_text_does_not_depend_on_cuts_threads_or_other_texts(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    model = make_model("helo w\n", num_layers=2, hidden_size=70)
    config = SampleConfig(length=60, seed=3, num_samples=5, **options)
    expected = Generator(model, threads=1).samples("he", config)
    for threads, count in ((1, 1), (1, 7), (2, 100), (3, 16)):
        monkeypatch.setattr(sampler, "FIRST_COUNT", count)
        monkeypatch.setattr(sampler, "next_count", lambda written, seconds, count=count: count)
        writer = Generator(model, threads=threads)
        assert writer.samples("he", config) == expected
        assert writer.samples("he", replace(config, num_samples=1)) == expected[:1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("trained")
    text = folder / "story.txt"
    words = ["the", "harbour", "was", "quiet", "and", "old;", "a", "café", "by", "sea:", "12!"]
    chosen = np.random.default_rng(1).choice(words, 3000)
    text.write_text(" ".join(chosen), "utf-8")
    made = {"hidden_size": 48, "num_layers": 2, "seed": 1, "out": folder / "run"}
    return model_file.load(Path(charrnn.train(text, steps=60, **made).model))


def test_the_compiled_engine_writes_the_text_of_the_numpy_engine(trained: Model) -> None:
    """Unless a drawn number is so near to the boundary of two tokens that rounding decides."""
    plain, compiled = Generator(trained), Generator(trained)
    plain.engine = NumpyEngine(trained.config, trained.values)
    assert isinstance(compiled.engine, compiled_engine.CompiledEngine)
    config = SampleConfig(length=4_000, temperature=1.0, seed=4)
    (found,), (wanted,) = (writer.samples("the ", config) for writer in (compiled, plain))
    same = next(
        (
            at
            for at, pair in enumerate(zip(found.ids, wanted.ids, strict=True))
            if len(set(pair)) > 1
        ),
        config.length,
    )
    assert same > 1000
    assert len(set(wanted.text)) > 15
    if same < config.length:
        logits = plain.read("the " + wanted.text[:same]).logits[0].astype(np.float64)
        totals = np.cumsum(np.exp(logits - logits.max()))
        first, last = sorted((found.ids[same], wanted.ids[same]))
        between = totals[first:last] / totals[-1]
        assert np.abs(between - randomness(4, 0, same).random()).max() < 1e-4
    else:
        assert found.log_prob == pytest.approx(wanted.log_prob, rel=1e-5)


def _broken(*given: Any, **more: Any) -> Any:
    raise RuntimeError("no compiler")


@pytest.mark.parametrize(
    "part",
    [(compiled_engine, "CompiledEngine"), (instructions, "product_function"), (Sampler, "compile")],
    ids=str,
)
def test_numpy_writes_where_compiling_fails(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch, part: tuple[Any, str]
) -> None:
    wanted = Generator(tiny_model)
    wanted.engine = NumpyEngine(tiny_model.config, tiny_model.values)
    text = wanted.sample("he", length=30, seed=1).text
    notices: list[str] = []
    Generator(tiny_model).prepare(SampleConfig())  # compiles what was never compiled here
    monkeypatch.setattr(*part, _broken)
    writer = Generator(tiny_model, notify=notices.append)
    for _ in range(2):  # the notice appears once
        assert writer.sample("he", length=30, seed=1).text == text
    assert notices == [
        "the compiled engine is not available here (no compiler): numpy writes the same text, "
        "more slowly"
    ]
    for weights in ("int8", "bfloat16"):
        with pytest.raises(
            OptionError, match=f"`weights` {weights} needs the compiled engine, .* no c"
        ):
            Generator(tiny_model, weights=weights).sample("he", length=3)


def test_answers_take_their_options_by_name(make_pair_model: Callable[..., Model]) -> None:
    model, config = Generator(make_pair_model()), BeamConfig(width=3, num_return=2, length=5)
    named = list(model.answers(["ab", "c"], width=3, num_return=2, length=5))
    assert [[str(each) for each in few] for few in named] == [
        [str(each) for each in few] for few in model.answers(["ab", "c"], config)
    ]
    assert [len(few) for few in named] == [2, 2]
    assert str(model.answer("c", width=3, length=5)) == str(named[1][0])
    with pytest.raises(TypeError, match="not both"):
        model.answers(["ab"], config, width=2)
    with pytest.raises(TypeError, match="did you mean 'width'"):
        model.answers(["ab"], widht=2)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "part", [(compiled_pair_engine, "CompiledPairEngine"), (Sampler, "compile")], ids=str
)
def test_numpy_answers_where_compiling_fails(
    make_pair_model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, part: tuple[Any, str]
) -> None:
    """Even where a source was read by compiled code, and only the choice does not compile."""
    model, config = make_pair_model(skip_connections=True), SampleConfig(length=9, seed=1)
    wanted = [each[0].text for each in Generator(model).answers(["ab", "c"], config)]
    monkeypatch.setattr(*part, _broken)
    notices: list[str] = []
    writer = Generator(model, notify=notices.append)
    assert [each[0].text for each in writer.answers(["ab", "c"], config)] == wanted
    assert len(notices) == 1
    assert isinstance(writer.engine, NumpyPairEngine)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_numpy_writes_where_the_cache_of_compiled_code_cannot_be_written(
    tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(path: Path, *given: Any) -> Any:
        path.write_bytes(b"half of it")
        raise OSError(number, os.strerror(number))

    Generator(tiny_model).prepare(SampleConfig())  # compiles what was never compiled here
    load = codegen.load
    monkeypatch.setattr(codegen, "load", lambda source: load(f"{source}\n# {number}\n"))
    monkeypatch.setattr(cache, "folder", lambda: tmp_path)
    monkeypatch.setattr(Path, "write_text", fail)
    monkeypatch.setattr(background, "usable", lambda: False)  # nothing writes meanwhile
    step_codegen.compiled_step.cache_clear()
    notices: list[str] = []
    written = Generator(tiny_model, notify=notices.append).sample("he", length=30, seed=1).text
    wanted = Generator(tiny_model)
    wanted.engine = NumpyEngine(tiny_model.config, tiny_model.values)
    assert written == wanted.sample("he", length=30, seed=1).text
    assert [notice for notice in notices if os.strerror(number) in notice and "numpy" in notice]
    assert list(tmp_path.iterdir()) == []


def test_a_defect_is_raised_and_not_mistaken_for_a_missing_compiler(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: Any, **more: Any) -> Any:
        raise TypeError("a defect")

    for part in ((compiled_engine, "CompiledEngine"), (Sampler, "compile")):
        with monkeypatch.context() as patch:
            patch.setattr(*part, broken)
            with pytest.raises(TypeError, match="a defect"):
                Generator(tiny_model).sample("he", length=3)


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None
from charrnn.__main__ import main
main()
"""


def test_the_command_writes_without_numba(tmp_path: Path, tiny_model: Model) -> None:
    model_file.save(tmp_path / "model.safetensors", tiny_model)
    line = ["sample", "-m", tmp_path, "-p", "he", "-n", "40", "--seed", "2", "--json"]

    def run(*more: str) -> Any:
        command = [sys.executable, "-c", WITHOUT_NUMBA, *map(str, line), *more]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANGS)

    plain = Generator(tiny_model)
    plain.engine = NumpyEngine(tiny_model.config, tiny_model.values)
    written = run()
    assert written.returncode == 0, written.stderr
    notice, seed = written.stderr.splitlines()
    assert notice.startswith("the compiled engine is not available here (")
    assert notice.endswith("): numpy writes the same text, more slowly")
    assert seed == "seed: 2"
    (sample,) = strict_json.loads(written.stdout)["samples"]
    assert sample["text"] == plain.sample("he", length=40, seed=2).text
    refused = run("--weights", "int8")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("charrnn: --weights int8 needs the compiled engine, which is")
    assert refused.stderr.count("\n") == 1


PROGRAM = '''
import shutil, sys, time
from pathlib import Path
from charrnn import generator
from charrnn.compiler import cache, codegen
from charrnn.decoding.sampler import Sampler
from charrnn.model import model_file

MORE = """
from charrnn.compiler.cache import c_function

@c_function("void(voidptr)")
def nothing(data):
    pass
"""
compile_now = Sampler.compile

def compile_slowly(chooser):
    time.sleep(float(sys.argv[2]))
    assert codegen.c_functions(MORE, "nothing")[0].address
    return compile_now(chooser)

Sampler.compile = compile_slowly
for path in sys.argv[3:]:
    shutil.copy(path, cache.folder())
model = generator.Generator(model_file.load(Path(sys.argv[1])), notify=print)
assert model.engine
model.sample(length=3)  # and what stands above
'''


def test_a_notice_appears_only_when_code_is_compiled(tmp_path: Path, tiny_model: Model) -> None:
    model = tmp_path / "model.safetensors"
    model_file.save(model, tiny_model)
    home = tmp_path / "home"
    home.mkdir()
    folders = {"XDG_CACHE_HOME": str(home), "LOCALAPPDATA": str(home), "HOME": str(home)}
    Generator(tiny_model).prepare(SampleConfig())
    kept = map(str, cache.folder().glob("*.o"))  # all but what stands in the program
    # With a cache that lacks something once; with a warm one never, however slow it is.
    for notices, *given in ((1, "0", *kept), (0, "1.5")):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(model), *given],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | folders,
            timeout=HANGS,
        )
        assert done.stdout == f"{COMPILING}\n" * notices
    assert COMPILING == "compiling for this machine: this takes some seconds, once"


def test_a_sample_is_a_value() -> None:
    sample = Sample("text", 1, -2.0, "length")
    assert replace(sample, log_prob=-3.0) != sample
