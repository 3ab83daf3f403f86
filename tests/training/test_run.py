"""Trainings by the clock of a machine that is busy, slow or stopped for a while."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from following import Follower, resume, train
from slow_machine import SIZES, SlowMachine

import charrnn
from charrnn.cli.display.training_text import result_lines
from charrnn.config import Reading, TrainOptions, to_json
from charrnn.model import model_file
from charrnn.model.model_file import MODEL_NAME
from charrnn.network.module import CharRNN
from charrnn.storage import machine as installed
from charrnn.text import corpus
from charrnn.text.corpus import Corpus
from charrnn.training import pair_validation, validation
from charrnn.training.background_writer import BackgroundWriter
from charrnn.training.events import Metrics, Planned, Result
from charrnn.training.measured_plan import Speeds
from charrnn.training.pair_validation import PairValidation
from charrnn.training.training_step import Updater

TEXT = corpus.from_text("the cat is home.\nthe dog is near the sea.\n" * 480, "cats")
PAIRS = corpus.from_text(
    "".join(f"{n:05d}\t{n * 7 % 99_991:05d}\n" for n in range(3000)),
    "numbers",
    reading=Reading(pairs=True),
)
SECONDS = 60.0
OPTIONS: dict[str, Any] = {
    "minutes": SECONDS / 60,
    "embedding_size": 4,
    "cell": "lstm",
    "backend": "library",
    "device": "cpu",
}
WINDOWS = {"batch_size": 4, "seq_len": 16}


class Watching(Follower):
    """Keeps the plans and the sentences.

    Attributes:
        on_plan: called with the number of plans so far.
        on_progress: called with the part of the time that is used.
    """

    def __init__(self) -> None:
        self.plans, self.notices = list[Planned](), list[str]()
        self.on_plan: Callable[[int], None] = lambda number: None
        self.on_progress: Callable[[float], None] = lambda fraction: None

    def planned(self, planned: Planned) -> None:
        self.plans.append(planned)
        self.on_plan(len(self.plans))

    def progress(self, metrics: Metrics, network: CharRNN) -> None:
        self.on_progress(metrics.fraction)

    def notice(self, sentence: str) -> None:
        self.notices.append(sentence)

    @property
    def anew(self) -> list[str]:
        return [sentence for sentence in self.notices if "planned anew" in sentence]

    @property
    def sizes(self) -> list[int]:
        return [planned.plan.model.hidden_size for planned in self.plans]


class Training:
    """Trainings of a minute on a machine that is not there.

    Attributes:
        machine: the machine.
        watching: who looks on.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.machine, self.watching = SlowMachine(patch), Watching()

    def run(self, out: Path, text: Corpus = TEXT, **options: Any) -> Result:
        windows = {"batch_size": 4} if text is PAIRS else WINDOWS
        valid = options.pop("valid", None)
        chosen = TrainOptions(**OPTIONS | windows | options)
        result = train(text, chosen, out=out, follower=self.watching, valid=valid)
        assert result.stopped_by == "minutes"
        return result


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Training:
    return Training(monkeypatch)


@pytest.fixture(scope="module", params=[TEXT, PAIRS], ids=["text", "pairs"])
def quiet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Corpus, Training, Result]:
    """Return a training on a quiet machine, of a text and of pairs."""
    with pytest.MonkeyPatch.context() as patch:
        training = Training(patch)
        return (
            request.param,
            training,
            training.run(tmp_path_factory.mktemp("quiet"), request.param),
        )


def _rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_a_quiet_machine_keeps_its_plan(quiet: tuple[Corpus, Training, Result]) -> None:
    _, training, result = quiet
    assert training.watching.anew == []
    assert 8 < training.watching.sizes[0] < 64
    assert 0.99 * SECONDS <= training.machine.now <= SECONDS
    assert result.seconds == training.machine.now


@pytest.mark.parametrize("spread", [1.1, 2.3])
def test_a_speed_that_varies_while_it_is_measured_is_said(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spread: float
) -> None:
    monkeypatch.setattr(installed, "busy", lambda: None)
    monkeypatch.setattr(Speeds, "spread", spread)
    training.watching.stop = lambda: True
    train(TEXT, TrainOptions(**OPTIONS | WINDOWS), out=tmp_path, follower=training.watching)
    said = [sentence for sentence in training.watching.notices if "this machine's" in sentence]
    assert said == [
        "this machine's speed varied by a factor of 2.3 while it was measured: the network is "
        "planned for the best of it"
    ] * (spread > 1.5)


def test_a_machine_that_was_busy_while_it_was_measured_gets_another_plan(
    quiet: tuple[Corpus, Training, Result], training: Training, tmp_path: Path
) -> None:
    text, earlier, _ = quiet
    machine, watching = training.machine, training.watching
    machine.busy, begins = 40.0, list[float]()

    def on_plan(number: int) -> None:
        machine.busy = 1.0
        begins.append(machine.now)

    watching.on_plan = on_plan
    result = training.run(tmp_path, text)
    (sentence,) = watching.anew
    before, after = watching.sizes
    assert before < after
    wanted = SIZES.index(earlier.watching.sizes[0])  # where all of the time was left
    assert SIZES.index(after) in (wanted, wanted - 1)
    assert "times the speed that was measured before it: planned anew for the 5" in sentence
    assert f"2 x {after}" in sentence
    assert begins[1] - begins[0] < 0.05 * SECONDS
    # the files are those of the second plan alone
    config, rows = json.loads((tmp_path / "config.json").read_text()), _rows(tmp_path)
    assert config["model"] == to_json(watching.plans[1].plan.model)
    assert config["train"]["minutes"] == SECONDS / 60
    assert model_file.load(tmp_path / MODEL_NAME).config == watching.plans[1].plan.model
    assert [row["step"] for row in rows] == sorted({row["step"] for row in rows})
    assert rows[0]["fraction"] < 0.02
    assert rows[-1]["step"] == result.steps
    assert result.seconds == machine.now <= SECONDS


def test_a_training_that_was_planned_anew_is_resumed_with_its_second_plan(
    training: Training, tmp_path: Path
) -> None:
    machine, watching = training.machine, training.watching
    machine.busy = 40.0

    def on_plan(number: int) -> None:
        machine.busy = 1.0

    watching.on_plan = on_plan
    watching.stop = lambda: machine.now > SECONDS / 2 and len(watching.plans) == 2
    chosen = TrainOptions(**OPTIONS | WINDOWS)
    stopped = train(TEXT, chosen, out=tmp_path, follower=watching)
    assert stopped.stopped_by == "interrupt"
    result = resume(TEXT, {}, out=tmp_path, follower=watching)
    assert watching.sizes[1:] == [watching.sizes[1]] * 2
    assert (result.stopped_by, len(watching.anew)) == ("minutes", 1)
    assert result.steps > stopped.steps
    assert 0.97 * SECONDS <= result.seconds <= 1.02 * SECONDS


def test_a_machine_that_becomes_slower_gets_a_smaller_network(
    training: Training, tmp_path: Path
) -> None:
    machine = training.machine

    def on_plan(number: int) -> None:
        machine.busy = 5.0

    training.watching.on_plan = on_plan
    training.run(tmp_path)
    (sentence,) = training.watching.anew
    before, after = training.watching.sizes
    assert after < before
    assert "runs at 0.2 times the speed" in sentence
    assert machine.now <= SECONDS * 1.02


@pytest.mark.parametrize("begins", [0.0, 0.02])
def test_a_busy_moment_does_not_change_the_plan(
    training: Training, tmp_path: Path, begins: float
) -> None:
    """It is over within the time after which planned and real speed are compared."""
    machine = training.machine

    def on_progress(fraction: float) -> None:
        machine.busy = 20.0 if begins <= fraction < begins + 0.008 else 1.0

    training.watching.on_progress = on_progress
    training.run(tmp_path)
    assert training.watching.anew == []
    assert 0.97 * SECONDS <= machine.now <= SECONDS


@pytest.mark.parametrize("options", [{"hidden_size": 8}])
def test_a_size_that_was_given_is_never_changed(
    training: Training, tmp_path: Path, options: dict[str, Any]
) -> None:
    machine = training.machine

    def on_plan(number: int) -> None:
        machine.busy = 0.1

    training.watching.on_plan = on_plan
    training.run(tmp_path, **options)
    assert training.watching.sizes == [8]


def test_where_the_disk_does_not_answer_the_plan_stays(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = training.machine
    monkeypatch.setattr(BackgroundWriter, "end", lambda writer: False)

    def on_plan(number: int) -> None:
        machine.busy = 0.1

    training.watching.on_plan = on_plan
    training.run(tmp_path)
    assert len(training.watching.plans) == 1
    assert training.watching.anew == []


@pytest.mark.parametrize("fraction", [0.001, 0.5, 0.95])
def test_a_slow_moment_costs_no_more_than_itself(
    training: Training, tmp_path: Path, fraction: float
) -> None:
    """At the first measurement of scoring, or at one that a validation makes.

    Both were reported: a reserve of 150 of 150 s after one step, and an end at 108 of 156 s.
    """
    machine, slow = training.machine, list[float]()

    def on_score(now: float) -> float:
        if now < fraction * SECONDS or slow:
            return 0.0
        slow.append(0.6 if fraction > 0.9 else 5.0)  # seconds, for a few characters
        return slow[0]

    machine.delay = on_score
    result = training.run(tmp_path)
    assert machine.now >= 0.97 * SECONDS
    assert machine.now <= 1.02 * SECONDS
    assert result.steps > 1000


def test_the_time_in_which_a_planning_is_stopped_does_not_count(
    training: Training, tmp_path: Path
) -> None:
    machine = training.machine
    update, stopped = Updater.update, []

    def stopping(updater: Updater, rate: float) -> bool:
        if machine.now > 0.5 and not stopped:
            stopped.append(machine.stop(1000.0))
        return update(updater, rate)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Updater, "update", stopping)
        result = training.run(tmp_path)
    (sentence,) = [each for each in training.watching.notices if "was stopped" in each]
    assert "1,000 seconds" in sentence
    assert training.watching.anew == []
    assert 0.97 * SECONDS <= machine.now - 1000 <= 1.02 * SECONDS
    assert result.seconds < 1.02 * SECONDS


def test_a_long_text_is_scored_in_part(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "VALID_CAP", 1000)
    monkeypatch.setattr(validation, "TIMED", 1)
    machine, whole = training.machine, 40_000
    machine.scoring = 1e-4  # all of it would take 4 of 60 seconds
    valid = corpus.from_text((TEXT.text * whole)[:whole], "valid")
    result = training.run(tmp_path, hidden_size=16, valid=valid)
    assert 0.97 * SECONDS <= machine.now <= 1.02 * SECONDS
    assert not result.valid_whole
    assert result.valid_characters == pytest.approx(0.8 * 0.05 * SECONDS / 1e-4, rel=0.05)
    model = model_file.load(tmp_path / MODEL_NAME)
    assert model.training["valid_scored_characters"] == result.valid_characters
    assert model.training["corpus"]["valid_characters"] == whole
    shown = result_lines(result, training.watching.plans[0])
    assert f"over {result.valid_characters:,} characters" in " ".join(shown)
    where = shown.index("         for an evenly spread part of the held-out text; for all of it:")
    assert shown[where + 1] == f"eval     charrnn eval --model {tmp_path}"
    scored = charrnn.load(tmp_path).score(valid.text)
    assert result.valid_nats == pytest.approx(scored.nats, rel=0.01)


def test_many_pairs_are_scored_in_part(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_validation, "VALID_CAP", 100)
    monkeypatch.setattr(PairValidation, "_each", lambda self, network: 0.05)
    result = training.run(tmp_path, PAIRS, hidden_size=16)
    assert not result.valid_whole
    assert result.valid_characters == pytest.approx(5 * 60, rel=0.05)  # of 60 targets
    model = model_file.load(tmp_path / MODEL_NAME)
    assert model.training["valid_scored_characters"] == result.valid_characters


def test_what_can_be_scored_in_time_is_scored_whole(quiet: tuple[Corpus, Training, Result]) -> None:
    result = quiet[-1]
    assert result.valid_whole
    assert "valid_scored_characters" not in model_file.load(Path(result.model)).training
