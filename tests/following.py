"""Trainings in tests, followed to their end."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

from charrnn.config import TrainOptions
from charrnn.model.model_file import Model
from charrnn.network.module import CharRNN
from charrnn.text.corpus import Corpus
from charrnn.text.dataset import Dataset
from charrnn.text.open import Texts
from charrnn.training.control import Control
from charrnn.training.events import (
    Done,
    Events,
    Metrics,
    Notice,
    Planned,
    Progress,
    Result,
)
from charrnn.training.resume import resume as resume_run
from charrnn.training.start import start


class Follower:
    """Follows a training; what a test needs is overridden."""

    def planned(self, planned: Planned) -> None:
        """Everything is decided."""

    def progress(self, metrics: Metrics, network: CharRNN) -> None:
        """There is a report."""

    def notice(self, sentence: str) -> None:
        """There is a sentence for a person."""

    def stop(self) -> bool:
        """Whether to end the training."""
        return False

    def follow(self, events: Events) -> Result:
        with closing(events):
            for event in events:
                match event:
                    case Planned():
                        self.planned(event)
                        for sentence in event.resumed:
                            self.notice(sentence)
                    case Progress(metrics, network):
                        self.progress(metrics, network)
                    case Notice(sentence):
                        self.notice(sentence)
                    case Done(result):
                        return result
        raise AssertionError("a training ends with Done")


def train(
    text: Corpus | Dataset,
    options: TrainOptions,
    *,
    out: Path | None = None,
    follower: Follower | None = None,
    valid: Corpus | None = None,
    force: bool = False,
    model: Model | None = None,
    checkpoint_every: int | None = None,
) -> Result:
    """Start a training and follow it to its end."""
    follower = follower or Follower()
    control = Control(follower.stop, checkpoint_every, time.perf_counter())
    texts = Texts(text, valid)
    return follower.follow(
        start(texts, options, out=out, force=force, model=model, control=control)
    )


def resume(
    text: Corpus | Dataset,
    given: dict[str, Any],
    *,
    out: Path | None = None,
    follower: Follower | None = None,
    checkpoint_every: int | None = None,
) -> Result:
    """Resume a training and follow it to its end."""
    follower = follower or Follower()
    control = Control(follower.stop, checkpoint_every, time.perf_counter())
    return follower.follow(resume_run(Texts(text), given, out=out, control=control))
