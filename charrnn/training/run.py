"""A training from its first step to its last, with what it writes into the run's folder."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

from charrnn.errors import DivergedError
from charrnn.inference.select import COMPILING
from charrnn.run_dir import DIVERGED
from charrnn.run_dir.models import digest
from charrnn.training import budget as budgets
from charrnn.training import conclusion, run_description, state
from charrnn.training.budget import Budget, Clock
from charrnn.training.checkpoint_schedule import CheckpointSchedule
from charrnn.training.control import Control
from charrnn.training.events import Best, Done, Event, Metrics, Notice, Progress, Result
from charrnn.training.run_description import Past, Record
from charrnn.training.run_writer import RunWriter
from charrnn.training.samples import sample_text
from charrnn.training.setup import Setup
from charrnn.training.state import TrainingState
from charrnn.training.trainer import Ended, SavePoint, Trainer


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
        self._writer = RunWriter(setup, past)

    def train(self) -> Iterator[Event]:
        """Train until the budget is used up or the caller stops it; yields `Done` last.

        Raises:
            RunError: a write failed for too long.
            DivergedError: the loss was not finite, even after several restarts, or is worse at the
                end than at the start; the best weights, or else the first ones, are saved.
        """
        self._writer.write_first_files(self._history())
        schedule = CheckpointSchedule(self._control.checkpoint_every, self._past.saved_step)
        if self._setup.device.type == "cuda" and self._setup.kernel.backend == "fused":
            # only on CUDA: by torch, not by the compiler that is listened to
            yield Notice(COMPILING)
        characters = self._setup.plan.characters
        try:
            for event in self._trainer.run(self.budget, characters, self._control.stop):
                if isinstance(event, Ended):
                    ended = event
                    continue
                yield from self._write(event, schedule)
                if not isinstance(event, SavePoint):
                    yield event
        except DivergedError as error:
            saved = yield from self._save_diverged(error)
            raise DivergedError(f"{error.message}; {saved} are in {self._run_dir.model}") from None
        result = yield from self._conclude(ended)
        yield from self._writer.finish()
        yield Done(result)

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

    def _write(
        self, event: Progress | Best | Notice | SavePoint, schedule: CheckpointSchedule
    ) -> Iterator[Notice]:
        """Write what an event calls for."""
        match event:
            case Progress(metrics):
                yield from self._writer.write_metrics(metrics)
            case Best(metrics, values):
                yield from self._writer.write_model(metrics, values)
            case SavePoint(last):
                step, every = self._trainer.updater.step, self._control.sample_every
                if last or schedule.is_due(step):
                    yield from self._save_checkpoint(schedule)
                if every and step and step % every == 0:
                    setup, network = self._setup, self._trainer.updater.network
                    text = sample_text(network, setup.data, setup.plan)
                    yield from self._writer.write_sample(step, text)

    def _save_checkpoint(self, schedule: CheckpointSchedule) -> list[Notice]:
        """Write a checkpoint, unless there is one of this step or the weights are not finite."""
        began = time.perf_counter()
        captured = state.capture(self._trainer)
        notices = []
        if captured.is_finite() and captured.step != schedule.saved_step:
            notices = self._writer.write_checkpoint(captured, self._record(captured))
            schedule.saved_step = captured.step
        schedule.wait_again(began)
        return notices

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
        """Return the seconds spent by this command and those before it, without pauses."""
        paused = self.budget.paused if isinstance(self.budget, Clock) else 0.0
        return self._past.seconds + time.perf_counter() - self._control.started - paused

    def _conclude(self, ended: Ended) -> Generator[Notice, None, Result]:
        """Score the best weights on the whole validation text, save them, and sum up."""
        network = self._trainer.updater.network
        network.load(ended.values)
        scored = conclusion.final_score(network, self._setup.validation, ended, self._control.stop)
        chance = self._trainer.divergence.chance_nats
        if scored.score and scored.score.nats > chance:
            yield Notice(
                f"the held-out text is predicted no better than by chance "
                f"({chance:.4f} nats per character): train longer, or check "
                "that it is like the rest of the text"
            )
        yield from self._writer.write_model(
            ended.best,
            ended.values,
            valid_nats=scored.score.nats if scored.score else None,
            valid_window256_nats=scored.window_nats,
        )
        result = conclusion.result(self._setup, ended, scored, self._seconds())
        yield from self._writer.write_summary(asdict(result))
        return result

    def _save_diverged(self, error: DivergedError) -> Generator[Notice, None, str]:
        """Write why the training ended, and its weights; return which ones, in words."""
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
        yield from self._writer.write_summary(content)
        if not best:
            yield from self._writer.write_model(self._first_metrics(), self._trainer.best.first)
        yield from self._writer.finish()
        return f"the best weights (step {best.step:,})" if best else "the first weights"

    def _first_metrics(self) -> Metrics:
        """Return the metrics of the first weights."""
        nats = self._trainer.divergence.first_nats
        return Metrics(0, 0.0, 0, 0.0, 0.0, nats, None, 0.0, 0.0, 0.0, 0.0)
