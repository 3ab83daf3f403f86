"""Trainings on the gaps of a text: what is read, resume bit for bit, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from following import Follower, resume, train

from charrnn.config import TrainOptions
from charrnn.errors import OptionError
from charrnn.model import model_file
from charrnn.model.model_file import MODEL_NAME
from charrnn.network.module import CharRNN
from charrnn.network.pair_module import PairRNN
from charrnn.run_dir.models import read_model
from charrnn.text import dataset
from charrnn.text.corpus import from_text
from charrnn.text.gaps import GapText
from charrnn.training import init_from
from charrnn.training.events import Metrics, Planned, Result
from charrnn.training.measured_plan import make_plan
from charrnn.training.pair_batches import PairBatches
from charrnn.training.pair_validation import PairValidation
from charrnn.training.setup import choose_kernel, pairs_of

TEXT = "the cat sat on the mat; a dog ran in the fog. " * 40
SMALL: dict[str, Any] = {
    "fill": True,
    "cell": "lstm",
    "backend": "library",
    "device": "cpu",
    "hidden_size": 8,
    "embedding_size": 4,
    "batch_size": 32,
    "learning_rate": 0.02,
    "dropout": 0.2,
    "steps": 10,
}


def _train(out: Path, follower: Follower | None = None, **more: Any) -> Result:
    options = TrainOptions(**{**SMALL, **more})
    return train(from_text(TEXT), options, out=out, follower=follower, checkpoint_every=3)


class Killed(Follower):
    """Ends a training after a step as a power cut does."""

    def __init__(self, step: int) -> None:
        self._step = step

    def progress(self, metrics: Metrics, network: CharRNN) -> None:
        if metrics.step >= self._step:
            raise InterruptedError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an uninterrupted training."""
    folder = tmp_path_factory.mktemp("gaps") / "whole"
    _train(folder)
    return folder


@pytest.mark.parametrize("step", [2, 5, 8])  # an epoch has 4 batches
def test_killed_and_resumed_is_the_same(tmp_path: Path, whole: Path, step: int) -> None:
    run = tmp_path / "run"
    with pytest.raises(InterruptedError):
        _train(run, Killed(step))
    torch.manual_seed(99)  # what happens in between must not matter
    given = {} if (run / "checkpoints").exists() else SMALL
    resume(from_text(TEXT), given, out=run, checkpoint_every=3)
    assert (run / MODEL_NAME).read_bytes() == (whole / MODEL_NAME).read_bytes()


def test_a_text_is_no_text_with_gaps_when_it_is_resumed(whole: Path) -> None:
    with pytest.raises(OptionError, match="`fill` was True, now False"):
        resume(from_text(TEXT), {"fill": False}, out=whole)


def test_the_files_say_that_the_model_fills_gaps(whole: Path) -> None:
    model = model_file.load(whole / MODEL_NAME)
    assert model.reading.fill
    assert not model.reading.pairs
    assert model.config.encoder == "bidirectional"
    assert read_model(whole / "checkpoints" / "10").reading.fill
    config = json.loads((whole / "config.json").read_text())
    assert config["reading"]["fill"] is True


def test_the_parts_of_a_text_are_not_mixed() -> None:
    data = dataset.make(from_text(TEXT), TrainOptions(**SMALL))
    for part in ("train", "valid"):
        found = pairs_of(data, part)
        assert isinstance(found, GapText)
        ids = getattr(data, part)
        assert np.array_equal(found.ids, ids)
        assert found.drawn(1).bounds.max() <= len(ids)


def test_the_loss_is_per_missing_character(whole: Path) -> None:
    data = dataset.make(from_text(TEXT), TrainOptions(**SMALL))
    text = pairs_of(data, "valid")
    assert isinstance(text, GapText)
    part, model = text.held_out(), model_file.load(whole / MODEL_NAME)
    network = PairRNN(model.config, model.values)
    score = PairValidation(part, data.tokenizer).score(network, lambda: False)
    summary = json.loads((whole / "summary.json").read_text())
    assert score is not None
    assert summary["valid_nats"] == pytest.approx(score.nats, rel=1e-5)
    assert summary["valid_characters"] == len(part.targets)


def test_an_epoch_counts_each_character_once_and_what_is_read(whole: Path) -> None:
    data = dataset.make(from_text(TEXT), TrainOptions(**SMALL))
    text = pairs_of(data, "train")
    assert isinstance(text, GapText)
    model = model_file.load(whole / MODEL_NAME)
    config = TrainOptions(**SMALL)
    batches = PairBatches(PairRNN(model.config, model.values), text, data.tokenizer, config)  # type: ignore[arg-type]
    size = len(data.train)
    assert batches.characters_per_token == pytest.approx(size / (size + len(text)))
    read = len(text.drawn(1, 0).part().ids)
    assert batches.characters * batches.per_epoch == pytest.approx(read - len(text), rel=0.05)
    for _ in range(batches.per_epoch):
        batches.advance(batches.loss())
    assert (batches.epochs, batches.position().epoch) == (1.0, 1)


def test_the_plan_promises_the_epochs_that_are_made(tmp_path: Path) -> None:
    """Contexts are read as well: a pass is an epoch, not as many characters as the text has."""
    promised = []

    class Watching(Follower):
        def planned(self, planned: Planned) -> None:
            promised.append(planned.plan.passes)

    result = _train(tmp_path, Watching())
    resume(from_text(TEXT), {}, out=tmp_path, follower=Watching())
    assert promised == [pytest.approx(result.epochs, rel=0.1)] * 2


def test_minutes_are_planned_with_the_speed_of_usual_gaps() -> None:
    options = TrainOptions(**{**SMALL, "steps": None, "minutes": 0.5, "hidden_size": None})
    data = dataset.make(from_text(TEXT), options)
    device = torch.device("cpu")
    made = make_plan(options, data, device, choose_kernel(options, device))
    assert made.train.minutes == 0.5
    assert made.model.encoder
    assert made.characters > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pairs": True}, "`fill` makes its pairs of any text: leave out `pairs`"),
        ({"items": "lines"}, "`items` is for lists"),
        ({"seq_len": 8}, "`seq_len` cuts a text into windows"),
        ({"learned_start": True}, "`learned_start` has no meaning for pairs"),
    ],
)
def test_what_has_no_meaning_for_gaps_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        TrainOptions(**{**SMALL, **options})


def test_it_starts_from_a_model_of_gaps_alone(whole: Path, tmp_path: Path) -> None:
    model = model_file.load(whole / MODEL_NAME)
    options = init_from.options(model, {"steps": 2, "batch_size": 32, "device": "cpu"})
    assert options["fill"]
    found = train(from_text(TEXT), TrainOptions(**options), out=tmp_path / "run", model=model)
    assert found.valid_nats is not None
    options |= {"fill": False, "encoder": None, "context": None, "ensemble": None}
    with pytest.raises(OptionError, match="was trained on a text with gaps"):
        train(from_text(TEXT), TrainOptions(**options), out=tmp_path / "other", model=model)
