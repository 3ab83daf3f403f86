"""Counts of the training text beside the network: from training to the saved model."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from following import Follower, resume, train

import charrnn
from charrnn import scoring
from charrnn.config import Reading, TrainConfig, TrainOptions
from charrnn.errors import OptionError
from charrnn.generator import Generator
from charrnn.model import model_file
from charrnn.text import corpus, streams
from charrnn.text.corpus import Corpus
from charrnn.training import count_model, run
from charrnn.training.events import Metrics, Result
from charrnn.training.setup import Setup
from charrnn.training.validation import Validation

SMALL: dict[str, Any] = {
    "hidden_size": 8,
    "embedding_size": 4,
    "seq_len": 8,
    "batch_size": 4,
    "steps": 20,
    "device": "cpu",
    "backend": "library",
    "cell": "lstm",
}
WORDS = ["cat", "dog", "sea", "home", "near", "old", "cold", "the", "is", "was", "has", "a"]


def _sentences(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choice(WORDS) for _ in range(rng.randint(3, 7))) for _ in range(count)]


TEXT = "".join(f"{line}.\n" for line in _sentences(200))


def _corpus(text: str = TEXT) -> Corpus:
    return corpus.from_text(text, "tiny")


def _train(out: Path, *, follower: Follower | None = None, **options: Any) -> Result:
    given = {**SMALL, "counts": "on", **options}
    given = {name: value for name, value in given.items() if value is not None}
    return train(_corpus(), TrainOptions(**given), out=out, follower=follower)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return _train(tmp_path_factory.mktemp("counts") / "run")


class Notices(Follower):
    """Remembers what was said, and may stop at a step."""

    def __init__(self, last: int | None = None) -> None:
        self.said: list[str] = []
        self._last, self._step = last, 0

    def notice(self, sentence: str) -> None:
        self.said.append(sentence)

    def progress(self, metrics: Metrics, network: object) -> None:
        self._step = metrics.step

    def stop(self) -> bool:
        return self._last is not None and self._step >= self._last


def test_the_result_has_the_loss_of_the_network_and_of_both_together(finished: Result) -> None:
    saved = model_file.load(Path(finished.model))
    valid = TEXT[-len(TEXT) // 10 :][-finished.valid_characters :]
    both = Generator(saved).score(valid)
    alone = Generator(replace(saved, counts=None)).score(valid)
    assert finished.valid_counts_nats == pytest.approx(both.nats, abs=1e-5)
    assert finished.valid_nats == pytest.approx(alone.nats, abs=1e-5)
    assert both.nats < alone.nats - 0.2  # 20 steps taught this network little


def test_the_model_says_what_its_counts_are_worth(finished: Result) -> None:
    saved = model_file.load(Path(finished.model))
    told = saved.training["counts"]
    assert saved.counts
    assert (told["order"], told["contexts"]) == (saved.counts.order, saved.counts.contexts)
    assert told["bytes"] == saved.counts.bytes < 4 * 4 * finished.parameters + 2000
    assert told["mixed_nats"] < told["network_nats"] - 0.2
    assert charrnn.load(finished).score("the cat").nats > 0


def test_equal_runs_give_equal_bytes_and_without_counts_those_of_before(
    finished: Result, tmp_path: Path
) -> None:
    again = _train(tmp_path / "again")
    assert Path(again.model).read_bytes() == Path(finished.model).read_bytes()
    off, auto = _train(tmp_path / "off", counts="off"), _train(tmp_path / "auto", counts="auto")
    assert Path(off.model).read_bytes() == Path(auto.model).read_bytes()
    assert off.valid_counts_nats is None
    plain = model_file.load(Path(off.model))
    assert plain.format == model_file.FORMAT_VERSION
    assert plain.counts is None
    assert plain.training["train"]["kept_back"] == 0
    counted = model_file.load(Path(finished.model))
    assert counted.training["train"]["kept_back"] == round(0.9 * len(TEXT)) // 80


def test_a_resumed_training_ends_with_the_same_model(finished: Result, tmp_path: Path) -> None:
    first = _train(tmp_path / "run", follower=Notices(last=8))
    assert first.stopped_by == "interrupt"
    assert model_file.load(Path(first.model)).counts  # an early end has its counts, too
    second = resume(_corpus(), {}, out=tmp_path / "run")
    assert Path(second.model).read_bytes() == Path(finished.model).read_bytes()


def test_counts_can_be_added_to_a_finished_run(finished: Result, tmp_path: Path) -> None:
    _train(tmp_path / "run", counts="off")
    later = resume(_corpus(), {"counts": "on"}, out=tmp_path / "run")
    found, wanted = (model_file.load(Path(each.model)) for each in (later, finished))
    assert found.counts
    assert wanted.counts
    # Nothing was kept back from this network, so other pieces of the text are not counted.
    assert found.training["train"]["kept_back"] == 0
    assert found.counts.contexts == pytest.approx(wanted.counts.contexts, rel=0.1)
    assert later.valid_counts_nats is not None
    assert later.valid_nats is not None
    assert later.valid_counts_nats < later.valid_nats - 0.2


def _length(part: slice) -> int:
    return int(part.stop - part.start)


def test_a_network_does_not_learn_from_what_is_kept_back(finished: Result, tmp_path: Path) -> None:
    length = model_file.load(Path(finished.model)).training["corpus"]["train_characters"]
    ids = np.array([ord(each) for each in TEXT[:length]])
    made = streams.make(ids, 4, 8, 0, ord("\n"), kept_back=len(ids) // 80)
    other = list(TEXT)
    size = len(ids) // 80 // 4
    pieces = [slice(part.stop - size, part.stop) for part in made.unread if _length(part) >= size]
    for piece in pieces:
        other[piece] = [each if each == "\n" else "a" for each in other[piece]]
    assert other != list(TEXT)
    results = [
        train(_corpus(text), TrainOptions(**SMALL, counts="on"), out=tmp_path / str(number))
        for number, text in enumerate((TEXT, "".join(other)))
    ]
    first, second = (model_file.load(Path(each.model)) for each in results)
    assert all((first.values[name] == second.values[name]).all() for name in first.values)
    assert first.counts
    assert second.counts
    assert (first.counts.tokens == second.counts.tokens).all()
    assert (first.counts.weights != second.counts.weights).any()


PIECES = {"tokenizer": "sentencepiece", "vocab_size": 300}


@pytest.mark.parametrize("more", [{"tokenizer": "byte"}, {"min_count": 30}, PIECES])
def test_tokens_may_be_bytes_or_pieces(tmp_path: Path, more: dict[str, Any]) -> None:
    result = _train(tmp_path / "run", **more)
    assert result.valid_counts_nats is not None
    assert result.valid_nats is not None
    assert result.valid_counts_nats < result.valid_nats


def test_items_are_counted_apart(tmp_path: Path) -> None:
    """The first letter after the start token has the probability of a first letter."""
    rng = random.Random(1)
    names = ["".join(rng.choice("xyz") for _ in range(rng.randint(2, 5))) for _ in range(800)]
    text = "".join(f"a{name}b\n" for name in names)
    options = TrainOptions(**{**SMALL, "counts": "on", "items": "lines", "steps": 2})
    read = corpus.from_text(text, "names", reading=Reading(items="lines"))
    result = train(read, options, out=tmp_path / "run")
    model = charrnn.load(result, with_counts=True)
    assert model.reading.items == "lines" or model.reading.documents_apart
    samples = model.samples(num_samples=20, seed=1, length=20)
    assert sum(sample.text.startswith("a") for sample in samples) > 15
    assert result.valid_counts_nats is not None
    assert result.valid_nats is not None
    assert result.valid_counts_nats < result.valid_nats - 0.3


def test_contexts_of_documents_end_at_their_borders() -> None:
    class Data:
        train = np.array([0, 1, 2, 3, 4] * 400, np.uint8)

    class Fake:
        data = Data()

        class plan:  # noqa: N801
            train = TrainConfig(kept_back=50)

            class model:  # noqa: N801
                vocab_size, start_token = 5, 5

        @staticmethod
        def documents(part: str) -> np.ndarray:
            return np.array([0, 1003], np.uint64)

    text = count_model._Text(Fake())  # type: ignore[arg-type]
    found = text.contexts(np.array([0, 1, 1002, 1003, 1004]), 3)
    assert found.tolist() == [[0, 0, 6], [0, 6, 1], [5, 1, 2], [0, 0, 6], [0, 6, 4]]
    assert text.begins(np.array([-3, 0, 1, 1003])).tolist() == [True, True, False, True]
    left_out = np.count_nonzero(text.counted == -1) - 2  # two stand before the start tokens
    assert left_out == len(text.starts) * text.length
    assert left_out == 50
    assert (text.counted[-50:] == -1).all()


def test_few_streams_have_several_pieces_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list[tuple[Setup, Any, int]]()
    pieces = count_model._pieces

    def noted(setup: Setup, first: int) -> Any:
        found = pieces(setup, first)
        made.append((setup, *found))
        return found

    monkeypatch.setattr(count_model, "_MAX_PIECE", 8)
    monkeypatch.setattr(count_model, "_pieces", noted)
    _train(tmp_path / "run", batch_size=1)
    ((setup, starts, length),) = made
    kept, end = setup.plan.train.kept_back, len(setup.data.train)
    assert (length, len(starts)) == (8, kept // 8)
    assert (np.diff(starts) == length).all()
    assert starts[-1] + length == end
    assert pieces(setup, end - 20)[0].tolist() == [4, 12]  # of those, what is counted


def test_counts_that_do_not_pay_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(count_model, "PAYS", 100.0)
    monkeypatch.setattr(run, "COUNTING", math.inf)  # however slow this machine is
    follower = Notices()
    by_clock = {"counts": "auto", "steps": None, "minutes": 0.02}
    result = _train(tmp_path / "run", follower=follower, **by_clock)
    assert any("counts of the training text would gain" in said for said in follower.said)
    assert model_file.load(Path(result.model)).counts is None
    assert result.valid_counts_nats is None


def test_counts_that_would_take_much_of_the_time_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(count_model.TextCounts, "_timed", lambda self, run: 1e3)
    follower = Notices()
    by_clock = {"counts": "auto", "steps": None, "minutes": 0.02}
    result = _train(tmp_path / "run", follower=follower, **by_clock)
    assert any("they are left out" in said for said in follower.said)
    assert model_file.load(Path(result.model)).counts is None
    assert result.stopped_by == "minutes"


def test_compiling_and_slow_moments_are_not_taken_for_the_speed_of_fitting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, delays = 0.0, iter([40.0, 0.5, 9.0, 0.5, 0.6])  # the first one compiles
    read, made = count_model.TextCounts._read, list[count_model.TextCounts]()

    def slow(self: count_model.TextCounts, *arguments: Any) -> Any:
        nonlocal now
        now += next(delays, 0.0)
        made.append(self)
        return read(self, *arguments)

    monkeypatch.setattr(count_model, "perf_counter", lambda: now)
    monkeypatch.setattr(count_model.TextCounts, "_read", slow)
    _train(tmp_path / "run")
    length = made[0]._text.length
    assert made[0].seconds == pytest.approx(
        1.5 * 0.5 / (2 * count_model._TRIED) * (length + count_model.WARM_UP)
    )


def test_of_a_long_text_the_part_is_scored_that_the_network_is_scored_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Validation, "affordable", lambda self, network, seconds: 400)
    result = _train(tmp_path / "run", steps=None, minutes=0.02)
    saved = model_file.load(Path(result.model))
    assert result.valid_characters == saved.training["valid_scored_characters"] == 400
    whole = charrnn.load(result.model).score(TEXT[-len(TEXT) // 10 :]).nats
    assert result.valid_counts_nats is not None
    assert result.valid_counts_nats != pytest.approx(whole, abs=1e-6)


def test_scoring_that_takes_more_than_twice_as_long_as_the_network_s_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list[count_model.TextCounts]()
    finish = count_model.TextCounts.finish
    monkeypatch.setattr(
        count_model.TextCounts,
        "finish",
        lambda self, *given: made.append(self) or finish(self, *given),
    )
    _train(tmp_path / "run")
    (counts,) = made
    counts.each = 0.5
    seconds = 0.5 * (40 + scoring.WARM_UP * scoring.MAX_STREAMS)
    assert counts.scoring(40, None) == seconds
    assert counts.scoring(40, seconds / 2) == seconds
    assert counts.scoring(40, seconds / 2 - 1) is None
    whole = counts.scoring(None, None)
    assert whole is not None
    assert whole > seconds


def test_a_training_by_the_clock_decides_by_itself(tmp_path: Path) -> None:
    result = _train(tmp_path / "run", counts="auto", steps=None, minutes=0.03)
    saved = model_file.load(Path(result.model))
    told = saved.training.get("counts")
    pays = told is not None and told["network_nats"] - told["mixed_nats"] >= count_model.PAYS
    assert (saved.counts is not None) == pays


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ("cat\tCAT\ndog\tDOG\n" * 200, {"pairs": True, "seq_len": None}, "model of pairs"),
        ("the cat is old.\n" * 40, {}, "needs 1,000 tokens"),
    ],
)
def test_texts_that_cannot_be_counted_are_refused(
    tmp_path: Path, text: str, more: dict[str, Any], message: str
) -> None:
    given = {**SMALL, "counts": "on", **more}
    options = TrainOptions(**{name: value for name, value in given.items() if value is not None})
    if options.pairs:
        read = corpus.from_text(text, "pairs", reading=Reading(pairs=True))
    else:
        read = _corpus(text)
    with pytest.raises(OptionError, match=message):
        train(read, options, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
