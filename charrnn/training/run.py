"""A training from its first step to its last, and what it writes into the run's folder meanwhile.

A full or failing disk does not end a training: failed writes are tried again later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from charrnn.cells import own
from charrnn.compiler import cache
from charrnn.config import cell_name, to_json
from charrnn.errors import DivergedError
from charrnn.inference.select import COMPILING
from charrnn.model import model_file, parameters
from charrnn.model.model_file import MODEL_NAME, Model
from charrnn.run_dir import DIVERGED, INTERRUPTED, checkpoints
from charrnn.run_dir.checkpoints import Checkpoint
from charrnn.run_dir.models import digest
from charrnn.scoring import Score
from charrnn.storage import files, machine
from charrnn.training import budget as budgets
from charrnn.training import run_description, state
from charrnn.training.background_writer import BackgroundWriter
from charrnn.training.budget import Budget, Clock
from charrnn.training.events import (
    Best,
    Done,
    Event,
    Metrics,
    Notice,
    Progress,
    Result,
    Stop,
    Values,
    never,
)
from charrnn.training.run_description import Record
from charrnn.training.samples import sample_text
from charrnn.training.setup import Setup
from charrnn.training.state import TrainingState
from charrnn.training.trainer import Ended, SavePoint, Trainer
from charrnn.training.validation import InterruptedScoring

SAVE_MINUTES = 1.0  # between two checkpoints
SAVE_SHARE = 0.01  # of the time at most goes into saving: if it is slow, it is done less often


def _ignore(sentence: str) -> None:
    """Do nothing: the default of `Control.notify`."""


@dataclass(frozen=True)
class Control:
    """How the caller of a training controls it.

    Attributes:
        stop: asked before every step and during scoring: whether to end the training.
        checkpoint_every: steps between checkpoints; by default they are `SAVE_MINUTES` apart.
        sample_every: steps between two samples for the run's folder; by default there are none.
        started: when the command began (`time.perf_counter`); minutes count from there.
        command: the words of the command line, for config.json; None from Python.
        init_from: the model that the training starts from, for config.json.
        notify: called with a sentence that cannot wait for the next event, from within a step.
    """

    stop: Stop = never
    checkpoint_every: int | None = None
    started: float = field(default_factory=time.perf_counter)
    command: Sequence[str] | None = None
    init_from: Path | None = None
    sample_every: int | None = None
    notify: Callable[[str], object] = _ignore

    def while_compiling(self) -> AbstractContextManager[None]:
        """Return a context in which the start of a compilation is notified, once."""
        return cache.notify_compiling(lambda: self.notify(COMPILING))


@dataclass(frozen=True)
class Past:
    """What earlier commands did for a run that is resumed; nothing for a new one.

    Attributes:
        seconds: how long they took.
        reserve: seconds reserved for the end of a training by the clock.
        metrics: the metrics file so far.
        changes: what they changed, and at which step.
        saved_step: the step of the checkpoint; -1 without one.
    """

    seconds: float = 0.0
    reserve: float = 0.0
    metrics: bytes = b""
    changes: Sequence[Mapping[str, Any]] = ()
    saved_step: int = -1


class Run:
    """A training that is about to begin; whoever makes one holds the folder's lock.

    Attributes:
        budget: tells what part of the training is done.
    """

    def __init__(self, setup: Setup, trainer: Trainer, control: Control, past: Past) -> None:
        self._setup, self._trainer, self._control, self._past = setup, trainer, control, past
        self._run_dir = setup.run_dir
        self.budget: Budget = budgets.make(
            setup.plan.train,
            per_epoch=trainer.updater.batches.per_epoch,
            started=control.started - past.seconds,
            begun=trainer.start,
            reserve=past.reserve,
        )
        self._writer = BackgroundWriter()
        self._metrics = past.metrics
        self._metrics_written = len(past.metrics)
        self._saved_step = past.saved_step
        self._saved_at = time.perf_counter()
        self._save_seconds = 0.0  # what the last checkpoint took

    def train(self) -> Iterator[Event]:
        """Train until the budget is used up or the caller stops it; yields `Done` last.

        Raises:
            RunError: a write failed for too long.
            DivergedError: the loss was not finite, even after several restarts, or is worse at the
                end than at the start; the best weights, or else the first ones, are saved.
        """
        self._write_first_files()
        self._saved_at = time.perf_counter()
        if self._setup.device.type == "cuda" and self._setup.kernel.backend == "fused":
            yield Notice(
                COMPILING
            )  # only on CUDA: by torch, not by the compiler that is listened to
        characters = self._setup.plan.characters
        try:
            for event in self._trainer.run(self.budget, characters, self._control.stop):
                if isinstance(event, Ended):
                    ended = event
                    continue
                yield from self._write(event)
                if not isinstance(event, SavePoint):
                    yield event
        except DivergedError as error:
            yield from self._put(self._run_dir.summary.name, partial(self._write_diverged, error))
            best = self._trainer.best.metrics
            if not best:
                yield from self._save_model(self._first_metrics(), self._trainer.best.first)
            yield from self._finish_writing()
            saved = f"the best weights (step {best.step:,})" if best else "the first weights"
            raise DivergedError(f"{error.message}; {saved} are in {self._run_dir.model}") from None
        result = yield from self._conclude(ended)
        yield from self._finish_writing()
        yield Done(result)

    def _write_first_files(self) -> None:
        checkpoints.tidy(self._run_dir)
        setup, changes = self._setup, self._past.changes
        config = run_description.description(setup) | {
            "options": to_json(setup.options),
            "threads": torch.get_num_threads(),
            "machine": machine.describe(),
            **self._history(),
        }
        if changes:
            config["changes"] = changes
        self._run_dir.write_config(config, setup.data, setup.options)
        self._run_dir.summary.unlink(missing_ok=True)  # of a part of the training
        if used := own.used(setup.plan.model.cell):
            files.write_atomically(self._run_dir.cell, used.source)
        files.write_atomically(self._run_dir.metrics, self._metrics)

    def _history(self) -> dict[str, Any]:
        """Return when and by which command the run was started, and each time it was resumed."""
        command, source = self._control.command, self._control.init_from
        date = datetime.now().astimezone().isoformat(timespec="seconds")
        now = {"date": date, "command": list(command) if command else None}
        if self._past.saved_step < 0:
            return now | {"init_from_file": str(source.resolve()) if source else None}
        earlier = self._run_dir.read_config()  # an old one has none of these
        started = {name: earlier.get(name) for name in ("date", "command", "init_from_file")}
        resumed = [*earlier.get("resumed", ()), {"step": self._past.saved_step, **now}]
        return started | {"resumed": resumed}

    def _write(self, event: Progress | Best | Notice | SavePoint) -> Iterator[Notice]:
        """Write what an event calls for."""
        match event:
            case Progress(metrics):
                self._metrics += (files.json_text(asdict(metrics)) + "\n").encode()
                job = partial(self._write_metrics, self._metrics)
                yield from self._put(self._run_dir.metrics.name, job)
            case Best(metrics, values):
                yield from self._save_model(metrics, values)
            case SavePoint(last):
                if last or self._is_checkpoint_due():
                    yield from self._save_checkpoint()
                every, step = self._control.sample_every, self._trainer.updater.step
                if every and step and step % every == 0:
                    yield from self._save_sample(step)

    def _put(self, name: str, job: Callable[[], None]) -> Iterator[Notice]:
        for sentence in self._writer.put(name, job):
            yield Notice(sentence)

    def _finish_writing(self) -> Iterator[Notice]:
        for sentence in self._writer.finish():
            yield Notice(sentence)

    def _save_sample(self, step: int) -> Iterator[Notice]:
        setup = self._setup
        text = sample_text(self._trainer.updater.network, setup.data, setup.plan)
        yield from self._put("sample", partial(self._run_dir.write_sample, step, text))

    def _write_metrics(self, text: bytes) -> None:
        self._run_dir.write_metrics(text, self._metrics_written)
        self._metrics_written = len(text)

    def _save_model(self, metrics: Metrics, values: Values, **final: Any) -> Iterator[Notice]:
        """Write the model file with these weights."""
        reached = {
            "steps": metrics.step,
            "epochs": metrics.epoch,
            "characters": metrics.characters,
            "train_nats": metrics.train_nats,
            "valid_nats": metrics.valid_nats,
        }
        training = {**run_description.description(self._setup), **reached, **final}
        del training["model"]  # the model's own config says it
        model = Model(self._setup.plan.model, self._setup.data.tokenizer, values, training)
        yield from self._put(MODEL_NAME, partial(model_file.save, self._run_dir.model, model))

    def _first_metrics(self) -> Metrics:
        """Return the metrics of the first weights."""
        return Metrics(
            0, 0.0, 0, 0.0, 0.0, self._trainer.divergence.first_nats, None, 0.0, 0.0, 0.0, 0.0
        )

    def _write_diverged(self, error: DivergedError) -> None:
        """Write summary.json of a training that diverged."""
        best = self._trainer.best.metrics
        content = {
            "run_dir": str(self._run_dir.path),
            "steps": self._trainer.updater.step,
            "seconds": self._seconds(),
            "train_nats": best.train_nats if best else None,
            "valid_nats": best.valid_nats if best else None,
            "stopped_by": DIVERGED,
            "error": error.message,
        }
        self._run_dir.write_summary(content)

    def _is_checkpoint_due(self) -> bool:
        every = self._control.checkpoint_every
        if every is not None:
            return self._trainer.updater.step % every == 0
        seconds = max(60 * SAVE_MINUTES, self._save_seconds / SAVE_SHARE)
        return time.perf_counter() - self._saved_at >= seconds

    def _save_checkpoint(self) -> Iterator[Notice]:
        """Write a checkpoint, unless there is one of this step or the weights are not finite."""
        began = time.perf_counter()
        captured = state.capture(self._trainer)
        sentences: list[Notice] = []
        if captured.is_finite() and captured.step != self._saved_step:
            made = Checkpoint(
                captured.step, self._record(captured).to_json(), captured.arrays(), self._metrics
            )
            job = partial(checkpoints.save, self._run_dir, made)
            sentences += self._put("checkpoint", job)
            self._saved_step = captured.step
        self._saved_at = time.perf_counter()
        self._save_seconds = self._saved_at - began
        yield from sentences

    def _record(self, captured: TrainingState) -> Record:
        return Record(
            options=self._setup.options,
            plan=self._setup.plan,
            run=run_description.description(self._setup) | {"changes": list(self._past.changes)},
            tokenizer=digest(self._setup.data.tokenizer),
            machine=run_description.machine(self._setup),
            seconds=self._seconds(),
            fraction=self.budget.fraction(captured.step),
            reserve=self.budget.reserve if isinstance(self.budget, Clock) else 0.0,
            trainer=captured.numbers(),
        )

    def _seconds(self) -> float:
        """Return the seconds spent by this command and those before it."""
        return self._past.seconds + time.perf_counter() - self._control.started

    def _conclude(self, ended: Ended) -> Generator[Notice, None, Result]:
        """Score the best weights on the whole validation text, save them, and sum up."""
        network, stop = self._trainer.updater.network, self._control.stop
        validation = self._setup.validation
        network.load(ended.values)
        interrupted = ended.interrupted
        score, window_nats = validation.estimated(ended.best.valid_nats), None
        if not interrupted:
            try:
                score = validation.score(network, stop)
                window_nats = validation.window_nats(network, stop)
            except InterruptedScoring:
                interrupted = True
        chance = self._trainer.divergence.chance_nats
        if score and score.nats > chance:
            yield Notice(
                f"the held-out text is predicted no better than by chance "
                f"({chance:.4f} nats per character): train longer, or check "
                "that it is like the rest of the text"
            )
        yield from self._save_model(
            ended.best,
            ended.values,
            valid_nats=score.nats if score else None,
            valid_window256_nats=window_nats,
        )
        stopped_by = INTERRUPTED if interrupted else self._used_budget(ended.last)
        result = self._result(ended, score, window_nats, stopped_by)
        job = partial(self._run_dir.write_summary, asdict(result))
        yield from self._put(self._run_dir.summary.name, job)
        return result

    def _used_budget(self, last: Metrics) -> str:
        """Return which budget is used up."""
        train = self._setup.plan.train
        if train.steps is not None:
            return "steps"
        if train.minutes is None or (train.epochs is not None and last.epoch >= train.epochs):
            return "epochs"
        return "minutes"

    def _result(
        self, ended: Ended, score: Score | None, window_nats: float | None, stopped_by: str
    ) -> Result:
        model = self._setup.plan.model
        return Result(
            run_dir=str(self._run_dir.path),
            model=str(self._run_dir.model),
            cell=cell_name(model.cell),
            parameters=parameters.count(model),
            steps=ended.last.step,
            epochs=ended.last.epoch,
            characters=ended.last.characters,
            seconds=self._seconds(),
            chars_per_second=ended.last.chars_per_second,
            train_nats=ended.best.train_nats,
            valid_nats=score.nats if score else None,
            valid_bpc=score.bpc if score else None,
            valid_bits_per_byte=score.bits_per_byte if score else None,
            valid_window256_nats=window_nats,
            valid_characters=score.characters if score else 0,
            stopped_by=stopped_by,
        )
