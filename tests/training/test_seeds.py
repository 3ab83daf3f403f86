"""Trainings that differ in their seed."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.config import MAX_SEED, RunOptions, TrainOptions
from charrnn.errors import DivergedError, OptionError
from charrnn.run_dir import RunDir
from charrnn.text.corpus import from_text
from charrnn.text.open import Texts
from charrnn.training.events import Result
from charrnn.training.seeds import Seeds, train_each

RESULT = Result(
    run_dir="",
    model="",
    cell="lstm",
    parameters=1,
    steps=1,
    epochs=1.0,
    characters=1,
    seconds=1.0,
    chars_per_second=1.0,
    train_nats=1.0,
    valid_nats=1.0,
    valid_bpc=1.0,
    valid_bits_per_byte=1.0,
    valid_window256_nats=1.0,
    valid_characters=1,
    stopped_by="steps",
)
LOSSES = {3: 1.25, 4: 1.5, 5: 1.0}
TEXTS = Texts(from_text("It was the best of times.\n", "tiny"))
TEXT = "It was the best of times, it was the worst of times.\n" * 40
SMALL: dict[str, Any] = {"steps": 4, "hidden_size": 6, "cell": "lstm", "backend": "library"}


class Trainer:
    """Returns a result for each seed; one may be interrupted, and one may diverge."""

    def __init__(self, interrupted: int = 0, diverged: int = 0) -> None:
        self._interrupted, self._diverged = interrupted, diverged
        self.folders: list[Path] = []
        self.notes: list[str] = []

    def train(self, options: TrainOptions, out: Path, planned: RunDir | None) -> Result:
        self.folders.append(out)
        if options.seed == self._diverged:
            raise DivergedError("the loss is not finite")
        result = replace(RESULT, run_dir=str(out), valid_nats=LOSSES[options.seed])
        stopped = "interrupt" if options.seed == self._interrupted else "steps"
        return replace(result, stopped_by=stopped)

    def run(self, out: Path, seeds: int = 3) -> Seeds:
        run = RunOptions(seeds=seeds, out=out)
        options = TrainOptions(seed=3)
        return train_each(self.train, TEXTS, options, {}, run, self.notes.append)


def test_each_seed_has_a_run_of_its_own_and_the_mean_and_the_spread_are_told(
    tmp_path: Path,
) -> None:
    trainer = Trainer()
    found = trainer.run(tmp_path / "run")
    assert trainer.folders == [tmp_path / f"run-seed{seed}" for seed in (3, 4, 5)]
    assert {seed: result.valid_nats for seed, result in found.results.items()} == LOSSES
    assert found.mean == pytest.approx(1.25)
    assert found.spread == pytest.approx(statistics.stdev([1.25, 1.5, 1.0])) == pytest.approx(0.25)
    assert repr(found) == (
        "<Seeds 3 of 3 finished: 1.2500 nats per character on average, standard deviation 0.2500>"
    )
    told = found.to_json()
    assert (told["asked"], told["finished"], told["diverged"]) == (3, 3, [])
    assert (told["mean_valid_nats"], told["spread_valid_nats"]) == (found.mean, found.spread)
    assert [run["seed"] for run in told["runs"]] == [3, 4, 5]
    assert told["runs"][1]["valid_nats"] == 1.5


def test_an_interrupted_training_is_the_last_one_and_is_not_counted(tmp_path: Path) -> None:
    trainer = Trainer(interrupted=4)
    found = trainer.run(tmp_path / "run")
    assert [*found.results] == [3, 4]
    assert (len(found.finished), found.mean, found.spread) == (1, 1.25, None)


def test_a_training_that_diverges_is_noted_and_the_others_go_on(tmp_path: Path) -> None:
    trainer = Trainer(diverged=4)
    found = trainer.run(tmp_path / "run")
    assert ([*found.results], found.diverged) == ([3, 5], (4,))
    assert trainer.notes == ["seed 4 diverged: the loss is not finite"]
    assert found.mean == pytest.approx(1.125)


def test_without_a_validation_text_there_is_no_mean() -> None:
    found = Seeds(1, {1: replace(RESULT, valid_nats=None)})
    assert (found.mean, found.spread) == (None, None)
    assert repr(found) == "<Seeds 1 of 1 finished>"


def test_every_folder_must_be_free_before_the_first_training(tmp_path: Path) -> None:
    taken = tmp_path / "run-seed5"
    taken.mkdir()
    (taken / "metrics.jsonl").touch()
    trainer = Trainer()
    with pytest.raises(OptionError, match="run-seed5 already holds a run"):
        trainer.run(tmp_path / "run")
    assert trainer.folders == []


def test_every_seed_must_be_valid_before_the_first_training(tmp_path: Path) -> None:
    trainer = Trainer()
    options = TrainOptions(seed=MAX_SEED)
    with pytest.raises(OptionError, match="`seed` must be"):
        train_each(trainer.train, TEXTS, options, {}, RunOptions(seeds=2), trainer.notes.append)
    assert trainer.folders == []


def test_without_any_run_there_is_nothing_to_resume(tmp_path: Path) -> None:
    trainer = Trainer()
    run = RunOptions(out=tmp_path / "rum", seeds=2, resume=True)
    with pytest.raises(OptionError, match=r"no run begins with .*rum-seed: leave out"):
        train_each(trainer.train, TEXTS, TrainOptions(), {}, run, trainer.notes.append)
    assert trainer.folders == []


def test_folders_need_a_name_to_begin_with() -> None:
    with pytest.raises(OptionError, match=r"`out` \. cannot begin the names of folders"):
        Trainer().run(Path())


def test_several_seeds_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = charrnn.train_seeds(text=TEXT, seeds=2, **SMALL)
    assert [*found.results] == [1, 2]
    first, second = (Path(result.run_dir) for result in found.finished)
    assert (first.name, second.name) == ("text-1-seed1", "text-1-seed2")
    assert first.parent == Path("runs")
    # A run of several is the run of its seed, and can be repeated alone.
    again = charrnn.train(config=second, out="again")
    model = "model.safetensors"
    assert Path("again", model).read_bytes() == (second / model).read_bytes()
    assert again.valid_nats == found.results[2].valid_nats
    with pytest.raises(TypeError, match=r"charrnn.train_seeds\(\) trains several runs"):
        charrnn.train(text=TEXT, seeds=2)  # type: ignore[call-arg]


def test_several_seeds_are_resumed_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is finished is kept, what was stopped goes on, and what never began begins."""
    monkeypatch.chdir(tmp_path)
    whole = charrnn.train_seeds(text=TEXT, seeds=3, out="whole", seed=5, **SMALL)
    begun: list[charrnn.Planned] = []

    def stop_the_second(event: charrnn.Event) -> bool:
        begun.extend([event] if isinstance(event, charrnn.Planned) else [])
        return not (isinstance(event, charrnn.Progress) and len(begun) == 2)

    cut = charrnn.train_seeds(text=TEXT, seeds=3, seed=5, callback=stop_the_second, **SMALL)
    assert ([*cut.results], len(cut.finished)) == ([5, 6], 1)
    kept = Path("runs", "text-1-seed5", "summary.json").stat().st_mtime_ns

    said: list[str] = []

    def listen(event: charrnn.Event) -> None:
        said.extend([event.sentence] if isinstance(event, charrnn.Notice) else [])
        said.extend(event.resumed if isinstance(event, charrnn.Planned) else [])

    done = charrnn.train_seeds(text=TEXT, seeds=3, resume=True, callback=listen)
    assert (done.mean, done.spread) == (whole.mean, whole.spread)
    for seed, result in done.results.items():
        assert result.valid_nats == whole.results[seed].valid_nats
        models = (Path(each.results[seed].model).read_bytes() for each in (done, whole))
        assert len(set(models)) == 1
    assert said[0] == "seed 5 is finished: runs/text-1-seed5 is kept"
    assert said[1].startswith("resumed  at step ")
    assert said[2] == (
        "runs/text-1-seed7 has no checkpoint: training starts from the beginning, with the options "
        "of runs/text-1-seed5"
    )
    assert Path("runs", "text-1-seed5", "summary.json").stat().st_mtime_ns == kept

    # A larger budget is for all of them; a run among them names them, too, and so does its name.
    for steps, out in ((5, "runs/text-1-seed6"), (6, "text-1")):
        more = charrnn.train_seeds(text=TEXT, seeds=3, out=out, resume=True, steps=steps)
        assert [result.steps for result in more.results.values()] == [steps] * 3
    with pytest.raises(OptionError, match="`hidden_size` was 6, now 7"):
        charrnn.train_seeds(text=TEXT, seeds=3, resume=True, hidden_size=7)


def test_all_seeds_have_the_network_that_was_planned_for_the_first(tmp_path: Path) -> None:
    asked: list[TrainOptions] = []

    def plan(options: TrainOptions, out: Path, planned: RunDir | None) -> Result:
        asked.append(options)
        if planned is None:
            charrnn.train(text=TEXT, out=out, **SMALL)
        return RESULT

    run = RunOptions(seeds=3, out=tmp_path / "run")
    train_each(plan, TEXTS, TrainOptions(steps=9), {"steps": 9}, run, print)
    assert [(each.seed, each.steps, each.hidden_size) for each in asked] == [
        (1, 9, None),
        (2, 9, 6),
        (3, 9, 6),
    ]
