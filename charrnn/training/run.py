"""A training from its first step to its last, with what it writes into the run's folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from charrnn.errors import DivergedError
from charrnn.inference.select import COMPILING
from charrnn.run_dir import DIVERGED, lasting_name
from charrnn.run_dir.models import digest
from charrnn.storage import machine
from charrnn.training import budget as budgets
from charrnn.training import conclusion, count_model, run_description, state, timing
from charrnn.training.budget import Budget, Clock
from charrnn.training.checkpoint_schedule import CheckpointSchedule
from charrnn.training.conclusion import FinalScore
from charrnn.training.control import Control
from charrnn.training.count_model import Counts, TextCounts
from charrnn.training.events import Best, Done, Event, Metrics, Notice, Progress, Result
from charrnn.training.plan import Plan
from charrnn.training.run_description import Past, Record
from charrnn.training.run_writer import NoWriter, RunWriter
from charrnn.training.setup import Setup
from charrnn.training.state import TrainingState
from charrnn.training.trainer import SCORING, Ended, SavePoint, Trainer

JUDGED = 0.03  # part of the time after which the planned speed is compared with the real one
COUNTING = 0.2  # part of the time that fitting counts may take
MISJUDGED = 1.5  # a plan is made anew if one is this many times the other
Replan = Callable[[float], Plan | None]  # plans anew for the minutes left; None: nothing changes


class Run:
    """A training that is about to begin; whoever makes one holds the folder's lock.

    The files of an earlier run in the folder are replaced when the first step has been made: a
    training that fails before that has lost nothing.

    Attributes:
        budget: tells what part of the training is done.
    """

    def __init__(
        self,
        setup: Setup,
        trainer: Trainer,
        control: Control,
        past: Past,
        replan: Replan | None = None,
    ) -> None:
        """Prepare the training; `replan` is called once if the plan misjudged the speed."""
        self._setup, self._trainer, self._control, self._past = setup, trainer, control, past
        self._run_dir, self._replan, self._world = setup.run_dir, replan, setup.world
        self.budget: Budget = budgets.make(
            setup.plan.train,
            per_epoch=trainer.updater.batches.per_epoch,
            started=control.started - past.seconds,
            begun=trainer.start,
            reserve=past.reserve,
            world=self._world,
        )
        self._writer = (RunWriter if self._world.is_first else NoWriter)(setup, past)
        self._counts: TextCounts | None = None
        self._replaces = past.saved_step < 0 and self._world.first(self._run_dir.holds_run)

    def train(self) -> Generator[Event, None, Setup | None]:
        """Train until the budget is used up or the caller stops it; yields `Done` last.

        Returns:
            None; or another setup to begin anew with, because the machine is much faster or slower
            than it was when the training was planned.

        Raises:
            RunError: a write failed for too long.
            DivergedError: the loss was not finite, even after several restarts, or is worse at the
                end than at the start; the best weights, or else the first ones, are saved.
        """
        yield from self._count()
        if not self._replaces:
            self._writer.write_first_files(self._history())
        every, saved_step = self._control.checkpoint_every, self._past.saved_step
        schedule = CheckpointSchedule(every, saved_step, self._world)
        if self._setup.device.type == "cuda" and self._setup.kernel.backend == "fused":
            # only on CUDA: by torch, not by the compiler that is listened to
            yield Notice(COMPILING)
        characters = self._setup.plan.characters
        try:
            stop = self._control.asked_to_stop
            for event in self._trainer.run(self.budget, characters, stop):
                if isinstance(event, Ended):
                    ended = event
                    continue
                if self._replaces and not isinstance(event, Notice):  # the first step was made
                    yield self._replace_files()
                if isinstance(event, SavePoint) and (setup := (yield from self._misjudged())):
                    return setup
                yield from self._write(event, schedule)
                if not isinstance(event, SavePoint):
                    yield event
        except DivergedError as error:
            if self._replaces:
                kept = f"the earlier run in {self._run_dir.path} is kept"
                raise DivergedError(f"{error.message}; {kept}") from None
            saved = yield from self._save_diverged(error)
            raise DivergedError(f"{error.message}; {saved} are in {self._run_dir.model}") from None
        result = yield from self._conclude(ended)
        yield from self._writer.finish()
        self._world.any(False)  # all fail if the first process could not write everything
        yield Done(result)
        return None

    def _count(self) -> Iterator[Notice]:
        """Count the text, if that is wanted, and reserve the time to fit the counts at the end."""
        if not count_model.wanted(self._setup):
            return
        counts = TextCounts(self._setup, self._trainer.updater.network.values())
        if isinstance(self.budget, Clock):
            seconds, most = counts.seconds, COUNTING * self.budget.seconds
            if seconds > most and self._setup.options.counts == "auto":
                yield Notice(
                    f"fitting counts of the text would take about {seconds:,.0f} of the "
                    f"{self.budget.seconds:,.0f} seconds: they are left out"
                )
                return
            self.budget.more = min(seconds, most) + self._counts_scoring(counts)
        self._counts = counts

    def _counts_scoring(self, counts: TextCounts) -> float:
        """Return the seconds that scoring with counts will take at the end."""
        network, most = self._trainer.updater.network, self._scoring_seconds
        limit = None if most is None else self._setup.validation.affordable(network, most)
        return counts.scoring(limit, most) or 0.0

    @property
    def _scoring_seconds(self) -> float | None:
        """The seconds that scoring the network at the end may take."""
        return SCORING * self.budget.seconds if isinstance(self.budget, Clock) else None

    def _misjudged(self) -> Generator[Notice, None, Setup | None]:
        """Compare the planned with the real speed, once, and plan anew if they differ too much.

        Returns:
            the setup to begin anew with, if its network is another one.
        """
        budget, updater, world = self.budget, self._trainer.updater, self._world
        planned, replan = self._setup.plan.update_seconds, self._replan
        if replan is None or planned is None or not isinstance(budget, Clock):
            return None
        fraction = budget.fraction(updater.step)
        if fraction < JUDGED:
            return None
        self._replan = None
        factor = world.agreed(planned / timing.windows(updater.durations).best)
        if 1 / MISJUDGED <= factor <= MISJUDGED or fraction >= 1:
            return None
        seconds = budget.deadline - time.perf_counter()
        plan = world.first(lambda: replan(seconds / 60))
        budget.fraction(updater.step)  # notices a pause
        if plan is None or self._control.asked_to_stop() or not world.first(self._writer.end):
            return None
        setup = replace(self._setup, plan=plan)
        yield Notice(
            f"the training runs at {factor:,.2g} times the speed that was measured before it: "
            f"planned anew for the {seconds:,.0f} seconds left, {run_description.in_words(setup)}"
        )
        return setup

    def remove_files(self) -> None:
        """Remove what this training has written: another one begins anew."""
        self._writer.remove_files()

    def _replace_files(self) -> Notice:
        """Put the first files of this run in the place of those of an earlier one."""
        self._replaces = False
        self._writer.remove_files()
        self._writer.write_first_files(self._history())
        return Notice(f"the earlier run in {self._run_dir.path} is replaced")

    def _history(self) -> dict[str, Any]:
        """Return when and by which command the run was started, and each time it was resumed."""
        command, source = self._control.command, self._control.init_from
        date = datetime.now().astimezone().isoformat(timespec="seconds")
        now = {"date": date, "command": list(command) if command else None}
        if self._past.saved_step < 0:
            return now | {"init_from_file": lasting_name(source) if source else None}
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
                if every and step and step % every == 0 and self._world.is_first:
                    from charrnn.training.samples import sample_text  # loads all that writes

                    setup, network = self._setup, self._trainer.updater.network
                    text = sample_text(network, setup.data, setup.plan)
                    yield from self._writer.write_sample(step, text)

    def _save_checkpoint(self, schedule: CheckpointSchedule) -> list[Notice]:
        """Write a checkpoint, unless there is one of this step or the weights are not finite."""
        began = time.perf_counter()
        captured = state.capture(self._trainer)
        notices = []
        if captured.is_finite() and captured.step != schedule.saved_step:
            with machine.freed_memory_given_back():
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
        return self._past.seconds + time.perf_counter() - self._control.started - self.paused

    @property
    def paused(self) -> float:
        """Seconds in which the process was stopped, which do not count."""
        return self.budget.pauses.seconds if isinstance(self.budget, Clock) else 0.0

    def _conclude(self, ended: Ended) -> Generator[Notice, None, Result]:
        """Score the best weights on the validation text, save them, and sum up."""
        self._trainer.updater.restart(ended.values)  # frees what only steps need
        network = self._trainer.updater.network
        validation, stop = self._setup.validation, self._control.asked_to_stop
        ended, factor = conclusion.calibrated(network, validation, ended, stop)
        network.load(ended.values)
        seconds = self._scoring_seconds
        scored = conclusion.final_score(network, validation, ended, stop, seconds)
        chance = self._trainer.divergence.chance_nats
        if scored.score and scored.score.nats > chance:
            yield Notice(
                f"the held-out text is predicted no better than by chance "
                f"({chance:.4f} nats per character): train longer, or check "
                "that it is like the rest of the text"
            )
        counts = yield from self._fit_counts(ended, scored)
        described = {"counts": counts.described()} if counts else {}
        yield from self._writer.write_model(
            ended.best,
            ended.values,
            counts.fit.table if counts else None,
            valid_nats=scored.score.nats if scored.score else None,
            valid_window256_nats=scored.window_nats,
            logits_factor=factor,
            **conclusion.scored_part(scored),
            **described,
        )
        result = conclusion.result(self._setup, ended, scored, self._seconds(), counts)
        yield from self._writer.write_summary(asdict(result))
        return result

    def _fit_counts(
        self, ended: Ended, scored: FinalScore
    ) -> Generator[Notice, None, Counts | None]:
        """Fit the counts to the best weights; None without counts, or where they do not pay."""
        if self._counts is None:
            return None
        stop = (lambda: True) if scored.interrupted else self._control.stop
        counts = self._counts.finish(ended.values, stop, scored.limit, self._scoring_seconds)
        gain = counts.fit.gain
        if self._setup.options.counts == "auto" and gain < count_model.PAYS:
            yield Notice(
                f"counts of the training text would gain {max(gain, 0):.4f} nats per token: they "
                "are left out"
            )
            return None
        return counts

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
            yield from self._writer.write_model(self._first_metrics(), self._trainer.best.values)
        yield from self._writer.finish()
        return f"the best weights (step {best.step:,})" if best else "the first weights"

    def _first_metrics(self) -> Metrics:
        """Return the metrics of the first weights."""
        nats = self._trainer.divergence.first_nats
        return Metrics(0, 0.0, 0, 0.0, 0.0, nats, None, 0.0, 0.0, 0.0, 0.0)
